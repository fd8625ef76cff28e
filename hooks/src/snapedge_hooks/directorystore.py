"""A store in a folder: the one door to its files.

Any HTTP server can serve the folder as it is. Writers take a lock file; readers take none, because files are named by
their digest and the index is replaced by rename. A push interrupted anywhere leaves the store as it was.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import struct
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from . import storedocument, storeindex
from .channels import Channel, Revision
from .errors import ExitCode, SnapedgeError
from .storeindex import Release, Sha3, SnapDescription, StoreIndex, StoreRevision
from .vocabulary import Architecture, SnapName

INDEX_NAME = "index.json"
_PIECE = 1024 * 1024
_LOCK_POLL_SECONDS = 0.05
_SQUASHFS_MAGIC = b"hsqs"
_SQUASHFS_USED = struct.Struct("<Q")
_SQUASHFS_USED_OFFSET = 40


def utc_now() -> datetime:
    """The wall clock, in UTC and whole seconds, as the index writes it."""
    return datetime.now(UTC).replace(microsecond=0)


class DirectoryStore:
    """Snap files and channels below one folder.

    Attributes:
        root: the folder; made with the first push.
    """

    def __init__(self, root: Path, *, now: Callable[[], datetime] = utc_now, lock_seconds: float = 30.0) -> None:
        self.root = root
        self._now = now
        self._lock_seconds = lock_seconds

    def index(self) -> StoreIndex:
        """The store as it is now; empty where nothing was pushed yet.

        Raises:
            DocumentError: the index is damaged.
            StoreUnreadableError: the index cannot be read.
        """
        path = self.root / INDEX_NAME
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return StoreIndex()
        except OSError as error:
            raise StoreUnreadableError(path, error) from error
        return storedocument.parse(data, what=str(path))

    def path(self, sha3_384: Sha3) -> Path:
        """Where the file of that digest lies, whether it is there or not."""
        return self.root / "snaps" / f"{sha3_384}.snap"

    def push(self, snap_file: Path, description: SnapDescription) -> StoreRevision:
        """The revision of a snap file, copied into the store unless it is there.

        Raises:
            TruncatedSnapError: the file is no squashfs, or shorter than its superblock says.
            StoreFullError: no room; the store is as it was.
            StoreBusyError: another writer did not finish in time.
        """
        with self._writing():
            copied, sha3_384, size = self._copy(snap_file)
            try:
                index, revision = storeindex.with_revision(
                    self.index(), description, sha3_384=sha3_384, size=size, now=self._now()
                )
                final = self.path(sha3_384)
                if not final.exists() or final.stat().st_size != size:
                    copied.chmod(0o644)
                    copied.replace(final)
                    _sync_folder(final.parent)
                self._write(index)
            finally:
                copied.unlink(missing_ok=True)
        return revision

    def release(self, name: SnapName, channel: Channel, revisions: Mapping[Architecture, Revision]) -> Release:
        """The release of those revisions, to which the channel now points.

        Raises:
            UnknownSnapError: nothing of that name was ever pushed.
            ReleaseRefusedError: the revisions are not one whole version.
            StoreBusyError: another writer did not finish in time.
        """
        with self._writing():
            index, release = storeindex.with_release(self.index(), name, channel, revisions, now=self._now())
            self._write(index)
        return release

    def release_all(self, channel: Channel, releases: Mapping[SnapName, Mapping[Architecture, Revision]]) -> None:
        """Several snaps released to a channel in one replacement of the index: all of them or none.

        Raises:
            UnknownSnapError: nothing of one of the names was ever pushed.
            ReleaseRefusedError: the revisions of one are not one whole version.
            StoreBusyError: another writer did not finish in time.
        """
        with self._writing():
            index = self.index()
            for name, revisions in releases.items():
                index, _release = storeindex.with_release(index, name, channel, revisions, now=self._now())
            self._write(index)

    def _copy(self, snap_file: Path) -> tuple[Path, Sha3, int]:
        folder = self.root / "snaps"
        folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha3_384()
        size = 0
        descriptor, name = tempfile.mkstemp(prefix=".push-", dir=folder)
        copied = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as target, _opened(snap_file) as source:
                for piece in _pieces(source):
                    digest.update(piece)
                    target.write(piece)
                    size += len(piece)
                target.flush()
                os.fsync(target.fileno())
            _check_whole(copied, snap_file, size)
        except BaseException:
            copied.unlink(missing_ok=True)
            raise
        return copied, Sha3(digest.hexdigest()), size

    def _write(self, index: StoreIndex) -> None:
        data = storedocument.serialize(index)
        path = self.root / INDEX_NAME
        descriptor, name = tempfile.mkstemp(prefix=".index-", dir=self.root)
        try:
            with os.fdopen(descriptor, "wb") as target:
                target.write(data)
                target.flush()
                os.fsync(target.fileno())
            Path(name).chmod(0o644)
            Path(name).replace(path)
            _sync_folder(self.root)
        finally:
            Path(name).unlink(missing_ok=True)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with _room(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            with (self.root / ".lock").open("ab") as lock:
                _lock(lock, self.root, self._lock_seconds)
                yield


class StoreUnreadableError(SnapedgeError):
    """The index is there and cannot be read."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(f"{path} cannot be read: {error.strerror}", resolution="check the folder and its rights")


