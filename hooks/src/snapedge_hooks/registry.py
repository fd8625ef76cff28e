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
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter

from .blobs import BlobStream
from .images import MANIFEST_MEDIA_TYPE
from .situations import ShortageError, registry_down
from .vocabulary import Digest, HealthCode, RegistryAddress, RepositoryName, TagName

MAX_MANIFEST = 4 * 1024 * 1024
MAX_CONFIG = 1024 * 1024
_TIMEOUT = (3.0, 60.0)
_MAX_REDIRECTS = 3
_MAX_ERROR = 64 * 1024


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
    """The connection broke while something was under way; it may be taken up again."""


class Registry:
    """Asks for, uploads, mounts and deletes."""

    def __init__(self, address: RegistryAddress) -> None:
        self._origin = f"http://{address}"
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.mount("http://", HTTPAdapter(max_retries=0))

    def close(self) -> None:
        """Drop connections."""
        self._session.close()

    def has_blob(self, repository: RepositoryName, digest: Digest) -> bool:
        """Whether the registry says it has the blob there."""
        return self._found("HEAD", f"/v2/{repository}/blobs/{digest}")

    def serves_blob(self, repository: RepositoryName, digest: Digest) -> bool:
        """Whether the blob's first byte can be read: a claim alone may be a memory of what was collected."""
        with self._request(
            "GET", f"/v2/{repository}/blobs/{digest}", headers={"Range": "bytes=0-0"}, stream=True
        ) as response:
            if response.status_code in (200, 206):
                return bool(next(response.iter_content(1), b""))
            if response.status_code in (404, 416) or response.status_code >= 500:
                return False
            raise self._unexpected(response)

    def has_manifest(self, repository: RepositoryName, digest: Digest) -> bool:
        """Whether the registry says it has the manifest."""
        return self._found("HEAD", f"/v2/{repository}/manifests/{digest}", headers={"Accept": MANIFEST_MEDIA_TYPE})

    def manifest(self, repository: RepositoryName, reference: Digest | TagName) -> StoredManifest | None:
        """The image manifest of a tag or digest, or None when there is none, or another kind of thing.

        Raises:
            ShortageError: the registry answered a digest with other bytes.
        """
        path = f"/v2/{repository}/manifests/{reference}"
        with self._request("GET", path, headers={"Accept": MANIFEST_MEDIA_TYPE}, stream=True) as response:
            if response.status_code == 404:
                return None
            if response.status_code != 200:
                raise self._unexpected(response)
            data = _bounded(response, MAX_MANIFEST)
        digest = Digest.of(data)
        if isinstance(reference, Digest) and digest != reference:
            raise registry_down(f"answered manifest {reference.short} with other bytes")
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            return None
        if not isinstance(document, dict) or document.get("mediaType", MANIFEST_MEDIA_TYPE) != MANIFEST_MEDIA_TYPE:
            return None
        return StoredManifest(digest=digest, document=document)

    def small_blob(self, repository: RepositoryName, digest: Digest) -> bytes | None:
        """A blob of at most `MAX_CONFIG` bytes, or None when it is not there.

        Raises:
            ShortageError: its bytes do not have that digest.
        """
        with self._request("GET", f"/v2/{repository}/blobs/{digest}", stream=True) as response:
            if response.status_code == 404:
                return None
            if response.status_code != 200:
                raise self._unexpected(response)
            data = _bounded(response, MAX_CONFIG)
        if Digest.of(data) != digest:
            raise registry_down(f"answered blob {digest.short} with other bytes")
        return data

    def open_blob(self, repository: RepositoryName, digest: Digest) -> requests.Response | None:
        """A blob to be read in pieces by the caller, who closes it; None when it is not there."""
        response = self._request("GET", f"/v2/{repository}/blobs/{digest}", stream=True)
        if response.status_code == 200:
            return response
        with response:
            if response.status_code == 404 or response.status_code >= 500:
                return None
            raise self._unexpected(response)

    def mount(self, repository: RepositoryName, digest: Digest, source: RepositoryName) -> str | None:
        """Link a blob of another repository; None when done, else the upload that the registry opened instead."""
        return self._open_upload(repository, f"?mount={digest}&from={source}", digest)

    def open_upload(self, repository: RepositoryName) -> str:
        """The address of a new upload."""
        location = self._open_upload(repository, "", None)
        if location is None:
            raise registry_down("opened no upload")
        return location

    def _open_upload(self, repository: RepositoryName, query: str, mounting: Digest | None) -> str | None:
        path = f"/v2/{repository}/blobs/uploads/"
        with self._request("POST", path + query, data=b"") as response:
            if response.status_code == 201 and mounting is not None:
                self._check_digest(response, mounting)
                return None
            if response.status_code != 202:
                raise self._unexpected(response)
            return self._location(response)

    def upload_offset(self, location: str) -> tuple[str, int] | None:
        """Where an interrupted upload goes on, and from which byte; None when it must start anew."""
        with self._request("GET", location) as response:
            if response.status_code != 204:
                return None
            first, _, last = response.headers.get("Range", "").partition("-")
            if first != "0" or not last.isascii() or not last.isdigit():
                return None
            # "0-0" is what registries say of nothing as well as of one byte; nothing is the safe reading.
            offset = int(last) + 1 if last != "0" else 0
            return self._location(response), offset

    def finish_upload(self, location: str, digest: Digest, stream: BlobStream) -> None:
        """Send the rest of a blob and close its upload.

        Raises:
            ConnectionLostError: the connection broke; the upload may be resumed.
            ShortageError: refused, or the registry computed another digest than we did.
        """
        joint = "&" if "?" in location else "?"
        url = f"{location}{joint}digest={digest.replace(':', '%3A')}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(len(stream))}
        # An empty generator would be sent in chunks; empty bytes say Content-Length: 0.
        with self._request("PUT", url, headers=headers, data=stream if len(stream) else b"", upload=True) as response:
            if response.status_code != 201:
                raise self._unexpected(response)
            self._check_digest(response, digest)

    def cancel_upload(self, location: str) -> None:
        """Give an upload up; a registry that forgot it is content."""
        with self._request("DELETE", location):
            return

    def put_manifest(self, repository: RepositoryName, reference: Digest | TagName, data: bytes) -> None:
        """Store a manifest under a tag or its digest.

        Raises:
            ShortageError: refused, or stored under another digest.
        """
        path = f"/v2/{repository}/manifests/{reference}"
        with self._request("PUT", path, headers={"Content-Type": MANIFEST_MEDIA_TYPE}, data=data) as response:
            if response.status_code != 201:
                raise self._unexpected(response)
            self._check_digest(response, Digest.of(data))

    def delete_manifest(self, repository: RepositoryName, digest: Digest) -> bool:
        """Forget a manifest and its tags; frees no bytes. False when it was not there or may not be deleted."""
        with self._request("DELETE", f"/v2/{repository}/manifests/{digest}") as response:
            if response.status_code in (404, 405):
                return False
            if response.status_code != 202:
                raise self._unexpected(response)
            return True

    def _found(self, method: str, path: str, *, headers: Mapping[str, str] | None = None) -> bool:
        with self._request(method, path, headers=headers or {}) as response:
            if response.status_code == 404:
                return False
            if response.status_code != 200:
                raise self._unexpected(response)
            return True

    def _request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: bytes | BlobStream | None = None,
        stream: bool = True,
        upload: bool = False,
    ) -> requests.Response:
        url = path if path.startswith(self._origin) else self._origin + path
        for _ in range(_MAX_REDIRECTS + 1):
            try:
                response = self._session.request(
                    method,
                    url,
                    headers=dict(headers or {}),
                    data=data,
                    timeout=_TIMEOUT,
                    allow_redirects=False,
                    stream=stream,
                )
            except requests.exceptions.Timeout as error:
                if upload:
                    raise ConnectionLostError from error
                raise registry_down(f"no answer in time at {self._origin}") from error
            except requests.exceptions.RequestException as error:
                if upload:
                    raise ConnectionLostError from error
                raise registry_down(f"cannot be reached at {self._origin}") from error
            if response.status_code not in (301, 302, 303, 307, 308) or method not in ("GET", "HEAD"):
                return response
            with response:
                url = self._location(response)
        raise registry_down("redirects without end")

    def _location(self, response: requests.Response) -> str:
        location = response.headers.get("Location")
        if not location:
            raise registry_down("gave no Location")
        url = urljoin(response.url, location)
        one, other = urlsplit(url), urlsplit(self._origin)
        if (one.scheme, one.netloc) != (other.scheme, other.netloc):
            raise registry_down(f"sends us to another host, {one.netloc[:100]}; not followed")
        return url

    @staticmethod
    def _check_digest(response: requests.Response, digest: Digest) -> None:
        stored = response.headers.get("Docker-Content-Digest")
        if stored is not None and stored != digest:
            raise registry_down(f"stored {digest.short} as something else")

    @staticmethod
    def _unexpected(response: requests.Response) -> ShortageError:
        try:
            text = _bounded(response, _MAX_ERROR).decode(errors="replace") if response.status_code >= 400 else ""
        except ShortageError:
            text = ""
        if response.status_code == 507 or "no space left" in text.lower():
            return ShortageError(
                HealthCode.NO_ROOM, "Registry: its disk is full", resolution="free space on the device"
            )
        line = " ".join(text.split())[:200]
        return registry_down(f"answered {response.status_code}{': ' + line if line else ''}")


def _bounded(response: requests.Response, limit: int) -> bytes:
    data = bytearray()
    try:
        for piece in response.iter_content(65536):
            data += piece
            if len(data) > limit:
                raise registry_down(f"sent more than {limit} bytes")
    except requests.exceptions.RequestException as error:
        raise registry_down("broke off its answer") from error
    return bytes(data)
