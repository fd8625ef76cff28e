"""A large body on its way in: read from the socket to the place where the model will find it.

Through the parser, each of its bytes would be copied three times: out of the transport's buffer, out of the parser's,
and into one piece. The memory is asked for at once and touched as the bytes come, so a client that promises much and
sends little holds little.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .connection import Connection

_ALIGNMENT = 64


class LargeBody(asyncio.BufferedProtocol):
    """Stands between the transport and a connection until the body is whole.

    Attributes:
        size: bytes that have come.
    """

    def __init__(self, connection: Connection, length: int, offset: int) -> None:
        """The body's length, and at which of its bytes tensors begin: these are to lie where numbers may lie."""
        self._connection = connection
        lead = -offset % _ALIGNMENT
        self._view = np.empty(lead + length, np.uint8).data[lead:]
        self._length = length
        self.size = 0

    def add(self, piece: bytes) -> None:
        """A piece that came with the head."""
        end = self.size + len(piece)
        self._view[self.size : end] = piece
        self.size = end

    @property
    def body(self) -> memoryview:
        """All of it."""
        return self._view

    @property
    def is_whole(self) -> bool:
        """Whether nothing more comes."""
        return self.size == self._length

    # What the transport tells.

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # asyncio's signature
        """The place for the next bytes; the next message cannot get into it."""
        return self._view[self.size :]

    def buffer_updated(self, nbytes: int) -> None:
        """So many have come."""
        self.size += nbytes
        self._connection.body_grew(nbytes)

    def eof_received(self) -> bool:
        """The client stops in the middle."""
        return self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection ends in the middle."""
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """The client reads more slowly than it is answered."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._connection.resume_writing()
