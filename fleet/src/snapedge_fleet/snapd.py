"""The one door to snapd: its REST interface on a unix socket.

Every answer of snapd is an envelope `{"type": "sync" | "async" | "error", "result": …, "change": …}`.
"""

from __future__ import annotations

import json
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import HTTPError

from .errors import SnapdAwayError, SnapdRefusedError, SnapdSlowError

_CONNECT_SECONDS = 5.0
_READ_SECONDS = 60.0
_UPLOAD_SECONDS = 600.0
_LOG_LINES = 12
_PIECE = 256 * 1024


HEALTH_OF_A_HOOK = "unset"
"""Revision of health that a hook told: snapd knows it only of a service that calls (overlord/healthstate)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What a snap says of itself, and of which of its revisions."""

    revision: str
    status: str
    code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledSnap:
    """A snap on the device; `active` and `revisions` are snapd's (`x1` for a file), not the store's."""

    name: str
    active: str
    revisions: tuple[str, ...]
    version: str
    health: Health | None = None
    is_held: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something snapd does or did."""

    id: str
    status: str
    is_ready: bool
    error: str = ""
    log: tuple[str, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether it ended well."""
        return self.is_ready and self.status == "Done"

    @property
    def cause(self) -> str:
        """The one line that says most: the last one a failing hook wrote, else snapd's own last, else the status.

        snapd frames a hook's output: `- Run post-refresh hook of "x" snap (run hook "post-refresh":`, a line of
        dashes, the output, a line of dashes and `)`.
        """
        lines = [line.strip() for line in self.error.splitlines()]
        told = [line for line in lines if line.strip("-)")]
        return told[-1] if told else self.status


class Snapd:
    """Orders to snapd, and what it answers."""

    def __init__(self, socket_path: Path) -> None:
        self._socket = socket_path
        self._pool = _SocketPool(socket_path)

    def snap(self, name: str) -> InstalledSnap | None:
        """A snap with all its installed revisions; None where it is not installed."""
        query = urlencode({"select": "all", "snaps": name})
        try:
            rows = self._sync("GET", f"/v2/snaps?{query}", f"list {name}")
        except SnapdRefusedError as error:
            if error.kind == "snap-not-found":
                return None
            raise
        active = next((row for row in rows if row.get("name") == name and row.get("status") == "active"), None)
        if active is None:
            return None
        return InstalledSnap(
            name=name,
            active=str(active["revision"]),
            revisions=tuple(str(row["revision"]) for row in rows if row.get("name") == name),
            version=str(active.get("version", "")),
            health=_health(active.get("health")),
            is_held=bool(active.get("hold")),
        )

    def sideload(self, name: str, file: Path, *, shown_as: str) -> str:
        """Install or refresh a snap from a file, unasserted; the change's id.

        Args:
            name: of the snap.
            file: its squashfs.
            shown_as: the file name that `snap changes` shows; ours are named by digest.
        """
        boundary = uuid.uuid4().hex
        head = _form_head(boundary, shown_as)
        tail = f"\r\n--{boundary}--\r\n".encode()
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(head) + file.stat().st_size + len(tail)),
        }
        return self._async(
            "POST",
            "/v2/snaps",
            f"install {name} from {shown_as}",
            body=_pieces(head, file, tail),
            headers=headers,
            seconds=_UPLOAD_SECONDS,
        )

    def revert(self, name: str, revision: str) -> str:
        """Go back to an installed revision; the change's id."""
        return self._order(name, {"action": "revert", "revision": revision})

    def remove(self, name: str) -> str:
        """Remove a snap with its data; the change's id."""
        return self._order(name, {"action": "remove"})

    def hold(self, name: str) -> str:
        """Keep snapd from refreshing a snap by itself; the change's id."""
        return self._order(name, {"action": "hold", "time": "forever", "hold-level": "general"})

    def has_open_plug(self, name: str, plug: str) -> bool:
        """Whether the snap has that plug and it is not connected."""
        query = urlencode({"select": "all", "snap": name})
        result = self._sync("GET", f"/v2/connections?{query}", f"list connections of {name}")
        connected = {
            (one["plug"]["snap"], one["plug"]["plug"]) for one in result.get("established", []) if "plug" in one
        }
        plugs = {(one.get("snap"), one.get("plug")) for one in result.get("plugs", [])}
        return (name, plug) in plugs and (name, plug) not in connected

    def connect(self, name: str, plug: str, slot_snap: str, slot: str) -> str:
        """Connect a plug to a slot; the change's id."""
        document = {
            "action": "connect",
            "plugs": [{"snap": name, "plug": plug}],
            "slots": [{"snap": slot_snap, "slot": slot}],
        }
        return self._async("POST", "/v2/interfaces", f"connect {name}:{plug} to {slot_snap}:{slot}", document=document)

    def change(self, number: str) -> Change:
        """A change as it stands."""
        result = self._sync("GET", f"/v2/changes/{number}", f"look up change {number}")
        lines = [
            line
            for task in result.get("tasks", [])
            if task.get("status") in ("Error", "Undone", "Hold")
            for line in task.get("log", [])
        ]
        return Change(
            id=number,
            status=str(result.get("status", "")),
            is_ready=bool(result.get("ready")),
            error=str(result.get("err", "")),
            log=tuple(str(line) for line in lines[-_LOG_LINES:]),
        )

    def watch(
        self,
        number: str,
        what: str,
        *,
        seconds: float,
        now: Callable[[], float],
        wait: Callable[[float], None],
        interval: float = 0.5,
    ) -> Change:
        """The change once it ended, well or not.

        Raises:
            SnapdSlowError: it did not end in time; snapd goes on with it.
        """
        deadline = now() + seconds
        while True:
            change = self.change(number)
            if change.is_ready:
                return change
            if now() >= deadline:
                raise SnapdSlowError(what, seconds, change.status)
            wait(interval)

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def _order(self, name: str, document: Mapping[str, Any]) -> str:
        return self._async("POST", f"/v2/snaps/{name}", f"{document['action']} {name}", document=document)

    def _sync(self, method: str, path: str, what: str) -> Any:
        return self._call(method, path, what)["result"]

    def _async(
        self,
        method: str,
        path: str,
        what: str,
        *,
        document: Mapping[str, Any] | None = None,
        body: bytes | Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = _READ_SECONDS,
    ) -> str:
        envelope = self._call(method, path, what, document=document, body=body, headers=headers, seconds=seconds)
        if "change" not in envelope:
            raise SnapdRefusedError(what, "no-change", "it answered without a change")
        return str(envelope["change"])

    def _call(
        self,
        method: str,
        path: str,
        what: str,
        *,
        document: Mapping[str, Any] | None = None,
        body: bytes | Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = _READ_SECONDS,
    ) -> dict[str, Any]:
        if document is not None:
            body, headers = json.dumps(document).encode(), {"Content-Type": "application/json"}
        try:
            answer = self._pool.request(
                method,
                path,
                body=body,
                headers={"Host": "localhost", "Connection": "close", **(headers or {})},
                timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=seconds),
                retries=False,
            )
            envelope = json.loads(answer.data)
        except (HTTPError, OSError) as error:
            raise SnapdAwayError(self._socket, _reason(error)) from error
        except ValueError as error:
            raise SnapdAwayError(self._socket, "its answer is not JSON") from error
        if not isinstance(envelope, dict):
            raise SnapdAwayError(self._socket, "its answer is no envelope")
        if envelope.get("type") == "error":
            result = envelope.get("result") or {}
            raise SnapdRefusedError(what, str(result.get("kind", "")), str(result.get("message", "no reason given")))
        return envelope