class StoreUnwritableError(SnapedgeError):
    """The store's folder refuses to be written."""

    def __init__(self, root: Path, error: OSError) -> None:
        super().__init__(
            f"the store {root} cannot be written: {error.strerror}", resolution="check the folder and its rights"
        )


class StoreFullError(SnapedgeError):
    """No room for a file; nothing was changed."""

    def __init__(self, root: Path) -> None:
        super().__init__(
            f"no room left in the store {root}", resolution="free some space and push again; the store is as it was"
        )


class StoreBusyError(SnapedgeError):
    """Another writer holds the lock."""

    def __init__(self, root: Path, seconds: float) -> None:
        super().__init__(
            f"another writer has held the store {root} for {seconds:g} s", resolution="wait for it, then try again"
        )


class SnapFileMissingError(SnapedgeError):
    """The file to push is not there or not readable."""

    exit_code = ExitCode.USAGE

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(f"{path} cannot be read: {error.strerror}", resolution="build it first: builder build")


class TruncatedSnapError(SnapedgeError):
    """The file is no whole snap."""

    exit_code = ExitCode.REFUSED

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path} is no whole snap: {problem}", resolution="build or copy it again")


def _check_whole(copied: Path, snap_file: Path, size: int) -> None:
    with copied.open("rb") as file:
        head = file.read(_SQUASHFS_USED_OFFSET + _SQUASHFS_USED.size)
    if not head.startswith(_SQUASHFS_MAGIC):
        raise TruncatedSnapError(snap_file, "it does not start like a squashfs")
    if len(head) < _SQUASHFS_USED_OFFSET + _SQUASHFS_USED.size:
        raise TruncatedSnapError(snap_file, f"its superblock ends after {len(head)} bytes")
    (used,) = _SQUASHFS_USED.unpack_from(head, _SQUASHFS_USED_OFFSET)
    if size < used:
        raise TruncatedSnapError(snap_file, f"it has {size} bytes of {used}")


def _opened(snap_file: Path) -> BinaryIO:
    try:
        return snap_file.open("rb")
    except OSError as error:
        raise SnapFileMissingError(snap_file, error) from error


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece


def _lock(lock: BinaryIO, root: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise StoreBusyError(root, seconds) from None
            time.sleep(_LOCK_POLL_SECONDS)
        else:
            return


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _room(root: Path) -> Iterator[None]:
    """Turns what a disk says while the store is written into our errors."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFullError(root) from error
        raise StoreUnwritableError(root, error) from error
