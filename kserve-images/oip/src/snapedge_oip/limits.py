"""What one client, and all of them together, may take of the server."""

from __future__ import annotations

from dataclasses import dataclass

from .settings import Settings

LEAST_RATE = 16 * 1024
"""Bytes a second below which a body counts as slow, once the time for the request itself is over."""

LINGER = 2.0
"""Seconds in which a client whose request was refused half-way can read why, before the connection is cut."""

LARGE_BODY = 64 * 1024
"""Bytes of a body from which it pays to read it to where it stays."""

PIPELINED = 16
"""Requests waiting behind one that is computed, at which no more is read from a connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Times are seconds, sizes are bytes.

    Attributes:
        max_body: of one request.
        max_header: of one request line with its headers.
        max_buffered: of all bodies held at a time, arriving, waiting or computed.
        max_connections: at a time.
        idle_timeout: without a request.
        request_timeout: for a request to arrive, plus the time its bytes take at `LEAST_RATE`; also for a client to
            read on.
        large_body: a body of so many bytes is read to where it stays.
    """

    max_body: int
    max_header: int
    max_buffered: int
    max_connections: int
    idle_timeout: float
    request_timeout: float
    large_body: int = LARGE_BODY

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """The limits in a server's settings."""
        return cls(
            max_body=settings.max_body,
            max_header=settings.max_header,
            max_buffered=2 * settings.max_body,
            max_connections=settings.max_connections,
            idle_timeout=settings.idle_timeout,
            request_timeout=settings.request_timeout,
        )
