"""The one door through which a virtual device starts programs, and by which none of them outlives it.

Every program leads a session of its own and dies with the device's process (`setpriv --pdeathsig`). Its session is
written down first, so that what a killed device left behind (children of children) is found and ended at the next
start, and by `fleet virtual down`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from snapedge_hooks.errors import ExitCode, SnapedgeError

from .logfile import LogFile

_log = logging.getLogger(__name__)

BOUND_TO_US: Final = ("setpriv", "--pdeathsig", "KILL", "--")
"""What an argument list begins with so that the program dies with this process."""

_TAIL: Final = 64 * 1024
_DRAIN_SECONDS: Final = 2.0
_CHUNK: Final = 16 * 1024


class ProgramMissingError(SnapedgeError):
    """A program of the machine that virtual devices need is not there."""

    exit_code = ExitCode.FAILED

    def __init__(self, program: str, package: str) -> None:
        super().__init__(
            f"{program} is not installed", resolution=f"install it (on Debian: apt-get install {package}) and try again"
        )


class ProcessStartError(SnapedgeError):
    """A program could not be started at all."""


PROGRAMS: Final = {"unsquashfs": "squashfs-tools", "setpriv": "util-linux"}


def require_programs(programs: Mapping[str, str] = PROGRAMS) -> None:
    """Refuses to go on where a needed program is missing.

    Raises:
        ProgramMissingError: names the program and its package.
    """
    for program, package in programs.items():
        if shutil.which(program) is None:
            raise ProgramMissingError(program, package)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A process that cannot be mistaken for a later one of the same number."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """The process `pid` as it is now; None where there is none, or only a zombie."""
        fields = _stat(pid)
        return None if fields is None or fields[0] == "Z" else cls(pid=pid, started=int(fields[19]))

    @property
    def is_alive(self) -> bool:
        """True while that very process runs."""
        return Identity.of(self.pid) == self


class Ledger:
    """The sessions that a device began, one file each, named by the leader's number."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def record(self, pid: int) -> None:
        """Writes down a session just begun by `pid`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        identity = Identity.of(pid)
        if identity is not None:
            (self._folder / str(pid)).write_text(str(identity.started), encoding="ascii")

    def forget(self, pid: int) -> None:
        """Strikes out a session, unless something of it still runs."""
        if not members(pid):
            (self._folder / str(pid)).unlink(missing_ok=True)

    def end_leftovers(self) -> list[int]:
        """Kills what is left of every session written down; returns the numbers of the processes killed."""
        killed: list[int] = []
        for entry in sorted(self._folder.iterdir()) if self._folder.is_dir() else []:
            leader = int(entry.name)
            now = Identity.of(leader)
            # A leader that started later is a stranger: the number was free again, so the session had ended.
            if now is None or now.started == int(entry.read_text(encoding="ascii") or 0):
                for pid in members(leader):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        killed.append(pid)
            entry.unlink(missing_ok=True)
        return killed


def members(session: int) -> list[int]:
    """The processes of a session that run now."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields is not None and fields[0] != "Z" and int(fields[3]) == session:
                found.append(int(entry.name))
    return found


@dataclass(frozen=True, slots=True)
class _Output:
    """Our end of the pipe that a program writes to.

    asyncio's own pipes would make waiting for the program wait for all who hold the other end, its children too.
    """

    reader: asyncio.StreamReader
    transport: asyncio.ReadTransport

    @classmethod
    async def open(cls) -> tuple[_Output, int]:
        """Our end, and the descriptor for the program."""
        ours, theirs = os.pipe()
        reader = asyncio.StreamReader()
        try:
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb", buffering=0)
            )
        except BaseException:  # whoever waits may be cancelled
            os.close(theirs)
            raise
        return cls(reader, transport), theirs


class Program:
    """A program that runs, with all it started."""

    def __init__(
        self, process: asyncio.subprocess.Process, output: _Output, ledger: Ledger, log: LogFile | None, name: str
    ) -> None:
        self._process = process
        self._output = output
        self._ledger = ledger
        self._tail = bytearray()
        self._reader = asyncio.create_task(self._read(log, name))

    @property
    def pid(self) -> int:
        """Number of the session's leader."""
        return self._process.pid

    @property
    def tail(self) -> str:
        """The end of what it wrote, both streams together."""
        return self._tail.decode("utf-8", errors="replace")

    async def wait(self) -> int:
        """Its exit status once it ended (negative: the signal), with nothing of its session left."""
        try:
            code = await self._process.wait()
            self.kill()
            await asyncio.wait([self._reader], timeout=_DRAIN_SECONDS)
        finally:
            self._reader.cancel()
            self._output.transport.close()
        # The transport lets go of its descriptor in the loop's next round, which may be its last.
        await asyncio.sleep(0)
        self._ledger.forget(self.pid)
        return code

    async def stop(self, timeout: float) -> int:
        """Asks all of it to end, and kills what does not within `timeout` seconds."""
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(asyncio.shield(self._process.wait()), timeout)
        except TimeoutError:
            self.kill()
        return await self.wait()

    def kill(self) -> None:
        """Kills all of it."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    async def _read(self, log: LogFile | None, name: str) -> None:
        pending = b""
        while chunk := await self._output.reader.read(_CHUNK):
            self._tail += chunk
            del self._tail[:-_TAIL]
            *lines, pending = (pending + chunk).split(b"\n")
            pending = pending[-_TAIL:]
            if log is not None:
                log.write(f"{name}[{self.pid}]", lines)
        if log is not None and pending:
            log.write(f"{name}[{self.pid}]", [pending])


async def start(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    ledger: Ledger,
    log: LogFile | None = None,
    name: str = "",
) -> Program:
    """Starts a program in a session of its own that ends with this process.

    Raises:
        ProcessStartError: when the program is not there or may not be run.
    """
    if not os.access(arguments[0], os.X_OK):
        raise ProcessStartError(f"cannot execute {arguments[0]}")
    output, descriptor = await _Output.open()
    try:
        process = await asyncio.create_subprocess_exec(
            *BOUND_TO_US,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=descriptor,
            stderr=asyncio.subprocess.STDOUT,
            cwd=folder,
            env=dict(environment),
            start_new_session=True,
        )
    except BaseException:  # whoever starts it may be cancelled
        output.transport.close()
        raise
    finally:
        os.close(descriptor)
    program = Program(process, output, ledger, log, name or Path(arguments[0]).name)
    try:
        ledger.record(process.pid)
    except OSError as error:
        # What is not written down could outlive the device.
        program.kill()
        await program.wait()
        raise ProcessStartError(f"cannot start {arguments[0]}: {error.strerror}") from error
    return program


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat behind the command's name: state first, then parent, group, session, ..."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()
