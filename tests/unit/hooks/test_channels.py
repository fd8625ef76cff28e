"""Channels parse in every form people write, and order from safe to risky."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapedge_hooks.channels import Channel, Revision, Risk


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("stable", "latest/stable"),
        ("2", "2/stable"),
        ("2/edge", "2/edge"),
        ("edge/fix-1", "latest/edge/fix-1"),
        ("2/beta/hotfix", "2/beta/hotfix"),
    ],
)
def test_every_form_has_one_full_form(text: str, full: str) -> None:
    assert str(Channel.parse(text)) == full


@pytest.mark.parametrize("text", ["", "/", "a/b/c/d", "2/nightly", "-/stable", "latest/stable/", "x" * 29])
def test_what_is_no_channel_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        Channel.parse(text)


@given(st.from_regex(r"[a-z0-9]{1,10}", fullmatch=True), st.sampled_from(Risk), st.sampled_from(["", "fix", "a.b"]))
def test_the_full_form_reads_back(track: str, risk: Risk, branch: str) -> None:
    channel = Channel(track=track, risk=risk, branch=branch)
    assert Channel.parse(str(channel)) == channel


def test_a_closed_channel_follows_the_next_safer_risk() -> None:
    assert [str(channel) for channel in Channel.parse("2/beta/fix").and_safer()] == [
        "2/beta/fix",
        "2/beta",
        "2/candidate",
        "2/stable",
    ]


def test_risks_order_from_safe_to_risky() -> None:
    assert sorted([Risk.EDGE, Risk.STABLE, Risk.BETA, Risk.CANDIDATE]) == [
        Risk.STABLE,
        Risk.CANDIDATE,
        Risk.BETA,
        Risk.EDGE,
    ]


@pytest.mark.parametrize("number", [0, -1, True])
def test_a_revision_is_a_whole_number_from_one(number: int) -> None:
    with pytest.raises(ValueError, match="store revision"):
        Revision(number)
