"""What happens on a device when snaps come, change and go: real hooks and services, snapd's order and words."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from snapedge_fleet.virtual.tasks import Limits

from .rundevice import KUBECONFIG, RunDevice
from .toysnaps import ToySnap

pytestmark = pytest.mark.skipif(shutil.which("mksquashfs") is None, reason="mksquashfs is not installed")

AGENT = "apps:\n  agent: {command: bin/agent, daemon: simple, restart-delay: 50ms}\n"
RUNNING = {"agent": 'echo "agent of $SNAP_REVISION" >> $SNAP_COMMON/starts; exec sleep 600'}


def starts(device: RunDevice) -> list[str]:
    return device.common("starts").splitlines()


def trace(*hooks: str) -> dict[str, str]:
    """Hooks that write down that they ran."""
    return {hook: f'echo "{hook} $SNAP_REVISION" >> $SNAP_COMMON/trace' for hook in hooks}


EVERY_HOOK = ("install", "pre-refresh", "post-refresh", "configure", "check-health", "remove", "connect-plug-mk8s")


def traced(device: RunDevice) -> list[str]:
    return device.common("trace").splitlines()


def test_an_install_runs_hooks_and_starts_services(device: RunDevice, tmp_path: Path) -> None:
    hooks = {"install": "snapctl get serve.registry > $SNAP_COMMON/get"}
    toy = ToySnap(hooks={**hooks, **trace("configure", "check-health")}, commands=RUNNING, yaml=AGENT).pack(tmp_path)
    assert device.install(toy) == "toy 1.0 installed\n"
    assert device.common("get") == "127.9.9.1:32000\n"
    assert traced(device) == ["configure x1", "check-health x1"]
    device.until(lambda: starts(device) == ["agent of x1"])
    snap = device.ask("/v2/snaps/toy")
    assert (snap["revision"], snap["version"], snap["status"], snap["channel"]) == ("x1", "1.0", "active", "")
    assert snap["health"]["code"] == "snapd-hook-no-health-set"
    assert device.snap("services").splitlines()[1].split() == ["toy.agent", "enabled", "active", "-"]


def test_a_failing_install_leaves_nothing_behind(device: RunDevice, tmp_path: Path) -> None:
    hooks = {"install": "echo one; echo two >&2; touch $SNAP_COMMON/left; snapctl set a=1; exit 3"}
    toy = ToySnap(hooks=hooks, commands=RUNNING, yaml=AGENT).pack(tmp_path)
    message = device.install(toy, expect=1)
    assert message == (
        "error: cannot perform the following tasks:\n"
        '- Run install hook of "toy" snap if present (run hook "install": \n-----\none\ntwo\n-----)\n'
    )
    assert device.call("GET", "/v2/snaps/toy")["status-code"] == 404
    assert not device.paths.common("toy").exists()
    assert not device.paths.data("toy", "x1").exists()
    assert not device.paths.snap("toy", "x1").is_symlink()
    assert not [path for path in device.paths.root.rglob("toy") if path.is_dir()]
    assert list(device.paths.uploads.iterdir()) == []
    device.snap("get", "toy", expect=1)


def test_a_refresh_copies_data_and_runs_both_hooks_in_order(device: RunDevice, tmp_path: Path) -> None:
    device.install(ToySnap(hooks=trace(*EVERY_HOOK), commands=RUNNING, yaml=AGENT).pack(tmp_path))
    (device.paths.data("toy", "x1") / "kept").write_text("by x1", encoding="utf-8")
    device.install(ToySnap(version="2.0", hooks=trace(*EVERY_HOOK), commands=RUNNING, yaml=AGENT).pack(tmp_path))
    assert traced(device) == [
        "install x1",
        "configure x1",
        "check-health x1",
        "pre-refresh x1",
        "post-refresh x2",
        "configure x2",
        "check-health x2",
    ]
    assert (device.paths.data("toy", "x2") / "kept").read_text(encoding="utf-8") == "by x1"
    assert (device.paths.data("toy", "current")).resolve() == device.paths.data("toy", "x2")
    device.until(lambda: starts(device) == ["agent of x1", "agent of x2"])
    assert [one["revision"] for one in device.ask("/v2/snaps?select=all&snaps=toy")] == ["x1", "x2"]


@pytest.mark.parametrize("hook", ["pre-refresh", "post-refresh", "configure", "check-health"])
def test_a_refresh_that_fails_goes_back_to_the_old_revision_and_its_service(
    device: RunDevice, tmp_path: Path, hook: str
) -> None:
    old = trace(*EVERY_HOOK) | ({hook: "echo no; exit 1"} if hook == "pre-refresh" else {})
    device.install(ToySnap(hooks=old, commands=RUNNING, yaml=AGENT).pack(tmp_path))
    device.snap("set", "toy", "serve.gate=strict")
    before = len(traced(device))
    bad = {**trace(*EVERY_HOOK), hook: "snapctl set serve.gate=none; touch $SNAP_COMMON/left; echo no; exit 1"}
    new = ToySnap(version="2.0", hooks=bad, commands=RUNNING, yaml=AGENT).pack(tmp_path)
    assert f'(run hook "{hook}": no)' in device.install(new, expect=1)
    snap = device.ask("/v2/snaps/toy")
    assert (snap["revision"], snap["status"]) == ("x1", "active")
    failures = snap.get("refresh-failures", {})
    # A refresh that never linked the new revision is no failed refresh of it.
    assert (failures.get("revision"), failures.get("failure-count")) == (
        (None, None) if hook == "pre-refresh" else ("x2", 1)
    )
    assert not device.paths.data("toy", "x2").exists()
    assert device.paths.snap("toy", "current").resolve() == device.paths.snap("toy", "x1").resolve()
    assert device.snap("get", "toy", "serve.gate") == "strict\n"
    assert (device.paths.common("toy") / "left").exists() == (hook != "pre-refresh")
    # No hook of the old revision runs on undo; its service does.
    assert not [line for line in traced(device)[before:] if line.endswith("x1") and not line.startswith("pre-refresh")]
    device.until(lambda: starts(device)[-1] == "agent of x1")
    change = device.last_change()
    assert change["status"] == "Error"
    statuses = {task["status"] for task in change["tasks"]}
    assert statuses == ({"Undone", "Error", "Hold"} if hook != "check-health" else {"Undone", "Error"})


def test_the_revision_of_a_failed_refresh_is_given_again(device: RunDevice, tmp_path: Path) -> None:
    device.install(ToySnap().pack(tmp_path))
    device.install(ToySnap(version="2.0", hooks={"post-refresh": "exit 1"}).pack(tmp_path), expect=1)
    device.install(ToySnap(version="3.0").pack(tmp_path))
    assert device.ask("/v2/snaps/toy")["revision"] == "x2"


def test_revert_runs_configure_and_check_health_alone_and_brings_the_old_configuration(
    device: RunDevice, tmp_path: Path
) -> None:
    device.install(ToySnap(hooks=trace(*EVERY_HOOK), commands=RUNNING, yaml=AGENT).pack(tmp_path))
    device.snap("set", "toy", "serve.gate=strict")
    device.install(ToySnap(version="2.0", hooks=trace(*EVERY_HOOK), commands=RUNNING, yaml=AGENT).pack(tmp_path))
    device.snap("set", "toy", "serve.gate=none")
    before = len(traced(device))
    assert device.snap("revert", "toy") == "toy reverted to 1.0\n"
    assert traced(device)[before:] == ["configure x1", "check-health x1"]
    assert device.snap("get", "toy", "serve.gate") == "strict\n"
    device.until(lambda: starts(device)[-1] == "agent of x1")
    assert "no revision to revert to" in device.snap("revert", "toy", expect=1)
    device.snap("revert", "toy", "--revision=x2")
    assert device.snap("get", "toy", "serve.gate") == "none\n"


def test_a_failing_check_health_undoes_a_revert(device: RunDevice, tmp_path: Path) -> None:
    bad = {"check-health": '[ "$SNAP_REVISION" = x2 ] || [ ! -e $SNAP_COMMON/strict ] || exit 1'}
    device.install(ToySnap(hooks=bad).pack(tmp_path))
    device.install(ToySnap(version="2.0", hooks=bad).pack(tmp_path))
    (device.paths.common("toy") / "strict").touch()
    assert "Run health check" in device.snap("revert", "toy", expect=1)
    assert device.ask("/v2/snaps/toy")["revision"] == "x2"
    assert device.ask("/v2/snaps/toy")["health"]["code"] == "snapd-hook-failed"


def test_refresh_retain_bounds_the_revisions_that_are_kept(device: RunDevice, tmp_path: Path) -> None:
    for version in ("1", "2", "3", "4"):
        device.install(ToySnap(version=version).pack(tmp_path))
    assert [one["revision"] for one in device.ask("/v2/snaps?select=all&snaps=toy")] == ["x2", "x3", "x4"]
    assert not device.paths.data("toy", "x1").exists()
    device.snap("set", "system", "refresh.retain=2")
    device.install(ToySnap(version="5").pack(tmp_path))
    assert [one["revision"] for one in device.ask("/v2/snaps?select=all&snaps=toy")] == ["x4", "x5"]


def test_connecting_shares_the_credentials_and_disconnecting_takes_them_away(device: RunDevice, tmp_path: Path) -> None:
    hooks = {
        "install": "snapctl is-connected mk8s; echo $? > $SNAP_COMMON/connected",
        "connect-plug-mk8s": "cat $SNAP_DATA/microk8s/credentials/client.config > $SNAP_COMMON/seen;"
        "snapctl is-connected mk8s; echo $? > $SNAP_COMMON/connected; snapctl restart toy.agent",
        "disconnect-plug-mk8s": "test -e $SNAP_DATA/microk8s/credentials/client.config && touch $SNAP_COMMON/still",
    }
    device.install(ToySnap(hooks=hooks, commands=RUNNING, yaml=AGENT).pack(tmp_path))
    assert device.common("connected") == "1\n"
    device.snap("connect", "toy:mk8s", "microk8s:microk8s")
    assert device.common("seen") == KUBECONFIG
    assert device.common("connected") == "0\n"
    device.until(lambda: starts(device) == ["agent of x1", "agent of x1"])
    device.install(ToySnap(version="2.0", hooks=hooks, commands=RUNNING, yaml=AGENT).pack(tmp_path))
    target = device.paths.data("toy", "x2") / "microk8s" / "credentials" / "client.config"
    assert target.read_text(encoding="utf-8") == KUBECONFIG
    device.snap("disconnect", "toy:mk8s", "microk8s:microk8s")
    assert not target.exists()
    assert (device.paths.common("toy") / "still").exists()
    assert device.call(
        "POST", "/v2/interfaces", {"action": "disconnect", "plugs": [{"snap": "toy", "plug": "mk8s"}], "slots": []}
    )["result"] == {"message": "nothing to do", "kind": "interfaces-unchanged"}


def test_a_failing_connect_hook_undoes_the_connection(device: RunDevice, tmp_path: Path) -> None:
    device.install(ToySnap(hooks={"connect-plug-mk8s": "exit 1"}).pack(tmp_path))
    device.snap("connect", "toy:mk8s", "microk8s:microk8s", expect=1)
    established = device.ask("/v2/connections?snap=toy")["established"]
    assert [one["interface"] for one in established] == ["network"]
    assert not (device.paths.data("toy", "x1") / "microk8s" / "credentials").exists()


@pytest.mark.parametrize(
    ("plug", "slot", "message"),
    [
        ("nosnap:mk8s", "microk8s:microk8s", 'snap "nosnap" is not installed'),
        ("toy:nothing", "microk8s:microk8s", 'snap "toy" has no plug named "nothing"'),
        ("toy:mk8s", "microk8s:nothing", 'snap "microk8s" has no slot named "nothing"'),
        (
            "toy:network",
            "microk8s:microk8s",
            'cannot connect plug "toy:network" (interface "network") to "microk8s:microk8s" (interface "content")',
        ),
    ],
)
def test_connections_that_cannot_be_are_refused(
    device: RunDevice, tmp_path: Path, plug: str, slot: str, message: str
) -> None:
    device.install(ToySnap().pack(tmp_path))
    assert device.snap("connect", plug, slot, expect=1) == f"error: {message}\n"


def test_remove_runs_its_hook_while_connected_ignores_its_failure_and_leaves_nothing(
    device: RunDevice, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    hooks = {"remove": f"cat $SNAP_DATA/microk8s/credentials/client.config > {seen}; exit 1"}
    device.install(ToySnap(hooks=hooks, commands=RUNNING, yaml=AGENT).pack(tmp_path))
    device.snap("connect", "toy:mk8s", "microk8s:microk8s")
    device.install(ToySnap(version="2.0", hooks=hooks, commands=RUNNING, yaml=AGENT).pack(tmp_path))
    assert device.snap("remove", "toy") == "toy removed\n"
    assert seen.read_text(encoding="utf-8") == KUBECONFIG
    assert device.last_change()["status"] == "Done"
    assert not device.paths.common("toy").parent.exists()
    assert not [path for path in device.paths.root.rglob("toy") if path.is_dir()]
    assert list(device.paths.sessions.iterdir()) == []
    assert device.call("GET", "/v2/snaps/toy/conf")["status-code"] == 404
    assert device.ask("/v2/connections")["established"] == []


def test_a_disabled_snap_runs_nothing_until_it_is_enabled(device: RunDevice, tmp_path: Path) -> None:
    device.install(ToySnap(hooks=trace(*EVERY_HOOK), commands=RUNNING, yaml=AGENT).pack(tmp_path))
    before = traced(device)
    device.snap("disable", "toy")
    assert device.ask("/v2/snaps/toy")["status"] == "installed"
    assert list(device.paths.sessions.iterdir()) == []
    assert 'snap "toy" already disabled' in device.snap("disable", "toy", expect=1)
    device.snap("enable", "toy")
    device.until(lambda: len(starts(device)) == 2)
    assert traced(device) == before


def test_a_hook_over_its_limit_is_killed_with_all_it_started(short_path: Path, tmp_path: Path) -> None:
    limits = Limits(default=0.5, configure=0.5, check_health=0.3)
    hooks = {"install": "echo waiting; sleep 601 & echo $! > $SNAP_COMMON/../../../../child; sleep 602"}
    with RunDevice(short_path, limits=limits) as device:
        message = device.install(ToySnap(hooks=hooks).pack(tmp_path), expect=1)
        assert 'run hook "install": \n-----\nwaiting\n<exceeded maximum runtime of 0.5s>\n-----' in message
        child = int((device.paths.root / "child").read_text(encoding="ascii"))
        device.until(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text())
        health = ToySnap(name="slow", hooks={"check-health": "sleep 600"}).pack(tmp_path)
        assert "<exceeded maximum runtime of 0.3s>" in device.install(health, expect=1)


def test_an_abort_kills_the_hook_and_undoes_the_change(device: RunDevice, tmp_path: Path) -> None:
    toy = ToySnap(hooks={"install": "touch $SNAP_COMMON/running; sleep 600"}).pack(tmp_path)
    answer = device.upload(toy)
    device.until(lambda: (device.paths.common("toy") / "running").exists())
    conflict = device.upload(toy)
    assert conflict["status-code"] == 409
    assert conflict["result"] == {
        "message": 'snap "toy" has "install-snap" change in progress',
        "kind": "snap-change-conflict",
        "value": {"change-kind": "install-snap", "snap-name": "toy"},
    }
    device.call("POST", f"/v2/changes/{answer['change']}", {"action": "abort"})
    change = device.ready(answer["change"])
    assert change["status"] == "Error"
    assert '(run hook "install": <aborted>)' in change["err"]
    assert device.call("GET", "/v2/snaps/toy")["status-code"] == 404
    again = device.call("POST", f"/v2/changes/{answer['change']}", {"action": "abort"})
    assert "with nothing pending" in again["result"]["message"]


def test_several_snaps_in_one_change_stand_alone_or_together(device: RunDevice, tmp_path: Path) -> None:
    good = ToySnap(name="good").pack(tmp_path)
    bad = ToySnap(name="bad", hooks={"install": "exit 1"}).pack(tmp_path)
    change = device.change(device.upload(good, bad, transaction="all-snaps"))
    assert change["status"] == "Error"
    assert device.call("GET", "/v2/snaps/good")["status-code"] == 404
    change = device.change(device.upload(good, bad))
    assert change["status"] == "Error"
    assert device.ask("/v2/snaps/good")["status"] == "active"
    assert device.call("GET", "/v2/snaps/bad")["status-code"] == 404


@pytest.mark.parametrize(
    ("spoiled", "message"),
    [
        (b"not a snap at all", "is invalid (header ["),
        (200, "is truncated (200 bytes of "),
        (50, "is truncated (50 bytes of "),
    ],
)
def test_a_file_that_is_no_whole_snap_is_refused(
    device: RunDevice, tmp_path: Path, spoiled: bytes | int, message: str
) -> None:
    whole = ToySnap().pack(tmp_path).read_bytes()
    file = tmp_path / "spoiled.snap"
    file.write_bytes(spoiled if isinstance(spoiled, bytes) else whole[:spoiled])
    said = device.install(file, expect=1)
    assert said.startswith("error: cannot read snap file: ")
    assert message in said
    assert said.count("\n") == 1
    assert list(device.paths.uploads.iterdir()) == []
    assert device.ask("/v2/changes?select=all") == []


@pytest.mark.parametrize(
    ("toy", "message"),
    [
        (
            ToySnap(architectures="[arm64]"),
            'snap "toy" supported architectures (arm64) are incompatible with this system (amd64)',
        ),
        (
            ToySnap(yaml="confinement: classic"),
            'snap "toy" requires classic confinement which is only available on classic systems',
        ),
        (ToySnap(yaml="confinement: devmode"), 'snap "toy" requires devmode or confinement override'),
        (ToySnap(yaml="base: core18"), 'cannot install snap base "core18": snap not found'),
        (
            ToySnap(yaml="apps: {agent: {command: bin/none}}"),
            "snap is unusable due to missing files; contact developer",
        ),
    ],
)
def test_a_snap_that_does_not_fit_is_refused_and_leaves_nothing(
    device: RunDevice, tmp_path: Path, toy: ToySnap, message: str
) -> None:
    assert message in device.install(toy.pack(tmp_path), expect=1)
    assert device.call("GET", "/v2/snaps/toy")["status-code"] == 404
    assert not device.paths.common("toy").exists()


def test_a_hook_that_is_not_executable_makes_the_snap_unusable(device: RunDevice, tmp_path: Path) -> None:
    toy = ToySnap(hooks={"install": "true"}, bad_modes=True).pack(tmp_path)
    assert "snap is unusable due to bad permissions; contact developer" in device.install(toy, expect=1)


def test_a_sideload_without_dangerous_is_refused(device: RunDevice, tmp_path: Path) -> None:
    toy = ToySnap().pack(tmp_path)
    assert device.snap("install", str(toy), expect=1) == (
        f'error: cannot find signatures with metadata for snap/component "{toy}"\n'
    )


def test_what_needs_a_store_is_refused(device: RunDevice, tmp_path: Path) -> None:
    device.install(ToySnap().pack(tmp_path))
    assert device.snap("install", "other", expect=1) == "error: snap not found\n"
    assert device.call("POST", "/v2/snaps/toy", {"action": "refresh"})["result"]["kind"] == "snap-local"
    assert device.call("POST", "/v2/snaps/other", {"action": "refresh"})["result"]["kind"] == "snap-not-installed"
    assert device.call("POST", "/v2/snaps/toy", {"action": "dance"})["result"] == {"message": "unknown action dance"}
    assert device.call("GET", "/v2/nothing")["result"] == {"message": "not found"}


def test_refreshes_are_held_and_let_go(device: RunDevice, tmp_path: Path) -> None:
    device.install(ToySnap().pack(tmp_path))
    device.snap("refresh", "--hold", "toy")
    assert device.ask("/v2/snaps/toy")["hold"].startswith("2315-")
    assert "held" in device.snap("list", "toy")
    device.snap("refresh", "--unhold", "toy")
    assert "hold" not in device.ask("/v2/snaps/toy")


def test_configuration_is_kept_only_if_the_configure_hook_takes_it(device: RunDevice, tmp_path: Path) -> None:
    hooks = {"configure": 'test "$(snapctl get serve.gate)" != bad || { echo "gate cannot be bad"; exit 1; }'}
    device.install(ToySnap(hooks=hooks).pack(tmp_path))
    device.snap("set", "toy", "serve.gate=strict", "serve.node-port=30080")
    assert "gate cannot be bad" in device.snap("set", "toy", "serve.gate=bad", expect=1)
    assert json.loads(device.snap("get", "-d", "toy")) == {
        "serve": {"gate": "strict", "node-port": 30080, "registry": "127.9.9.1:32000"}
    }
    device.snap("unset", "toy", "serve")
    assert device.snap("get", "toy", expect=1) == 'error: snap "toy" has no configuration\n'
    device.install(ToySnap(name="plain").pack(tmp_path))
    assert 'snap "plain" has no "configure" hook' in device.snap("set", "plain", "a=1", expect=1)


def test_services_restart_on_failure_and_end_when_done(device: RunDevice, tmp_path: Path) -> None:
    commands = {
        "agent": "echo run >> $SNAP_COMMON/runs; [ $(wc -l < $SNAP_COMMON/runs) -ge 3 ] || exit 1; "
        "snapctl set-health okay; snapctl set done=true"
    }
    device.install(ToySnap(commands=commands, yaml=AGENT).pack(tmp_path))
    device.until(lambda: "inactive" in device.snap("services"))
    assert device.common("runs") == "run\nrun\nrun\n"
    assert device.snap("get", "toy", "done") == "true\n"
    assert device.ask("/v2/snaps/toy")["health"] | {"timestamp": ""} == {
        "revision": "x1",
        "timestamp": "",
        "status": "okay",
    }
    device.snap("start", "toy.agent")
    device.until(lambda: device.common("runs").count("run") == 4)
    assert device.snap("stop", "--disable", "toy") == "Stopped.\n"
    assert device.ask("/v2/apps?names=toy")[0]["enabled"] is False
    assert 'snap "toy" has no service "x"' in device.snap("restart", "toy.x", expect=1)


def test_a_service_with_a_reload_command_is_reloaded_while_it_runs_and_started_where_it_does_not(
    device: RunDevice, tmp_path: Path
) -> None:
    commands = {
        "agent": "echo start $$ >> $SNAP_COMMON/said; trap 'exit 0' USR1; trap 'echo told >> $SNAP_COMMON/said' HUP; "
        "while :; do sleep 0.05; done",
        "reload": "kill -HUP $MAINPID",
    }
    hooks = {"configure": 'test "$(snapctl get a)" = "" || snapctl restart --reload toy.agent'}
    yaml = "apps: {agent: {command: bin/agent, daemon: simple, reload-command: bin/reload}}"
    device.install(ToySnap(commands=commands, hooks=hooks, yaml=yaml).pack(tmp_path))
    device.until(lambda: "start" in device.common("said"))
    device.snap("set", "toy", "a=1")
    device.until(lambda: "told" in device.common("said"))
    assert device.common("said").count("start") == 1
    device.snap("stop", "toy.agent")
    device.snap("set", "toy", "a=2")
    device.until(lambda: device.common("said").count("start") == 2)


def test_a_reboot_starts_services_and_nothing_else(short_path: Path, tmp_path: Path) -> None:
    toy = ToySnap(hooks=trace(*EVERY_HOOK), commands=RUNNING, yaml=AGENT).pack(tmp_path)
    with RunDevice(short_path) as device:
        device.install(toy)
        before = traced(device)
    with RunDevice(short_path) as device:
        device.until(lambda: len(starts(device)) == 2)
        assert traced(device) == before
        assert device.ask("/v2/snaps/toy")["revision"] == "x1"


def test_a_change_cut_off_by_a_power_cut_is_taken_up_again(short_path: Path, tmp_path: Path) -> None:
    hooks = {"post-refresh": "echo run >> $SNAP_COMMON/runs; [ $(wc -l < $SNAP_COMMON/runs) -ge 2 ] || sleep 600"}
    with RunDevice(short_path) as device:
        device.install(ToySnap(commands=RUNNING, yaml=AGENT).pack(tmp_path))
        number = str(
            device.upload(ToySnap(version="2.0", hooks=hooks, commands=RUNNING, yaml=AGENT).pack(tmp_path))["change"]
        )
        device.until(lambda: (device.paths.common("toy") / "runs").exists())
    with RunDevice(short_path) as device:
        assert device.ready(number)["status"] == "Done"
        assert device.common("runs") == "run\nrun\n"
        assert device.ask("/v2/snaps/toy")["revision"] == "x2"
        device.until(lambda: starts(device) == ["agent of x1", "agent of x2"])


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_refuses_the_snap_and_keeps_the_old_one(short_path: Path, tmp_path: Path) -> None:
    (short_path / "device").mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(short_path / "device")], check=False, timeout=10
    )
    if mounted.returncode != 0:
        pytest.skip("this machine lets nobody mount a tmpfs")
    try:
        with RunDevice(short_path) as device:
            device.install(ToySnap(commands=RUNNING, yaml=AGENT).pack(tmp_path))
            filling = device.paths.data("toy", "x1") / "filling"
            filling.write_bytes(b"x" * 300_000)
            # There is room for the file but none for a copy of the data.
            message = device.install(ToySnap(version="2.0", commands=RUNNING, yaml=AGENT).pack(tmp_path), expect=1)
            assert "No space left on device" in message
            assert 'Copy snap "toy" data' in message
            assert device.ask("/v2/snaps/toy")["revision"] == "x1"
            assert not device.paths.data("toy", "x2").exists()
            device.until(lambda: starts(device) == ["agent of x1", "agent of x1"])
            with contextlib.suppress(OSError):
                (device.paths.data("toy", "x1") / "more").write_bytes(b"x" * 500_000)
            answer = device.upload(ToySnap(name="late").pack(tmp_path))
            assert answer["result"] == {
                "message": "cannot store the snap file: No space left on device",
                "kind": "insufficient-disk-space",
            }
            (device.paths.data("toy", "x1") / "more").unlink()
            device.install(ToySnap(name="late").pack(tmp_path))
    finally:
        subprocess.run(["umount", str(short_path / "device")], check=True, timeout=10)


def test_what_happened_is_in_the_log(device: RunDevice, tmp_path: Path) -> None:
    device.install(ToySnap(hooks={"install": "echo hello"}).pack(tmp_path))
    assert device.snap("logs", "toy").rstrip().endswith(": hello")
    assert "Run install hook" in device.snap("tasks", "--last=install")
    assert "Done" in device.snap("changes")
    assert "toy" in device.snap("info", "toy")
    assert "toy:network" in device.snap("connections", "toy")
    assert device.snap("version").startswith("snap ")
    assert device.snap("dance", expect=64) == 'error: unknown command "dance", see "snap help".\n'
