from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from snapedge_fleet.bundle import Bundle
from snapedge_fleet.gates import Tally, WaveEvidence
from snapedge_fleet.rollout import (
    BUCKETS,
    Candidate,
    Phase,
    Rollout,
    Transition,
    TransitionKind,
    Wave,
    WavePlan,
    WavePolicy,
    bucket,
    desired,
    plan_waves,
    step,
    widened,
)
from snapedge_hooks.channels import Channel
from snapedge_hooks.vocabulary import Architecture, SnapName

AMD64, ARM64 = Architecture.AMD64, Architecture.ARM64
POLICY = WavePolicy(settle=10, soak=0, timeout=100)
OLD, NEW = (Bundle(snap=SnapName("wine-rater"), release=number, version=f"1.{number}.0", files={}) for number in (1, 2))


def fleet(count: int, *, away: frozenset[int] = frozenset()) -> list[Candidate]:
    return [
        Candidate(id=f"d{number}", architecture=(AMD64, ARM64)[number % 2], is_reachable=number not in away)
        for number in range(count)
    ]


def rolled(
    plan: WavePlan, stage: int, *, phase: Phase = Phase.ACTIVE, number: int = 1, bundle: Bundle = NEW
) -> Rollout:
    return Rollout(
        id=number,
        snap=SnapName("wine-rater"),
        channel=Channel.parse("stable"),
        bundle=bundle,
        salt=plan.salt,
        waves=plan.waves,
        stage=stage,
        phase=phase,
    )


def shapes(plan: WavePlan) -> list[tuple[str, dict[str, int]]]:
    return [(wave.name, {str(one): size for one, size in wave.sizes.items()}) for wave in plan.waves]


def test_a_bucket_is_the_same_everywhere_and_forever() -> None:
    assert [bucket("s/0", f"d{number}") for number in range(4)] == [6359, 4550, 8498, 2983]


def test_six_devices_get_one_canary_of_each_architecture_then_all() -> None:
    assert shapes(plan_waves("s", fleet(6), POLICY)) == [
        ("canary", {"amd64": 1, "arm64": 1}),
        ("50 %", {"amd64": 1, "arm64": 1}),
        ("all", {"amd64": 1, "arm64": 1}),
    ]


def test_a_wave_that_adds_nobody_is_left_out_but_the_last_stays_for_devices_to_come() -> None:
    assert shapes(plan_waves("s", fleet(2), POLICY)) == [
        ("canary", {"amd64": 1, "arm64": 1}),
        ("all", {"amd64": 0, "arm64": 0}),
    ]


def test_an_empty_fleet_gets_one_wave_for_devices_to_come() -> None:
    assert shapes(plan_waves("s", [], POLICY)) == [("all", {})]


def test_a_large_fleet_grows_by_tenths() -> None:
    assert shapes(plan_waves("s", fleet(1_000), POLICY)) == [
        ("canary", {"amd64": 1, "arm64": 1}),
        ("1 %", {"amd64": 4, "arm64": 4}),
        ("10 %", {"amd64": 45, "arm64": 45}),
        ("50 %", {"amd64": 200, "arm64": 200}),
        ("all", {"amd64": 250, "arm64": 250}),
    ]


def test_canaries_are_reachable_devices() -> None:
    plan = plan_waves("s", fleet(6), POLICY)
    first = next(one for one in fleet(6) if one.architecture is AMD64 and rolled(plan, 1).holds(one.id, AMD64))
    away = frozenset({int(first.id[1:])})
    again = plan_waves("s", fleet(6, away=away), POLICY)
    held = [one for one in fleet(6, away=away) if one.architecture is AMD64 and rolled(again, 1).holds(one.id, AMD64)]
    assert [one.is_reachable for one in held if one.is_reachable] == [True]


def test_the_canary_gate_wants_each_architecture_proved() -> None:
    canary, half, _ = plan_waves("s", fleet(6), POLICY).waves
    assert dict(canary.gate.minimum) == {AMD64: 1, ARM64: 1}
    assert dict(half.gate.minimum) == {}


def test_devices_get_the_first_bundle_that_holds_them() -> None:
    plan = plan_waves("s", fleet(6), POLICY)
    base = rolled(plan, len(plan.waves), phase=Phase.COMPLETE, bundle=OLD)
    for stage, count in ((0, 0), (1, 2), (2, 4), (3, 6)):
        new = rolled(plan, stage, number=2)
        got = [desired(one.id, one.architecture, [new, base]) for one in fleet(6)]
        assert (got.count(NEW), got.count(OLD)) == (count, 6 - count)


def test_before_the_first_release_there_is_nothing_to_have() -> None:
    assert desired("d1", AMD64, [rolled(plan_waves("s", fleet(6), POLICY), 0)]) is None
    assert desired("d1", AMD64, []) is None


def test_an_architecture_nobody_had_when_it_was_planned_waits_for_the_last_wave() -> None:
    plan = plan_waves("s", [Candidate(id=f"d{number}", architecture=AMD64) for number in range(4)], POLICY)
    assert not rolled(plan, 1).holds("late", ARM64)
    assert rolled(plan, len(plan.waves)).holds("late", ARM64)


def evidence(*waves: tuple[Tally, Tally], opened: float = 0.0) -> list[WaveEvidence]:
    return [WaveEvidence(tallies={AMD64: amd64, ARM64: arm64}, opened=opened) for amd64, arm64 in waves]


GOOD, BAD, BUSY, NONE = Tally(confirmed=1), Tally(failed=1), Tally(offered=1), Tally()
PLAN = plan_waves("s", fleet(6), POLICY)


