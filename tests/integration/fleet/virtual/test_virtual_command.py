"""`fleet virtual` as a user types it: whole devices, in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .toysnaps import ToySnap

_MAIN = """
import sys
from snapedge_fleet.virtual.cli import virtual_group
from snapedge_hooks.errors import SnapedgeError
try:
    virtual_group(prog_name="fleet virtual")
except SnapedgeError as error:
    sys.exit(f"error: {error}")
"""
AGENT = "apps:\n  agent: {command: bin/agent, daemon: simple, restart-delay: 50ms}\n"
RUNNING = {"agent": "sleep 601 & echo $! >> $SNAP_COMMON/child; echo $$ >> $SNAP_COMMON/starts; wait"}


class Fleet:
    """The command, bound to one root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, *arguments: str, expect: int = 0, path: str | None = None) -> str:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _MAIN, *arguments],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            env=os.environ | {"SNAPEDGE_VIRTUAL_ROOT": str(self.root)} | ({"PATH": path} if path is not None else {}),
        )
        assert done.returncode == expect, done
        return done.stdout + done.stderr

    def status(self) -> dict[str, Any]:
        return {one["id"]: one for one in json.loads(self.run("status", "--format", "json"))}

    def record(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.root / "devices" / name / "device.json").read_text(encoding="utf-8"))
        return found

    def common(self, name: str, file: str) -> list[str]:
        path = self.root / "devices" / name / "var" / "snap" / "toy" / "common" / file
        return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


@pytest.fixture
def fleet(short_path: Path) -> Iterator[Fleet]:
    running = Fleet(short_path)
    yield running
    running.run("down")


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_devices_come_up_serve_their_parts_and_end(fleet: Fleet, tmp_path: Path) -> None:
    toy = ToySnap(commands=RUNNING, yaml=AGENT).pack(tmp_path)
    said = fleet.run("up", "--names", "edge-a,edge-b", "--label", "site=lab", "--architecture", "arm64")
    assert [line.split(" is up at ")[0] for line in said.splitlines()] == ["edge-a", "edge-b"]
    assert fleet.run("exec", "edge-a", "--", "snap", "install", "--dangerous", str(toy)) == "toy 1.0 installed\n"
    found = fleet.status()
    assert found["edge-a"]["snaps"] == [
        {
            "name": "toy",
            "revision": "x1",
            "version": "1.0",
            "status": "active",
            "health": found["edge-a"]["snaps"][0]["health"],
        }
    ]
    assert (found["edge-b"]["snaps"], found["edge-b"]["labels"]) == ([], {"site": "lab"})
    assert found["edge-a"]["address"] != found["edge-b"]["address"]
    registry = found["edge-a"]["registry"]
    assert fleet.run("exec", "edge-a", "--", "snap", "get", "toy", "serve.registry") == f"{registry}\n"
    assert "arm64" in fleet.run("exec", "edge-a", "snap", "version")
    fleet.run("exec", "edge-a", "--", "snap", "connect", "toy:mk8s", "microk8s:microk8s")
    config = fleet.root / "devices" / "edge-a" / "var" / "snap" / "toy" / "x1" / "microk8s/credentials/client.config"
    assert f"server: https://{found['edge-a']['address']}:16443" in config.read_text(encoding="utf-8")
    assert "toy" in fleet.run("status")
    until(lambda: fleet.common("edge-a", "child"))
    pids = [int(line) for file in ("child", "starts") for line in fleet.common("edge-a", file)]
    pids += [fleet.record(name)["pid"] for name in ("edge-a", "edge-b")]
    assert fleet.run("down", "edge-b") == "ended edge-b\n"
    assert fleet.run("down") == "ended edge-a\n"
    assert [pid for pid in pids if not is_gone(pid)] == []
    assert fleet.run("down") == "nothing was running\n"
    assert "virtual device edge-a is not running" in fleet.run("exec", "edge-a", "--", "true", expect=1)
    assert "there is no virtual device edge-z" in fleet.run("exec", "edge-z", "--", "true", expect=1)
    assert fleet.status()["edge-a"]["running"] is False


