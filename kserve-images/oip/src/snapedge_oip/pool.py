"""Worker threads for what would keep the event loop waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar

from .errors import BusyError

T = TypeVar("T")


class Job(Generic[T]):
    """Work on its way through the pool.

    Attributes:
        abandoned: nobody waits for it any more; it is not begun if it was not yet.
        count: requests it is for.
    """

    __slots__ = ("abandoned", "count", "done", "work")

    def __init__(self, work: Callable[[], T], done: Callable[[T], None], count: int = 1) -> None:
        self.work = work
        self.count = count
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
        self._queue: SimpleQueue[Job[Any]] = SimpleQueue()
        self._threads: list[Thread] = []
        self.in_flight = 0

    def submit(self, work: Callable[[], T], done: Callable[[T], None]) -> Job[T]:
        """Queues work; `done` is called on the event loop.

        Raises:
            BusyError: the queue is full.
        """
        self.hold()
        return self.run_held(work, done, 1)

    def hold(self) -> None:
        """Counts a request in that will be run later.

        Raises:
            BusyError: the queue is full.
        """
        if self.in_flight >= self._limit:
            raise BusyError(f"{self._limit} requests are in flight already")
        self.in_flight += 1

    def release(self, count: int) -> None:
        """Counts so many requests out that will not be run."""
        self.in_flight -= count

    def run_held(self, work: Callable[[], T], done: Callable[[T], None], count: int) -> Job[T]:
        """Queues the work of so many requests that were counted in."""
        if self.in_flight > len(self._threads) < self._workers:
            thread = Thread(target=self._run, name=f"inference-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        job = Job(work, done, count)
        self._queue.put(job)
        return job

    def _run(self) -> None:
        while True:
            job = self._queue.get()
            result = None if job.abandoned else job.work()
            self._loop.call_soon_threadsafe(self._finish, job, result)
            # The frame must not keep the last request's arrays alive until the next one comes.
            del job, result

    def _finish(self, job: Job[Any], result: Any) -> None:
        self.in_flight -= job.count
        if result is not None and not job.abandoned:
            job.done(result)
