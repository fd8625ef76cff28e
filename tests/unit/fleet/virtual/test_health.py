from __future__ import annotations

import pytest

from snapedge_fleet.virtual import health
from snapedge_fleet.virtual.health import Health, HealthError, HealthStatus


def test_okay_has_neither_message_nor_code() -> None:
    assert health.report("okay", "", "") == Health(status=HealthStatus.OKAY)


def test_a_long_message_is_cut_to_70_characters() -> None:
    message = health.report("error", "x" * 71, "").message
    assert (len(message), message[-1]) == (70, "…")
    assert health.report("error", "x" * 70, "").message == "x" * 70


@pytest.mark.parametrize(
    ("status", "message", "code", "refusal"),
    [
        ("okay", "all is well", "", 'when status is "okay", message and code must be empty'),
        ("okay", "", "fine", 'when status is "okay", message and code must be empty'),
        ("unknown", "", "", 'status cannot be manually set to "unknown"'),
        ("bad", "whatever", "", 'invalid status "bad", must be one of okay, waiting, blocked, error'),
        ("waiting", "", "", 'when status is not "okay", message is required'),
        ("waiting", "no slot"[:6], "", "message must be at least 7 characters long (got 6)"),
        ("error", "it broke", "ab", "code must have between 3 and 30 characters, got 2"),
        ("error", "it broke", "a" * 31, "code must have between 3 and 30 characters, got 31"),
        (
            "error",
            "it broke",
            "Gate",
            'invalid code "Gate" (code must start with lowercase ASCII letters, and contain only ASCII letters '
            "and numbers, optionally separated by single dashes)",
        ),
    ],
)
def test_reports_are_refused_in_snapds_words(status: str, message: str, code: str, refusal: str) -> None:
    with pytest.raises(HealthError) as caught:
        health.report(status, message, code)
    assert caught.value.brief == refusal


@pytest.mark.parametrize("code", ["no-slot", "gate-failed", "abc", "a1-b2"])
def test_codes_with_single_dashes_are_taken(code: str) -> None:
    assert health.report("error", "it broke", code).code == code
