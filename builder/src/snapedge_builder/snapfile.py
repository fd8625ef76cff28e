"""The only caller of unsquashfs: what is in a packed snap, read without unpacking it.

The superblock is read here first: it tells a file that is no squashfs, or cut short, in plain words before any tool
stumbles over it.
"""

from __future__ import annotations

import hashlib
import io
import re
import stat
import struct
import subprocess
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Digest

from . import processes
from .containercheck import Entry
from .errors import BuilderError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_READ = 64 * 1024 * 1024
"""Largest file read whole: documents, samples; layers are only hashed."""
_SUPERBLOCK = struct.Struct("<4sIIIIHHHHHHQQ")
_MAGIC = b"hsqs"
_XZ = 4
_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 300.0
_PACKAGE = "squashfs-tools"
_LINE = re.compile(
    r"(?P<type>[-dlbcps])(?P<mode>[-rwxsStT]{9}) \S+ +(?:(?P<size>\d+)|\d+, *\d+) \S+ \S+ squashfs-root(?P<rest>.*)"
)
_TYPES = {
    "-": stat.S_IFREG,
    "d": stat.S_IFDIR,
    "l": stat.S_IFLNK,
    "b": stat.S_IFBLK,
    "c": stat.S_IFCHR,
    "p": stat.S_IFIFO,
    "s": stat.S_IFSOCK,
}


class SnapFileError(BuilderError):
    """A file is not a snap that can be read."""

    exit_code = ExitCode.REFUSED

    def __init__(self, file: str, problem: str, *, details: str = "", resolution: str = "") -> None:
        super().__init__(f"{file}: {problem}", details=details, resolution=resolution)
        self.problem = problem


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapFile:
    """A packed snap on disk.

    Attributes:
        path: the file.
        size: of the file, in bytes.
        entries: every name in it by path; the top folder is the empty text.
    """

    path: Path
    size: int
    entries: dict[str, Entry]

    @classmethod
    def open(cls, path: Path) -> SnapFile:
        """Read the listing of a snap.

        Raises:
            SnapFileError: missing, no squashfs, cut short, not compressed as snaps are, or damaged.
        """
        size = _check_superblock(path)
        listing = _unsquashfs(path, ["-lln", str(path)])
        entries = {}
        for line in listing.splitlines():
            entry = _entry(path, line)
            if entry is not None:
                entries[entry.path] = entry
        return cls(path=path, size=size, entries=entries)

    def files_below(self, folder: str) -> list[str]:
        """The paths of plain files in a folder and the folders in it, sorted."""
        return sorted(
            name for name, entry in self.entries.items() if name.startswith(f"{folder}/") and stat.S_ISREG(entry.mode)
        )

    def read(self, name: str) -> bytes:
        """The bytes of one file.

        Raises:
            SnapFileError: it is not there, is no plain file, is too large or is damaged.
        """
        entry = self._file(name)
        if entry.size > MAX_READ:
            raise SnapFileError(self.path.name, f"{name} has {entry.size} bytes, more than the {MAX_READ} allowed")
        return b"".join(self._chunks(name, entry.size))

    def digest(self, name: str) -> Digest:
        """The digest of one file, however large.

        Raises:
            SnapFileError: it is not there, is no plain file or is damaged.
        """
        seen = hashlib.sha256()
        for chunk in self._chunks(name, self._file(name).size):
            seen.update(chunk)
        return Digest(f"sha256:{seen.hexdigest()}")

    def copy(self, name: str, target: IO[bytes]) -> None:
        """Write one file, however large, to an open one.

        Raises:
            SnapFileError: it is not there, is no plain file or is damaged.
        """
        for chunk in self._chunks(name, self._file(name).size):
            target.write(chunk)

    @contextmanager
    def opened(self, name: str) -> Iterator[IO[bytes]]:
        """One file, however large, to be read from front to back; cut short where the snap is damaged.

        Raises:
            SnapFileError: it is not there or is no plain file.
        """
        chunks = self._chunks(name, self._file(name).size)
        try:
            yield io.BufferedReader(_Chunks(chunks), _CHUNK)
        finally:
            chunks.close()

    def _file(self, name: str) -> Entry:
        entry = self.entries.get(name)
        if entry is None:
            raise SnapFileError(self.path.name, f"{name} is missing")
        if not stat.S_ISREG(entry.mode):
            raise SnapFileError(self.path.name, f"{name} is not a plain file")
        return entry

    def _chunks(self, name: str, size: int) -> Generator[bytes]:
        # unsquashfs takes names as shell patterns.
        pattern = re.sub(r"([*?\[\\])", r"\\\1", name)
        process = subprocess.Popen(
            ["unsquashfs", "-cat", str(self.path), pattern],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        seen = 0
        with process:
            assert process.stdout is not None
            try:
                while chunk := process.stdout.read(_CHUNK):
                    seen += len(chunk)
                    yield chunk
            finally:
                process.kill() if seen != size else None
        if process.returncode != 0 or seen != size:
            raise SnapFileError(
                self.path.name,
                f"{name} is damaged: {seen} of its {size} bytes can be read",
                resolution="fetch it again",
            )


class _Chunks(io.RawIOBase):
    """Pieces of whatever size as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        if not self._left:
            self._left = memoryview(next(self._chunks, b""))
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._left))
        target[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


def _check_superblock(path: Path) -> int:
    try:
        with path.open("rb") as file:
            head = file.read(_SUPERBLOCK.size)
            size = file.seek(0, 2)
    except OSError as error:
        raise SnapFileError(path.name, f"cannot be read: {error.strerror}") from error
    if len(head) < _SUPERBLOCK.size or head[:4] != _MAGIC:
        raise SnapFileError(path.name, "is no snap: it is not a squashfs file")
    fields = _SUPERBLOCK.unpack(head)
    compression, used = fields[5], fields[12]
    if used > size:
        raise SnapFileError(
            path.name, f"is cut short: {size} of {used} bytes are there", resolution="fetch or build it again"
        )
    if compression != _XZ:
        raise SnapFileError(path.name, "is not compressed with xz, as our snaps are")
    return size


def _unsquashfs(path: Path, arguments: list[str]) -> str:
    done = processes.run(["unsquashfs", *arguments], package=_PACKAGE, seconds=_TIMEOUT_SECONDS)
    if done.status != 0:
        raise SnapFileError(path.name, "is damaged", details=done.errors, resolution="fetch or build it again")
    return done.output


def _entry(path: Path, line: str) -> Entry | None:
    found = _LINE.fullmatch(line)
    if found is None:
        if "squashfs-root" in line:
            raise SnapFileError(path.name, f"holds a name that cannot be read: {line!r}")
        return None
    name, _, target = found["rest"].partition(" -> ") if found["type"] == "l" else (found["rest"], "", "")
    return Entry(
        path=name.removeprefix("/"),
        mode=_TYPES[found["type"]] | _permissions(found["mode"]),
        size=int(found["size"] or 0),
        target=target,
    )


def _permissions(text: str) -> int:
    bits = 0
    for index, character in enumerate(text):
        if character in "rwxst":
            bits |= 1 << (8 - index)
        if character in "sStT":
            bits |= {2: stat.S_ISUID, 5: stat.S_ISGID, 8: stat.S_ISVTX}[index]
    return bits
