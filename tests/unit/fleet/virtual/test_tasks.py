"""The order of tasks, as literal lists."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from snapedge_fleet.virtual import tasks
from snapedge_fleet.virtual.tasks import Arrival, Connection, Installed, TaskPlan

ARRIVAL = Arrival(
    name="toy",
    revision="x2",
    version="2.0",
    file="/uploads/toy.snap",
    digest="abc",
    hooks=frozenset({"install", "configure", "check-health"}),
)
INSTALLED = Installed(name="toy", current="x1", sequence=("x1",), active=True)
CONNECTION = Connection(plug_snap="toy", plug="mk8s", slot_snap="microk8s", slot="microk8s")


def shown(planned: tuple[TaskPlan, ...]) -> list[str]:
    return [f"{one.kind} {one.hook or one.revision}".strip() for one in planned]


def test_install_runs_its_hook_before_services_and_configure_and_check_health_after_them() -> None:
    assert shown(tasks.install(ARRIVAL)) == [
        "prerequisites x2",
        "prepare-snap x2",
        "mount-snap x2",
        "copy-snap-data x2",
        "setup-profiles x2",
        "link-snap x2",
        "auto-connect x2",
        "set-auto-aliases x2",
        "setup-aliases x2",
        "run-hook install",
        "start-snap-services x2",
        "run-hook configure",
        "run-hook check-health",
    ]


def test_default_configure_runs_only_where_the_snap_has_it() -> None:
    arrival = Arrival(
        name="toy", revision="x1", version="1", file="f", digest="d", hooks=frozenset({"default-configure"})
    )
    planned = shown(tasks.install(arrival))
    assert planned[9:12] == ["run-hook install", "run-hook default-configure", "start-snap-services x1"]


def test_refresh_runs_pre_refresh_with_services_and_post_refresh_without() -> None:
    assert shown(tasks.refresh(INSTALLED, ARRIVAL, retain=3)) == [
        "prerequisites x2",
        "prepare-snap x2",
        "mount-snap x2",
        "run-hook pre-refresh",
        "stop-snap-services x1",
        "remove-aliases x1",
        "unlink-current-snap x1",
        "copy-snap-data x2",
        "setup-profiles x2",
        "link-snap x2",
        "auto-connect x2",
        "set-auto-aliases x2",
        "setup-aliases x2",
        "run-hook post-refresh",
        "start-snap-services x2",
        "cleanup x2",
        "run-hook configure",
        "run-hook check-health",
    ]


def test_refresh_discards_what_refresh_retain_no_longer_covers() -> None:
    installed = Installed(name="toy", current="x3", sequence=("x1", "x2", "x3"), active=True)
    arrival = Arrival(name="toy", revision="x4", version="4", file="f", digest="d", hooks=frozenset())
    assert [
        one for one in shown(tasks.refresh(installed, arrival, retain=3)) if "snap x1" in one or "snap x2" in one
    ] == [
        "clear-snap x1",
        "discard-snap x1",
    ]


def test_refresh_after_a_revert_discards_the_revision_that_was_left() -> None:
    installed = Installed(name="toy", current="x1", sequence=("x1", "x2"), active=True)
    arrival = Arrival(name="toy", revision="x3", version="3", file="f", digest="d", hooks=frozenset())
    planned = shown(tasks.refresh(installed, arrival, retain=3))
    assert planned[-5:] == [
        "clear-snap x2",
        "discard-snap x2",
        "cleanup x3",
        "run-hook configure",
        "run-hook check-health",
    ]


def test_revert_runs_no_refresh_hook_and_copies_no_data_but_configure_and_check_health() -> None:
    installed = Installed(name="toy", current="x2", sequence=("x1", "x2"), active=True)
    assert shown(tasks.revert(installed, "x1")) == [
        "prerequisites x1",
        "prepare-snap x1",
        "stop-snap-services x2",
        "remove-aliases x2",
        "unlink-current-snap x2",
        "setup-profiles x1",
        "link-snap x1",
        "auto-connect x1",
        "set-auto-aliases x1",
        "setup-aliases x1",
        "start-snap-services x1",
        "run-hook configure",
        "run-hook check-health",
    ]


def test_remove_runs_its_hook_before_connections_go_and_ignores_its_failure() -> None:
    installed = Installed(name="toy", current="x2", sequence=("x1", "x2"), active=True)
    planned = tasks.remove(installed, connections=[(CONNECTION, frozenset({"disconnect-plug-mk8s"}), frozenset())])
    assert shown(planned) == [
        "stop-snap-services x2",
        "run-hook remove",
        "run-hook disconnect-plug-mk8s",
        "disconnect",
        "auto-disconnect x2",
        "remove-aliases x2",
        "unlink-snap x2",
        "remove-profiles x2",
        "clear-snap x1",
        "discard-snap x1",
        "clear-snap x2",
        "discard-snap x2",
    ]
    assert [one.hook for one in planned if one.ignore_error] == ["remove", "disconnect-plug-mk8s"]


def test_removing_one_old_revision_touches_nothing_else() -> None:
    installed = Installed(name="toy", current="x2", sequence=("x1", "x2"), active=True)
    assert shown(tasks.remove(installed, revision="x1")) == ["clear-snap x1", "discard-snap x1"]


def test_enable_and_disable_run_no_hook() -> None:
    assert shown(tasks.enable(INSTALLED)) == [
        "prepare-snap x1",
        "setup-profiles x1",
        "link-snap x1",
        "setup-aliases x1",
        "start-snap-services x1",
    ]
    assert shown(tasks.disable(INSTALLED)) == [
        "stop-snap-services x1",
        "remove-aliases x1",
        "unlink-snap x1",
        "remove-profiles x1",
    ]


def test_connect_runs_the_hooks_that_there_are_around_the_connection() -> None:
    hooks = frozenset({"prepare-plug-mk8s", "connect-plug-mk8s", "install"})
    planned = tasks.connect(CONNECTION, plug_hooks=hooks, slot_hooks=frozenset())
    assert [one.summary for one in planned] == [
        'Run hook prepare-plug-mk8s of snap "toy"',
        "Connect toy:mk8s to microk8s:microk8s",
        'Run hook connect-plug-mk8s of snap "toy"',
    ]


def test_hooks_have_the_limits_of_snapd() -> None:
    limits = tasks.Limits()
    assert [limits.of(hook) for hook in ("install", "post-refresh", "connect-plug-mk8s")] == [600, 600, 600]
    assert [limits.of(hook) for hook in ("configure", "default-configure", "check-health")] == [300, 300, 30]


@given(count=st.integers(1, 8), current=st.integers(1, 8), retain=st.integers(1, 5))
def test_a_refresh_never_discards_the_revision_it_leaves_or_brings(count: int, current: int, retain: int) -> None:
    sequence = tuple(f"x{number}" for number in range(1, count + 1))
    installed = Installed(name="toy", current=f"x{min(current, count)}", sequence=sequence, active=True)
    arrival = Arrival(name="toy", revision="x99", version="1", file="f", digest="d", hooks=frozenset())
    gone = [one.revision for one in tasks.refresh(installed, arrival, retain=retain) if one.kind == "discard-snap"]
    left = [one for one in sequence if one not in gone]
    assert installed.current in left
    assert "x99" not in gone
    assert len(left) + 1 <= max(retain, 2)
    assert len(set(gone)) == len(gone)
