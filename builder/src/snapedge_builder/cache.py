"""The build cache: files by digest, and small notes that say which files an input gave.

Rules:

1. A file is called by its sha256 and appears whole, by rename. It is hashed again whenever it is asked for: one that
   was changed, cut short or lost counts as absent, and is made again.
2. A note is the result of an input hash, with a checksum of its own. A broken note counts as absent.
3. Unfinished work lies in `scratch/`, in folders whose makers hold a lock. Opening the cache removes the folders of
   makers that are gone, however they ended.
4. The same input is worked on by one build at a time, across threads and processes; the others wait and find the note.
5. No file is synced to disk: after a power cut, rule 1 finds out what was lost.

    CacheError
      CacheFullError       no room for what is being made
      CacheReadOnlyError   it cannot be written here
      CacheBusyError       another build holds the same input for too long
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from snapedge_hooks.document import canonical_json
from snapedge_hooks.vocabulary import Digest

from .errors import BuilderError

_LOCK_SECONDS = 1800.0
_LOCK_PAUSE = 0.05
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_WRITE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


class CacheError(BuilderError):
    """The build cache cannot do what it is for."""

    def __init__(self, root: Path, problem: str, *, resolution: str = "") -> None:
        super().__init__(f"build cache {root}: {problem}", resolution=resolution)


class CacheFullError(CacheError):
    """There is no room for what is being made."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, "no room left", resolution="make room there, or name another folder with --cache")


class CacheReadOnlyError(CacheError):
    """The cache cannot be written."""

    def __init__(self, root: Path, reason: str) -> None:
        super().__init__(root, f"cannot be written: {reason}", resolution="name another folder with --cache")


class CacheBusyError(CacheError):
    """Another build holds the same input."""

    def __init__(self, root: Path, kind: str, seconds: float) -> None:
        super().__init__(
            root,
            f"another build has been making the same {kind} for {seconds:.0f} s",
            resolution="wait for it or end it",
        )


def default_root() -> Path:
    """Where the cache is when nobody names a place: `$XDG_CACHE_HOME/snapedge`."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(named) if named.startswith("/") else Path.home() / ".cache") / "snapedge"


class BlobWriter:
    """A file on its way into the cache: written once, front to back, and hashed meanwhile."""

    def __init__(self, file: io.FileIO, guard: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
        self._file = file
        self._guard = guard
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append some bytes.

        Raises:
            CacheError: the disk does not take them.
        """
        rest = memoryview(data)
        with self._guard():
            while rest:
                rest = rest[self._file.write(rest) :]
        self._hash.update(data)
        self.size += len(data)

    @property
    def digest(self) -> Digest:
        """The digest of what was written so far."""
        return Digest("sha256:" + self._hash.hexdigest())