def test_a_power_cut_ends_everything_and_the_next_start_takes_up_the_change(fleet: Fleet, tmp_path: Path) -> None:
    hooks = {"post-refresh": "echo $$ >> $SNAP_COMMON/runs; [ $(wc -l < $SNAP_COMMON/runs) -ge 2 ] || sleep 602"}
    old = ToySnap(commands=RUNNING, yaml=AGENT).pack(tmp_path)
    new = ToySnap(version="2.0", hooks=hooks, commands=RUNNING, yaml=AGENT).pack(tmp_path)
    fleet.run("up", "--names", "edge-a")
    fleet.run("exec", "edge-a", "--", "snap", "install", "--dangerous", str(old))
    with subprocess.Popen(
        [str(fleet.root / "devices/edge-a/bin/snap"), "install", "--dangerous", str(new)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as refresh:
        until(lambda: fleet.common("edge-a", "runs"))
        os.kill(fleet.record("edge-a")["pid"], signal.SIGKILL)
        refresh.communicate(timeout=30)
    assert refresh.returncode == 1
    assert fleet.status()["edge-a"]["running"] is False
    until(lambda: is_gone(int(fleet.common("edge-a", "runs")[0])))
    # A stale record is no running device.
    fleet.run("up", "--names", "edge-a")
    until(lambda: len(fleet.common("edge-a", "runs")) == 2)
    until(lambda: fleet.status()["edge-a"]["snaps"][0]["revision"] == "x2")
    assert all(is_gone(int(line)) for line in fleet.common("edge-a", "child")[:1])
    until(lambda: len(fleet.common("edge-a", "starts")) == 2)
    assert "Error" not in fleet.run("exec", "edge-a", "--", "snap", "changes")


def test_devices_end_with_the_process_they_are_bound_to(fleet: Fleet) -> None:
    command = [sys.executable, "-P", "-c", _MAIN, "up", "--names", "edge-a", "--die-with-parent"]
    keeper = (
        f"import subprocess, time; subprocess.run({command!r}, check=True); print('up', flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", keeper],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"SNAPEDGE_VIRTUAL_ROOT": str(fleet.root)},
    ) as process:
        assert process.stdout is not None
        until(lambda: process.stdout is not None and "up\n" in process.stdout.readline())
        pid = fleet.record("edge-a")["pid"]
        assert not is_gone(pid)
        process.kill()
        until(lambda: is_gone(pid))


def test_a_second_up_in_one_root_is_refused(fleet: Fleet) -> None:
    fleet.run("up", "--names", "edge-a")
    pid = fleet.record("edge-a")["pid"]
    said = fleet.run("up", "--names", "edge-b,edge-a", expect=1)
    assert said == (
        f"error: already running in {fleet.root}: edge-a; "
        "end them with fleet virtual down, or give other --names or another --root\n"
    )
    assert fleet.record("edge-a")["pid"] == pid
    assert sorted(fleet.status()) == ["edge-a"]


def test_a_root_of_any_length_has_sockets(short_path: Path) -> None:
    fleet = Fleet(short_path / ("long-" * 12) / ("longer-" * 12))
    try:
        fleet.run("up", "--names", "edge-a")
        socket = fleet.status()["edge-a"]["socket"]
        assert len(socket) <= 107
        assert "microk8s" in fleet.run("exec", "edge-a", "--", "snap", "list")
    finally:
        fleet.run("down")
    assert not Path(socket).parent.parent.exists()


def test_what_is_missing_is_named(fleet: Fleet, tmp_path: Path) -> None:
    said = fleet.run("up", "--count", "1", expect=1, path=str(tmp_path))
    assert said == (
        "error: unsquashfs is not installed; install it (on Debian: apt-get install squashfs-tools) and try again\n"
    )
    assert fleet.status() == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give either --count or --names"),
        (("--count", "1", "--names", "a"), "give either --count or --names"),
        (("--names", "a,a"), "--names needs names, each once"),
        (("--names", "Edge"), "'Edge' is not a device's name"),
        (("--names", "a", "--label", "site"), "--label site: want key=value"),
        (("--names", "a", "--claim-token-file", "none"), "--claim-token-file needs --server"),
        (("--names", "a", "--server", "http://x", "--claim-token-file", "none"), "none: cannot be read"),
    ],
)
def test_wrong_arguments_start_nothing(fleet: Fleet, arguments: tuple[str, ...], words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", _MAIN, "up", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"SNAPEDGE_VIRTUAL_ROOT": str(fleet.root)},
    )
    assert done.returncode != 0
    assert words in done.stderr
    assert fleet.status() == {}