def moves(rollout: Rollout, now: float, known: Sequence[WaveEvidence]) -> list[tuple[TransitionKind, int, int]]:
    return [(one.kind, one.wave, one.stage) for one in step(rollout, now, known, {})]


def test_a_planned_rollout_opens_its_first_wave() -> None:
    assert step(rolled(PLAN, 0), 0, [], {}) == (
        Transition(kind=TransitionKind.OPEN, wave=1, stage=1, reason="the release was planned"),
    )


def test_a_good_wave_opens_the_next_and_the_last_completes() -> None:
    good = evidence((GOOD, GOOD), (GOOD, GOOD), (GOOD, GOOD))
    assert moves(rolled(PLAN, 1), 50, good[:1]) == [(TransitionKind.OPEN, 2, 2)]
    assert moves(rolled(PLAN, 2), 50, good[:2]) == [(TransitionKind.OPEN, 3, 3)]
    assert moves(rolled(PLAN, 3), 50, good) == [(TransitionKind.COMPLETE, 3, 3)]


def test_a_failure_closes_its_wave_again() -> None:
    assert moves(rolled(PLAN, 1), 0, evidence((BAD, NONE))) == [(TransitionKind.HALT, 1, 0)]
    assert moves(rolled(PLAN, 2), 50, evidence((GOOD, GOOD), (NONE, BAD))) == [(TransitionKind.HALT, 2, 1)]


def test_a_canary_that_fails_late_closes_every_wave() -> None:
    assert moves(rolled(PLAN, 3), 50, evidence((GOOD, BAD), (GOOD, GOOD), (GOOD, GOOD))) == [
        (TransitionKind.HALT, 1, 0)
    ]


def test_it_waits_while_a_device_is_at_it() -> None:
    assert moves(rolled(PLAN, 1), 50, evidence((GOOD, BUSY))) == []


def test_nothing_moves_that_is_not_active() -> None:
    for phase in (Phase.PAUSED, Phase.HALTED, Phase.COMPLETE, Phase.SUPERSEDED):
        assert moves(rolled(PLAN, 1, phase=phase), 50, evidence((GOOD, GOOD))) == []


def test_a_canary_that_never_asked_is_replaced_after_the_timeout() -> None:
    missing = evidence((GOOD, NONE))
    assert step(rolled(PLAN, 1), 99, missing, {ARM64: 7_000}) == ()
    assert step(rolled(PLAN, 1), 100, missing, {ARM64: 7_000, AMD64: 9_000}) == (
        Transition(
            kind=TransitionKind.WIDEN,
            wave=1,
            stage=1,
            reason="its arm64 canary did not come back; the next reachable one takes its place",
            cutoffs={ARM64: 7_000},
        ),
    )


def test_widening_raises_later_waves_where_they_would_reach_less() -> None:
    waves = widened(PLAN.waves, 1, {ARM64: 9_500})
    assert [wave.cutoffs[ARM64] for wave in waves] == [9_500, 9_500, BUCKETS]
    assert [wave.cutoffs[AMD64] for wave in waves] == [wave.cutoffs[AMD64] for wave in PLAN.waves]


def test_a_wave_reads_back_as_it_was_written() -> None:
    assert [Wave.from_document(wave.to_document()) for wave in PLAN.waves] == list(PLAN.waves)


@settings(max_examples=60)
@given(st.integers(0, 60), st.text("abc", max_size=3), st.integers(0, 4))
def test_never_more_devices_than_the_open_waves_say(count: int, seed: str, stage: int) -> None:
    devices = fleet(count)
    plan = plan_waves(seed, devices, POLICY)
    stage = min(stage, len(plan.waves))
    rollout = rolled(plan, stage)
    held = [one for one in devices if rollout.holds(one.id, one.architecture)]
    assert len(held) == sum(wave.size for wave in plan.waves[:stage])
    assert all(rollout.wave_of(one.id, one.architecture) <= stage for one in held)


@settings(max_examples=60)
@given(st.integers(0, 60), st.text("abc", max_size=3))
def test_a_device_once_taken_in_stays_in_while_waves_open(count: int, seed: str) -> None:
    devices = fleet(count)
    plan = plan_waves(seed, devices, POLICY)
    before: set[str] = set()
    for stage in range(len(plan.waves) + 1):
        now = {one.id for one in devices if rolled(plan, stage).holds(one.id, one.architecture)}
        assert before <= now
        before = now
    assert before == {one.id for one in devices}


TALLIES = st.builds(Tally, offered=st.integers(0, 2), confirmed=st.integers(0, 3), failed=st.integers(0, 1))


@given(st.lists(st.tuples(TALLIES, TALLIES), min_size=3, max_size=3), st.integers(1, 3), st.floats(0, 1_000))
def test_a_step_is_deterministic_and_moves_at_most_one_wave(
    counted: list[tuple[Tally, Tally]], stage: int, now: float
) -> None:
    rollout = rolled(PLAN, stage)
    known = evidence(*counted[:stage])
    first = step(rollout, now, known, {AMD64: 9_999})
    assert first == step(rollout, now, known, {AMD64: 9_999})
    assert len(first) <= 1
    for one in first:
        if one.kind is TransitionKind.OPEN:
            assert one.stage == stage + 1
        if one.kind is TransitionKind.HALT:
            assert one.stage < stage
            after = replace(rollout, phase=Phase.HALTED, stage=one.stage)
            assert step(after, now, known[: one.stage], {}) == ()
