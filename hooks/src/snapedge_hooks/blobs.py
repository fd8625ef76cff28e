"""A blob on its way into the registry: read in pieces, hashed on the way, never held whole."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .situations import PayloadBadError
from .vocabulary import Digest

PIECE = 256 * 1024


class Readable(Protocol):
    """Something that gives its next bytes."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Bytes with a known digest and size that can be opened as often as needed.

    Attributes:
        digest: what they must hash to.
        size: how many there are.
        name: what to call them in an error.
        open: gives them from the beginning.
    """

    digest: Digest
    size: int
    name: str
    open: Callable[[], AbstractContextManager[Readable]]

    def stream(self, offset: int = 0) -> BlobStream:
        """The bytes from an offset on, to be sent."""
        return BlobStream(self, offset)


class BlobStream:
    """The body of an upload. The last piece is given out only when everything before it, and it, has the right digest.

    So a damaged file never becomes a blob, and nothing is read twice.
    """

    def __init__(self, blob: Blob, offset: int) -> None:
        self._blob = blob
        self._offset = offset

    def __len__(self) -> int:
        return self._blob.size - self._offset

    def __iter__(self) -> Iterator[bytes]:
        """The pieces.

        Raises:
            PayloadBadError: the bytes are not those that the digest names.
        """
        blob, position, digest = self._blob, 0, hashlib.sha256()
        with blob.open() as file:
            while piece := self._read(file, min(PIECE, blob.size - position)):
                digest.update(piece)
                start, position = position, position + len(piece)
                if position >= blob.size:
                    self._check(position, digest.hexdigest(), extra=self._read(file, 1))
                if position > self._offset:
                    yield piece[max(0, self._offset - start) :]
        if position < blob.size:
            self._check(position, digest.hexdigest(), extra=b"")

    def _read(self, file: Readable, size: int) -> bytes:
        try:
            return file.read(size) if size else b""
        except OSError as error:
            raise PayloadBadError(f"{self._blob.name} cannot be read: {error.strerror}") from error

    def _check(self, size: int, found: str, *, extra: bytes) -> None:
        if size != self._blob.size or extra:
            raise PayloadBadError(f"{self._blob.name} is not {self._blob.size} bytes long")
        if found != self._blob.digest.hex:
            raise PayloadBadError(f"{self._blob.name} has digest sha256:{found[:12]}, not {self._blob.digest.short}")


def of_file(path: Path, digest: Digest, size: int) -> Blob:
    """A blob in a file of the snap."""

    @contextmanager
    def opened() -> Iterator[Readable]:
        try:
            file = path.open("rb")
        except OSError as error:
            raise PayloadBadError(f"{path.name} cannot be read: {error.strerror}") from error
        with file:
            yield file

    return Blob(digest=digest, size=size, name=path.name, open=opened)


def of_bytes(data: bytes, name: str) -> Blob:
    """A blob in memory, such as an image's config."""

    @contextmanager
    def opened() -> Iterator[Readable]:
        yield io.BytesIO(data)

    return Blob(digest=Digest.of(data), size=len(data), name=name, open=opened)
