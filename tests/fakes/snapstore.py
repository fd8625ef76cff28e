"""A Snap Store for publishers: its API, its storage and its login service, over HTTP, as their documentation has them.

Macaroons are minted and checked for real: a request is let in only with a root of this store and a discharge that is
bound to it and not too old. Faults are told by `fail`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import socket
import threading
from dataclasses import dataclass, field
from email.message import Message
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .httphandler import QuietHandler

Object = dict[str, Any]
_SIZE_LIMIT = 1 << 26


@dataclass(slots=True)
class Fault:
    """What goes wrong with requests whose `method path` matches a pattern.

    Attributes:
        times: so often.
        after: so many that go well first.
        status: answered instead of doing anything.
        headers: of that answer.
        body: of that answer.
        lose: do it, and close the connection without an answer.
        cut: close the connection after so many bytes of the request's body.
    """

    pattern: str
    times: int = 1
    after: int = 0
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: Object | bytes = b""
    lose: bool = False
    cut: int = -1


@dataclass(slots=True, kw_only=True)
class StoredFile:
    """A revision."""

    revision: int
    architecture: str
    version: str
    sha3_384: str
    size: int
    status: str = "Published"


class FakeSnapStore:
    """The three services behind one address."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.revisions: dict[str, list[StoredFile]] = {}
        self.releases: dict[str, list[Object]] = {}
        self.uploads: dict[str, tuple[str, bytes]] = {}
        self.requests: list[str] = []
        self.authorized: dict[str, set[bool]] = {}
        self.faults: list[Fault] = []
        self.reviews: dict[str, Object] = {}
        self.polls_until_reviewed = 1
        self.verdict = "ready_to_release"
        self.problems: list[str] = []
        self.generation = 1
        self.accepted = {1}
        self._pushed: dict[str, Object] = {}
        self._lock = threading.Lock()
        fake = self

        class Handler(_Handler):
            store = fake

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """What somebody who is logged in has."""
        login = {"t": "u1-macaroon", "v": {"r": _root(), "d": _discharge(self.generation)}}
        return {
            "STORE_DASHBOARD_URL": self.url,
            "STORE_UPLOAD_URL": self.url,
            "UBUNTU_ONE_SSO_URL": self.url,
            "SNAPCRAFT_STORE_CREDENTIALS": base64.b64encode(json.dumps(login).encode()).decode(),
        }

    def expire(self) -> None:
        """Every discharge that was handed out is too old now."""
        self.generation += 1
        self.accepted = {self.generation}

    def own(self, name: str, owner: str = "us") -> None:
        self.names[name] = owner
        self.revisions.setdefault(name, [])
        self.releases.setdefault(name, [])

    def add(self, name: str, architecture: str, version: str, content: bytes = b"old", channel: str = "") -> int:
        """Have the store know an earlier file."""
        stored = self._store(name, architecture, version, content)
        if channel:
            self.releases[name].append(_release(architecture, channel, stored.revision))
        return stored.revision

    def fail(self, pattern: str, **how: Any) -> None:
        self.faults.append(Fault(pattern, **how))

    def channel(self, name: str, channel: str) -> dict[str, int]:
        """What a channel leads to by architecture."""
        found: dict[str, int] = {}
        for release in self.releases[name]:
            if release["channel"] == channel:
                if release["revision"] is None:
                    found.pop(release["architecture"], None)
                else:
                    found[release["architecture"]] = release["revision"]
        return found

    def count(self, pattern: str) -> int:
        return sum(re.search(pattern, request) is not None for request in self.requests)

    def _store(self, name: str, architecture: str, version: str, content: bytes) -> StoredFile:
        stored = StoredFile(
            revision=len(self.revisions[name]) + 1,
            architecture=architecture,
            version=version,
            sha3_384=hashlib.sha3_384(content).hexdigest(),
            size=len(content),
        )
        self.revisions[name].append(stored)
        return stored


def _release(architecture: str, channel: str, revision: int | None) -> Object:
    track, risk, *branch = channel.split("/")
    return {
        "architecture": architecture,
        "branch": branch[0] if branch else None,
        "channel": channel,
        "progressive": {"paused": None, "percentage": None, "current-percentage": None},
        "revision": revision,
        "risk": risk,
        "track": track,
        "when": "2026-01-01T00:00:00Z",
    }


