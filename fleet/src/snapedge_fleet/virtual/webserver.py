"""A small HTTP/1.1 server on asyncio and h11, the one under the registry and the Kubernetes API.

It streams bodies both ways in bounded memory, answers `Expect: 100-continue`, keeps connections open, and can be told
to cut a connection in the middle of a message (`HangUpError`), which is what faults are made of. It never polls.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote, urlsplit

import h11

_log = logging.getLogger(__name__)

_READ_SIZE = 256 * 1024
_DRAIN_LIMIT = 256 * 1024
_MAX_HEAD = 64 * 1024

Headers = Sequence[tuple[str, str]]


class HangUpError(Exception):
    """The handler wants the connection cut without another byte."""


class BodyTooLargeError(Exception):
    """The request's body is longer than the handler wants to hold."""


@dataclass(slots=True, kw_only=True)
class Request:
    """What a client asks; the body is read on demand and at most once."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    identified: bool
    body: AsyncIterator[bytes]

    def header(self, name: str, default: str = "") -> str:
        """The value of a header, several of one name joined by commas."""
        return self.headers.get(name.lower(), default)

    async def read(self, limit: int) -> bytes:
        """The whole body, or `BodyTooLargeError` beyond `limit` bytes."""
        parts: list[bytes] = []
        size = 0
        async for chunk in self.body:
            size += len(chunk)
            if size > limit:
                raise BodyTooLargeError
            parts.append(chunk)
        return b"".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What a client gets; `length` is for a streamed body of known size, without it the body is chunked."""

    status: int
    headers: Headers = field(default_factory=tuple)
    body: bytes | AsyncIterator[bytes] = b""
    length: int | None = None


Handler = Callable[[Request], Awaitable[Response]]


class WebServer:
    """Listens on one address and calls one handler."""

    def __init__(self, handler: Handler, address: str, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        self._handler = handler
        self._address = address
        self._asked_port = port
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port it listens on; differs from what was asked for when that was 0."""
        if self._server is None:
            return self._asked_port
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        """Begin to listen; a second start after a stop takes the same port again."""
        port = self._asked_port
        self._server = await asyncio.start_server(
            self._accept, self._address, port, ssl=self._tls, limit=_READ_SIZE, reuse_address=True, backlog=256
        )
        self._asked_port = self.port

    async def stop(self) -> None:
        """Close the listener and cut every connection."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        connection = _Connection(reader, writer, self._handler)
        try:
            await connection.serve()
        except (ConnectionError, TimeoutError, ssl.SSLError, HangUpError, h11.RemoteProtocolError) as error:
            _log.debug("connection ended: %r", error)
            writer.transport.abort()
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._connections.discard(task)
            writer.close()
            with suppress(OSError, ssl.SSLError, asyncio.CancelledError):
                await writer.wait_closed()


class _Connection:
    """One client connection: requests one after the other until either side closes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler) -> None:
        self._reader = reader
        self._writer = writer
        self._handler = handler
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD)
        # With CERT_OPTIONAL a certificate that is there was verified against our authority.
        self._identified = bool(writer.get_extra_info("peercert"))

    async def serve(self) -> None:
        """Answer requests until the connection is over."""
        while True:
            try:
                event = await self._next_event()
            except h11.RemoteProtocolError:
                await self._refuse()
                return
            if not isinstance(event, h11.Request):
                return
            request = self._request(event)
            try:
                response = await self._handler(request)
            except h11.RemoteProtocolError:
                await self._refuse()
                return
            except BodyTooLargeError:
                response = Response(status=413, headers=[("connection", "close")])
            await self._send(request, response)
            await self._drain()
            if self._http.our_state is h11.MUST_CLOSE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _next_event(self) -> h11.Event | type[h11.PAUSED] | type[h11.NEED_DATA]:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self._http.they_are_waiting_for_100_continue:
                await self._write(h11.InformationalResponse(status_code=100, headers=[]))
            self._http.receive_data(await self._reader.read(_READ_SIZE))

    def _request(self, event: h11.Request) -> Request:
        target = urlsplit(event.target.decode("latin-1"))
        headers: dict[str, str] = {}
        for raw_name, raw_value in event.headers:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return Request(
            method=event.method.decode("ascii"),
            path=unquote(target.path),
            query=dict(parse_qsl(target.query, keep_blank_values=True)),
            headers=headers,
            identified=self._identified,
            body=self._body(),
        )

    async def _body(self) -> AsyncIterator[bytes]:
        while True:
            event = await self._next_event()
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return
            else:
                raise ConnectionResetError("the client left within its request")

    async def _send(self, request: Request, response: Response) -> None:
        headers = list(response.headers)
        body = response.body
        if isinstance(body, bytes):
            length: int | None = response.length if response.length is not None else len(body)
        else:
            length = response.length
        bodiless = response.status in (204, 304)
        if not bodiless:
            headers.append(("transfer-encoding", "chunked") if length is None else ("content-length", str(length)))
        reason = HTTPStatus(response.status).phrase if response.status in _PHRASES else ""
        await self._write(h11.Response(status_code=response.status, headers=headers, reason=reason))
        if request.method != "HEAD" and not bodiless:
            if isinstance(body, bytes):
                if body:
                    await self._write(h11.Data(data=body))
            else:
                async for chunk in body:
                    await self._write(h11.Data(data=chunk))
        await self._write(h11.EndOfMessage())

    async def _refuse(self) -> None:
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            headers = [("connection", "close"), ("content-length", "0")]
            await self._write(h11.Response(status_code=400, headers=headers, reason="Bad Request"))

    async def _drain(self) -> None:
        """Read what little of the body the handler left, so that the client sees the answer and not a reset."""
        left = _DRAIN_LIMIT
        while self._http.their_state is h11.SEND_BODY and left > 0 and self._http.our_state is not h11.MUST_CLOSE:
            event = await self._next_event()
            if not isinstance(event, h11.Data):
                return
            left -= len(event.data)

    async def _write(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            self._writer.write(data)
            await self._writer.drain()


_PHRASES = frozenset(int(status) for status in HTTPStatus)
