"""The only caller of unsquashfs: what is in a packed snap, read without unpacking it.

Names come from the file's own tables (`squashfs`), never from a listing of the tool; the tool reads what files hold.
"""

from __future__ import annotations

import hashlib
import io
import re
import stat
import subprocess
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from snapedge_hooks import unpacking
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Digest

from . import processes, squashfs
from .containercheck import Entry
from .errors import BuilderError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_READ = 64 * 1024 * 1024
"""Largest file read whole: documents, samples; layers are only hashed."""
ALWAYS_HELD = 4 << 30
"""What any snap may hold, in bytes: a model of 2 GB that shrinks to nothing is a model all the same."""
_CHUNK = 1 << 20


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
        """Read every name in a snap.

        Raises:
            SnapFileError: missing, no squashfs, cut short, not compressed as snaps are, damaged, holding far more than
                its size lets expect, or with names that do not print.
        """
        try:
            with path.open("rb") as file:
                where = squashfs.read_superblock(file)
                entries = {entry.path: entry for entry in squashfs.read_names(file, where)}
        except squashfs.SquashfsError as error:
            raise SnapFileError(path.name, str(error), resolution=error.resolution) from error
        except OSError as error:
            raise SnapFileError(path.name, f"cannot be read: {error.strerror}") from error
        held, most = sum(entry.size for entry in entries.values()), unpacking.most(where.size, always=ALWAYS_HELD)
        if held > most:
            raise SnapFileError(
                path.name,
                f"holds {held} bytes, more than {unpacking.RATIO} times its size or {ALWAYS_HELD >> 30} GiB",
                resolution="do not use it; have whoever made it leave out what fills it",
            )
        return cls(path=path, size=where.size, entries=entries)

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
        # unsquashfs takes names as shell patterns, those of bash's extglob included.
        pattern = re.sub(r"([^\w./-])", r"\\\1", name)
        process = subprocess.Popen(
            [processes.find("unsquashfs", package="squashfs-tools"), "-cat", str(self.path), pattern],
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
