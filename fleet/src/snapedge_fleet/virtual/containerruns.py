"""One run of a container's process: started, logged, signalled and ended."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import orjson

from snapedge_hooks.sandbox import ContainerSpec, Sandbox

_LOG_LIMIT = 1024 * 1024


class Container:
    """One run of a container's process."""

    def __init__(self, process: asyncio.subprocess.Process, pid: int, log: asyncio.Task[None]) -> None:
        self._process = process
        self._pid = pid
        self._log = log

    @classmethod
    async def start(cls, sandbox: Sandbox, spec: ContainerSpec, log: Path) -> Container:
        """Start it; its output is appended to `log`, which is kept below two megabytes."""
        await asyncio.to_thread(sandbox.prepare, spec)
        read_end, write_end = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *sandbox.command(spec, write_end),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=dict(spec.environment),
                pass_fds=[write_end] if sandbox.tells_pid else [],
                start_new_session=not sandbox.tells_pid,
            )
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        assert process.stdout is not None
        writer = asyncio.create_task(_copy_output(process.stdout, log))
        pid = await _read_pid(read_end)
        return cls(process, pid if pid is not None else process.pid, writer)

    @property
    def pid(self) -> int:
        """The process as the machine sees it."""
        return self._pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.returncode is None

    async def wait(self) -> int:
        """The exit code, 128 + n if signal n ended it."""
        code = await self._process.wait()
        await self._log
        return 128 - code if code < 0 else code

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the container's process."""
        if self.is_running:
            with suppress(ProcessLookupError):
                os.kill(self._pid, number)

    async def end(self, grace: float) -> int:
        """SIGTERM, after `grace` seconds SIGKILL; returns the exit code."""
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace):
                return await self.wait()
        except TimeoutError:
            return await self.kill()

    async def kill(self) -> int:
        """SIGKILL now."""
        self.signal(signal.SIGKILL)
        return await self.wait()


async def _read_pid(read_end: int) -> int | None:
    """The pid bubblewrap tells, None where nothing was told (it failed, or the sandbox does not tell)."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", buffering=0)
    )
    try:
        told = await reader.readuntil(b"}")
    except asyncio.IncompleteReadError:
        return None
    finally:
        transport.close()
    pid: int = orjson.loads(told)["child-pid"]
    return pid


async def _copy_output(source: asyncio.StreamReader, log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    while chunk := await source.read(64 * 1024):
        if log.exists() and log.stat().st_size + len(chunk) > _LOG_LIMIT:
            log.replace(log.with_name(f"{log.name}.1"))
        with log.open("ab") as file:
            file.write(chunk)
