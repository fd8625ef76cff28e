"""HTTP as the device speaks it: one server, one kept connection, bounded in size and time; standard library alone.

Rules:

1. Nothing is followed, nothing is guessed: no redirects, proxies, cookies, .netrc or public authorities.
2. An answer is read whole up to a limit, or in pieces by who asked for that; never past a total time.
3. A kept connection that the server closed in the meantime is opened again once, unless a streamed body was under way.
4. A server that answers before it has read a whole body is listened to.
"""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.message import Message
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_PIECE = 65536
CONNECT_TIMEOUT = 3.0


class WireError(Exception):
    """No answer came. The text says what happened, without the server's name."""


class NoTimeError(WireError):
    """The server took too long."""


class UntrustedError(WireError):
    """The server could not show a certificate that we trust."""


class TooLargeError(WireError):
    """The answer is larger than it may be."""


class InterruptedAnswerError(WireError):
    """The connection broke, or what came is not HTTP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a server answered, whole.

    Attributes:
        status: the HTTP status.
        headers: case is ignored.
        body: all of it.
    """

    status: int
    headers: Message
    body: bytes


class Wire:
    """A connection to one server.

    Args:
        origin: `http://host:port` or `https://host:port`.
        context: how to trust an https server.
        headers: sent with every request.
        read_timeout: seconds without a byte after which an answer is given up.
        total_timeout: seconds after which it is given up whatever comes.
    """

    def __init__(
        self,
        origin: str,
        *,
        context: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
        read_timeout: float = 15.0,
        total_timeout: float = 60.0,
    ) -> None:
        parts = urlsplit(origin)
        self.origin = origin
        self._host, self._port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        self._context = context
        self._headers = dict(headers or {})
        self._read_timeout = read_timeout
        self._total_timeout = total_timeout
        self._connection: http.client.HTTPConnection | None = None

    def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes] | None = None,
        limit: int,
        read_timeout: float | None = None,
    ) -> Answer:
        """The answer, read whole.

        Args:
            method: of HTTP.
            path: with its query.
            headers: of this request; a streamed body needs a Content-Length.
            body: whole, or in pieces.
            limit: bytes that the answer may have.
            read_timeout: another one than the wire's.

        Raises:
            WireError: there is none.
        """
        with self.open(method, path, headers=headers, body=body, read_timeout=read_timeout) as stream:
            return Answer(status=stream.status, headers=stream.headers, body=stream.read_all(limit))

    def open(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes] | None = None,
        read_timeout: float | None = None,
    ) -> AnswerStream:
        """The answer, to be read in pieces and closed by the caller.

        Raises:
            WireError: there is none.
        """
        kept = self._connection is not None
        try:
            return self._open(method, path, headers or {}, body, read_timeout)
        except InterruptedAnswerError:
            if not kept or not (body is None or isinstance(body, bytes)):
                raise
            return self._open(method, path, headers or {}, body, read_timeout)

    def close(self) -> None:
        """Drop the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes] | None,
        read_timeout: float | None,
    ) -> AnswerStream:
        ends = time.monotonic() + max(self._total_timeout, read_timeout or 0.0)
        try:
            connection = self._connected()
            connection.sock.settimeout(read_timeout or self._read_timeout)
            _send(connection, method, path, self._headers | dict(headers), body)
            return AnswerStream(self, connection.getresponse(), ends)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError | http.client.HTTPException):
                raise _foreign(error) from error
            raise

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is None or self._connection.sock is None:
            if self._context is None:
                connection = http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_TIMEOUT)
            else:
                connection = http.client.HTTPSConnection(
                    self._host, self._port, timeout=CONNECT_TIMEOUT, context=self._context
                )
            self._connection = connection
            connection.connect()
        return self._connection


class AnswerStream:
    """An answer on its way. A context manager: what was not read costs the connection, nothing else."""

    def __init__(self, wire: Wire, response: http.client.HTTPResponse, ends: float) -> None:
        self._wire = wire
        self._response = response
        self._ends = ends
        self.status = response.status
        self.headers: Message = response.headers

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end.

        Raises:
            WireError: the rest does not come.
        """
        if time.monotonic() > self._ends:
            raise NoTimeError("took too long to answer")
        try:
            return self._response.read(size)
        except (OSError, http.client.HTTPException) as error:
            raise _foreign(error) from error

    def read_all(self, limit: int) -> bytes:
        """All of it.

        Raises:
            WireError: it is larger than the limit, or does not come.
        """
        data = bytearray()
        while piece := self.read(_PIECE):
            data += piece
            if len(data) > limit:
                raise TooLargeError(f"sent more than {limit} bytes")
        return bytes(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._response.isclosed():
            self._response.close()
            self._wire.close()


def _send(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes | Iterable[bytes] | None,
) -> None:
    try:
        connection.request(method, path, body=body, headers=headers)
    except (BrokenPipeError, ConnectionResetError):
        # The server may have said why before it closed; getresponse finds that, or fails itself.
        return


def _foreign(error: OSError | http.client.HTTPException) -> WireError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return UntrustedError(f"shows a certificate we do not trust: {error.verify_message}")
    if isinstance(error, TimeoutError):
        return NoTimeError("does not answer in time")
    if isinstance(error, ssl.SSLError):
        return UntrustedError(f"does not speak TLS with us: {error.reason or error}")
    if isinstance(error, ConnectionRefusedError):
        return InterruptedAnswerError("refuses the connection")
    return InterruptedAnswerError("broke the connection")
