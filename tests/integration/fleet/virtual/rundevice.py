"""A device's snapd in a thread of the test, spoken to over its socket and by its `snap` program."""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from snapedge_fleet.virtual import deviceprograms
from snapedge_fleet.virtual.devicepaths import DevicePaths
from snapedge_fleet.virtual.machine import DeviceSetup
from snapedge_fleet.virtual.shims import snapdsocket
from snapedge_fleet.virtual.snapd import Snapd
from snapedge_fleet.virtual.snapdapi import SnapdApi
from snapedge_fleet.virtual.tasks import Limits

KUBECONFIG = "the cluster's credentials"
_SECONDS = 30.0


class RunDevice:
    """A snapd that runs while the `with` block does."""

    def __init__(self, folder: Path, *, limits: Limits | None = None, architecture: str = "amd64") -> None:
        self.paths = DevicePaths(root=folder / "device", trees=folder / "trees")
        self._setup = DeviceSetup(
            architecture=architecture,
            defaults={"mk8s": {"serve": {"registry": "127.9.9.1:32000"}}},
            limits=limits if limits is not None else Limits(),
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        self._wait_for(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wait_for(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """The envelope of an answer."""
        return snapdsocket.call(str(self.paths.socket), method, path, body).document

    def ask(self, path: str) -> Any:
        """The result of a GET."""
        return self.call("GET", path)["result"]

    def change(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The change that an answer began, once it is ready."""
        assert answer["type"] == "async", answer
        return self.ready(answer["change"])

    def ready(self, number: str) -> dict[str, Any]:
        """The change of that number, once it is ready."""
        found: dict[str, Any] = {}

        def is_ready() -> bool:
            found.update(self.ask(f"/v2/changes/{number}"))
            return bool(found["ready"])

        self.until(is_ready)
        return found

    def snap(self, *arguments: str, expect: int = 0) -> str:
        """What the device's `snap` prints."""
        done = subprocess.run(
            [str(self.paths.programs / "snap"), *arguments],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        assert done.returncode == expect, done
        return done.stdout + done.stderr

    def install(self, file: Path, *, expect: int = 0) -> str:
        """Sideloads a file with `snap install --dangerous`."""
        return self.snap("install", "--dangerous", str(file), expect=expect)

    def upload(self, *files: Path, **fields: str) -> dict[str, Any]:
        """Sideloads as a client other than ours writes it."""
        parts = b""
        for key, value in ({"dangerous": "true"} | fields).items():
            parts += f'--b\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for file in files:
            head = f'--b\r\nContent-Disposition: form-data; name="snap"; filename="{file.name}"\r\n\r\n'
            parts += head.encode() + file.read_bytes() + b"\r\n"
        parts += b"--b--\r\n"
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        return snapdsocket.send(str(self.paths.socket), "POST", "/v2/snaps", [parts], len(parts), headers).document

    def last_change(self) -> dict[str, Any]:
        """The newest change."""
        found: dict[str, Any] = self.ask("/v2/changes?select=all")[-1]
        return found

    def common(self, name: str, snap: str = "toy") -> str:
        """The content of a file in $SNAP_COMMON."""
        return (self.paths.common(snap) / name).read_text(encoding="utf-8")

    def until(self, holds: Callable[[], bool]) -> None:
        """Waits for something that is about to be so."""
        deadline = time.monotonic() + _SECONDS
        while not holds():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.02)

    async def _start(self) -> None:
        deviceprograms.install(self.paths.programs, self.paths.socket)
        self._snapd = Snapd(self.paths, self._setup)
        self._api = SnapdApi(self._snapd, self.paths.socket)
        self._snapd.seed(KUBECONFIG)
        await self._api.start()
        await self._snapd.start()

    async def _stop(self) -> None:
        await self._snapd.stop()
        await self._api.stop()

    def _wait_for(self, coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_SECONDS)
