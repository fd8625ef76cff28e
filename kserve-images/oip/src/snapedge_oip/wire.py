"""Answers as bytes of HTTP/1.1."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus

from .responses import Response

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Heads:
    """Status lines and headers; what many answers share is written once for each second, which is its `Date`."""

    __slots__ = ("_date", "_starts")

    def __init__(self) -> None:
        self._starts: dict[tuple[int, bytes, bool], bytes] = {}
        self.tick()

    def tick(self) -> None:
        """Another second begins."""
        self._date = formatdate(usegmt=True).encode()
        self._starts.clear()

    def head(self, response: Response, keep: bool) -> bytes:
        """The head of a response; `keep` says that the connection stays open for another request."""
        key = (response.status, response.content_type, keep)
        start = self._starts.get(key)
        if start is None:
            start = self._starts[key] = self._start(*key)
        if response.headers:
            start += b"".join([b"%b: %b\r\n" % header for header in response.headers])
        size = len(response.body)
        for piece in response.tail:
            size += piece.nbytes
        return b"%bContent-Length: %d\r\n\r\n" % (start, size)

    def _start(self, status: int, content_type: bytes, keep: bool) -> bytes:
        close = b"" if keep else b"Connection: close\r\n"
        line = b"HTTP/1.1 %d %b\r\n" % (status, HTTPStatus(status).phrase.encode())
        return b"%bDate: %b\r\nContent-Type: %b\r\n%b" % (line, self._date, content_type, close)
