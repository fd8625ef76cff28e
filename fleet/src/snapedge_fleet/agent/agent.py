"""The agent's loop: ask, converge, report, and again.

It survives the server being away (the last wish is remembered), snapd being away (it tries again), and a full disk (it
says so and tries again). It ends only when told, or when it may not speak for the device.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snapedge_fleet.errors import IdentityError, ServerAwayError, SnapdAwayError, SnapdSlowError
from snapedge_fleet.snapd import InstalledSnap, Snapd
from snapedge_hooks.document import canonical_json
from snapedge_hooks.vocabulary import Architecture

from . import executor, observation, plan
from .download import Downloads
from .executor import Clock, Executor, Outcome
from .headquarters import Headquarters
from .memory import MemoryFile
from .plan import Desired
from .secrets import read_secret, write_secret

_log = logging.getLogger(__name__)
_FIRST_BACKOFF = 1.0
_ATTENTION_SECONDS = 2.0
_NEUTRAL_INTERVAL = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSetup:
    """Where an agent works.

    Attributes:
        interval: the longest time between two questions, in seconds; None leaves it to the server.
    """

    device: str
    server: str
    token_file: Path
    snapd_socket: Path
    state_dir: Path
    architecture: Architecture
    claim_file: Path | None = None
    ca_file: Path | None = None
    interval: float | None = None


class Agent:
    """One device's agent.

    Args:
        setup: where it works.
        now: seconds that only grow.
        wait: passes time; returns early when the agent is to stop.
        chance: a number from 0 to 1, for jitter.
    """

    def __init__(
        self,
        setup: AgentSetup,
        *,
        now: Callable[[], float],
        wait: Callable[[float], None],
        chance: Callable[[], float],
    ) -> None:
        self._setup = setup
        self._now = now
        self._wait = wait
        self._chance = chance
        self._file = MemoryFile(setup.state_dir)
        self._memory = self._file.load()
        self._headquarters = Headquarters(setup.server, setup.device, self._memory.agent, ca_file=setup.ca_file)
        self._snapd = Snapd(setup.snapd_socket)
        self._downloads = Downloads(setup.state_dir / "downloads", self._headquarters)
        self._executor = Executor(self._snapd, self._downloads, self._memory, self._file, Clock(now=now, wait=wait))
        self._is_enrolled = False
        self._interval = _NEUTRAL_INTERVAL
        self._failures = 0
        self._due = now()
        self._note = ""

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop.

        Raises:
            AgentRunningError: another agent uses the state folder.
            TwoAgentsError: another agent speaks for the device.
            IdentityError: the device's token is missing or refused.
            DataFolderError: the state folder cannot be written.
        """
        with self._file.alone():
            while not stop.is_set():
                self._wait(self.cycle())

    def cycle(self) -> float:
        """One round; seconds until the next one.

        Raises:
            TwoAgentsError, IdentityError, ServerRefusalError: it may not speak for the device.
            DataFolderError: the state folder cannot be written.
        """
        if self._now() >= self._due:
            self._ask()
        is_settled = self._converge_and_report()
        pause = max(0.0, self._due - self._now())
        return pause if is_settled else min(pause, _ATTENTION_SECONDS)

    def close(self) -> None:
        """Close the connections."""
        self._headquarters.close()
        self._snapd.close()

    def _ask(self) -> None:
        try:
            self._enrol()
            answer = self._headquarters.ask(self._memory.etag)
        except ServerAwayError as error:
            self._back_off(error)
            return
        self._failures = 0
        if answer.interval is not None:
            self._interval = answer.interval
        self._schedule()
        if answer.document is None:
            return
        try:
            desired = Desired.parse(answer.document)
        except (KeyError, ValueError, TypeError) as error:
            _log.error("the server's wish cannot be read, the last one stays: %s", error)
            self._note = f"the server's wish cannot be read: {error}"
            return
        self._note = ""
        self._memory.desired = answer.document
        self._memory.etag = answer.etag
        executor.forget_refusals(self._memory, desired)
        self._file.save(self._memory)

    def _converge_and_report(self) -> bool:
        desired = Desired.parse(self._memory.desired)
        outcome = Outcome()
        installed: dict[str, InstalledSnap | None] = {}
        try:
            self._executor.finish_pending()
            actions = plan.decide(desired, self._installed(desired), self._memory)
            outcome = self._executor.run(desired, actions)
            installed = self._installed(desired)
        except (SnapdAwayError, SnapdSlowError) as error:
            _log.warning("%s", error)
            self._report(self._memory.snaps, error.brief)
            return False
        documents = observation.snap_documents(desired, installed, self._memory, outcome.trouble)
        confirmed = {
            one["snap"]: known.active
            for one in documents
            if one["outcome"] == "confirmed" and (known := installed.get(one["snap"])) is not None
        }
        executor.mark_confirmed(self._memory, confirmed)
        self._report(documents, "; ".join(part for part in (self._note, *outcome.notes) if part))
        if not any(one["outcome"] in ("waiting", "working") for one in documents):
            self._downloads.prune(plan.kept_files(desired, self._memory))
            return True
        return False

    def _installed(self, desired: Desired) -> dict[str, InstalledSnap | None]:
        names = {*self._memory.origins, *(str(one.file.snap) for one in desired.snaps), *desired.absent}
        return {name: self._snapd.snap(name) for name in sorted(names)}

    def _report(self, documents: list[dict[str, Any]], note: str) -> None:
        """Tell the server, where there is something it does not know."""
        if not self._is_enrolled:
            return
        content = {"format": 1, "etag": self._memory.etag, "snaps": documents, "note": note}
        digest = hashlib.sha256(canonical_json(content)).hexdigest()
        if digest == self._memory.reported:
            return
        self._memory.sequence += 1
        self._memory.snaps = documents
        self._file.save(self._memory)
        try:
            self._headquarters.report({**content, "sequence": self._memory.sequence})
        except ServerAwayError as error:
            self._back_off(error)
            return
        self._memory.reported = digest
        self._file.save(self._memory)

    def _enrol(self) -> None:
        if self._is_enrolled:
            return
        path = self._setup.token_file
        if path.exists():
            token = read_secret(path, "--token-file")
        elif self._setup.claim_file is not None:
            claim = read_secret(self._setup.claim_file, "--claim-token-file")
            token = self._headquarters.enrol(claim, str(self._setup.architecture))
            write_secret(path, token)
            _log.info("enrolled as %s", self._setup.device)
        else:
            raise IdentityError(
                f"device {self._setup.device} has no token in {path}",
                resolution="name the claim word's file: --claim-token-file",
            )
        self._headquarters.use_token(token)
        self._is_enrolled = True

    def _schedule(self) -> None:
        """Ask once in each interval on average, at any moment of a whole one: a fleet switched on at once spreads."""
        length = self._interval if self._setup.interval is None else min(self._interval, self._setup.interval)
        self._due = self._now() + length * (0.5 + self._chance())

    def _back_off(self, error: ServerAwayError) -> None:
        self._failures += 1
        if self._failures == 1:
            _log.warning("%s", error)
        pause: float = min(_FIRST_BACKOFF * 2 ** min(self._failures - 1, 20), self._interval)
        pause *= 0.5 + self._chance() / 2
        if error.retry_after is not None:
            pause = error.retry_after * (1 + self._chance())
        self._due = self._now() + pause
