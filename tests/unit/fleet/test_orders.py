from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from snapedge_fleet import tables
from snapedge_fleet.errors import AuditBrokenError
from snapedge_hooks.errors import SnapedgeError
from tests.fakes.fleetsite import FleetSite, fleet_site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[FleetSite]:
    with fleet_site(tmp_path / "fleet") as found:
        yield found


def test_a_device_belongs_to_the_first_group_that_holds_it(site: FleetSite) -> None:
    site.call("group-add", name="lab", selector="site=lab")
    site.call("group-add", name="rest")
    site.add_device("d1", site="lab")
    site.add_device("d2")
    groups = {one["device"]: one["group"] for one in site.call("device-list")}
    assert groups == {"d1": "lab", "d2": "rest"}


def test_labels_and_selectors_move_devices(site: FleetSite) -> None:
    site.call("group-add", name="lab", selector="site=lab")
    site.add_device("d1")
    assert site.call("device-label", device="d1", labels=["site=lab"])["group"] == "lab"
    assert site.call("device-label", device="d1", unlabel=["site"])["group"] is None
    site.call("group-set", name="lab", selector="arch=amd64")
    assert site.call("device-show", device="d1")["group"] == "lab"


@pytest.mark.parametrize(
    ("operation", "arguments", "message", "code"),
    [
        ("group-set", {"name": "labb"}, "no group is called 'labb'; did you mean lab?", 2),
        ("group-add", {"name": "lab"}, "a group called 'lab' is there", 2),
        ("group-add", {"name": "a b"}, "'a b' is not a group's name", 2),
        ("group-add", {"name": "x", "follows": ["wine"]}, "'wine' cannot be followed: the channel is missing", 2),
        ("group-add", {"name": "x", "follows": ["wine=a/b/c/d"]}, "'a/b/c/d' is not a channel", 2),
        ("group-add", {"name": "x", "selector": "site="}, "is no selector", 2),
        ("group-set", {"name": "lab", "unfollow": ["wine"]}, "no followed snap is called 'wine'", 2),
        ("device-add", {"device": "d1", "architecture": "amd64"}, "a device called 'd1' is there", 2),
        ("device-add", {"device": "d2", "architecture": "x86_64"}, "'x86_64' is not an architecture", 2),
        ("device-show", {"device": "d9"}, "no device is called 'd9'; did you mean d1?", 2),
        ("device-list", {"group": "labs"}, "no group is called 'labs'; did you mean lab?", 2),
        ("hold", {"device": "d9", "why": "x"}, "no device is called 'd9'", 2),
        ("pause", {"snap": "wine"}, "no rollout is called 'wine'; there is no rollout yet", 2),
        ("status", {"snap": "wine"}, "no followed snap is called 'wine'", 2),
        ("history", {"subject": "d9"}, "no snap, device or group with a history is called 'd9'", 2),
        ("frobnicate", {}, "frobnicate: there is no such operation", 2),
        ("device-show", {"device": "d1", "more": 1}, "device-show: more: is not a key of this format", 2),
    ],
)
def test_a_wrong_order_is_one_line_with_an_exit_code(
    site: FleetSite, operation: str, arguments: dict[str, Any], message: str, code: int
) -> None:
    site.call("group-add", name="lab", selector="site=lab")
    site.add_device("d1", site="lab")
    with pytest.raises(SnapedgeError) as caught:
        site.call(operation, **arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == code


def test_a_rollout_in_the_wrong_phase_refuses_the_order(site: FleetSite) -> None:
    site.call("group-add", name="lab", follows=["wine-rater=stable"])
    site.publish("wine-rater", "1.0.0", "stable")
    site.tick()
    site.call("rollback", snap="wine-rater")
    for order, words in (("resume", "cannot resume"), ("pause", "cannot pause"), ("rollback", "cannot roll back")):
        with pytest.raises(SnapedgeError, match=f"{words} rollout 1 \\(wine-rater 1.0.0 on latest/stable\\)") as caught:
            site.call(order, snap="wine-rater")
        assert caught.value.exit_code == 3


def test_the_audit_log_shows_who_did_what(site: FleetSite) -> None:
    site.call("group-add", name="lab")
    site.add_device("d1")
    found = site.call("history")
    assert [(one["actor"], one["action"], one["subject"]) for one in found] == [
        ("anna", "group-add", "lab"),
        ("anna", "device-add", "d1"),
    ]
    assert site.call("audit-verify")["entries"] == 2


@pytest.mark.parametrize("change", [{"actor": "nobody"}, {"detail": "{}"}, {"at": 1.0}])
def test_an_audit_entry_changed_by_hand_is_found(site: FleetSite, change: dict[str, Any]) -> None:
    for name in ("a", "b", "c"):
        site.call("group-add", name=name)
    with site.control.database.writing() as connection:
        connection.execute(update(tables.audit).where(tables.audit.c.sequence == 2).values(**change))
    with pytest.raises(AuditBrokenError, match="broken at entry 2: its content is not what was written"):
        site.call("audit-verify")


def test_an_audit_entry_taken_away_is_found(site: FleetSite) -> None:
    for name in ("a", "b", "c"):
        site.call("group-add", name=name)
    with site.control.database.writing() as connection:
        connection.execute(tables.audit.delete().where(tables.audit.c.sequence == 2))
    with pytest.raises(AuditBrokenError, match="broken at entry 2: entry 3 stands in its place"):
        site.call("audit-verify")
