from __future__ import annotations

import pytest

from snapedge_fleet.virtual import podstatus


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 10), (2, 20), (3, 40), (4, 80), (5, 160), (6, 300), (50, 300), (5000, 300)]
)
def test_delay_grows_to_five_minutes(failures: int, seconds: int) -> None:
    assert podstatus.backoff(failures) == seconds


@pytest.mark.parametrize(("seconds", "text"), [(10, "10s"), (80, "1m20s"), (300, "5m0s")])
def test_durations_read_as_gos(seconds: int, text: str) -> None:
    assert podstatus.duration(seconds) == text


def test_termination_message_is_cut() -> None:
    state = podstatus.terminated(
        code=3, reason="Error", message="x" * 5000, identifier="containerd://1", started="T", finished="T"
    )
    assert len(state["terminated"]["message"]) == 4096
