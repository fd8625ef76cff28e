"""One request to snapd's socket: plain HTTP, because importing an HTTP library takes longer than the whole call."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

CHUNK = 1024 * 1024


class SocketError(Exception):
    """snapd does not answer."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What snapd answered."""

    status: int
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """The envelope.

        Raises:
            SocketError: when the answer is none.
        """
        try:
            document = json.loads(self.body)
        except ValueError as error:
            raise SocketError(f"cannot decode {self.body[:60]!r}: {error}") from error
        assert isinstance(document, dict)
        return document


def call(path: str, method: str, target: str, body: Any = None) -> Answer:
    """Sends `body` as JSON and returns the answer."""
    content = b"" if body is None else json.dumps(body).encode()
    return send(path, method, target, [content], len(content), {"Content-Type": "application/json"})


def send(
    path: str, method: str, target: str, content: Iterable[bytes], length: int, headers: Mapping[str, str]
) -> Answer:
    """Sends a body of `length` bytes in parts and returns the answer.

    Raises:
        SocketError: when nobody listens, or the connection ends early.
    """
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close", f"Content-Length: {length}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(path)
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        # A server that refuses a request answers before it has read all of it.
        with contextlib.suppress(BrokenPipeError):
            for part in content:
                if part:
                    connection.sendall(part)
        received = b"".join(iter(lambda: connection.recv(CHUNK), b""))
    except OSError as error:
        raise SocketError(f"cannot communicate with server: {os.strerror(error.errno or 0)} ({path})") from error
    finally:
        connection.close()
    head, separator, rest = received.partition(b"\r\n\r\n")
    if not separator:
        raise SocketError("cannot communicate with server: unexpected EOF")
    status, *fields = head.decode("latin-1").split("\r\n")
    if any(field.lower().replace(" ", "") == "transfer-encoding:chunked" for field in fields):
        rest = _joined(rest)
    return Answer(status=int(status.split(" ", 2)[1]), body=rest)


def _joined(chunks: bytes) -> bytes:
    parts = []
    while chunks:
        size, _, chunks = chunks.partition(b"\r\n")
        length = int(size, 16)
        parts.append(chunks[:length])
        chunks = chunks[length + 2 :]
    return b"".join(parts)