# Macaroons, version 1.

_ROOT_KEY, _CAVEAT_KEY = b"a key of the store", b"a key that it shares with the login service"


def _mac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()


def _derived(key: bytes) -> bytes:
    return _mac(b"macaroons-key-generator", key)


def _packet(key: str, value: bytes) -> bytes:
    return f"{len(key) + len(value) + 6:04x}{key} ".encode() + value + b"\n"


def _serialized(*packets: tuple[str, bytes]) -> str:
    data = b"".join(_packet(key, value) for key, value in packets)
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _root() -> str:
    signature = _mac(_derived(_ROOT_KEY), b"root-1")
    vid, cid = b"v" * 72, b"caveat-1"
    signature = _mac(signature, _mac(signature, vid) + _mac(signature, cid))
    return _serialized(
        ("location", b"dashboard"),
        ("identifier", b"root-1"),
        ("cid", cid),
        ("vid", vid),
        ("cl", b"login"),
        ("signature", signature),
    )


def _discharge(generation: int) -> str:
    caveat = f"login|generation|{generation}".encode()
    signature = _mac(_mac(_derived(_CAVEAT_KEY), b"caveat-1"), caveat)
    return _serialized(("location", b"login"), ("identifier", b"caveat-1"), ("cid", caveat), ("signature", signature))


def _signature(macaroon: str) -> bytes:
    data = base64.urlsafe_b64decode(macaroon + "=" * (-len(macaroon) % 4))
    return data[-33:-1]


def _bound(generation: int) -> bytes:
    zero = bytes(32)
    return _mac(zero, _mac(zero, _signature(_root())) + _mac(zero, _signature(_discharge(generation))))


def _errors(status: int, code: str, message: str) -> tuple[int, Object]:
    return status, {"error_list": [{"code": code, "message": message}]}


