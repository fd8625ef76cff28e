from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapedge_fleet.gates import Decision, Gate, Tally, Verdict, WaveEvidence, judge
from snapedge_hooks.vocabulary import Architecture

AMD64, ARM64 = Architecture.AMD64, Architecture.ARM64
CANARY = Gate(max_failures=1, minimum={AMD64: 1, ARM64: 1}, settle=10, soak=20, timeout=100)
LATER = Gate(max_failures=3, minimum={}, settle=10, soak=0, timeout=100)


def seen(amd64: Tally, arm64: Tally | None = None, **more: Any) -> WaveEvidence:
    tallies = {AMD64: amd64} if arm64 is None else {AMD64: amd64, ARM64: arm64}
    return WaveEvidence(tallies=tallies, opened=0, **more)


@pytest.mark.parametrize(
    ("gate", "evidence", "now", "decision", "reason"),
    [
        (CANARY, seen(Tally()), 5, Decision.HOLD, "every device gets 10 s to ask what is new"),
        (CANARY, seen(Tally(offered=1)), 15, Decision.HOLD, "1 device is at it"),
        (CANARY, seen(Tally(offered=2)), 15, Decision.HOLD, "2 devices are at it"),
        (CANARY, seen(Tally(confirmed=1)), 50, Decision.HOLD, "no arm64 device has proved it yet"),
        (
            CANARY,
            seen(Tally(confirmed=1), exhausted=frozenset({ARM64})),
            50,
            Decision.ADVANCE,
            "1 of 1 device confirmed healthy",
        ),
        (
            CANARY,
            seen(Tally(), exhausted=frozenset({AMD64, ARM64})),
            500,
            Decision.HOLD,
            "no device that could prove it is reachable",
        ),
        (CANARY, seen(Tally(confirmed=1), Tally(confirmed=1), changed=45), 50, Decision.HOLD, "soaks for 20 s"),
        (
            CANARY,
            seen(Tally(confirmed=1), Tally(confirmed=1), changed=25),
            50,
            Decision.ADVANCE,
            "2 of 2 devices confirmed healthy",
        ),
        (
            CANARY,
            seen(Tally(failed=1), Tally(confirmed=1), failure="d1: gate-failed"),
            1,
            Decision.ABORT,
            "1 of 2 devices failed: d1: gate-failed",
        ),
        (LATER, seen(Tally(confirmed=7, failed=2)), 50, Decision.ADVANCE, "7 of 9 devices confirmed healthy"),
        (LATER, seen(Tally(confirmed=7, failed=3)), 50, Decision.ABORT, "3 of 10 devices failed"),
        (LATER, seen(Tally()), 50, Decision.ADVANCE, "no device of this wave is reachable"),
    ],
)
def test_the_gate_says(gate: Gate, evidence: WaveEvidence, now: float, decision: Decision, reason: str) -> None:
    assert judge(gate, evidence, now=now) == Verdict(decision=decision, reason=reason)


COUNTS = st.builds(Tally, offered=st.integers(0, 5), confirmed=st.integers(0, 50), failed=st.integers(0, 5))


@given(COUNTS, COUNTS, st.floats(0, 1_000), st.floats(0, 1_000))
def test_enough_failures_always_abort_and_too_few_never_do(
    amd64: Tally, arm64: Tally, changed: float, now: float
) -> None:
    evidence = seen(amd64, arm64, changed=changed)
    for gate in (CANARY, LATER):
        decision = judge(gate, evidence, now=now).decision
        assert (decision is Decision.ABORT) is (amd64.failed + arm64.failed >= gate.max_failures)


@given(COUNTS, COUNTS, st.floats(0, 1_000), st.floats(0, 1_000))
def test_nothing_opens_while_a_device_is_at_it_or_an_architecture_is_unproved(
    amd64: Tally, arm64: Tally, changed: float, now: float
) -> None:
    if judge(CANARY, seen(amd64, arm64, changed=changed), now=now).decision is Decision.ADVANCE:
        assert amd64.offered == arm64.offered == 0
        assert amd64.confirmed >= 1
        assert arm64.confirmed >= 1


def test_a_gate_reads_back_as_it_was_written() -> None:
    assert Gate.from_document(CANARY.to_document()) == CANARY
