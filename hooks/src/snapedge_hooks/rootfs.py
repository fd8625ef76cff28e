"""Root file systems of images: every layer unpacked once, every image a tree of hard links to its layers.

The cache is shared by all devices of one virtual fleet (they are separate processes), so:

- a tree is built under another name and renamed when it is whole; whoever comes second waits for a lock and finds it;
- nothing in it is ever written again, pods see it read-only.

Unpacking trusts nothing: no absolute or climbing names, no device files, no set-id bits, symbolic links are resolved
inside of the tree, never by the kernel.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import tarfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Final, cast

from . import unpacking
from .blobs import Readable

_MOUNT_POINTS: Final = ("dev", "etc", "proc", "run", "sys", "tmp", "var/tmp")
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_MAX_LINKS = 40


class LayerRefusedError(Exception):
    """A layer holds something that must not be unpacked, or is no archive."""


class RootfsCache:
    """Unpacked layers and merged trees below one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def has_layer(self, diff_id: str) -> bool:
        """Whether this layer was unpacked before, by whichever device."""
        return self._layer(diff_id).is_dir()

    def add_layer(
        self, diff_id: str, size: int, open_archive: Callable[[], contextlib.AbstractContextManager[Readable]]
    ) -> None:
        """Unpack a layer unless it is there; `open_archive` gives its tar of `size` bytes, verified by the caller."""
        with self._lock(diff_id):
            if self.has_layer(diff_id):
                return
            with self._fresh(self._layer(diff_id)) as folder, open_archive() as archive:
                unpack(archive, folder, size=size)

    def tree(self, diff_ids: Sequence[str]) -> Path:
        """The merged tree of these layers, lowest first, which all are in the cache."""
        name = hashlib.sha256("\n".join(diff_ids).encode()).hexdigest()
        path = self._root / "trees" / name
        with self._lock(name):
            if not path.is_dir():
                with self._fresh(path) as folder:
                    for diff_id in diff_ids:
                        _lay_over(self._layer(diff_id), folder)
                    for point in _MOUNT_POINTS:
                        resolve(folder, point).mkdir(parents=True, exist_ok=True)
        return path

    def add_mount_point(self, tree: Path, path: str) -> None:
        """Make a folder in a tree for a volume to be mounted on."""
        target = resolve(tree, path)
        with self._lock(tree.name):
            target.mkdir(parents=True, exist_ok=True)

    def _layer(self, diff_id: str) -> Path:
        return self._root / "layers" / diff_id.replace(":", "-")

    @contextlib.contextmanager
    def _fresh(self, path: Path) -> Iterator[Path]:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        folder.mkdir()
        try:
            yield folder
            folder.replace(path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        folder = self._root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / name.replace(":", "-")).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def resolve(root: Path, name: str) -> Path:
    """Where `name` is below `root` for a process that has `root` as its root; the last part is not followed."""
    parts = [part for part in PurePosixPath(name.lstrip("/")).parts if part != "."]
    path = root
    links = 0
    while parts:
        part = parts.pop(0)
        if part == "..":
            path = path.parent if path != root else root
            continue
        following = path / part
        if parts and following.is_symlink():
            links += 1
            if links > _MAX_LINKS:
                raise LayerRefusedError(f"too many symbolic links on the way to {name}")
            target = PurePosixPath(following.readlink())
            if target.is_absolute():
                path = root
            parts = [piece for piece in target.parts if piece not in ("/", ".")] + parts
            continue
        path = following
    return path


def unpack(archive: Readable, folder: Path, *, size: int) -> None:
    """Unpack a tar of `size` bytes, compressed or not, into an empty folder.

    Raises:
        LayerRefusedError: it is no tar, holds what may not be unpacked, or more than its size lets expect.
    """
    most = left = unpacking.most(size)
    directories: list[tuple[Path, int]] = []
    try:
        # A stream is only ever read, from front to back.
        with tarfile.open(fileobj=cast("IO[bytes]", archive), mode="r|*") as tar:
            for member in tar:
                left -= tarfile.BLOCKSIZE + (member.size if member.isreg() else 0)
                if left < 0:
                    raise LayerRefusedError(f"it {unpacking.excess(most)}")
                target = _place(folder, member.name)
                if target == folder:
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                if member.isdir():
                    target.mkdir(exist_ok=True)
                    directories.append((target, member.mode))
                    continue
                target.unlink(missing_ok=True)
                _unpack_member(tar, member, folder, target)
    except (tarfile.TarError, EOFError, UnicodeError, ValueError) as error:
        raise LayerRefusedError(f"not a whole tar archive: {error}") from error
    for path, mode in directories:
        path.chmod((mode & 0o777) | stat.S_IRWXU)


def _place(folder: Path, name: str) -> Path:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or "\0" in name:
        raise LayerRefusedError(f"{name!r} leaves the layer")
    return resolve(folder, name)


def _unpack_member(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, target: Path) -> None:
    if member.issym():
        target.symlink_to(member.linkname)
    elif member.islnk():
        source = _place(folder, member.linkname)
        if not source.is_file() or source.is_symlink():
            raise LayerRefusedError(f"{member.name!r} is a link to {member.linkname!r}, which is no file before it")
        os.link(source, target)
    elif member.isreg():
        content = tar.extractfile(member)
        assert content is not None
        with target.open("xb") as file:
            shutil.copyfileobj(content, file, 1024 * 1024)
        target.chmod((member.mode & 0o777) | stat.S_IRUSR)
        os.utime(target, (member.mtime, member.mtime))
    else:
        raise LayerRefusedError(f"{member.name!r} is a device or pipe")


def _lay_over(layer: Path, tree: Path) -> None:
    """Add a layer's files to a tree as hard links, and take away what the layer marks as removed."""
    for folder, directories, files in os.walk(layer):
        relative = Path(folder).relative_to(layer)
        target = resolve(tree, f"{relative}/.") if relative.parts else tree
        if target.is_symlink():
            target = resolve(tree, f"{relative}/x").parent
        target.mkdir(parents=True, exist_ok=True)
        target.chmod(stat.S_IMODE(Path(folder).stat().st_mode))
        if _OPAQUE in files:
            for entry in list(target.iterdir()):
                _discard(entry)
        for name in [*files, *(name for name in directories if (Path(folder) / name).is_symlink())]:
            if name == _OPAQUE:
                continue
            if name.startswith(_WHITEOUT):
                _discard(target / name.removeprefix(_WHITEOUT))
                continue
            _discard(target / name)
            os.link(Path(folder) / name, target / name, follow_symlinks=False)
        for name in directories:
            entry = target / name
            if not (Path(folder) / name).is_symlink() and entry.exists() and not entry.is_dir():
                entry.unlink()


def _discard(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
