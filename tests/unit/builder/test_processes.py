"""Running the host's tools."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from snapedge_builder import processes
from snapedge_builder.processes import ToolMissingError, ToolTimeoutError


def follow(script: str, *, seconds: float = 30) -> tuple[processes.Outcome, list[str]]:
    heard: list[str] = []
    done = processes.follow(["sh", "-c", script], package="dash", seconds=seconds, hear=heard.append)
    return done, heard


def test_lines_are_heard_while_the_tool_runs() -> None:
    moments: list[float] = []

    def hear(line: str) -> None:
        moments.append(time.monotonic())

    processes.follow(["sh", "-c", "echo a >&2; sleep 0.3; echo b >&2"], package="dash", seconds=30, hear=hear)
    assert moments[1] - moments[0] > 0.2


def test_its_end_and_all_it_said_are_kept() -> None:
    done, heard = follow("echo out; echo one >&2; printf '\\377two' >&2; exit 3")
    assert (done.status, done.output, done.errors) == (3, "", "one\n\ufffdtwo")
    assert heard == ["one", "\ufffdtwo"]


def test_a_tool_that_does_not_end_is_ended() -> None:
    with pytest.raises(ToolTimeoutError, match="sh did not end within 0 s"):
        follow("exec sleep 60", seconds=0.2)


def test_a_tool_that_is_not_there_is_told() -> None:
    with pytest.raises(ToolMissingError, match="nonesuch is not installed here; install it"):
        processes.follow(["nonesuch"], package="it", seconds=1, hear=print)


def test_a_listener_that_gives_up_ends_the_tool(tmp_path_factory: pytest.TempPathFactory) -> None:
    pid = tmp_path_factory.mktemp("pid") / "pid"

    def hear(line: str) -> None:
        pid.write_text(line)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        processes.follow(["sh", "-c", "echo $$ >&2; exec sleep 60"], package="dash", seconds=30, hear=hear)
    assert subprocess.run(["kill", "-0", pid.read_text()], capture_output=True, check=False).returncode != 0


def test_a_tool_may_write_no_longer_a_file_than_it_is_allowed(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as output:
        done = processes.run(
            ["head", "-c", "5000", "/dev/zero"], package="x", seconds=5, output=output, file_bytes=1000
        )
    assert (done.status != 0, done.says_too_large) == (True, True)
    assert (tmp_path / "out").stat().st_size == 1000
    assert processes.run(["true"], package="x", seconds=5, file_bytes=1000).status == 0


def test_a_missing_tool_is_told_where_its_files_are_limited_too() -> None:
    with pytest.raises(ToolMissingError, match="no-such-tool is not installed here; install x"):
        processes.run(["no-such-tool"], package="x", seconds=5, file_bytes=1000)
