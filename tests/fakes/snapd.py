"""A small snapd on a unix socket: real paths and envelopes, snaps that are told in their file how they behave.

A snap file here is a squashfs head with JSON behind it: name, version, plugs and `behaviour`: `okay`, `refused` (the
hook fails, snapd undoes), `unwell` (installs, health error), `waiting` (installs, health waiting until `get_well`).
The whole emulator with hooks and services is snapedge_fleet.virtual.
"""

from __future__ import annotations

import email.parser
import email.policy
import json
import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit


def snap_bytes(name: str, version: str, *, behaviour: str = "okay", plugs: tuple[str, ...] = (), pad: int = 0) -> bytes:
    """A snap file that the fake and the store take."""
    head = {"name": name, "version": version, "behaviour": behaviour, "plugs": list(plugs)}
    content = json.dumps(head).encode() + b"\n" + bytes(pad)
    return b"hsqs" + bytes(36) + struct.pack("<Q", 48 + len(content)) + content


@dataclass
class FakeRevision:
    revision: str
    version: str
    behaviour: str
    plugs: tuple[str, ...]


@dataclass
class FakeSnap:
    revisions: list[FakeRevision] = field(default_factory=list)
    active: str = ""
    counter: int = 0
    health: dict[str, str] | None = None
    hold: str = ""

    def current(self) -> FakeRevision:
        return next(one for one in self.revisions if one.revision == self.active)


@dataclass
class FakeChange:
    status: str
    error: str = ""
    log: list[str] = field(default_factory=list)
    looks: int = 0