class _Handler(QuietHandler):
    store: FakeSnapStore

    def _do(self) -> None:
        store, path = self.store, urlsplit(self.path).path
        asked = f"{self.command} {self.path}"
        with store._lock:
            store.requests.append(asked)
            fault = self._fault(asked)
        length = int(self.headers.get("Content-Length", "0"))
        if fault is not None and fault.cut >= 0:
            self.rfile.read(min(fault.cut, length))
            return self._hang_up()
        body = self.rfile.read(length)
        if fault is not None and fault.status:
            return self._answer(fault.status, fault.body, fault.headers)
        with store._lock:
            store.authorized.setdefault(path, set()).add("Authorization" in self.headers)
            status, document, headers = self._answered(path, body)
        if fault is not None and fault.lose:
            return self._hang_up()
        return self._answer(status, document, headers)

    do_GET = do_POST = _do  # noqa: N815 - http.server's names

    def _fault(self, asked: str) -> Fault | None:
        for fault in self.store.faults:
            if re.search(fault.pattern, asked):
                if fault.after:
                    fault.after -= 1
                elif fault.times:
                    fault.times -= 1
                    return fault
        return None

    def _answered(self, path: str, body: bytes) -> tuple[int, Object | bytes, dict[str, str]]:
        if path == "/unscanned-upload/":
            return *self._unscanned_upload(body), {}
        if path == "/api/v2/tokens/refresh":
            return *self._refresh(json.loads(body)), {}
        if match := re.fullmatch(r"/dev/api/snaps/upload/([^/]+)/status", path):
            return *self._status(match[1]), {}
        refusal = self._unauthorized()
        if refusal is not None:
            return refusal
        document = json.loads(body) if body else {}
        for method, pattern, answer in (
            ("GET", r"/dev/api/account", self._account),
            ("POST", r"/dev/api/register-name/", self._register),
            ("POST", r"/dev/api/snap-push/", self._push),
            ("POST", r"/dev/api/snap-release/", self._release),
            ("POST", r"/dev/api/snaps/id-of-([^/]+)/close", self._close),
            ("GET", r"/api/v2/snaps/([^/]+)/releases", self._releases),
            ("GET", r"/api/v2/snaps/([^/]+)/channel-map", self._channel_map),
        ):
            match = re.fullmatch(pattern, path)
            if match and method == self.command:
                return *answer(document, *match.groups()), {}
        return 404, b"not found", {}

    def _unauthorized(self) -> tuple[int, Object, dict[str, str]] | None:
        match = re.fullmatch(r"Macaroon root=(\S+), discharge=(\S+)", self.headers.get("Authorization", ""))
        if match is None or match[1] != _root():
            return *_errors(401, "macaroon-authorization-required", "Authorization Required"), {}
        for generation in range(1, self.store.generation + 1):
            if _signature(match[2]) == _bound(generation):
                if generation in self.store.accepted:
                    return None
                refusal = _errors(401, "macaroon-needs-refresh", "Expired macaroon")
                return *refusal, {"WWW-Authenticate": "Macaroon needs_refresh=1"}
        return *_errors(401, "macaroon-permission-required", "not bound to this root"), {}

    def _refresh(self, document: Object) -> tuple[int, Object]:
        generations = range(1, self.store.generation + 1)
        if document["discharge_macaroon"] not in {_discharge(generation) for generation in generations}:
            return 401, {"message": "Provided email/password is not correct.", "code": "INVALID_CREDENTIALS"}
        return 200, {"discharge_macaroon": _discharge(self.store.generation)}

    def _unscanned_upload(self, body: bytes) -> tuple[int, Object]:
        message = Message()
        message["Content-Type"] = self.headers["Content-Type"]
        boundary = str(message.get_param("boundary")).encode()
        head, _, rest = body.partition(b"\r\n\r\n")
        content, end, _ = rest.rpartition(b"\r\n--" + boundary + b"--")
        match = re.search(rb'name="binary"; filename="([^"]+)"', head)
        assert head.startswith(b"--" + boundary)
        assert end
        assert match
        upload_id = f"upload-{len(self.store.uploads) + 1}"
        self.store.uploads[upload_id] = (match[1].decode(), content)
        return 200, {"successful": True, "upload_id": upload_id}

    def _owned(self, name: str) -> tuple[int, Object] | None:
        owner = self.store.names.get(name)
        if owner is None:
            return _errors(404, "resource-not-found", f"Snap not found for name={name}")
        if owner != "us":
            return _errors(403, "resource-forbidden", "not allowed to publish this snap name")
        return None

    def _account(self, document: Object) -> tuple[int, Object]:
        snaps = {
            name: {"snap-id": f"id-of-{name}", "status": "Approved", "private": False, "since": "2026-01-01T00:00:00Z"}
            for name, owner in self.store.names.items()
            if owner == "us"
        }
        return 200, {"account_id": "abcd", "account_keys": [], "snaps": {"16": snaps}}

    def _register(self, document: Object) -> tuple[int, Object]:
        name, store = document["snap_name"], self.store
        if name in store.names:
            code = "already_owned" if store.names[name] == "us" else "already_registered"
            return 409, {"status": 409, "code": code, "register_name_url": "https://example.com"}
        store.own(name)
        return 201, {"snap_id": f"id-of-{name}"}

    def _push(self, document: Object) -> tuple[int, Object]:
        refusal = self._owned(document["name"])
        if refusal is not None:
            return refusal
        if document.get("dry_run"):
            return 202, {}
        name, version, architecture, content = self._upload_of(document)
        ticket = f"{document['updown_id']}"
        known = any(found.sha3_384 == hashlib.sha3_384(content).hexdigest() for found in self.store.revisions[name])
        review: Object = {"polls": self.store.polls_until_reviewed, "name": name}
        if known and ticket not in self.store.reviews:
            review["errors"] = ["binary_sha3_384: A file with this exact same content has already been uploaded"]
        elif self.store.problems:
            review["errors"] = list(self.store.problems)
        elif not known:
            stored = self.store._store(name, architecture, version, content)
            stored.status = "ReviewInProgress"
            review["revision"] = stored.revision
        self.store.reviews.setdefault(ticket, review)
        return 202, {"status_details_url": f"{self.store.url}/dev/api/snaps/upload/{ticket}/status", "success": True}

    def _upload_of(self, document: Object) -> tuple[str, str, str, bytes]:
        assert document["series"] == "16"
        assert document["source_uploaded"] is False
        file, content = self.store.uploads[document["updown_id"]]
        assert document["binary_filesize"] == len(content)
        name, version, architecture = file.removesuffix(".snap").rsplit("_", 2)
        assert name == document["name"]
        return name, version, architecture, content

    def _status(self, ticket: str) -> tuple[int, Object]:
        review = self.store.reviews.get(ticket)
        if review is None:
            return _errors(404, "resource-not-found", "no such upload")
        if not self._goes_on(review):
            return 200, {"code": "being_processed", "processed": False, "can_release": False, "url": None}
        if "errors" in review:
            errors = [{"code": None, "message": text} for text in review["errors"]]
            return 200, {"code": "processing_error", "processed": True, "can_release": False, "errors": errors}
        return 200, {
            "code": self.store.verdict,
            "processed": True,
            "can_release": self.store.verdict == "ready_to_release",
            "revision": review["revision"],
            "url": f"/dev/click-apps/1/rev/{review['revision']}/",
        }

    def _goes_on(self, review: Object) -> bool:
        """Whether a review has ended; being looked at is what time is here."""
        review["polls"] -= 1
        if review["polls"] > 0:
            return False
        if "revision" in review:
            stored = self.store.revisions[review["name"]][review["revision"] - 1]
            if stored.status == "ReviewInProgress":
                is_ready = self.store.verdict == "ready_to_release"
                stored.status = "Published" if is_ready else "ManualReviewPending"
        return True

    def _release(self, document: Object) -> tuple[int, Object]:
        refusal = self._owned(document["name"])
        if refusal is not None:
            return refusal
        number = int(document["revision"])
        stored = self.store.revisions[document["name"]][number - 1]
        if stored.status not in ("Published", "Unpublished"):
            return _errors(400, "invalid-request", "revision is not approved")
        for channel in document["channels"]:
            full = channel if channel.count("/") else f"latest/{channel}"
            self.store.releases[document["name"]].append(_release(stored.architecture, full, number))
        return 200, {"success": True, "opened_channels": document["channels"], "channel_map_tree": {}}

    def _close(self, document: Object, name: str) -> tuple[int, Object]:
        for channel in document["channels"]:
            full = channel if channel.count("/") else f"latest/{channel}"
            for architecture in self.store.channel(name, full):
                self.store.releases[name].append(_release(architecture, full, None))
        return 200, {"closed_channels": document["channels"], "channel_map_tree": {}}

    def _releases(self, document: Object, name: str) -> tuple[int, Object]:
        refusal = self._owned(name)
        if refusal is not None:
            return refusal
        for review in self.store.reviews.values():
            if review["name"] == name:
                self._goes_on(review)
        query = parse_qs(urlsplit(self.path).query)
        page, size = int(query["page"][0]), min(int(query["size"][0]), 500)
        releases = self.store.releases[name][::-1][(page - 1) * size : page * size]
        revisions = [
            {
                "architectures": [stored.architecture],
                "build_url": None,
                "confinement": "strict",
                "created_at": "2026-01-01T00:00:00Z",
                "grade": "stable",
                "revision": stored.revision,
                "sha3-384": stored.sha3_384,
                "size": stored.size,
                "status": stored.status,
                "version": stored.version,
            }
            for stored in reversed(self.store.revisions[name])
        ]
        return 200, {"releases": releases, "revisions": revisions if page == 1 else []}

    def _channel_map(self, document: Object, name: str) -> tuple[int, Object]:
        refusal = self._owned(name)
        if refusal is not None:
            return refusal
        channels = {release["channel"] for release in self.store.releases[name]}
        mapped = [
            {
                "architecture": architecture,
                "channel": channel,
                "expiration-date": None,
                "progressive": {"paused": None, "percentage": None, "current-percentage": None},
                "revision": revision,
                "when": "2026-01-01T00:00:00Z",
            }
            for channel in sorted(channels)
            for architecture, revision in self.store.channel(name, channel).items()
        ]
        return 200, {"channel-map": mapped, "revisions": [], "snap": {"name": name, "channels": [], "tracks": []}}

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, status: int, body: Object | bytes, headers: dict[str, str]) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
