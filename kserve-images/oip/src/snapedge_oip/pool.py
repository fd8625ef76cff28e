"""Worker threads for what would keep the event loop waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread

from .errors import BusyError
from .responses import Response
from .service import Work


class Job:
    """Work on its way through the pool.

    Attributes:
        abandoned: nobody waits for it any more; it is not begun if it was not yet.
    """

    __slots__ = ("abandoned", "done", "work")

    def __init__(self, work: Work, done: Callable[[Response], None]) -> None:
        self.work = work
        self.done = done
        self.abandoned = False


class Pool:
    """A few threads and a bounded queue.

    The threads are daemons: a stuck inference cannot keep the process from ending.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, workers: int, limit: int) -> None:
        self._loop = loop
        self._workers = workers
        self._limit = limit
        self._queue: SimpleQueue[Job] = SimpleQueue()
        self._threads: list[Thread] = []
        self.in_flight = 0

    def submit(self, work: Work, done: Callable[[Response], None]) -> Job:
        """Queues work; `done` is called on the event loop.

        Raises:
            BusyError: the queue is full.
        """
        if self.in_flight >= self._limit:
            raise BusyError(f"{self._limit} requests are in flight already")
        self.in_flight += 1
        if self.in_flight > len(self._threads) < self._workers:
            thread = Thread(target=self._run, name=f"inference-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        job = Job(work, done)
        self._queue.put(job)
        return job

    def _run(self) -> None:
        while True:
            job = self._queue.get()
            response = None if job.abandoned else job.work()
            self._loop.call_soon_threadsafe(self._finish, job, response)
            # The frame must not keep the last request's arrays alive until the next one comes.
            del job, response

    def _finish(self, job: Job, response: Response | None) -> None:
        self.in_flight -= 1
        if response is not None and not job.abandoned:
            job.done(response)
