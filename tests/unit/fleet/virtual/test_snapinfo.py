from __future__ import annotations

import contextlib
import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapedge_fleet.virtual import snapinfo, timers
from snapedge_fleet.virtual.snapinfo import RestartCondition, SnapFileError


def test_a_snap_is_read_with_its_services_plugs_and_hooks() -> None:
    info = snapinfo.parse("""
name: wine
version: "1.0"
base: core24
architectures: [arm64]
plugs: {mk8s: {interface: content, content: microk8s, target: $SNAP_DATA/microk8s}}
hooks: {install: {plugs: [network, mk8s]}}
apps:
  converge: {command: bin/converge --once, daemon: simple, restart-delay: 30s, plugs: [network]}
  drift: {command: bin/drift, daemon: oneshot, timer: "00:00~24:00/24", restart-condition: never}
""")
    assert [app.name for app in info.services] == ["converge", "drift"]
    converge = info.apps["converge"]
    assert (converge.command, converge.restart_delay) == (("bin/converge", "--once"), 30.0)
    assert converge.restart_condition is RestartCondition.ON_FAILURE
    assert sorted(info.plugs) == ["mk8s", "network"]
    assert info.plugs["mk8s"].attributes["target"] == "$SNAP_DATA/microk8s"
    assert list(info.hooks) == ["install"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: Wine\nversion: '1'", 'invalid snap name: "Wine"'),
        ("name: w\nversion: '1'", 'invalid snap name: "w"'),
        ("name: wine", "invalid snap version: cannot be empty"),
        ("name: wine\nversion: ''", "invalid snap version: cannot be empty"),
        (
            "name: wine\nversion: '-1_x'",
            "invalid snap version \"-1_x\": must start with an ASCII alphanumeric (and not '-'), "
            'contains invalid characters: "_"',
        ),
        (
            f"name: wine\nversion: '{'1' * 33}'",
            f'invalid snap version "{"1" * 33}": cannot be longer than 32 characters (got: 33)',
        ),
        (
            "name: wine\nversion: '1\u20110'",
            'invalid snap version "1\\u20110": must be printable, non-whitespace ASCII',
        ),
        ("name: wine\nversion: '1'\nconfinement: open", 'cannot parse snap.yaml: invalid confinement type: "open"'),
        ("name: wine\nversion: '1'\nlayouts: {}", 'cannot parse snap.yaml: use "layout" instead of "layouts"'),
        ("[]", "cannot parse snap.yaml: yaml: a mapping is wanted"),
        ("name: wine\nversion: '1'\nhooks: {instal: {}}", 'invalid hook name: "instal"'),
        (
            "name: wine\nversion: '1'\napps: {a: {command: b, daemon: always}}",
            'invalid definition of application "a": "daemon" field contains invalid value "always"',
        ),
        (
            "name: wine\nversion: '1'\napps: {a: {command: b, timer: '10:00'}}",
            'invalid definition of application "a": timer is only applicable to services',
        ),
        (
            "name: wine\nversion: '1'\napps: {a: {command: b, daemon: oneshot, timer: 'soon'}}",
            'invalid definition of application "a": timer has invalid format: cannot parse "soon": not a valid event',
        ),
        (
            "name: wine\nversion: '1'\napps: {a: {command: b, daemon: simple, restart-delay: soon}}",
            'cannot parse snap.yaml: time: invalid duration "soon"',
        ),
    ],
)
def test_what_snapd_refuses_is_refused_in_its_words(text: str, message: str) -> None:
    with pytest.raises(SnapFileError) as caught:
        snapinfo.parse(text)
    assert caught.value.brief == message


@given(st.text(max_size=60))
def test_no_text_makes_the_parser_fail_in_another_way(text: str) -> None:
    with contextlib.suppress(SnapFileError):
        snapinfo.parse(text)


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("1m30s", 90), ("500ms", 0.5), ("1.5h", 5400)])
def test_durations(text: str, seconds: float) -> None:
    assert snapinfo.duration(text) == pytest.approx(seconds)


NOW = datetime(2026, 11, 21, 10, 30, tzinfo=UTC)  # a Saturday


@pytest.mark.parametrize(
    ("timer", "moment"),
    [
        ("11:00", datetime(2026, 11, 21, 11, 0, tzinfo=UTC)),
        ("10:00", datetime(2026, 11, 22, 10, 0, tzinfo=UTC)),
        ("00:00-24:00/4", datetime(2026, 11, 21, 12, 0, tzinfo=UTC)),
        ("mon,9:00", datetime(2026, 11, 23, 9, 0, tzinfo=UTC)),
        ("fri-sun,9:00", datetime(2026, 11, 22, 9, 0, tzinfo=UTC)),
        ("mon1,9:00", datetime(2026, 12, 7, 9, 0, tzinfo=UTC)),
        ("fri5,9:00", datetime(2026, 11, 27, 9, 0, tzinfo=UTC)),
        ("sun", datetime(2026, 11, 22, 0, 0, tzinfo=UTC)),
        ("mon,9:00,,sun,8:00", datetime(2026, 11, 22, 8, 0, tzinfo=UTC)),
    ],
)
def test_a_timer_names_its_next_moment(timer: str, moment: datetime) -> None:
    assert timers.next_after(timers.parse(timer), NOW, random.Random(0)) == moment


def test_a_spread_timer_falls_within_its_span_and_after_now() -> None:
    schedule = timers.parse("00:00~24:00/24")
    for seed in range(20):
        moment = timers.next_after(schedule, NOW, random.Random(seed))
        assert NOW < moment < datetime(2026, 11, 21, 11, 0, tzinfo=UTC)