class FakeSnapd:
    """What the fake holds; tests read it, and make things happen to it."""

    def __init__(self) -> None:
        self.snaps: dict[str, FakeSnap] = {}
        self.connected: set[tuple[str, str]] = set()
        self.changes: dict[str, FakeChange] = {}
        self.orders: list[str] = []
        self.is_busy = False
        self.has_slot = True
        self.looks_until_ready = 1
        self._lock = threading.Lock()

    def version(self, name: str) -> str | None:
        snap = self.snaps.get(name)
        return None if snap is None or not snap.active else snap.current().version

    def get_well(self, name: str) -> None:
        """The snap's service finished its work."""
        snap = self.snaps[name]
        snap.health = {"revision": snap.active, "status": "okay"}

    def handle(
        self, method: str, path: str, query: dict[str, str], kind: str, body: bytes
    ) -> tuple[int, dict[str, Any]]:
        with self._lock:
            if method == "GET" and path == "/v2/snaps":
                return self._list(query.get("snaps", ""))
            if method == "GET" and path == "/v2/connections":
                return self._connections(query["snap"])
            if method == "GET" and path.startswith("/v2/changes/"):
                return self._change(path.rpartition("/")[2])
            if self.is_busy:
                return _refused(409, "snap-change-conflict", "snap has changes in progress")
            if path == "/v2/snaps" and kind.startswith("multipart/form-data"):
                return self._sideload(kind, body)
            document = json.loads(body)
            if path == "/v2/interfaces":
                return self._connect(document)
            return self._order(path.rpartition("/")[2], document)

    def _list(self, name: str) -> tuple[int, dict[str, Any]]:
        snap = self.snaps.get(name)
        if snap is None or not snap.active:
            return _refused(404, "snap-not-found", "no matching snaps installed")
        rows = []
        for one in snap.revisions:
            is_active = one.revision == snap.active
            row: dict[str, Any] = {
                "name": name,
                "revision": one.revision,
                "version": one.version,
                "status": "active" if is_active else "installed",
            }
            if is_active and snap.health is not None:
                row["health"] = snap.health
            if snap.hold:
                row["hold"] = snap.hold
            rows.append(row)
        return 200, {"type": "sync", "status-code": 200, "result": rows}

    def _connections(self, name: str) -> tuple[int, dict[str, Any]]:
        snap = self.snaps.get(name)
        plugs = snap.current().plugs if snap is not None and snap.active else ()
        established = [
            {"plug": {"snap": owner, "plug": plug}, "slot": {"snap": "microk8s", "slot": "microk8s"}}
            for owner, plug in self.connected
            if owner == name
        ]
        result = {"established": established, "plugs": [{"snap": name, "plug": plug} for plug in plugs], "slots": []}
        return 200, {"type": "sync", "status-code": 200, "result": result}

    def _change(self, number: str) -> tuple[int, dict[str, Any]]:
        change = self.changes.get(number)
        if change is None:
            return _refused(404, "", f'cannot find change with id "{number}"')
        change.looks += 1
        is_ready = change.looks >= self.looks_until_ready
        result: dict[str, Any] = {"id": number, "status": change.status if is_ready else "Doing", "ready": is_ready}
        if is_ready and change.error:
            result["err"] = change.error
            result["tasks"] = [{"kind": "run-hook", "status": "Error", "log": change.log}]
        return 200, {"type": "sync", "status-code": 200, "result": result}

    def _sideload(self, kind: str, body: bytes) -> tuple[int, dict[str, Any]]:
        fields = _form(kind, body)
        if fields.get("dangerous") != b"true":
            return _refused(400, "", "cannot find signatures with metadata for snap")
        content = fields["snap"]
        head = json.loads(content[48:].split(b"\n", 1)[0])
        name = head["name"]
        self.orders.append(f"install {name} {head['version']}")
        snap = self.snaps.setdefault(name, FakeSnap())
        snap.counter += 1
        made = FakeRevision(f"x{snap.counter}", head["version"], head["behaviour"], tuple(head["plugs"]))
        if made.behaviour == "refused":
            snap.health = {
                "revision": "unset",
                "status": "error",
                "code": "gate-failed",
                "message": "sample row-3: label is off by 1",
            }
            if not snap.active:
                del self.snaps[name]
            error = (
                "cannot perform the following tasks:\n"
                f'- Run post-refresh hook of "{name}" snap (run hook "post-refresh": '
                "\n-----\nsnapedge post-refresh: gate-failed: sample row-3: label is off by 1\n-----)"
            )
            return self._begin(FakeChange("Error", error, ['ERROR run hook "post-refresh"']))
        snap.revisions.append(made)
        snap.revisions = snap.revisions[-2:]
        snap.active = made.revision
        self._check_health(snap)
        return self._begin(FakeChange("Done"))

    def _connect(self, document: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        plug = document["plugs"][0]
        self.orders.append(f"connect {plug['snap']}:{plug['plug']}")
        if not self.has_slot:
            return _refused(400, "interfaces-unchanged", 'snap "microk8s" is not installed')
        self.connected.add((plug["snap"], plug["plug"]))
        return self._begin(FakeChange("Done"))

    def _order(self, name: str, document: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        action = document["action"]
        self.orders.append(f"{action} {name}")
        snap = self.snaps.get(name)
        if snap is None:
            return _refused(404, "snap-not-installed", f'snap "{name}" is not installed')
        if action == "revert":
            snap.active = document["revision"]
            self._check_health(snap)
        elif action == "remove":
            del self.snaps[name]
        elif action == "hold":
            snap.hold = "9999-01-01T00:00:00Z"
        return self._begin(FakeChange("Done"))

    def _check_health(self, snap: FakeSnap) -> None:
        status, code = {"okay": ("okay", ""), "unwell": ("error", "gate-failed"), "waiting": ("waiting", "api-down")}[
            snap.current().behaviour
        ]
        snap.health = {"revision": snap.active, "status": status}
        if code:
            snap.health |= {"code": code, "message": f"it is {status}"}

    def _begin(self, change: FakeChange) -> tuple[int, dict[str, Any]]:
        number = str(len(self.changes) + 1)
        self.changes[number] = change
        return 202, {"type": "async", "status-code": 202, "result": None, "change": number}


@contextmanager
def serving(snapd: FakeSnapd, socket: Path) -> Iterator[Path]:
    """The fake on a socket while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            body = self.rfile.read(length)
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            kind = self.headers.get("Content-Type", "")
            status, document = snapd.handle(self.command, parts.path, query, kind, body)
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
            return

        def address_string(self) -> str:
            return "local"

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = False

    with Server(str(socket), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield socket
        finally:
            server.shutdown()
            thread.join()
            socket.unlink(missing_ok=True)


def _form(kind: str, body: bytes) -> dict[str, bytes]:
    head = f"Content-Type: {kind}\r\nMIME-Version: 1.0\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    fields: dict[str, bytes] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        fields[str(name)] = content
    return fields


def _refused(status: int, kind: str, message: str) -> tuple[int, dict[str, Any]]:
    return status, {"type": "error", "status-code": status, "result": {"kind": kind, "message": message}}
