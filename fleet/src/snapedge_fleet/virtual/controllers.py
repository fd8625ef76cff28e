"""How a controller of the virtual cluster waits and works: on changes, one object at a time, never by polling."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from .objects import Change, ObjectStore

_log = logging.getLogger(__name__)

Name = tuple[str, str]
"""Namespace and name of what is reconciled."""


def watched(work: Coroutine[Any, Any, None], what: str) -> asyncio.Task[None]:
    """A task whose failure, which would be a defect of ours, is logged when it happens and not when it is awaited."""

    def tell(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("%s of the virtual cluster failed", what, exc_info=error)

    task = asyncio.create_task(work)
    task.add_done_callback(tell)
    return task


class Controller:
    """Calls `reconcile(namespace, name)` for every object that `affected` finds in a change.

    Changes that come while one is being handled are merged: an object waits in the queue once. `reconcile` looks at the
    store and makes it a step more as it should be; it may run at any time and any number of times.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        affected: Callable[[Change], list[Name]],
        reconcile: Callable[[str, str], None],
    ) -> None:
        self._store = store
        self._affected = affected
        self._reconcile = reconcile
        self._queue: dict[Name, None] = {}
        self._wake = asyncio.Event()
        self._timers: dict[Name, asyncio.TimerHandle] = {}
        self._task: asyncio.Task[None] | None = None
        self._deafen: Callable[[], None] | None = None

    async def start(self) -> None:
        """Listen to the store and work."""
        self._deafen = self._store.listen(self._hear)
        self._task = watched(self._work(), "a controller")

    async def stop(self) -> None:
        """Stop; what is queued is found again at the next start."""
        if self._deafen is not None:
            self._deafen()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def enqueue(self, name: Name) -> None:
        """Reconcile this object soon."""
        self._queue[name] = None
        self._wake.set()

    def enqueue_after(self, name: Name, seconds: float) -> None:
        """Reconcile this object in so many seconds; a later call replaces an earlier one."""
        if name in self._timers:
            self._timers[name].cancel()
        self._timers[name] = asyncio.get_running_loop().call_later(seconds, self._ring, name)

    def _ring(self, name: Name) -> None:
        self._timers.pop(name, None)
        self.enqueue(name)

    def _hear(self, change: Change) -> None:
        for name in self._affected(change):
            self.enqueue(name)

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                name = next(iter(self._queue))
                del self._queue[name]
                self._reconcile(*name)
                # Others get their turn between two objects: the API keeps answering.
                await asyncio.sleep(0)