class _SocketConnection(HTTPConnection):
    """An HTTP connection over a unix socket."""

    def __init__(self, socket_path: Path, **options: Any) -> None:
        super().__init__("localhost", **options)
        self._socket_path = socket_path

    def connect(self) -> None:
        """Connect to the socket instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_CONNECT_SECONDS)
        try:
            self.sock.connect(str(self._socket_path))
        except OSError:
            self.sock.close()
            raise


class _SocketPool(HTTPConnectionPool):
    """Connections to one unix socket."""

    def __init__(self, socket_path: Path) -> None:
        super().__init__("localhost", maxsize=2)
        self._socket_path = socket_path

    def _new_conn(self) -> _SocketConnection:
        return _SocketConnection(self._socket_path)


def _reason(error: Exception) -> str:
    """The kernel's words, where urllib3 wraps them."""
    for inner in (error, *error.args):
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
    return str(error)


def _health(document: Mapping[str, Any] | None) -> Health | None:
    if document is None:
        return None
    return Health(
        revision=str(document.get("revision", "")),
        status=str(document.get("status", "")),
        code=str(document.get("code", "")),
        message=str(document.get("message", "")),
    )


def _form_head(boundary: str, file_name: str) -> bytes:
    fields = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in (("action", "install"), ("dangerous", "true"))
    )
    disposition = f'Content-Disposition: form-data; name="snap"; filename="{file_name}"'
    return f"{fields}--{boundary}\r\n{disposition}\r\nContent-Type: application/octet-stream\r\n\r\n".encode()


def _pieces(head: bytes, file: Path, tail: bytes) -> Iterator[bytes]:
    """The form, piece by piece: a snap is larger than what a small device wants to hold in memory."""
    yield head
    with file.open("rb") as content:
        while piece := content.read(_PIECE):
            yield piece
    yield tail
