"""Rollouts: a bundle moving over the devices of a channel, in waves. Pure: no clock, no database, no chance.

1. A device's bucket is a hash of the rollout's salt and its name, so each rollout has other canaries.
2. Wave n has one cutoff for each architecture; a device is in the open waves if its bucket is below the cutoff.
3. `desired` looks through the rollouts of a channel, newest first, and takes the first that holds the device. A
   promotion, a pause and a rollback each change one row, whatever the fleet's size.
4. `step` turns a rollout and what is known of its waves into transitions; each is keyed by (rollout, wave, kind), so
   doing one twice is doing it once.
5. An abort closes the failing wave again: its devices go back to what they had.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from snapedge_hooks.channels import Channel
from snapedge_hooks.vocabulary import Architecture, SnapName

from . import gates
from .bundle import Bundle
from .gates import Decision, Gate, WaveEvidence

BUCKETS = 10_000


class Phase(Enum):
    """Where a rollout stands.

    active <-> paused;  active -> complete | halted;  any of them -> superseded by a newer one
    """

    ACTIVE = "active"
    PAUSED = "paused"
    HALTED = "halted"
    COMPLETE = "complete"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """Devices that get the release together: those below the cutoffs that no earlier wave had.

    Attributes:
        cutoffs: the first bucket that is not in the open waves any more, for each architecture.
        sizes: how many devices the wave adds, counted when it was planned.
    """

    name: str
    cutoffs: Mapping[Architecture, int]
    sizes: Mapping[Architecture, int]
    gate: Gate

    @property
    def size(self) -> int:
        """How many devices the wave adds."""
        return sum(self.sizes.values())

    def to_document(self) -> dict[str, Any]:
        """The wave as the database and the API carry it."""
        return {
            "name": self.name,
            "cutoffs": {str(architecture): cutoff for architecture, cutoff in self.cutoffs.items()},
            "sizes": {str(architecture): size for architecture, size in self.sizes.items()},
            "gate": self.gate.to_document(),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Wave:
        """The wave that `to_document` wrote."""
        return cls(
            name=document["name"],
            cutoffs={Architecture.parse(text): cutoff for text, cutoff in document["cutoffs"].items()},
            sizes={Architecture.parse(text): size for text, size in document["sizes"].items()},
            gate=Gate.from_document(document["gate"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A bundle on its way over the devices of a channel.

    Attributes:
        stage: how many waves are open.
        opened: when the newest wave opened, in seconds.
        reason: why it is where it is.
    """

    id: int
    snap: SnapName
    channel: Channel
    bundle: Bundle
    salt: str
    waves: tuple[Wave, ...]
    stage: int = 0
    phase: Phase = Phase.ACTIVE
    opened: float = 0.0
    reason: str = ""

    def cutoff(self, architecture: Architecture) -> int:
        """The first bucket that does not get the bundle now."""
        if self.stage == 0:
            return 0
        wave = self.waves[self.stage - 1]
        return wave.cutoffs.get(architecture, BUCKETS if self.stage == len(self.waves) else 0)

    def holds(self, device: str, architecture: Architecture) -> bool:
        """Whether the device is in the open waves."""
        return bucket(self.salt, device) < self.cutoff(architecture)

    def wave_of(self, device: str, architecture: Architecture) -> int:
        """The number of the wave that brings the bundle to the device, from 1."""
        place = bucket(self.salt, device)
        last = len(self.waves)
        for number, wave in enumerate(self.waves, start=1):
            if place < wave.cutoffs.get(architecture, BUCKETS if number == last else 0):
                return number
        return last


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A device as the planner sees it."""

    id: str
    architecture: Architecture
    is_reachable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class WavePolicy:
    """How a rollout is cut into waves; fractions of each architecture, after one canary of each."""

    small: tuple[float, ...] = (0.5, 1.0)
    large: tuple[float, ...] = (0.01, 0.1, 0.5, 1.0)
    large_from: int = 200
    tolerated: float = 0.02
    settle: float = 60.0
    soak: float = 0.0
    timeout: float = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WavePlan:
    """The waves of a rollout and the salt they were cut with."""

    salt: str
    waves: tuple[Wave, ...]


class TransitionKind(Enum):
    """What a rollout can do next."""

    OPEN = "open"
    WIDEN = "widen"
    HALT = "halt"
    COMPLETE = "complete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One change of a rollout's row, with its reason. `stage` is how many waves are open afterwards."""

    kind: TransitionKind
    wave: int
    stage: int
    reason: str
    cutoffs: Mapping[Architecture, int] = field(default_factory=dict)


