"""One client's connection: HTTP/1.1 in, answers out in the order of the requests.

Rules:

1. Requests that are answered on the event loop are answered at once; behind one that a worker computes, the others
   wait, and beyond a few of them nothing more is read.
2. A request that breaks a limit is answered as soon as that is known; then nothing more of the connection is believed,
   but what still comes is read for a moment, since closing on unread bytes would take the answer away from the client.
3. A client that does not read its answers is not read from either.
4. While the server drains, every answer closes its connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

import httptools

from . import service, wire
from .errors import BusyError
from .knownheads import END, KnownHead
from .largebody import LargeBody
from .limits import LEAST_RATE, LINGER, PIPELINED
from .pool import Job
from .responses import Response, failure
from .service import Request

if TYPE_CHECKING:
    from .front import Front

_TOGETHER = 64 * 1024
"""Bytes of a body up to which copying it behind its head is cheaper than a write of two pieces."""

_WANTED = service.HEADERS | {b"connection", b"content-length", b"expect"}


class Connection(asyncio.Protocol):
    """The transport's half of the server; what an answer says is `Service`'s."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._now = front.loop.time
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[Request | Response, bool]] = deque()
        self._job: Job[Response] | None = None
        self._job_keep = False
        self._held = 0  # bytes of bodies that this connection makes the server hold
        self._receiving = False  # between the first byte of a request and its last
        self._refusal: Response | None = None  # found in the middle of a request
        self._closing = False  # nothing more is answered
        self._eof = False  # the client sends nothing more
        self._paused_since: float | None = None  # the client does not read
        self._broken = False  # a refusal is on its way, nothing more is believed
        self._large: LargeBody | None = None  # where the body of this request is going
        self._complete: KnownHead | None = None  # of the first message of this read
        self._measuring = False  # whether heads can be too long for one read
        self._begin(b"")
        self._receiving = False

    def _begin(self, target: bytes) -> None:
        """A request begins: what is known of the one before is forgotten."""
        self._receiving = True
        self._target = target
        self._headers: dict[bytes, bytes] = {}
        self._body: bytes | list[bytes] = b""
        self._size = 0
        self._head_size = 0
        self._head_done = False
        self._since = self._now()

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes the connection, or refuses it where there are too many busy ones."""
        self._transport = cast("asyncio.Transport", transport)
        if not self._front.admit(self):
            self._refuse(failure("too many connections", HTTPStatus.SERVICE_UNAVAILABLE, service.RETRY))

    def data_received(self, data: bytes) -> None:
        """Feeds the parser, which calls the `on_` methods below."""
        front = self._front
        if self.is_idle and not self._broken:
            end = data.find(END) + len(END)
            known = front.known.get(data[:end])
            size = len(data) - end
            if known is not None and known.length == size and front.buffered + size <= front.limits.max_buffered:
                self._held += size
                front.buffered += size
                self._take(Request(known.method, known.target, known.headers, data[end:]), known.keep)
                return
        if self._closing or self._broken:
            return
        begins = not self._receiving
        if not self._parse(data):
            return
        if self._large is not None:
            self._give_way(self._large)
        elif begins and self._complete is not None and not self._receiving:
            front.known.learn(data, self._complete)

    def _parse(self, data: bytes) -> bool:
        """Feeds the parser; False where that ends the connection."""
        limit = self._front.limits.max_header
        self._complete = None
        # A head that comes in several reads counts by reads, one that comes in a long read by its parts.
        split = self._receiving and not self._head_done
        self._measuring = not split and len(data) > limit
        if split:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # No protocol but ours is spoken here: the request is answered, what follows it cannot be understood.
            self._end_after_answers()
            return False
        except httptools.HttpParserError as error:
            if self._refusal is None and not self._closing:
                self._refusal = failure(f"the request is not HTTP/1.1: {error}", HTTPStatus.BAD_REQUEST)
        if self._receiving and not self._head_done and self._head_size > limit and self._refusal is None:
            self._refusal = self._head_too_long()
        if self._refusal is not None and not self._closing:
            self._break(self._refusal)
        return not (self._closing or self._broken)

    def eof_received(self) -> bool:
        """Keeps a half-closed connection for the answers that it still waits for."""
        self._eof = True
        return self._job is not None or bool(self._waiting) or self._paused_since is not None

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """Forgets the client; what a worker has not begun for it is not begun."""
        if self._job is not None:
            self._job.abandoned = True
        self._closing = True
        self._waiting.clear()
        # The parser holds this object, which holds the parser: without this only the collector would end them.
        del self._parser
        self._large = None
        self._front.forget(self)
        self._release(self._held)

    def pause_writing(self) -> None:
        """The client reads more slowly than it is answered."""
        self._paused_since = self._front.loop.time()
        self._listen()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._paused_since = None
        self._continue()

    # What the parser tells.

    def on_url(self, url: bytes) -> None:
        """A piece of the request's target."""
        if self._receiving:
            self._target += url
        else:
            self._begin(url)
        if self._measuring:
            self._head_size += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; those that make no difference are passed over."""
        if self._measuring:
            self._head_size += len(name) + len(value)
        name = name.lower()
        if name in _WANTED:  # few are
            held = self._headers.get(name)
            self._headers[name] = value if held is None else held + b"," + value

    def on_headers_complete(self) -> None:
        """The body may come; it is refused here where its length says enough."""
        self._head_done = True
        if self._head_size > self._front.limits.max_header:
            self._refusal = self._refusal or self._head_too_long()
            return
        headers = self._headers
        if not headers:
            return
        length = headers.pop(b"content-length", None)
        if length is not None and length.isdigit() and int(length[:18]) > self._front.limits.max_body:
            self._refusal = self._refusal or self._body_too_long()
            return
        if length is not None and length.isdigit() and int(length) >= self._front.limits.large_body:
            tensors = headers.get(service.HEADER_LENGTH, b"")
            self._large = LargeBody(self, int(length), int(tensors[:18]) if tensors.isdigit() else 0)
        if not headers:
            return
        expected = headers.pop(b"expect", None)
        if expected is not None and expected.lower() == b"100-continue" and self._job is None and not self._waiting:
            self._write(wire.CONTINUE)

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._refusal is not None or self._closing:
            return
        size = len(body)
        self._size += size
        self._held += size
        self._front.buffered += size
        if self._size > self._front.limits.max_body:
            self._refusal = self._body_too_long()
        elif self._front.buffered > self._front.limits.max_buffered:
            self._refusal = self._too_much()
        elif self._large is not None:
            self._large.add(body)
        elif not self._body:
            self._body = body
        elif isinstance(self._body, bytes):
            self._body = [self._body, body]
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._refusal is not None or self._closing:
            return
        self._receiving = False
        body: bytes | memoryview
        if self._large is not None:
            body, self._large = self._large.body, None
        else:
            body = b"".join(self._body) if isinstance(self._body, list) else self._body
        self._body = b""
        parser = self._parser
        headers = self._headers
        keep = parser.should_keep_alive()
        if headers and keep and headers.pop(b"connection", None) is not None:
            # Only with that header does HTTP/1.0 keep connections, and then it wants to be told; it is not worth it.
            keep = parser.get_http_version() == "1.1"
        request = Request(parser.get_method(), self._target, headers, body)
        if self._complete is None:
            self._complete = KnownHead(request.method, request.target, headers, self._size, keep)
        if self._job is None and not self._waiting and self._paused_since is None:
            self._take(request, keep)
        else:
            self._enqueue(request, keep)

    # What a large body tells, which reads for itself.

    def _give_way(self, reader: asyncio.BaseProtocol) -> None:
        """Lets something else read from the transport, or this connection again."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            # The transport chooses how to read when it begins to.
            transport.pause_reading()
            transport.set_protocol(reader)
            self._listen()

    def body_grew(self, size: int) -> None:
        """So many bytes have come."""
        front = self._front
        self._size += size
        self._held += size
        front.buffered += size
        assert self._large is not None
        if self._closing:
            return
        if front.buffered > front.limits.max_buffered:
            self._break(self._too_much())
        elif self._large.is_whole:
            self._give_way(self)
            self.on_message_complete()
            # The old one waits for a body that it will not see.
            self._parser = httptools.HttpRequestParser(self)

    # What the front asks.

    @property
    def is_idle(self) -> bool:
        """Whether nothing is asked here at the moment."""
        return not (self._receiving or self._job or self._waiting or self._closing or self._paused_since is not None)

    @property
    def idle_since(self) -> float:
        """The event loop's time at which the last answer left, or the connection came."""
        return self._since

    def close(self) -> None:
        """Ends an idle connection."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Ends the connection, whatever it is in."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    def check_time(self, now: float) -> None:
        """Ends what takes too long."""
        limits = self._front.limits
        age = now - self._since
        if self._paused_since is not None:
            if now - self._paused_since > limits.request_timeout:
                self.abort()
        elif self._closing:
            if age > LINGER:
                self.abort()
        elif self._receiving:
            if age > limits.request_timeout + self._size / LEAST_RATE:
                self._break(failure("the request took too long to arrive", HTTPStatus.REQUEST_TIMEOUT))
        elif self.is_idle and age > limits.idle_timeout:
            self.close()

    # From request to answer.

    def _enqueue(self, item: Request | Response, keep: bool) -> None:
        if self._job is None and not self._waiting and self._paused_since is None:
            self._take(item, keep)
        else:
            self._waiting.append((item, keep))
            self._listen()

    def _break(self, response: Response) -> None:
        """Answers what cannot be believed, in its turn, and believes nothing more."""
        self._broken = True
        if self._receiving:
            self._receiving = False
            self._body = b""
            self._release(self._size)
        if self._large is not None:
            self._large = None
            self._give_way(self)
        self._enqueue(response, False)

    def _take(self, item: Request | Response, keep: bool) -> None:
        if isinstance(item, Response):
            self._refuse(item)
            return
        answer = self._front.service.answer(item)
        if isinstance(answer, Response):
            self._send(item, answer, keep)
            return
        try:
            self._job = self._front.begin(answer, partial(self._computed, item))
            self._job_keep = keep
        except BusyError as error:
            self._send(item, failure(str(error), HTTPStatus.SERVICE_UNAVAILABLE, service.RETRY), keep)

    def _computed(self, request: Request, response: Response) -> None:
        self._job = None
        self._send(request, response, self._job_keep)
        self._continue()

    def _continue(self) -> None:
        while self._waiting and self._job is None and self._paused_since is None and not self._closing:
            self._take(*self._waiting.popleft())
        if self._eof and not self._waiting and self._job is None and self._transport is not None:
            self._transport.close()
        self._listen()

    def _listen(self) -> None:
        """Reads on, or does not, as the rules say."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._paused_since is not None or len(self._waiting) >= PIPELINED:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _send(self, request: Request, response: Response, keep: bool) -> None:
        front = self._front
        size = len(request.body)
        self._held -= size
        front.buffered -= size
        if front.draining and not self._waiting:
            keep = False
        head = front.heads.head(response, keep)
        transport = self._transport
        assert transport is not None
        if not transport.is_closing():
            if request.method == b"HEAD":
                transport.write(head)
            elif len(response.body) <= _TOGETHER and not response.tail:
                transport.write(head + response.body)
            else:
                transport.writelines((head, response.body, *response.tail))
        self._since = self._now()
        if not keep:
            self._closing = True
            transport.close()

    def _refuse(self, response: Response) -> None:
        self._write(self._front.heads.head(response, False) + response.body)
        self._closing = True
        self._receiving = False
        self._since = self._now()
        if self._transport is not None and self._transport.can_write_eof():
            self._transport.write_eof()

    def _end_after_answers(self) -> None:
        self._eof = True
        if self._job is None and not self._waiting and self._transport is not None:
            self._closing = True
            self._transport.close()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _release(self, size: int) -> None:
        self._held -= size
        self._front.buffered -= size

    def _too_much(self) -> Response:
        return failure("too much is being sent", HTTPStatus.SERVICE_UNAVAILABLE, service.RETRY)

    def _head_too_long(self) -> Response:
        message = f"the request line and headers are longer than {self._front.limits.max_header} bytes"
        return failure(message, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def _body_too_long(self) -> Response:
        message = f"the body is longer than {self._front.limits.max_body} bytes"
        return failure(message, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
