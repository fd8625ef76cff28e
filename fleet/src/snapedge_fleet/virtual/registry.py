"""An OCI registry for one virtual device, with the subset and the manners of docker-registry 2.8.3.

That is the version MicroK8s runs. What may surprise a client is kept:

- an upload's Location is absolute and has a query (`_state`) that must come back, else BLOB_UPLOAD_INVALID;
- `POST ...?digest=` does not finish an upload at once: it answers 202 like any POST;
- an OCI manifest is only given to who accepts its media type by name (`*/*` is not enough), else 404;
- DELETE takes a blob or manifest out of its repository and frees no bytes; DELETE of a tag is 400, for it is no digest;
- a manifest is refused while a blob it names is not in the same repository; there is no `/referrers/`.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import hmac
import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import orjson

from . import manifests
from .faults import RegistryFaults
from .registrystore import RegistryStore, is_digest, read_chunks
from .webserver import BodyTooLargeError, HangUpError, Request, Response, WebServer

_NAME = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(
    rf"/v2/(?P<name>{_NAME}(?:/{_NAME})*)/"
    r"(?:(?P<kind>manifests|blobs)/(?P<reference>[\w.:-]+)"
    r"|blobs/uploads/(?P<upload>[a-f0-9-]*)"
    r"|(?P<tags>tags/list))"
)
_TAG = re.compile(r"\w[\w.-]{0,127}")
_MANIFEST_LIMIT = 4 * 1024 * 1024
_API_VERSION = ("docker-distribution-api-version", "registry/2.0")
_JSON = ("content-type", "application/json; charset=utf-8")

_ERRORS = {
    "BLOB_UNKNOWN": (404, "blob unknown to registry"),
    "BLOB_UPLOAD_INVALID": (404, "blob upload invalid"),
    "BLOB_UPLOAD_UNKNOWN": (404, "blob upload unknown to registry"),
    "DIGEST_INVALID": (400, "provided digest did not match uploaded content"),
    "MANIFEST_BLOB_UNKNOWN": (400, "blob unknown to registry"),
    "MANIFEST_INVALID": (400, "manifest invalid"),
    "MANIFEST_UNKNOWN": (404, "manifest unknown"),
    "NAME_UNKNOWN": (404, "repository name not known to registry"),
    "RANGE_INVALID": (416, "invalid content range"),
    "TAG_INVALID": (400, "manifest tag did not match URI"),
    "TOOMANYREQUESTS": (429, "too many requests"),
    "UNKNOWN": (500, "unknown error"),
    "UNSUPPORTED": (405, "The operation is unsupported."),
}


@dataclass(eq=False)
class _Refusal(Exception):  # noqa: N818 - an answer on its way out, not a failure of ours
    code: str
    details: tuple[object, ...] = ()
    message: str = ""


class Registry:
    """The registry of one device; `address:port` is what references to its images begin with."""

    def __init__(self, root: Path, address: str, port: int = 32000, *, faults: RegistryFaults | None = None) -> None:
        self.faults = faults if faults is not None else RegistryFaults()
        self._address = address
        self._store = RegistryStore(root)
        self._secret = self._load_secret(root / "http.secret")
        self._server = WebServer(self._answer, address, port)

    @property
    def host(self) -> str:
        """`address:port`."""
        return f"{self._address}:{self._server.port}"

    @property
    def store(self) -> RegistryStore:
        """What is on disk, for those who look at it without HTTP."""
        return self._store

    async def start(self) -> None:
        """Listen."""
        await self._server.start()

    async def stop(self) -> None:
        """Stop listening and cut what is under way; everything on disk stays."""
        await self._server.stop()

    async def _answer(self, request: Request) -> Response:
        if self.faults.refuse:
            raise HangUpError
        try:
            if self.faults.status is not None and request.path.startswith("/v2"):
                raise _Refusal("TOOMANYREQUESTS" if self.faults.status == 429 else "UNKNOWN")
            return await self._route(request)
        except _Refusal as refusal:
            return _refuse(refusal, self.faults.status)
        except BodyTooLargeError:
            return _refuse(_Refusal("MANIFEST_INVALID", (f"larger than {_MANIFEST_LIMIT} bytes",)))
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            detail = {"DriverName": "filesystem", "Enclosed": {"Op": "write", "Err": error.errno}}
            return _refuse(_Refusal("UNKNOWN", (detail,)))

    async def _route(self, request: Request) -> Response:
        if request.path in ("/v2", "/v2/"):
            return Response(status=200, headers=[_API_VERSION, _JSON], body=b"{}")
        if request.path == "/v2/_catalog":
            return self._catalog(request)
        match = _PATH.fullmatch(request.path)
        if match is None:
            return Response(
                status=404,
                headers=[("content-type", "text/plain; charset=utf-8")],
                body=b"404 page not found\n",
            )
        name = match["name"]
        if match["tags"]:
            return self._tags(name)
        if match["upload"] is not None:
            return await self._upload(request, name, match["upload"])
        if match["kind"] == "blobs":
            return self._blob(request, name, match["reference"])
        return await self._manifest(request, name, match["reference"])

    # Lists

    def _catalog(self, request: Request) -> Response:
        names = self._store.repositories()
        last = request.query.get("last", "")
        limit = int(request.query["n"]) if request.query.get("n", "").isdigit() else 100
        page = [name for name in names if name > last][:limit]
        headers = [_API_VERSION, _JSON]
        if page and page[-1] != names[-1]:
            query = urlencode({"last": page[-1], "n": limit})
            headers.append(("link", f'</v2/_catalog?{query}>; rel="next"'))
        return Response(status=200, headers=headers, body=orjson.dumps({"repositories": page}))

    def _tags(self, name: str) -> Response:
        if not self._store.has_repository(name):
            raise _Refusal("NAME_UNKNOWN", ({"name": name},))
        body = orjson.dumps({"name": name, "tags": self._store.tags(name) or None})
        return Response(status=200, headers=[_API_VERSION, _JSON], body=body)

    # Blobs

    def _size(self, name: str, digest: str) -> int:
        size = self._store.blob_size(name, digest) if is_digest(digest) else None
        if size is None:
            raise _Refusal("BLOB_UNKNOWN", (digest,))
        return size

    def _blob(self, request: Request, name: str, digest: str) -> Response:
        if not is_digest(digest):
            raise _Refusal("DIGEST_INVALID", (digest,))
        if request.method == "DELETE":
            if not self._store.unlink_blob(name, digest):
                raise _Refusal("BLOB_UNKNOWN", (digest,))
            return Response(status=202, headers=[_API_VERSION])
        if request.method not in ("GET", "HEAD"):
            raise _Refusal("UNSUPPORTED")
        size = self._size(name, digest)
        headers = [
            _API_VERSION,
            ("accept-ranges", "bytes"),
            ("cache-control", "max-age=31536000"),
            ("content-type", "application/octet-stream"),
            ("docker-content-digest", digest),
            ("etag", f'"{digest}"'),
        ]
        if request.method == "HEAD":
            return Response(status=200, headers=headers, length=size)
        if digest in self.faults.lost:
            raise _Refusal("BLOB_UNKNOWN", (digest,))
        asked = _parse_range(request.header("range"), size)
        if asked is None:
            return Response(status=200, headers=headers, body=self._bytes(digest, 0, size), length=size)
        start, length = asked
        headers.append(("content-range", f"bytes {start}-{start + length - 1}/{size}"))
        return Response(status=206, headers=headers, body=self._bytes(digest, start, length), length=length)

    async def _bytes(self, digest: str, start: int, length: int) -> AsyncIterator[bytes]:
        left = self.faults.drop_download_after
        for chunk in read_chunks(self._store.blob_path(digest), start, length):
            if left is not None and left < len(chunk):
                yield chunk[:left]
                raise HangUpError
            left = None if left is None else left - len(chunk)
            yield bytes(len(chunk)) if digest in self.faults.lying else chunk

    # Uploads

    async def _upload(self, request: Request, name: str, identifier: str) -> Response:
        if request.method == "POST" and not identifier:
            return self._begin(request, name)
        if not identifier:
            raise _Refusal("UNSUPPORTED")
        if not hmac.compare_digest(request.query.get("_state", ""), self._state(name, identifier)):
            raise _Refusal("BLOB_UPLOAD_INVALID")
        if self._store.upload_size(name, identifier) is None:
            raise _Refusal("BLOB_UPLOAD_UNKNOWN")
        match request.method:
            case "GET" | "HEAD":
                return self._progress(name, identifier, 204)
            case "PATCH":
                await self._receive(request, name, identifier)
                return self._progress(name, identifier, 202)
            case "PUT":
                return await self._finish(request, name, identifier)
            case "DELETE":
                self._store.cancel_upload(name, identifier)
                return Response(status=204, headers=[_API_VERSION, ("docker-upload-uuid", identifier)])
            case _:
                raise _Refusal("UNSUPPORTED")

    def _begin(self, request: Request, name: str) -> Response:
        self._check_room()
        digest, source = request.query.get("mount", ""), request.query.get("from", "")
        if is_digest(digest) and source and self._store.blob_size(source, digest) is not None:
            self._store.link_blob(name, digest)
            return self._created(name, "blobs", digest)
        return self._progress(name, self._store.begin_upload(name), 202)

    async def _receive(self, request: Request, name: str, identifier: str) -> None:
        self._check_room()
        left = self.faults.drop_upload_after
        async for chunk in request.body:
            if left is not None and left < len(chunk):
                self._store.append(name, identifier, chunk[:left])
                raise HangUpError
            left = None if left is None else left - len(chunk)
            self._check_room()
            self._store.append(name, identifier, chunk)

    async def _finish(self, request: Request, name: str, identifier: str) -> Response:
        digest = request.query.get("digest", "")
        if not is_digest(digest):
            raise _Refusal("DIGEST_INVALID", ("digest missing" if not digest else "digest parsing failed",))
        await self._receive(request, name, identifier)
        if not self._store.finish_upload(name, identifier, digest):
            raise _Refusal("DIGEST_INVALID", ("content does not match digest",))
        self.faults.lost.discard(digest)
        return self._created(name, "blobs", digest)

    def _progress(self, name: str, identifier: str, status: int) -> Response:
        size = self._store.upload_size(name, identifier) or 0
        query = urlencode({"_state": self._state(name, identifier)})
        return Response(
            status=status,
            headers=[
                _API_VERSION,
                ("docker-upload-uuid", identifier),
                ("location", f"http://{self.host}/v2/{name}/blobs/uploads/{identifier}?{query}"),
                ("range", f"0-{max(size - 1, 0)}"),
            ],
        )

    def _created(self, name: str, kind: str, digest: str) -> Response:
        location = f"http://{self.host}/v2/{name}/{kind}/{digest}"
        headers = [_API_VERSION, ("docker-content-digest", digest), ("location", location)]
        return Response(status=201, headers=headers)

    # Manifests

    async def _manifest(self, request: Request, name: str, reference: str) -> Response:
        if not is_digest(reference) and not _TAG.fullmatch(reference):
            raise _Refusal("TAG_INVALID" if ":" not in reference else "DIGEST_INVALID", (reference,))
        match request.method:
            case "GET" | "HEAD":
                return self._get_manifest(request, name, reference)
            case "PUT":
                return await self._put_manifest(request, name, reference)
            case "DELETE":
                if not is_digest(reference):
                    raise _Refusal("DIGEST_INVALID")
                if not self._store.delete_manifest(name, reference):
                    raise _Refusal("MANIFEST_UNKNOWN")
                return Response(status=202, headers=[_API_VERSION])
            case _:
                raise _Refusal("UNSUPPORTED")

    def _get_manifest(self, request: Request, name: str, reference: str) -> Response:
        digest = self._store.manifest_digest(name, reference)
        content = self._store.read_manifest(name, digest) if digest is not None else None
        if digest is None or content is None:
            detail: dict[str, str] = {"Name": name}
            detail |= {"Revision": reference} if is_digest(reference) else {"Tag": reference}
            raise _Refusal("MANIFEST_UNKNOWN", (detail,), "manifest unknown")
        media_type = manifests.media_type(content)
        accepted = {part.split(";")[0].strip() for part in request.header("accept").split(",")}
        if media_type.startswith("application/vnd.oci.") and media_type not in accepted:
            what = "OCI index" if media_type == manifests.OCI_INDEX else "OCI manifest"
            support = "OCI indexes" if media_type == manifests.OCI_INDEX else "OCI manifests"
            raise _Refusal("MANIFEST_UNKNOWN", (), f"{what} found, but accept header does not support {support}")
        headers = [
            _API_VERSION,
            ("content-type", media_type),
            ("docker-content-digest", digest),
            ("etag", f'"{digest}"'),
        ]
        return Response(status=200, headers=headers, body=content)

    async def _put_manifest(self, request: Request, name: str, reference: str) -> Response:
        content = await request.read(_MANIFEST_LIMIT)
        try:
            manifest = manifests.parse(content, request.header("content-type"))
        except manifests.ManifestInvalidError as error:
            raise _Refusal("MANIFEST_INVALID", (str(error),)) from error
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if is_digest(reference) and reference != digest:
            raise _Refusal("DIGEST_INVALID")
        missing = [blob for blob in manifest.blobs if self._store.blob_size(name, blob) is None]
        missing += [child for child in manifest.manifests if self._store.read_manifest(name, child) is None]
        if missing:
            raise _Refusal("MANIFEST_BLOB_UNKNOWN", tuple({"digest": digest} for digest in missing))
        self._check_room()
        self._store.put_manifest(name, content, None if is_digest(reference) else reference)
        return self._created(name, "manifests", digest)

    # Small print

    def _check_room(self) -> None:
        if self.faults.full:
            raise OSError(errno.ENOSPC, "No space left on device")

    def _state(self, name: str, identifier: str) -> str:
        mark = hmac.new(self._secret, f"{name}\n{identifier}".encode(), "sha256").digest()
        return base64.urlsafe_b64encode(mark).decode()

    @staticmethod
    def _load_secret(path: Path) -> bytes:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            secret = secrets.token_bytes(32)
            path.write_bytes(secret)
            path.chmod(0o600)
            return secret


def _parse_range(text: str, size: int) -> tuple[int, int] | None:
    """First byte and length of a single byte range; None without one."""
    if not text:
        return None
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", text.strip())
    if match is None or match.groups() == ("", ""):
        return None
    if not match[1]:
        start, end = max(size - int(match[2]), 0), size - 1
    else:
        start, end = int(match[1]), min(int(match[2]) if match[2] else size - 1, size - 1)
    if start >= size or start > end:
        raise _Refusal("RANGE_INVALID")
    return start, end - start + 1


def _refuse(refusal: _Refusal, status: int | None = None) -> Response:
    default_status, default_message = _ERRORS[refusal.code]
    error: dict[str, object] = {"code": refusal.code, "message": refusal.message or default_message}
    errors = [error | {"detail": detail} for detail in refusal.details] or [error]
    headers = [_API_VERSION, _JSON]
    if (status or default_status) == 429:
        headers.append(("retry-after", "1"))
    return Response(status=status or default_status, headers=headers, body=orjson.dumps({"errors": errors}))