def bucket(salt: str, device: str) -> int:
    """Where a device falls: 0 to 9,999, evenly, and anew for each salt."""
    digest = hashlib.blake2b(f"{salt}|{device}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % BUCKETS


def desired(device: str, architecture: Architecture, newest_first: Iterable[Rollout]) -> Bundle | None:
    """What the device is to have of a channel: the bundle of the first rollout that holds it; None where none does."""
    return next(
        (rollout.bundle for rollout in newest_first if rollout.holds(device, architecture)),
        None,
    )


def plan_waves(seed: str, devices: Sequence[Candidate], policy: WavePolicy) -> WavePlan:
    """The waves for those devices: one reachable canary of each architecture, then growing parts, then all.

    Two devices may share a bucket; of sixteen salts the one is taken whose waves are nearest to what the policy asks.
    """
    best: tuple[int, WavePlan] | None = None
    for attempt in range(16 if len(devices) <= BUCKETS else 1):
        salt = f"{seed}/{attempt}"
        excess, waves = _cut(salt, devices, policy)
        if best is None or excess < best[0]:
            best = (excess, WavePlan(salt=salt, waves=waves))
        if excess == 0:
            break
    assert best is not None, "at least one salt is tried"
    return best[1]


def step(
    rollout: Rollout, now: float, evidence: Sequence[WaveEvidence], beyond: Mapping[Architecture, int]
) -> tuple[Transition, ...]:
    """What the rollout does next; empty where it waits.

    Args:
        rollout: where it stands.
        now: seconds, as in the evidence.
        evidence: what is known of each open wave, in order.
        beyond: for each architecture with a reachable device outside the open waves, the cutoff that takes in the next.
    """
    if rollout.phase is not Phase.ACTIVE:
        return ()
    if rollout.stage == 0:
        return (_opening(0, "the release was planned"),)
    for number, known in enumerate(evidence, start=1):
        abort = gates.failures(rollout.waves[number - 1].gate, known)
        if abort is not None:
            return (Transition(kind=TransitionKind.HALT, wave=number, stage=number - 1, reason=abort.reason),)
    wave = rollout.waves[rollout.stage - 1]
    current = evidence[-1]
    verdict = gates.judge(wave.gate, current, now=now)
    if verdict.decision is Decision.ADVANCE:
        if rollout.stage == len(rollout.waves):
            return (
                Transition(
                    kind=TransitionKind.COMPLETE, wave=rollout.stage, stage=rollout.stage, reason=verdict.reason
                ),
            )
        return (_opening(rollout.stage, verdict.reason),)
    if now < current.opened + max(wave.gate.settle, wave.gate.timeout) or current.total().offered:
        return ()
    cutoffs = {one: beyond[one] for one in gates.unproved(wave.gate, current) if one in beyond}
    if not cutoffs:
        return ()
    names = " and ".join(str(architecture) for architecture in cutoffs)
    return (
        Transition(
            kind=TransitionKind.WIDEN,
            wave=rollout.stage,
            stage=rollout.stage,
            reason=f"its {names} canary did not come back; the next reachable one takes its place",
            cutoffs=cutoffs,
        ),
    )


def widened(waves: Sequence[Wave], number: int, cutoffs: Mapping[Architecture, int]) -> tuple[Wave, ...]:
    """The waves with wave `number` reaching those cutoffs; later waves never reach less than an earlier one."""
    changed = []
    for position, wave in enumerate(waves, start=1):
        if position >= number:
            raised = {one: max(cutoff, wave.cutoffs.get(one, 0)) for one, cutoff in cutoffs.items()}
            wave = Wave(name=wave.name, cutoffs={**wave.cutoffs, **raised}, sizes=wave.sizes, gate=wave.gate)
        changed.append(wave)
    return tuple(changed)


def _opening(stage: int, reason: str) -> Transition:
    return Transition(kind=TransitionKind.OPEN, wave=stage + 1, stage=stage + 1, reason=reason)


def _cut(salt: str, devices: Sequence[Candidate], policy: WavePolicy) -> tuple[int, tuple[Wave, ...]]:
    places: dict[Architecture, list[int]] = {}
    reachable: dict[Architecture, list[int]] = {}
    for device in devices:
        place = bucket(salt, device.id)
        places.setdefault(device.architecture, []).append(place)
        if device.is_reachable:
            reachable.setdefault(device.architecture, []).append(place)
    for several in (*places.values(), *reachable.values()):
        several.sort()
    fractions = policy.large if len(devices) >= policy.large_from else policy.small
    waves: list[Wave] = []
    excess = 0
    before = dict.fromkeys(places, 0)
    parts: list[tuple[str, float | None]] = [("canary", None), *((_percent(part), part) for part in fractions)]
    for name, fraction in parts:
        cutoffs, missed = _cutoffs(places, reachable, fraction, waves[-1].cutoffs if waves else {})
        reached = {one: sum(place < cutoffs[one] for place in several) for one, several in places.items()}
        sizes = {one: reached[one] - before[one] for one in places}
        is_last = fraction is not None and fraction >= 1.0
        if not sum(sizes.values()) and not is_last:
            continue
        waves.append(
            Wave(name=name, cutoffs=cutoffs, sizes=sizes, gate=_gate(policy, sizes, is_canary=fraction is None))
        )
        before = reached
        excess += missed
    return excess, tuple(waves)


def _cutoffs(
    places: Mapping[Architecture, list[int]],
    reachable: Mapping[Architecture, list[int]],
    fraction: float | None,
    earlier: Mapping[Architecture, int],
) -> tuple[dict[Architecture, int], int]:
    cutoffs: dict[Architecture, int] = {}
    excess = 0
    for architecture, several in places.items():
        if fraction is not None and fraction >= 1.0:
            cutoffs[architecture] = BUCKETS
            continue
        if fraction is None:
            last = (reachable.get(architecture) or several)[0]
            target = sum(place < last for place in several) + 1
        else:
            target = max(1, round(len(several) * fraction))
            last = several[target - 1]
        cutoff = max(last + 1, earlier.get(architecture, 0))
        excess += max(0, sum(place <= last for place in several) - target)
        cutoffs[architecture] = cutoff
    return cutoffs, excess


def _gate(policy: WavePolicy, sizes: Mapping[Architecture, int], *, is_canary: bool) -> Gate:
    size = sum(sizes.values())
    return Gate(
        max_failures=1 if is_canary else max(1, round(size * policy.tolerated)),
        minimum={architecture: 1 for architecture, count in sizes.items() if count} if is_canary else {},
        # A wave that adds nobody only opens the door for devices to come.
        settle=policy.settle if size else 0.0,
        soak=policy.soak if size else 0.0,
        timeout=policy.timeout,
    )


def _percent(fraction: float) -> str:
    return "all" if fraction >= 1.0 else f"{fraction * 100:g} %"
