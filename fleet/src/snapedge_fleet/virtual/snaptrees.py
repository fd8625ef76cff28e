"""Snap files and the trees they hold: what a mount is on a real device is a read-only folder here.

A tree is unpacked once for all devices of a root, in a folder named by the file's SHA3-384, and never changed again.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
import stat
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from . import processes, snapinfo
from .snapinfo import SnapFileError, SnapInfo

_MAGIC: Final = b"hsqs"
_SUPERBLOCK: Final = 96
_BYTES_USED_AT: Final = 40
_UNPACK_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapFile:
    """A snap file that was read: what it is, and its SHA3-384 in hex."""

    path: Path
    digest: str
    info: SnapInfo


class SnapTrees:
    """The unpacked snaps of one root."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, digest: str) -> Path:
        """Where the tree of that file is, or will be."""
        return self._folder / digest

    def info(self, digest: str) -> SnapInfo:
        """What the snap of an unpacked tree says of itself."""
        tree = self.path(digest)
        text = (tree / "meta" / "snap.yaml").read_text(encoding="utf-8")
        return snapinfo.with_hooks_of(snapinfo.parse(text), tree)

    async def read(self, file: Path, *, called: str) -> SnapFile:
        """What is in `file`, which its sender named `called`.

        Raises:
            SnapFileError: when it is no snap, or one that snapd refuses.
        """
        await asyncio.to_thread(_check_superblock, file, called)
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".meta-") as scratch:
            tree = Path(scratch) / "tree"
            await _unpack(file, tree, called, only=("meta",))
            try:
                text = (tree / "meta" / "snap.yaml").read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise SnapFileError(
                    f"cannot read snap file: cannot read meta/snap.yaml of {called}", details=str(error)
                ) from error
            info = snapinfo.with_hooks_of(snapinfo.parse(text), tree)
        digest = await asyncio.to_thread(_digest, file)
        return SnapFile(path=file, digest=digest, info=info)

    async def mount(self, file: Path, digest: str) -> Path:
        """Unpacks `file` unless its tree is there, and checks the tree as snapd checks a container.

        Raises:
            SnapFileError: when it cannot be unpacked, or its files could not be used.
        """
        tree = self.path(digest)
        self._folder.mkdir(parents=True, exist_ok=True)
        with await asyncio.to_thread(self._lock, digest) as held:
            assert held
            if tree.is_dir():
                return tree
            # In the same folder, or a reader's rename of a read-only directory would be refused.
            scratch = self._folder / f".tree-{digest}"
            await asyncio.to_thread(remove_tree, scratch)
            try:
                await _unpack(file, scratch, file.name)
                info = snapinfo.parse((scratch / "meta" / "snap.yaml").read_text(encoding="utf-8"))
                snapinfo.validate_container(info, scratch)
                await asyncio.to_thread(_make_read_only, scratch)
                scratch.rename(tree)
            finally:
                await asyncio.to_thread(remove_tree, scratch)
        return tree

    def _lock(self, digest: str) -> _Lock:
        return _Lock(self._folder / f".{digest}.lock")


class _Lock:
    """One device unpacks, the others wait: a file lock, so that it ends with its holder."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="ascii")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __enter__(self) -> bool:
        return True

    def __exit__(self, *exception: object) -> None:
        self._file.close()


def _check_superblock(file: Path, called: str) -> None:
    size = file.stat().st_size
    with file.open("rb") as opened:
        head = opened.read(_SUPERBLOCK)
    if head[:4] != _MAGIC:
        shown = " ".join(str(byte) for byte in head[:15])
        raise SnapFileError(
            f'cannot read snap file: cannot process snap or snapdir: file "{called}" is invalid (header [{shown}])'
        )
    used = struct.unpack_from("<Q", head, _BYTES_USED_AT)[0] if len(head) == _SUPERBLOCK else _SUPERBLOCK
    if size < used:
        raise SnapFileError(
            f'cannot read snap file: file "{called}" is truncated ({size} bytes of {used})',
            resolution="fetch the file again",
        )


async def _unpack(file: Path, target: Path, called: str, *, only: tuple[str, ...] = ()) -> None:
    process = await asyncio.create_subprocess_exec(
        *processes.BOUND_TO_US,
        "unsquashfs",
        "-no-progress",
        "-no-xattrs",
        "-quiet",
        "-processors",
        "2",
        "-d",
        str(target),
        str(file),
        *only,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _, errors = await asyncio.wait_for(process.communicate(), _UNPACK_SECONDS)
    except TimeoutError as error:
        raise SnapFileError(f'cannot read snap file: unpacking "{called}" took over {_UNPACK_SECONDS:.0f} s') from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        words = " ".join(errors.decode("utf-8", errors="replace").split())
        raise SnapFileError(f'cannot read snap file: cannot unpack "{called}": {words or "unsquashfs failed"}')


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha3_384").hexdigest()


def _make_read_only(tree: Path) -> None:
    for folder, _, names in os.walk(tree):
        for path in [Path(folder), *(Path(folder) / name for name in names)]:
            if not path.is_symlink():
                path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222)


def remove_tree(tree: Path) -> None:
    """Removes a folder and all in it, read-only folders too; does nothing where there is none."""
    if tree.is_dir():
        for folder, _, _ in os.walk(tree):
            Path(folder).chmod(0o700)
        shutil.rmtree(tree)
