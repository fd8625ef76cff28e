"""Programs, and the ledger by which what a killed device left behind is found."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
from pathlib import Path

import pytest

from snapedge_fleet.virtual import processes
from snapedge_fleet.virtual.processes import Identity, Ledger, ProcessStartError

ENVIRONMENT = {"PATH": os.environ["PATH"]}


def test_a_program_ends_with_all_it_started(tmp_path: Path) -> None:
    async def story() -> tuple[int, str, list[int]]:
        ledger = Ledger(tmp_path / "sessions")
        script = "sleep 600 & echo started; echo again >&2; exit 3"
        program = await processes.start(
            ["/bin/sh", "-c", script], environment=ENVIRONMENT, folder=tmp_path, ledger=ledger
        )
        return await program.wait(), program.tail, processes.members(program.pid)

    assert asyncio.run(story()) == (3, "started\nagain\n", [])
    assert list((tmp_path / "sessions").iterdir()) == []


def test_a_program_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    async def story() -> int:
        program = await processes.start(
            ["/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 600; done"],
            environment=ENVIRONMENT,
            folder=tmp_path,
            ledger=Ledger(tmp_path / "sessions"),
        )
        while "ready" not in program.tail:
            await asyncio.sleep(0.01)
        return await program.stop(0.2)

    assert asyncio.run(story()) == -9


def test_what_is_no_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProcessStartError, match="cannot execute /nothing/here"):
        asyncio.run(
            processes.start(["/nothing/here"], environment={}, folder=tmp_path, ledger=Ledger(tmp_path / "sessions"))
        )


@pytest.mark.parametrize("rounds", range(12))
def test_a_start_that_is_cancelled_leaves_neither_program_nor_pipe(tmp_path: Path, rounds: int) -> None:
    """However many rounds of the loop it had; before the program is there, and when it is just begun."""
    ledger = Ledger(tmp_path / "sessions")

    async def story() -> None:
        script = ["/bin/sleep", "600"]
        starting = asyncio.create_task(processes.start(script, environment=ENVIRONMENT, folder=tmp_path, ledger=ledger))
        for _ in range(rounds):
            await asyncio.sleep(0)
        starting.cancel()
        (found,) = await asyncio.gather(starting, return_exceptions=True)
        if isinstance(found, processes.Program):
            await found.stop(5)
        else:
            assert isinstance(found, asyncio.CancelledError)

    before = len(list(Path("/proc/self/fd").iterdir()))
    asyncio.run(story())
    gc.collect()  # a transport that nobody closed says so here
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert ledger.end_leftovers() == []


def test_a_session_written_down_is_ended_and_a_stranger_of_its_number_is_not(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ours = subprocess.Popen(["sleep", "600"], start_new_session=True)
    stranger = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        ledger.record(ours.pid)
        identity = Identity.of(stranger.pid)
        assert identity is not None
        (tmp_path / str(stranger.pid)).write_text(str(identity.started - 1), encoding="ascii")
        assert ledger.end_leftovers() == [ours.pid]
        assert ours.wait(timeout=10) == -9
        assert identity.is_alive
        assert list(tmp_path.iterdir()) == []
    finally:
        for process in (ours, stranger):
            process.kill()
            process.wait(timeout=10)
