"""Carries the agent's plan out: fetch, order snapd, watch the change, remember what came of it.

Every step may be interrupted: what was ordered is written down before it is watched, files are whole or not there.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from snapedge_fleet.errors import DownloadError, ServerAwayError, SnapdRefusedError, SnapdSlowError
from snapedge_fleet.snapd import Change, Snapd

from . import plan
from .download import Downloads, NoRoomError
from .memory import Memory, MemoryFile, Pending, Refusal
from .plan import ActionKind, AgentAction, Desired, Wanted

_log = logging.getLogger(__name__)
_CHANGE_SECONDS = 1_500.0
_PLUG, _SLOT_SNAP, _SLOT = "mk8s", "microk8s", "microk8s"
_BUSY_KINDS = frozenset({"snap-change-conflict"})
_HOOK_LINE = re.compile(r"snapedge [a-z-]+: (?P<code>[a-z]+(?:-[a-z]+)+): (?P<text>.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Time and waiting, as the agent sees them."""

    now: Callable[[], float]
    wait: Callable[[float], None]


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What one round met: for a snap, code and message of what keeps it waiting; and what else there is to say."""

    trouble: dict[str, tuple[str, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Executor:
    """Does actions on one device."""

    def __init__(
        self, snapd: Snapd, downloads: Downloads, memory: Memory, memory_file: MemoryFile, clock: Clock
    ) -> None:
        self._snapd = snapd
        self._downloads = downloads
        self._memory = memory
        self._file = memory_file
        self._clock = clock

    def finish_pending(self) -> None:
        """See a change to its end that an earlier run asked for.

        Raises:
            SnapdAwayError: snapd does not answer.
            SnapdSlowError: it is not done yet.
        """
        pending = self._memory.pending
        if pending is None:
            return
        try:
            change = self._watch(pending.change, pending.snap)
        except SnapdRefusedError as error:
            _log.warning("change %s is gone: %s", pending.change, error)
            self._memory.pending = None
            self._file.save(self._memory)
            return
        self._settle(pending, change)

    def run(self, desired: Desired, actions: list[AgentAction]) -> Outcome:
        """Do the actions in order, as far as they go.

        Raises:
            SnapdAwayError: snapd does not answer.
        """
        outcome = Outcome()
        stuck = ""
        for action in actions:
            _log.debug("%s %s: %s", action.kind.value, action.snap, action.reason)
            if action.kind is ActionKind.SKIP:
                continue
            if stuck:
                outcome.trouble[action.snap] = ("", f"waits for {stuck}")
                continue
            _log.info("%s %s: %s", action.kind.value, action.snap, action.reason)
            if not self._do(action, outcome):
                stuck = action.snap
        if not desired.held:
            self._hold(desired, outcome)
            self._connect(desired, outcome)
        return outcome

    def _do(self, action: AgentAction, outcome: Outcome) -> bool:
        try:
            if action.kind is ActionKind.REMOVE:
                return self._remove(action.snap)
            assert action.wanted is not None, "installs and reverts have a file"
            return self._put(action, action.wanted)
        except NoRoomError as error:
            outcome.trouble[action.snap] = ("no-room", error.brief)
        except DownloadError as error:
            if error.is_final and action.wanted is not None:
                self._refuse(action.wanted, "download-failed", error.brief, error.resolution)
            else:
                outcome.trouble[action.snap] = ("download-broken", error.brief)
        except ServerAwayError as error:
            outcome.trouble[action.snap] = ("server-away", error.brief)
        except SnapdSlowError as error:
            outcome.trouble[action.snap] = ("snapd-slow", error.brief)
        except SnapdRefusedError as error:
            if error.kind in _BUSY_KINDS or action.wanted is None:
                outcome.trouble[action.snap] = ("snapd-busy", error.brief)
            else:
                self._refuse(action.wanted, "snapd-refused", error.message, error.kind)
        return False

    def _put(self, action: AgentAction, wanted: Wanted) -> bool:
        name = action.snap
        if action.kind is ActionKind.REVERT:
            change = self._snapd.revert(name, action.target)
        else:
            path, came = self._downloads.fetch(wanted.file, wanted.path)
            self._memory.downloaded[name] = self._memory.downloaded.get(name, 0) + came
            change = self._snapd.sideload(name, path, shown_as=f"{name}_{wanted.file.version}.snap")
        pending = Pending(change=change, snap=name, origin=wanted.origin, rollouts=wanted.rollouts)
        self._memory.pending = pending
        self._file.save(self._memory)
        return self._settle(pending, self._watch(change, f"{action.kind.value} {name}"))

    def _settle(self, pending: Pending, change: Change) -> bool:
        self._memory.pending = None
        if not change.is_done:
            _log.warning("%s %s failed: %s", pending.snap, pending.origin.version, change.error)
            self._memory.refusals[pending.snap] = _refusal(pending, change)
            self._file.save(self._memory)
            return False
        installed = self._snapd.snap(pending.snap)
        if installed is not None:
            known = self._memory.origins.setdefault(pending.snap, {})
            was = known.get(installed.active)
            is_confirmed = was is not None and was.is_confirmed and was.sha3_384 == pending.origin.sha3_384
            known[installed.active] = replace(pending.origin, is_confirmed=is_confirmed)
            for revision in set(known) - set(installed.revisions):
                del known[revision]
        self._memory.refusals.pop(pending.snap, None)
        self._file.save(self._memory)
        return True

    def _remove(self, name: str) -> bool:
        change = self._watch(self._snapd.remove(name), f"remove {name}")
        if change.is_done:
            self._memory.origins.pop(name, None)
            self._memory.refusals.pop(name, None)
            self._file.save(self._memory)
        return change.is_done

    def _hold(self, desired: Desired, outcome: Outcome) -> None:
        """Only the fleet refreshes what the fleet brought."""
        for name in (str(wanted.file.snap) for wanted in desired.snaps):
            installed = self._snapd.snap(name) if name in self._memory.origins else None
            if installed is None or installed.is_held:
                continue
            try:
                change = self._watch(self._snapd.hold(name), f"hold {name}")
            except (SnapdRefusedError, SnapdSlowError) as error:
                outcome.notes.append(error.brief)
                continue
            if not change.is_done:
                outcome.notes.append(f"{name} is not held: {change.error}")

    def _connect(self, desired: Desired, outcome: Outcome) -> None:
        for wanted in desired.snaps:
            name = str(wanted.file.snap)
            if name in outcome.trouble or name not in self._memory.origins:
                continue
            if not self._snapd.has_open_plug(name, _PLUG):
                continue
            _log.info("connect %s:%s", name, _PLUG)
            try:
                change = self._watch(self._snapd.connect(name, _PLUG, _SLOT_SNAP, _SLOT), f"connect {name}:{_PLUG}")
            except (SnapdRefusedError, SnapdSlowError) as error:
                outcome.trouble[name] = ("no-slot", error.brief)
                continue
            if not change.is_done:
                outcome.trouble[name] = ("no-slot", change.error)

    def _refuse(self, wanted: Wanted, code: str, message: str, details: str) -> None:
        self._memory.refusals[wanted.file.snap] = Refusal(
            revision=int(wanted.file.revision), rollouts=wanted.rollouts, code=code, message=message, details=details
        )
        self._file.save(self._memory)

    def _watch(self, change: str, what: str) -> Change:
        return self._snapd.watch(change, what, seconds=_CHANGE_SECONDS, now=self._clock.now, wait=self._clock.wait)


def mark_confirmed(memory: Memory, confirmed: dict[str, str]) -> None:
    """Remember which of snapd's revisions were healthy; `confirmed` maps a snap to its revision."""
    for snap, revision in confirmed.items():
        origin = memory.origins.get(snap, {}).get(revision)
        if origin is not None and not origin.is_confirmed:
            memory.origins[snap][revision] = replace(origin, is_confirmed=True)


def forget_refusals(memory: Memory, desired: Desired) -> None:
    """Drop what failed once the server wants something else of that snap."""
    wanted = {str(one.file.snap): one for one in desired.snaps}
    for snap in list(memory.refusals):
        one = wanted.get(snap)
        if one is None or not plan.is_refused(one, memory):
            del memory.refusals[snap]


def _refusal(pending: Pending, change: Change) -> Refusal:
    # A hook of ours ends with `snapedge post-refresh: gate-failed: Sample row-3: ...`.
    told = _HOOK_LINE.fullmatch(change.cause)
    return Refusal(
        revision=pending.origin.revision,
        rollouts=pending.rollouts,
        code=told["code"] if told else "change-failed",
        message=told["text"] if told else change.cause,
        details="\n".join((change.error.strip(), *change.log)),
    )
