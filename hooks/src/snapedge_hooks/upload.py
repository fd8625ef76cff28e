"""Brings one blob into a repository of the registry: mounted, or uploaded and taken up again where it broke off."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from .blobs import Blob, Readable
from .clock import Deadline
from .registry import ConnectionLostError, Registry
from .situations import PayloadBadError, ShortageError, registry_down
from .vocabulary import Digest, HealthCode, RepositoryName
from .wire import AnswerStream, WireError

_LOG = logging.getLogger(__name__)
_ATTEMPTS = 5
_FIRST_DELAY = 0.2


def push(registry: Registry, repository: RepositoryName, blob: Blob, deadline: Deadline) -> None:
    """Upload a blob, whether or not it is there.

    Raises:
        PayloadBadError: the blob's bytes do not have its digest; nothing of it stays in the registry.
        ShortageError: the registry refuses it, or the connection broke again and again.
    """
    _upload(registry, repository, blob, registry.open_upload(repository), deadline)


def mount(
    registry: Registry,
    repository: RepositoryName,
    source: RepositoryName,
    digest: Digest,
    size: int,
    deadline: Deadline,
) -> None:
    """Link a blob of another repository, or copy it where the registry does not link.

    Raises:
        ShortageError: the other repository does not have it either (no-runtime), or the registry is down.
    """
    location = registry.mount(repository, digest, source)
    if location is not None:
        _LOG.info("layer %s is not mounted by the registry, copying it", digest.short)
        _copy(registry, repository, _stored(registry, source, digest, size), location, deadline)


def copy(
    registry: Registry,
    repository: RepositoryName,
    source: RepositoryName,
    digest: Digest,
    size: int,
    deadline: Deadline,
) -> None:
    """Send a blob of another repository through us, whatever the registry claims to have.

    Raises:
        ShortageError: the other repository does not have it (no-runtime), or the registry is down.
    """
    location = registry.open_upload(repository)
    _copy(registry, repository, _stored(registry, source, digest, size), location, deadline)


def _copy(registry: Registry, repository: RepositoryName, blob: Blob, location: str, deadline: Deadline) -> None:
    try:
        _upload(registry, repository, blob, location, deadline)
    except PayloadBadError as error:
        raise registry_down(f"holds other bytes for {blob.name}") from error


def _upload(registry: Registry, repository: RepositoryName, blob: Blob, location: str, deadline: Deadline) -> None:
    offset, delay = 0, _FIRST_DELAY
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            registry.finish_upload(location, blob.digest, blob.stream(offset))
        except ConnectionLostError as error:
            if attempt == _ATTEMPTS or deadline.has_passed:
                raise registry_down(f"broke the connection {attempt} times over {blob.name}") from error
            deadline.pause(delay)
            delay *= 2
            location, offset = _resume(registry, repository, blob, location)
        except (PayloadBadError, ShortageError):
            _give_up(registry, location)
            raise
        else:
            return


def _resume(registry: Registry, repository: RepositoryName, blob: Blob, location: str) -> tuple[str, int]:
    held = registry.upload_offset(location)
    if held is not None and held[1] <= blob.size:
        _LOG.info("%s goes on at byte %d of %d", blob.name, held[1], blob.size)
        return held
    return registry.open_upload(repository), 0


def _give_up(registry: Registry, location: str) -> None:
    try:
        registry.cancel_upload(location)
    except ShortageError as error:
        _LOG.debug("upload not cancelled: %s", error)


def _stored(registry: Registry, repository: RepositoryName, digest: Digest, size: int) -> Blob:
    @contextmanager
    def opened() -> Iterator[Readable]:
        stream = registry.open_blob(repository, digest)
        if stream is None:
            raise ShortageError(
                HealthCode.NO_RUNTIME,
                f"Runtime layer {digest.short} is gone from the registry",
                resolution="its runtime snap's drift service brings it back",
            )
        with stream:
            yield _Body(stream)

    return Blob(digest=digest, size=size, name=f"layer {digest.short}", open=opened)


class _Body:
    """A blob on its way from the registry, its failures turned into ours."""

    def __init__(self, stream: AnswerStream) -> None:
        self._stream = stream

    def read(self, size: int, /) -> bytes:
        try:
            return self._stream.read(size)
        except WireError as error:
            raise registry_down("broke off a layer") from error
