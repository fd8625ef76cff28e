"""The gate between two waves: pure rules over counted devices.

1. What counts is a device *confirmed healthy*: snapd's change done and the snap's health okay at the new revision.
2. The denominator is the devices that spoke since the wave opened. Unreachable ones neither block nor count.
3. A device that took the order and says nothing more until the timeout has failed.
4. `max_failures` failures abort, whatever the number of successes.
5. A wave stays open at least `settle` seconds, so that every reachable device has polled, and `soak` seconds after its
   last change.
6. `minimum` devices of each architecture must be confirmed: an architecture nobody proved is not proved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from snapedge_hooks.vocabulary import Architecture


class Progress(Enum):
    """Where a device stands with a rollout; a device that was never told has none of these."""

    OFFERED = "offered"
    CONFIRMED = "confirmed"
    FAILED = "failed"


class Decision(Enum):
    """What a gate says."""

    ADVANCE = "advance"
    HOLD = "hold"
    ABORT = "abort"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A gate's decision and, always, its reason."""

    decision: Decision
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What a wave must show before the next one opens; times in seconds."""

    max_failures: int = 1
    minimum: Mapping[Architecture, int] = field(default_factory=dict)
    settle: float = 60.0
    soak: float = 0.0
    timeout: float = 900.0

    def to_document(self) -> dict[str, Any]:
        """The gate as the database and the API carry it."""
        return {
            "max_failures": self.max_failures,
            "minimum": {str(architecture): count for architecture, count in self.minimum.items()},
            "settle": self.settle,
            "soak": self.soak,
            "timeout": self.timeout,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Gate:
        """The gate that `to_document` wrote."""
        return cls(
            max_failures=document["max_failures"],
            minimum={Architecture.parse(text): count for text, count in document["minimum"].items()},
            settle=document["settle"],
            soak=document["soak"],
            timeout=document["timeout"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many devices of a wave stand where."""

    offered: int = 0
    confirmed: int = 0
    failed: int = 0

    @property
    def reached(self) -> int:
        """Devices that spoke since the wave opened."""
        return self.offered + self.confirmed + self.failed


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveEvidence:
    """What is known of a wave.

    Attributes:
        tallies: for each architecture.
        opened: when the wave opened, in seconds.
        changed: when a device's progress last changed, in seconds; None where none did.
        failure: the first failure in one line; empty where there is none.
        exhausted: architectures without any further reachable device that could prove the release.
    """

    tallies: Mapping[Architecture, Tally]
    opened: float
    changed: float | None = None
    failure: str = ""
    exhausted: frozenset[Architecture] = frozenset()

    def total(self) -> Tally:
        """All architectures together."""
        return Tally(
            offered=sum(tally.offered for tally in self.tallies.values()),
            confirmed=sum(tally.confirmed for tally in self.tallies.values()),
            failed=sum(tally.failed for tally in self.tallies.values()),
        )


def judge(gate: Gate, evidence: WaveEvidence, *, now: float) -> Verdict:
    """What the gate says of a wave at that moment."""
    failed = failures(gate, evidence)
    if failed is not None:
        return failed
    total = evidence.total()
    if now < evidence.opened + gate.settle:
        return _hold(f"every device gets {_seconds(gate.settle)} to ask what is new")
    if total.offered:
        return _hold(f"{_devices(total.offered)} {'is' if total.offered == 1 else 'are'} at it")
    missing = unproved(gate, evidence)
    if missing:
        return _hold(f"no {' and no '.join(str(architecture) for architecture in missing)} device has proved it yet")
    if gate.minimum and not total.confirmed:
        return _hold("no device that could prove it is reachable")
    quiet = evidence.opened if evidence.changed is None else evidence.changed
    if now < quiet + gate.soak:
        return _hold(f"soaks for {_seconds(gate.soak)}")
    if not total.reached:
        return Verdict(decision=Decision.ADVANCE, reason="no device of this wave is reachable")
    return Verdict(
        decision=Decision.ADVANCE, reason=f"{total.confirmed} of {_devices(total.reached)} confirmed healthy"
    )


def failures(gate: Gate, evidence: WaveEvidence) -> Verdict | None:
    """An abort where too many devices of the wave failed; None otherwise."""
    total = evidence.total()
    if total.failed < gate.max_failures:
        return None
    tail = f": {evidence.failure}" if evidence.failure else ""
    return Verdict(decision=Decision.ABORT, reason=f"{total.failed} of {_devices(total.reached)} failed{tail}")


def unproved(gate: Gate, evidence: WaveEvidence) -> tuple[Architecture, ...]:
    """Architectures that still miss confirmed devices and could get them."""
    return tuple(
        architecture
        for architecture, count in sorted(gate.minimum.items(), key=lambda item: str(item[0]))
        if evidence.tallies.get(architecture, Tally()).confirmed < count and architecture not in evidence.exhausted
    )


def _hold(reason: str) -> Verdict:
    return Verdict(decision=Decision.HOLD, reason=reason)


def _devices(count: int) -> str:
    return "1 device" if count == 1 else f"{count} devices"


def _seconds(seconds: float) -> str:
    return f"{seconds:g} s"
