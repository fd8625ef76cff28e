from __future__ import annotations

from snapedge_oip.pace import BODY_LIMIT, LIMIT, Pace


def test_a_quick_model_runs_on_the_event_loop() -> None:
    assert Pace(LIMIT / 10).inline


def test_a_slow_or_unmeasured_model_runs_in_the_workers() -> None:
    assert not Pace(LIMIT * 2).inline
    assert not Pace(None).inline


def test_one_long_request_moves_a_model_and_many_quick_ones_bring_it_back() -> None:
    pace = Pace(LIMIT / 100)
    pace.observe(1.0)
    assert not pace.inline
    for _ in range(10):
        pace.observe(LIMIT / 100)
    assert not pace.inline
    for _ in range(30):
        pace.observe(LIMIT / 100)
    assert pace.inline


def test_being_preempted_now_and_then_moves_nothing() -> None:
    pace = Pace(LIMIT / 20)
    for _ in range(100):
        pace.observe(LIMIT * 20)
        for _ in range(20):
            pace.observe(LIMIT / 20)
        assert pace.inline


def test_a_model_that_turns_slower_moves_without_an_outlier() -> None:
    pace = Pace(LIMIT / 100)
    for _ in range(32):
        pace.observe(LIMIT * 2)
    assert not pace.inline


def test_large_bodies_are_measured_by_themselves_and_begin_in_the_workers() -> None:
    pace = Pace(LIMIT / 100)
    assert (pace.allows(BODY_LIMIT), pace.allows(600_000)) == (True, False)
    for _ in range(60):
        pace.observe(LIMIT / 10, 600_000)
    assert (pace.allows(600_000), pace.allows(1_000_000), pace.allows(2_000_000)) == (True, True, False)
    pace.observe(1.0, 600_000)
    assert (pace.allows(600_000), pace.inline) == (False, True)
