"""What all connections share: limits, the clock, and the way to an end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from .batching import Asked, Batches
from .connection import Connection
from .knownheads import KnownHeads
from .limits import Limits
from .pool import Job, Pool
from .responses import Response
from .service import Service, Work
from .wire import Heads

_TICK = 1.0


class Front:
    """The connections of one server.

    Attributes:
        buffered: bytes of bodies held at the moment.
        draining: whether every answer closes its connection.
        batches: requests that wait for others.
        heads: of answers.
        known: heads of requests that came before.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, service: Service, pool: Pool, limits: Limits) -> None:
        self.loop = loop
        self.service = service
        self.pool = pool
        self.limits = limits
        self.buffered = 0
        self.draining = False
        self.batches = Batches(loop, pool)
        self.heads = Heads()
        self.known = KnownHeads()
        self._connections: set[Connection] = set()
        self._empty: asyncio.Event = asyncio.Event()
        self._empty.set()
        self._timer = loop.call_later(_TICK, self._tick)

    def admit(self, connection: Connection) -> bool:
        """Counts a connection in; an idle one makes room if there are too many. False if all are busy."""
        full = len(self._connections) >= self.limits.max_connections
        self._connections.add(connection)
        self._empty.clear()
        if full:
            idle = [other for other in self._connections if other.is_idle and other is not connection]
            if not idle:
                return False
            oldest = min(idle, key=lambda other: other.idle_since)
            oldest.close()
        return True

    def begin(self, work: Work | Asked, done: Callable[[Response], None]) -> Job[Response]:
        """Has some work done elsewhere; `done` is called on the event loop.

        Raises:
            BusyError: too much is in flight.
        """
        return self.batches.submit(work, done) if isinstance(work, Asked) else self.pool.submit(work, done)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    def forget(self, connection: Connection) -> None:
        """Counts a connection out."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def drain(self) -> None:
        """Makes the server not ready, and each further answer the last of its connection."""
        self.draining = True
        self.service.draining = True

    async def finish(self, patience: float) -> int:
        """Lets what is in flight end, cuts what does not within `patience` seconds, and says how many that were."""
        for connection in list(self._connections):
            if connection.is_idle:
                connection.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), patience)
        left = list(self._connections)
        for connection in left:
            connection.abort()
        self._timer.cancel()
        return len(left)

    def _tick(self) -> None:
        self._timer = self.loop.call_later(_TICK, self._tick)
        self.heads.tick()
        now = self.loop.time()
        for connection in list(self._connections):
            connection.check_time(now)
