"""An OCI registry in memory that speaks the protocol, and can be told to misbehave."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from snapedge_hooks.vocabulary import RegistryAddress

from .httphandler import QuietHandler

_TAGS = re.compile(r"/v2/(?P<name>.+)/tags/list")
_PATH = re.compile(r"/v2/(?P<name>.+)/(?P<kind>blobs/uploads|blobs|manifests)/(?P<reference>[^/]*)")


@dataclass(slots=True)
class Faults:
    """What goes wrong, and how often it still does.

    Attributes:
        drop_after: bytes of an upload after which the connection is cut, one for each time.
        status: an answer for requests whose `method path` matches a pattern.
        never_mounts: a mount opens an upload instead.
        forgets_uploads: an interrupted upload is unknown when asked for.
        lies: manifests and blobs are stored under another digest than the client's.
        redirect_to: where every request is sent.
        lost: digests that HEAD claims and GET has not.
        huge: manifests come with this many bytes.
        forgets_bytes: blobs are hashed as they come and kept as empty ones.
    """

    drop_after: list[int] = field(default_factory=list)
    status: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    never_mounts: bool = False
    forgets_uploads: bool = False
    lies: bool = False
    redirect_to: str | None = None
    lost: set[str] = field(default_factory=set)
    huge: int = 0
    forgets_bytes: bool = False


class FakeRegistry:
    """Blobs by repository, manifests by repository, tags; and every request that came."""

    def __init__(self) -> None:
        self.blobs: dict[str, dict[str, bytes]] = {}
        self.manifests: dict[str, dict[str, bytes]] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.uploads: dict[str, bytearray] = {}
        self.requests: list[str] = []
        self.on_request: Callable[[str], None] = lambda request: None
        self.received = 0
        self.faults = Faults()
        fake = self

        class Handler(_Handler):
            registry = fake

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def address(self) -> RegistryAddress:
        return RegistryAddress(f"127.0.0.1:{self._server.server_address[1]}")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wrote(self) -> list[str]:
        """The requests that changed something."""
        return [request for request in self.requests if request.split()[0] not in ("GET", "HEAD")]


class _Handler(QuietHandler):
    registry: FakeRegistry

    def _do(self) -> None:
        registry, parts = self.registry, urlsplit(self.path)
        registry.requests.append(f"{self.command} {self.path}")
        registry.on_request(f"{self.command} {self.path}")
        self.query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if registry.faults.redirect_to:
            return self._answer(307, headers={"Location": registry.faults.redirect_to + self.path})
        for pattern, (status, body) in registry.faults.status.items():
            if re.search(pattern, f"{self.command} {self.path}"):
                self._body()
                return self._answer(status, body)
        listed = _TAGS.fullmatch(parts.path)
        if listed is not None:
            return self._list(listed["name"])
        match = _PATH.fullmatch(parts.path)
        if match is None:
            return self._answer(404)
        name, kind, reference = match["name"], match["kind"], match["reference"]
        method = {"blobs": self._blob, "manifests": self._manifest, "blobs/uploads": self._upload}[kind]
        return method(name, reference)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _do  # noqa: N815 - http.server's names

    def _list(self, name: str) -> None:
        if name not in self.registry.manifests:
            return self._answer(404)
        tags = sorted(self.registry.tags.get(name, {})) or None
        return self._answer(200, json.dumps({"name": name, "tags": tags}).encode())

    def _blob(self, name: str, digest: str) -> None:
        data = self.registry.blobs.get(name, {}).get(digest)
        if data is None or (self.command == "GET" and digest in self.registry.faults.lost):
            return self._answer(404)
        if "bytes=0-0" in self.headers.get("Range", ""):
            return self._answer(206, data[:1], headers={"Docker-Content-Digest": digest})
        return self._answer(200, data, headers={"Docker-Content-Digest": digest})

    def _manifest(self, name: str, reference: str) -> None:
        manifests = self.registry.manifests.setdefault(name, {})
        tags = self.registry.tags.setdefault(name, {})
        if self.command == "PUT":
            data = self._body()
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            manifests[digest] = data
            if not reference.startswith("sha256:"):
                tags[reference] = digest
            told = "sha256:" + "0" * 64 if self.registry.faults.lies else digest
            return self._answer(201, headers={"Docker-Content-Digest": told})
        found = tags.get(reference, reference)
        data = manifests.get(found, b"")
        if not data:
            return self._answer(404)
        if self.command == "DELETE":
            del manifests[found]
            self.registry.tags[name] = {tag: digest for tag, digest in tags.items() if digest != found}
            return self._answer(202)
        if self.registry.faults.huge:
            data = b" " * self.registry.faults.huge
        return self._answer(200, data, headers={"Docker-Content-Digest": found})

    def _upload(self, name: str, session: str) -> None:
        if self.command == "POST":
            return self._open(name)
        held = self.registry.uploads.get(session)
        if held is None or (self.command == "GET" and self.registry.faults.forgets_uploads):
            return self._answer(404)
        location = {"Location": f"/v2/{name}/blobs/uploads/{session}?_state=x"}
        if self.command == "DELETE":
            del self.registry.uploads[session]
            return self._answer(204)
        if self.command == "GET":
            return self._answer(204, headers=location | {"Range": f"0-{max(0, len(held) - 1)}"})
        if self.registry.faults.drop_after:
            return self._drop(held, self.registry.faults.drop_after.pop(0))
        hashed = hashlib.sha256(held)
        for piece in self._pieces():
            hashed.update(piece)
            if not self.registry.faults.forgets_bytes:
                held += piece
        digest = "sha256:" + hashed.hexdigest()
        if digest != self.query.get("digest"):
            return self._answer(400, b'{"errors":[{"code":"DIGEST_INVALID"}]}')
        self.registry.blobs.setdefault(name, {})[digest] = bytes(held)
        self.registry.faults.lost.discard(digest)
        del self.registry.uploads[session]
        told = "sha256:" + "0" * 64 if self.registry.faults.lies else digest
        return self._answer(201, headers={"Docker-Content-Digest": told})

    def _open(self, name: str) -> None:
        self._body()
        digest, source = self.query.get("mount"), self.query.get("from")
        data = self.registry.blobs.get(source or "", {}).get(digest or "")
        if digest and data is not None and not self.registry.faults.never_mounts:
            self.registry.blobs.setdefault(name, {})[digest] = data
            return self._answer(201, headers={"Docker-Content-Digest": digest})
        session = str(uuid.uuid4())
        self.registry.uploads[session] = bytearray()
        return self._answer(202, headers={"Location": f"/v2/{name}/blobs/uploads/{session}?_state=x"})

    def _drop(self, held: bytearray, count: int) -> None:
        held += self.rfile.read(count)
        self.registry.received += count
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def _pieces(self) -> Iterator[bytes]:
        rest = int(self.headers.get("Content-Length", "0"))
        while rest and (piece := self.rfile.read(min(rest, 1024 * 1024))):
            rest -= len(piece)
            self.registry.received += len(piece)
            yield piece

    def _body(self) -> bytes:
        return b"".join(self._pieces())

    def _answer(self, status: int, body: bytes = b"", *, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
