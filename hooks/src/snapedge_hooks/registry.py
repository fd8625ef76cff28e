"""The one door to the OCI registry on the device (distribution-spec v1.1), which has no authentication.

Rules:

1. A tag proves nothing: what is read is hashed, and only a digest that was asked for is believed.
2. Blobs first, the manifest last; a blob that is there is not sent again.
3. Answers are bounded in size and time; a redirect or upload location on another host is refused.
4. A registry that is away, refuses or lies is `registry-down`; a full one is `no-room`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import urljoin, urlsplit

from .blobs import BlobStream
from .images import INDEX_MEDIA_TYPE, MANIFEST_MEDIA_TYPE
from .situations import ShortageError, registry_down
from .vocabulary import Digest, HealthCode, RegistryAddress, RepositoryName, TagName
from .wire import Answer, AnswerStream, InterruptedAnswerError, NoTimeError, Wire, WireError

MAX_MANIFEST = 4 * 1024 * 1024
MAX_CONFIG = 1024 * 1024
_MAX_OTHER = 64 * 1024
_TIMEOUT = 60.0
_STREAM_TIMEOUT = 900.0
_UPLOAD_TIMEOUT = 300.0
"""A registry on a slow card hashes and moves a large blob before it answers."""
_MAX_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_AS_MANIFEST = {"Accept": MANIFEST_MEDIA_TYPE}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredManifest:
    """A manifest as the registry holds it.

    Attributes:
        digest: of its bytes, computed here.
        document: what it says.
    """

    digest: Digest
    document: dict[str, Any]


class ConnectionLostError(Exception):
    """The connection broke while a blob was under way; it may be taken up again."""


class Registry:
    """Asks for, uploads, mounts and deletes."""

    def __init__(self, address: RegistryAddress) -> None:
        self._address = address
        self._wire = Wire(f"http://{address}", read_timeout=_TIMEOUT, total_timeout=_TIMEOUT)
        # Blobs that are read in pieces have a connection of their own: another request may be made meanwhile.
        self._blob_wire = Wire(f"http://{address}", read_timeout=_TIMEOUT, total_timeout=_STREAM_TIMEOUT)

    def close(self) -> None:
        """Drop connections."""
        self._wire.close()
        self._blob_wire.close()

    def has_blob(self, repository: RepositoryName, digest: Digest) -> bool:
        """Whether the registry says it has the blob there."""
        return self._found(f"/v2/{repository}/blobs/{digest}")

    def serves_blob(self, repository: RepositoryName, digest: Digest) -> bool:
        """Whether the blob's first byte can be read: a claim alone may be a memory of what was collected."""
        with self._open(f"/v2/{repository}/blobs/{digest}", {"Range": "bytes=0-0"}) as stream:
            if stream.status in (200, 206):
                try:
                    return bool(stream.read(1))
                except WireError:
                    return False
            if stream.status in (404, 416) or stream.status >= 500:
                return False
            raise registry_down(f"answered {stream.status}")

    def has_manifest(self, repository: RepositoryName, digest: Digest) -> bool:
        """Whether the registry says it has the manifest."""
        return self._found(f"/v2/{repository}/manifests/{digest}")

    def manifest(self, repository: RepositoryName, reference: Digest | TagName) -> StoredManifest | None:
        """The image manifest of a tag or digest, or None when there is none, or another kind of thing.

        Raises:
            ShortageError: the registry answered a digest with other bytes.
        """
        return self._stored(repository, reference, MANIFEST_MEDIA_TYPE)

    def index(self, repository: RepositoryName, reference: Digest | TagName) -> StoredManifest | None:
        """The image index of a tag or digest, or None when there is none, or another kind of thing.

        Raises:
            ShortageError: the registry answered a digest with other bytes.
        """
        return self._stored(repository, reference, INDEX_MEDIA_TYPE)

    def tags(self, repository: RepositoryName) -> frozenset[str]:
        """The tags of a repository, as far as they fit one answer; none where there is no such repository."""
        answer = self._ask("GET", f"/v2/{repository}/tags/list", limit=MAX_CONFIG)
        if answer.status == 404:
            return frozenset()
        if answer.status != 200:
            raise _unexpected(answer)
        try:
            found = json.loads(answer.body)["tags"] or []
            return frozenset(tag for tag in found if isinstance(tag, str))
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise registry_down("answered a list of tags that is none") from error

    def _stored(
        self, repository: RepositoryName, reference: Digest | TagName, media_type: str
    ) -> StoredManifest | None:
        path, headers = f"/v2/{repository}/manifests/{reference}", {"Accept": media_type}
        answer = self._ask("GET", path, headers=headers, limit=MAX_MANIFEST)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise _unexpected(answer)
        digest = Digest.of(answer.body)
        if isinstance(reference, Digest) and digest != reference:
            raise registry_down(f"answered manifest {reference.short} with other bytes")
        try:
            document = json.loads(answer.body)
        except (ValueError, RecursionError):
            return None
        if not isinstance(document, dict) or document.get("mediaType", MANIFEST_MEDIA_TYPE) != media_type:
            return None
        return StoredManifest(digest=digest, document=document)

    def small_blob(self, repository: RepositoryName, digest: Digest) -> bytes | None:
        """A blob of at most `MAX_CONFIG` bytes, or None when it is not there.

        Raises:
            ShortageError: its bytes do not have that digest.
        """
        answer = self._ask("GET", f"/v2/{repository}/blobs/{digest}", limit=MAX_CONFIG)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise _unexpected(answer)
        if Digest.of(answer.body) != digest:
            raise registry_down(f"answered blob {digest.short} with other bytes")
        return answer.body

    def open_blob(self, repository: RepositoryName, digest: Digest) -> AnswerStream | None:
        """A blob to be read in pieces by the caller, who closes it; None when it is not there."""
        stream = self._open(f"/v2/{repository}/blobs/{digest}", {})
        if stream.status == 200:
            return stream
        with stream:
            if stream.status == 404 or stream.status >= 500:
                return None
            raise registry_down(f"answered {stream.status}")

    def mount(self, repository: RepositoryName, digest: Digest, source: RepositoryName) -> str | None:
        """Link a blob of another repository; None when done, else the upload that the registry opened instead."""
        return self._open_upload(repository, f"?mount={digest}&from={source}", digest)

    def open_upload(self, repository: RepositoryName) -> str:
        """The path of a new upload."""
        location = self._open_upload(repository, "", None)
        if location is None:
            raise registry_down("opened no upload")
        return location

    def _open_upload(self, repository: RepositoryName, query: str, mounting: Digest | None) -> str | None:
        path = f"/v2/{repository}/blobs/uploads/"
        answer = self._ask("POST", path + query, body=b"")
        if answer.status == 201 and mounting is not None:
            _check_digest(answer, mounting)
            return None
        if answer.status != 202:
            raise _unexpected(answer)
        return self._location(answer.headers, path)

    def upload_offset(self, location: str) -> tuple[str, int] | None:
        """Where an interrupted upload goes on, and from which byte; None when it must start anew."""
        answer = self._ask("GET", location)
        if answer.status != 204:
            return None
        first, _, last = answer.headers.get("Range", "").partition("-")
        if first != "0" or not last.isascii() or not last.isdigit():
            return None
        # "0-0" is what registries say of nothing as well as of one byte; nothing is the safe reading.
        offset = int(last) + 1 if last != "0" else 0
        return self._location(answer.headers, location), offset

    def finish_upload(self, location: str, digest: Digest, stream: BlobStream) -> None:
        """Send the rest of a blob and close its upload.

        Raises:
            ConnectionLostError: the connection broke; the upload may be resumed.
            ShortageError: refused, or the registry computed another digest than we did.
        """
        joint = "&" if "?" in location else "?"
        path = f"{location}{joint}digest={digest.replace(':', '%3A')}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(len(stream))}
        try:
            answer = self._wire.ask(
                "PUT", path, headers=headers, body=stream, limit=_MAX_OTHER, read_timeout=_UPLOAD_TIMEOUT
            )
        except (InterruptedAnswerError, NoTimeError) as error:
            raise ConnectionLostError from error
        except WireError as error:
            raise self._away(error) from error
        if answer.status != 201:
            raise _unexpected(answer)
        _check_digest(answer, digest)

    def cancel_upload(self, location: str) -> None:
        """Give an upload up; a registry that forgot it is content."""
        self._ask("DELETE", location)

    def put_manifest(
        self,
        repository: RepositoryName,
        reference: Digest | TagName,
        data: bytes,
        *,
        media_type: str = MANIFEST_MEDIA_TYPE,
    ) -> None:
        """Store a manifest or index under a tag or its digest.

        Raises:
            ShortageError: refused, or stored under another digest.
        """
        path = f"/v2/{repository}/manifests/{reference}"
        answer = self._ask("PUT", path, headers={"Content-Type": media_type}, body=data)
        if answer.status != 201:
            raise _unexpected(answer)
        _check_digest(answer, Digest.of(data))

    def delete_manifest(self, repository: RepositoryName, digest: Digest) -> bool:
        """Forget a manifest and its tags; frees no bytes. False when it was not there or may not be deleted."""
        answer = self._ask("DELETE", f"/v2/{repository}/manifests/{digest}")
        if answer.status in (404, 405):
            return False
        if answer.status != 202:
            raise _unexpected(answer)
        return True

    def _found(self, path: str) -> bool:
        answer = self._ask("HEAD", path, headers=_AS_MANIFEST)
        if answer.status == 404:
            return False
        if answer.status != 200:
            raise _unexpected(answer)
        return True

    def _ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        limit: int = _MAX_OTHER,
    ) -> Answer:
        for _ in range(_MAX_REDIRECTS + 1):
            try:
                answer = self._wire.ask(method, path, headers=headers, body=body, limit=limit)
            except WireError as error:
                raise self._away(error) from error
            if answer.status not in _REDIRECTS:
                return answer
            path = self._location(answer.headers, path)
            if method not in ("GET", "HEAD"):
                raise registry_down(f"redirects a {method}; not followed")
        raise registry_down("redirects without end")

    def _open(self, path: str, headers: Mapping[str, str]) -> AnswerStream:
        for _ in range(_MAX_REDIRECTS + 1):
            try:
                stream = self._blob_wire.open("GET", path, headers=headers)
            except WireError as error:
                raise self._away(error) from error
            if stream.status not in _REDIRECTS:
                return stream
            with stream:
                path = self._location(stream.headers, path)
        raise registry_down("redirects without end")

    def _away(self, error: WireError) -> ShortageError:
        return registry_down(f"{self._address} {error}")

    def _location(self, headers: Message, path: str) -> str:
        """The path that a Location names; on this host, or refused."""
        location = headers.get("Location")
        if not location:
            raise registry_down("gave no Location")
        found = urlsplit(urljoin(self._wire.origin + path, location))
        if f"{found.scheme}://{found.netloc}" != self._wire.origin:
            raise registry_down(f"sends us to another host, {found.netloc[:60]}; not followed")
        return f"{found.path}?{found.query}" if found.query else found.path


def _check_digest(answer: Answer, digest: Digest) -> None:
    stored = answer.headers.get("Docker-Content-Digest")
    if stored is not None and stored != digest:
        raise registry_down(f"stored {digest.short} as something else")


def _unexpected(answer: Answer) -> ShortageError:
    line = " ".join(answer.body[:2000].decode(errors="replace").split())
    if answer.status == 507 or "no space left" in line.lower():
        return ShortageError(HealthCode.NO_ROOM, "Registry: its disk is full", resolution="free space on the device")
    return registry_down(f"answered {answer.status}{': ' + line[:200] if line else ''}")
