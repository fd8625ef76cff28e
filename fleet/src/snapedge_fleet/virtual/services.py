"""The services of a device's snaps: what systemd does for them on a real one.

A service that ends is started again where its restart condition says so, after its restart delay, and is given up when
it was started five times within ten seconds. A service with a timer runs at the timer's moments only.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from . import processes, timers
from .logfile import LogFile
from .snapinfo import App, RestartCondition

_log = logging.getLogger(__name__)

_BURST: Final = 5
_BURST_SECONDS: Final = 10.0
_CLEAN_SIGNALS: Final = (-1, -2, -13, -15)


class Activity(StrEnum):
    """What a service is doing, in systemd's words."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    WAITING = "activating"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSetup:
    """What is needed to run a service: made anew at each start, because revisions and connections move."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path


class Service:
    """One service of one snap."""

    def __init__(
        self,
        name: str,
        app: App,
        setup: Callable[[], ServiceSetup],
        *,
        ledger: processes.Ledger,
        log: LogFile,
        clock: Callable[[], datetime],
    ) -> None:
        self.name = name
        self.app = app
        self.activity = Activity.INACTIVE
        self._setup = setup
        self._ledger = ledger
        self._log = log
        self._clock = clock
        self._loop: asyncio.Task[None] | None = None
        self._program: processes.Program | None = None
        self._starts: deque[float] = deque(maxlen=_BURST)

    @property
    def is_active(self) -> bool:
        """True while it runs, will run again, or waits for its timer."""
        return self._loop is not None and not self._loop.done()

    @property
    def main_pid(self) -> int | None:
        """The process that runs of it now."""
        return None if self._program is None else self._program.pid

    async def start(self) -> None:
        """Starts it; a oneshot without a timer has ended when this returns."""
        if self.is_active:
            return
        self._starts.clear()
        supervise = self._on_timer() if self.app.timer is not None else self._supervise()
        self.activity = Activity.INACTIVE if self.app.timer is not None else Activity.ACTIVE
        self._loop = asyncio.create_task(supervise)
        if self.app.daemon == "oneshot" and self.app.timer is None:
            await asyncio.wait([self._loop])
        else:
            await asyncio.sleep(0)

    async def stop(self) -> None:
        """Stops it, with all that it started."""
        loop, program = self._loop, self._program
        self._loop = None
        if loop is not None:
            loop.cancel()
            await asyncio.gather(loop, return_exceptions=True)
        if program is not None:
            await program.stop(self.app.stop_timeout)
        self._program = None
        self.activity = Activity.INACTIVE

    def kill(self) -> None:
        """Kills what runs of it at once."""
        if self._program is not None:
            self._program.kill()

    async def _supervise(self) -> None:
        while True:
            code = await self._run_once()
            if not _restarts(self.app.restart_condition, code):
                break
            if self._bursts():
                self._log.write("systemd", [f"{self.name}: start request repeated too quickly, giving up"])
                self.activity = Activity.FAILED
                return
            self.activity = Activity.WAITING
            await asyncio.sleep(self.app.restart_delay)
        self.activity = Activity.INACTIVE if code == 0 or code in _CLEAN_SIGNALS else Activity.FAILED

    async def _on_timer(self) -> None:
        assert self.app.timer is not None
        chance = random.Random(self.name)  # noqa: S311 - spreads load, guards nothing
        while True:
            now = self._clock()
            moment = timers.next_after(self.app.timer, now, chance)
            await asyncio.sleep((moment - now).total_seconds())
            code = await self._run_once()
            self.activity = Activity.INACTIVE if code == 0 else Activity.FAILED

    async def _run_once(self) -> int:
        self._starts.append(asyncio.get_running_loop().time())
        self.activity = Activity.ACTIVE
        try:
            setup = self._setup()
            program = await processes.start(
                setup.arguments,
                environment=setup.environment,
                folder=setup.folder,
                ledger=self._ledger,
                log=self._log,
                name=self.name,
            )
        except (processes.ProcessStartError, OSError) as error:
            self._log.write("systemd", [f"{self.name}: {error}"])
            return 203  # systemd's EXIT_EXEC
        self._program = program
        code = await program.wait()
        self._program = None
        self._log.write("systemd", [f"{self.name}: ended with {_words(code)}"])
        return code

    def _bursts(self) -> bool:
        if len(self._starts) < _BURST:
            return False
        return self._starts[-1] - self._starts[0] < _BURST_SECONDS


class Services:
    """All services of a device, by `snap.app`."""

    def __init__(self) -> None:
        self._services: dict[str, Service] = {}

    def put(self, service: Service) -> None:
        """Adds a service that is about to be started."""
        self._services[service.name] = service

    def find(self, name: str) -> Service | None:
        """The service of that name, if it was ever started."""
        return self._services.get(name)

    async def stop(self, names: Iterable[str]) -> None:
        """Stops those services together and forgets them."""
        found = [service for name in names if (service := self._services.pop(name, None)) is not None]
        await asyncio.gather(*(service.stop() for service in found))

    async def stop_all(self) -> None:
        """Stops every service."""
        await self.stop(list(self._services))


def _restarts(condition: RestartCondition, code: int) -> bool:
    clean = code == 0 or code in _CLEAN_SIGNALS
    if condition is RestartCondition.ALWAYS:
        return True
    if condition is RestartCondition.ON_SUCCESS:
        return clean
    if condition is RestartCondition.ON_FAILURE:
        return not clean
    if condition in (RestartCondition.ON_ABNORMAL, RestartCondition.ON_ABORT):
        return code < 0 and not clean
    return False


def _words(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"status {code}"
