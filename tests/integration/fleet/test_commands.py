from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.fleetsite import NEEDS_ONNX, FleetSite, fleet_site


@dataclass
class Shell:
    """The command `fleet` on a data folder and a store of its own."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        own = {"SNAPEDGE_DATA": str(self.folder / "data"), "SNAPEDGE_STORE": str(self.folder / "store")}
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("SNAPEDGE_")}
        return {**inherited, **own}

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "snapedge_fleet.cli", *arguments]

    def run(self, *arguments: str, server: str = "") -> subprocess.CompletedProcess[str]:
        more = {"SNAPEDGE_SERVER": server} if server else {}
        return subprocess.run(
            self.argv(*arguments),
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def ok(self, *arguments: str, server: str = "") -> str:
        done = self.run(*arguments, server=server)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def site(tmp_path: Path) -> Iterator[FleetSite]:
    with fleet_site(tmp_path) as found:
        yield found


@pytest.fixture
def shell(tmp_path: Path, site: FleetSite) -> Shell:
    return Shell(tmp_path)


def test_an_operators_day(shell: Shell, site: FleetSite) -> None:
    site.publish_runtime("1.0.0", "candidate")
    site.publish("wine-rater", "1.0.0", "candidate", runtime=NEEDS_ONNX)
    assert shell.ok("group", "add", "factory", "--selector", "site=factory", "--follow", "wine-rater=stable") == (
        "factory: site=factory; follows wine-rater=latest/stable; 0 devices\n"
    )
    claim = shell.folder / "claim"
    shell.ok("device", "add", "d1", "--arch", "amd64", "--label", "site=factory", "--claim-file", str(claim))
    assert claim.stat().st_mode & 0o777 == 0o600
    listed = json.loads(shell.ok("device", "list", "--format", "json"))
    assert [(one["device"], one["group"], one["is_enrolled"]) for one in listed] == [("d1", "factory", False)]
    plan = shell.ok("promote", "wine-rater", "--from", "candidate", "--to", "stable", "--dry-run")
    assert plan == shell.ok("plan", "wine-rater", "--from", "candidate", "--to", "stable")
    assert "  along goes snapedge-onnx 1.0.0: wine-rater 1.0.0 needs onnx interface 1, 1.0 or newer, and " in plan
    assert "    1. canary: 1 device (1 amd64); halts when 1 device failed\n    2. all: for devices to come\n" in plan
    done = shell.ok("promote", "wine-rater", "--from", "candidate", "--to", "stable", "--yes")
    assert done.endswith("rollout 1 began; follow it with fleet watch\n")
    assert "wine-rater  1.0.0   -    absent: it is not there" not in shell.ok("status")
    assert shell.ok("pause", "wine-rater").startswith("wine-rater 1.0.0 on latest/stable: paused: paused by ")
    assert "unbroken" in shell.ok("audit", "verify")
    promoted, began, paused = shell.ok("history", "wine-rater").splitlines()
    assert promoted.endswith(": promote wine-rater 1.0.0 from latest/candidate to latest/stable")
    assert began.endswith(": began wine-rater 1.0.0 on latest/stable, rollout 1: 2 waves")
    assert paused.endswith(": pause of wine-rater 1.0.0 on latest/stable, rollout 1")
    assert shell.ok("history", "factory").endswith(
        ": group-add factory: follows wine-rater=latest/stable, selector site=factory\n"
    )
    assert shell.ok("history", "d1").endswith(": device-add d1: architecture amd64, labels site=factory\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["group", "set", "labb", "--selector", "a=b"], 2, "error: no group is called 'labb'; there is no group yet\n"),
        (["promote", "wine", "--from", "candidate", "--to", "stable", "--yes"], 2, "error: no snap in the store"),
        (["promote", "wine", "--from", "a/b/c/d", "--to", "stable"], 2, "error: promote: 'a/b/c/d' is not a channel"),
        (["group", "add", "x", "--follow", "wine=a/b/c/d"], 2, "error: 'wine=a/b/c/d' cannot be followed"),
        (["status", "--server", "http://127.0.0.1:1", "--token-file", "/nowhere"], 3, "error: the token file /nowhere"),
        (["status", "--server", "fleet", "--token-file", "/dev/null"], 3, "error: the token file /dev/null is empty"),
        (["device", "add", "d1", "--arch", "arm65"], 2, "(amd64, arm64); see fleet device add --help\n"),
        (
            ["device", "add", "d1", "--arch", "arm64", "--label", "x"],
            2,
            "error: 'x' is no label: a label is key=value;",
        ),
        (["group", "add", "x", "--selector"], 2, "error: option '--selector' requires an argument; see fleet --help\n"),
        (["device", "add", "d1"], 2, "error: missing option '--arch'; see fleet device add --help\n"),
        (
            ["device", "add", "d1", "--arch", "arm64", "--claim-file", "/proc/no/claim"],
            1,
            "error: /proc/no/claim: No such file or directory; then make d1 a new word: fleet device claim d1 ",
        ),
        (["frobnicate"], 2, "error: no such command 'frobnicate'; see fleet --help\n"),
        (["serve", "--listen", "nowhere"], 2, "error: 'nowhere' is no address"),
        (["serve", "--tls-cert", "x"], 2, "--tls-cert and --tls-key go together"),
        (["status", "--data", "/proc/nothing"], 1, "error: /proc/nothing: No such file or directory"),
    ],
)
def test_what_goes_wrong_is_one_line_and_an_exit_code(
    shell: Shell, arguments: Sequence[str], code: int, message: str
) -> None:
    done = shell.run(*arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_promoting_what_was_never_released_exits_3(shell: Shell, site: FleetSite) -> None:
    site.publish("wine-rater", "1.0.0", "candidate")
    done = shell.run("promote", "wine-rater", "--from", "beta", "--to", "stable", "--yes")
    assert done.returncode == 3
    assert "nothing was ever released to latest/beta; wine-rater is released to latest/candidate" in done.stderr


def test_nobody_is_asked_where_nobody_is(shell: Shell, site: FleetSite) -> None:
    site.publish("wine-rater", "1.0.0", "candidate")
    done = shell.run("promote", "wine-rater", "--from", "candidate", "--to", "stable")
    assert done.returncode == 2
    assert "say --yes, or --dry-run for the plan alone" in done.stderr
    assert site.call("store")[0]["channel"] == "latest/candidate"


def test_watch_exits_3_when_a_rollout_halted(shell: Shell, site: FleetSite) -> None:
    site.call("group-add", name="lab", follows=["wine-rater=candidate"])
    site.publish("wine-rater", "1.0.0", "candidate")
    site.tick()
    site.call("rollback", snap="wine-rater")
    done = shell.run("watch", "wine-rater")
    assert done.returncode == 3
    assert done.stdout.endswith("wine-rater 1.0.0 on latest/candidate: halted: rolled back by anna\n")


def test_the_server_serves_until_it_is_told_to_end(shell: Shell) -> None:
    command = shell.argv("serve", "--listen", "127.0.0.1:0", "--tick", "0.1", "--poll-idle", "5")
    with subprocess.Popen(command, env=shell.environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            url = server.stdout.readline().removeprefix("serving ").strip()
            shell.ok("group", "add", "lab", server=url)
            assert json.loads(shell.ok("group", "list", "--format", "json", server=url))[0]["name"] == "lab"
            assert json.loads(shell.ok("group", "list", "--format", "json"))[0]["name"] == "lab"
            second = shell.run("serve", "--listen", "127.0.0.1:0")
            assert (second.returncode, "another fleet server uses" in second.stderr) == (3, True)
            assert (shell.folder / "data" / "admin.token").stat().st_mode & 0o777 == 0o600
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(timeout=20) == 0
    done = shell.run("status", server=url)
    assert (done.returncode, "is away: Connection refused" in done.stderr) == (4, True)


def test_every_command_has_help(shell: Shell) -> None:
    listed = [line.split()[0] for line in shell.ok("--help").partition("Commands:\n")[2].splitlines() if line.strip()]
    assert {"agent", "audit", "device", "drift", "group", "history", "hold", "pause", "plan", "promote"} <= set(listed)
    assert {"resume", "rollback", "serve", "status", "store", "unhold", "virtual", "watch"} <= set(listed)
