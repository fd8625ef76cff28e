"""Answers as bytes of HTTP/1.1."""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus

from .responses import Response

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def head(response: Response, date: bytes, *, keep: bool) -> bytes:
    """The status line and headers of a response.

    Args:
        response: what is answered.
        date: the `Date` header's value.
        keep: whether the connection stays open for another request.
    """
    start = _start(response.status, response.content_type, keep)
    further = b"".join([b"%b: %b\r\n" % header for header in response.headers]) if response.headers else b""
    return b"%b%bDate: %b\r\nContent-Length: %d\r\n\r\n" % (start, further, date, len(response.body))


@lru_cache(maxsize=64)
def _start(status: int, content_type: bytes, keep: bool) -> bytes:
    close = b"" if keep else b"Connection: close\r\n"
    phrase = HTTPStatus(status).phrase.encode()
    return b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\n%b" % (status, phrase, content_type, close)
