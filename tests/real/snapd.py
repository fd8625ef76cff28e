"""A client of snapd's REST API, for real devices and virtual ones alike."""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class SnapdError(Exception):
    """snapd refused a request; the message is its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change that came to its end.

    Attributes:
        status: Done, or Error when its tasks were undone.
        tasks: (kind, status) of each, in snapd's order.
        error: what snapd says went wrong.
    """

    status: str
    tasks: tuple[tuple[str, str], ...]
    error: str


class Transport(Protocol):
    """A way to a snapd's socket."""

    def __call__(self, method: str, path: str, body: bytes, media_type: str) -> bytes:
        """The body of the answer, whatever its status."""


class UnixSocket:
    """The way to a socket on this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, method: str, path: str, body: bytes, media_type: str) -> bytes:
        """Ask on a connection of its own."""
        connection = _Connection(self._path)
        try:
            connection.request(method, path, body or None, {"Content-Type": media_type} if media_type else {})
            return connection.getresponse().read()
        finally:
            connection.close()


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(str(self._path))


class Snapd:
    """Asks one snapd."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, path: str) -> Any:
        """The result of a GET."""
        return self._ask("GET", path)["result"]

    def sideload(self, file: Path, *, name: str = "") -> Change:
        """Install or refresh from a file, and wait.

        Args:
            file: the snap.
            name: the instance's name, when it is not the snap's own.
        """
        boundary = secrets.token_hex(16)
        # snapd asks for the path when a name is given, and installs under the snap's own name without it.
        named = {"name": name, "snap-path": str(file)} if name else {}
        fields = {"action": "install", "dangerous": "true", **named}
        body = b"".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
            for key, value in fields.items()
        )
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="snap"; filename="{file.name}"\r\n\r\n'.encode()
        body += file.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        return self._wait(self._ask("POST", "/v2/snaps", body, f"multipart/form-data; boundary={boundary}"))

    def act(self, snap: str, action: str, **options: object) -> Change:
        """Refresh, revert, remove, enable, disable, and wait."""
        return self._wait(self._post(f"/v2/snaps/{snap}", {"action": action, **options}))

    def connect(self, plug_snap: str, plug: str, slot_snap: str, slot: str) -> Change:
        """Connect a plug to a slot, and wait."""
        return self._wire("connect", plug_snap, plug, slot_snap, slot)

    def disconnect(self, plug_snap: str, plug: str, slot_snap: str, slot: str) -> Change:
        """Part a plug from a slot, and wait."""
        return self._wire("disconnect", plug_snap, plug, slot_snap, slot)

    def configure(self, snap: str, values: dict[str, object]) -> Change:
        """`snap set`, and wait."""
        body = json.dumps(values).encode()
        return self._wait(self._ask("PUT", f"/v2/snaps/{snap}/conf", body, "application/json"))

    def installed(self) -> dict[str, tuple[str, str]]:
        """Version and current revision of each snap."""
        return {one["name"]: (one["version"], one["revision"]) for one in self.get("/v2/snaps")}

    def health(self, snap: str) -> tuple[str, str]:
        """A snap's health: status and code."""
        found = self.get(f"/v2/snaps/{snap}").get("health", {})
        return found.get("status", "unknown"), found.get("code", "")

    def await_health(self, snap: str, *wanted: str, timeout: float = 60) -> None:
        """Wait until the status, or status and code, are those."""
        deadline = time.monotonic() + timeout
        while (found := self.health(snap))[: len(wanted)] != wanted:
            if time.monotonic() > deadline:
                raise AssertionError(f"health of {snap} is {found} after {timeout:g} s, not {wanted}")
            time.sleep(0.1)

    def _wire(self, action: str, plug_snap: str, plug: str, slot_snap: str, slot: str) -> Change:
        asked = {
            "action": action,
            "plugs": [{"snap": plug_snap, "plug": plug}],
            "slots": [{"snap": slot_snap, "slot": slot}],
        }
        return self._wait(self._post("/v2/interfaces", asked))

    def _post(self, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        return self._ask("POST", path, json.dumps(asked).encode(), "application/json")

    def _wait(self, answer: dict[str, Any], timeout: float = 600) -> Change:
        deadline = time.monotonic() + timeout
        while True:
            found = self.get(f"/v2/changes/{answer['change']}")
            if found["ready"]:
                tasks = tuple((task["kind"], task["status"]) for task in found.get("tasks", []))
                return Change(status=found["status"], tasks=tasks, error=found.get("err", ""))
            if time.monotonic() > deadline:
                raise AssertionError(f"change not ready after {timeout:g} s: {found}")
            time.sleep(0.05)

    def _ask(self, method: str, path: str, body: bytes = b"", media_type: str = "") -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._transport(method, path, body, media_type))
        if answer["type"] == "error":
            raise SnapdError(answer["result"]["message"])
        return answer