class Cache:
    """A cache folder, opened."""

    def __init__(self, root: Path, *, notes: Path | None = None) -> None:
        """Open the cache, making it where it is absent, and remove what dead builds left.

        Args:
            root: its folder.
            notes: a folder for notes in place of its own: what is to be made without knowing what was made before.

        Raises:
            CacheError: the folder cannot be made or written.
        """
        self.root = root.absolute()
        self.notes = self.root / "notes" if notes is None else notes.absolute()
        with self.guard():
            self.notes.mkdir(parents=True, exist_ok=True)
            for folder in ("blobs/sha256", "scratch", "locks", "apt"):
                (self.root / folder).mkdir(parents=True, exist_ok=True)
            self._sweep()

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """Turn what the operating system says about the cache's disk into errors for people."""
        try:
            yield
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise CacheFullError(self.root) from error
            if error.errno in _NO_WRITE:
                raise CacheReadOnlyError(self.root, error.strerror or "refused") from error
            place = f" ({error.filename})" if error.filename else ""
            raise CacheError(self.root, f"{error.strerror or error}{place}") from error

    # Files by digest.

    def blob_path(self, digest: Digest) -> Path:
        """Where the file of that digest is or would be."""
        return self.root / "blobs" / "sha256" / digest.hex

    def find_blob(self, digest: Digest) -> Path | None:
        """The file of that digest if it is here and whole; one that is not is removed."""
        path = self.blob_path(digest)
        try:
            if Digest.of_file(path) == digest:
                return path
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CacheError(self.root, f"{error.strerror} ({path.name})") from error
        with self.guard():
            path.unlink(missing_ok=True)
        return None

    @contextlib.contextmanager
    def write_blob(self) -> Iterator[BlobWriter]:
        """A writer whose content is in the cache, under its digest, once the block ended well."""
        with self.guard():
            descriptor, name = tempfile.mkstemp(dir=self.root / "scratch", prefix="blob-")
        path = Path(name)
        try:
            # Unbuffered, so that closing has nothing left to write and cannot hide the first error behind a second.
            with io.FileIO(descriptor, "w") as file:
                # The lock says that the writer lives: `_sweep` takes what it can lock for dead builds' remains.
                fcntl.flock(file, fcntl.LOCK_EX)
                writer = BlobWriter(file, self.guard)
                yield writer
                with self.guard():
                    path.chmod(0o644)
                    path.replace(self.blob_path(writer.digest))
        finally:
            path.unlink(missing_ok=True)

    def keep(self, path: Path) -> Digest:
        """Move a file into the cache; its digest, under which it is there."""
        with self.guard():
            digest = Digest.of_file(path)
            path.chmod(0o644)
            path.replace(self.blob_path(digest))
        return digest

    def adopt(self, path: Path, digest: Digest) -> Path | None:
        """Move a file into the cache if it has that digest; None, and the file stays, if it has not."""
        with self.guard():
            if Digest.of_file(path) != digest:
                return None
            path.chmod(0o644)
            return path.replace(self.blob_path(digest))

    # Notes by input.

    def find_note(self, kind: str, key: Digest) -> dict[str, Any] | None:
        """What was noted for this input, or None."""
        try:
            data = self._note_path(kind, key).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CacheError(self.root, f"{error.strerror} ({kind})") from error
        checksum, _, text = data.partition(b"\n")
        if Digest.of(text) != checksum.decode("ascii", "replace"):
            return None
        value = json.loads(text)
        return value if isinstance(value, dict) else None

    def write_note(self, kind: str, key: Digest, value: Mapping[str, Any]) -> None:
        """Note what an input gave, in place of what was noted before."""
        text = canonical_json(value)
        path = self._note_path(kind, key)
        with self.guard():
            path.parent.mkdir(exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self.root / "scratch", prefix="note-")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX)
                    file.write(Digest.of(text).encode() + b"\n" + text)
                    file.flush()
                    Path(name).replace(path)
            finally:
                Path(name).unlink(missing_ok=True)

    def _note_path(self, kind: str, key: Digest) -> Path:
        return self.notes / kind / f"{key.hex}.json"

    # One at a time.

    @contextlib.contextmanager
    def alone(self, kind: str, key: Digest, *, seconds: float = _LOCK_SECONDS) -> Iterator[None]:
        """Hold this input: other threads and builds that want it wait.

        Raises:
            CacheBusyError: somebody else held it for `seconds`.
        """
        with self.guard():
            descriptor = os.open(
                self.root / "locks" / f"{kind}-{key.hex}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644
            )
        try:
            deadline = time.monotonic() + seconds
            while not _try_lock(descriptor):
                if time.monotonic() >= deadline:
                    raise CacheBusyError(self.root, kind, seconds)
                time.sleep(_LOCK_PAUSE)
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder of one's own, gone at the end of the block, or at the next opening if the build is killed."""
        with self.guard():
            folder = Path(tempfile.mkdtemp(dir=self.root / "scratch", prefix="folder-"))
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(descriptor)

    def _sweep(self) -> None:
        """Remove scratch whose maker is gone: nobody holds its lock, and it is not that young that it will be."""
        now = time.time()
        for entry in (self.root / "scratch").iterdir():
            try:
                if now - entry.stat().st_mtime < 1.0:
                    continue
                descriptor = os.open(entry, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                if _try_lock(descriptor):
                    if entry.is_dir():
                        shutil.rmtree(entry, ignore_errors=True)
                    else:
                        entry.unlink(missing_ok=True)
            finally:
                os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
