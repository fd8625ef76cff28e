"""The process that is a virtual device: snapd, registry, cluster and agent, started in order and ended together.

`python -m snapedge_fleet.virtual.device --folder DIR --trees DIR --images DIR` runs the device whose record is in DIR.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from snapedge_hooks.errors import SnapedgeError

from . import deviceprograms, processes
from .cluster import Cluster
from .deviceerrors import AddressTakenError
from .devicepaths import DevicePaths
from .devicerecord import API_PORT, REGISTRY_PORT, DeviceRecord
from .faults import ClusterFaults, RegistryFaults
from .logfile import LogFile, now_utc
from .machine import DeviceSetup
from .registry import Registry
from .services import Service, ServiceSetup
from .snapd import Snapd
from .snapdapi import SnapdApi
from .snapinfo import App, RestartCondition

_log = logging.getLogger(__name__)

PLUG: Final = "mk8s"
"""The plug whose snaps get the device's defaults."""

_AGENT: Final = "from snapedge_fleet.cli import main; main()"
_AGENT_APP: Final = App(
    name="agent",
    command=("agent",),
    daemon="simple",
    restart_condition=RestartCondition.ALWAYS,
    restart_delay=5.0,
    stop_timeout=10.0,
)


class Device:
    """All parts of one virtual device."""

    def __init__(self, record: DeviceRecord, paths: DevicePaths, images: Path) -> None:
        self._record = record
        self._paths = paths
        host = record.addresses.host
        self._registry = Registry(paths.root / "registry", host, REGISTRY_PORT, faults=RegistryFaults())
        self._cluster = Cluster(
            paths.root / "cluster",
            record.addresses,
            f"{host}:{REGISTRY_PORT}",
            images=images,
            faults=ClusterFaults(),
            port=API_PORT,
        )
        defaults = {PLUG: {"serve": {"registry": f"{host}:{REGISTRY_PORT}"}}}
        self._snapd = Snapd(paths, DeviceSetup(architecture=record.architecture, defaults=defaults))
        self._api = SnapdApi(self._snapd, Path(record.socket), about=self._about)
        self._agent = self._make_agent() if record.server else None

    async def start(self) -> None:
        """Brings everything up; each part is needed by the next.

        Raises:
            AddressTakenError: when something else has one of the device's ports.
        """
        deviceprograms.install(self._paths.programs, Path(self._record.socket))
        for part, port in ((self._registry, REGISTRY_PORT), (self._cluster, API_PORT)):
            try:
                await part.start()
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                raise AddressTakenError(self._record.name, self._record.addresses.host, port) from error
        self._snapd.seed(self._cluster.kubeconfig())
        await self._api.start()
        await self._snapd.start()
        if self._agent is not None:
            await self._agent.start()

    async def stop(self) -> None:
        """Takes everything down, in the opposite order."""
        if self._agent is not None:
            await self._agent.stop()
        await self._snapd.stop()
        await self._api.stop()
        await self._cluster.stop()
        await self._registry.stop()

    def _about(self) -> Mapping[str, Any]:
        return {
            "id": self._record.name,
            "address": self._record.addresses.host,
            "endpoints": self._cluster.endpoints(),
            "agent": self._agent.activity.value if self._agent is not None else None,
        }

    def _make_agent(self) -> Service:
        folder = self._paths.root / "agent"
        folder.mkdir(parents=True, exist_ok=True)
        arguments = (sys.executable, "-P", "-c", _AGENT, "agent", "run")
        options = {
            "--device-id": self._record.name,
            "--server": self._record.server,
            "--token-file": str(folder / "token"),
            "--snapd-socket": self._record.socket,
            "--state-dir": str(folder / "state"),
            "--arch": self._record.architecture,
        }
        if (folder / "claim").is_file():
            options["--claim-token-file"] = str(folder / "claim")
        flat = tuple(text for option in options.items() for text in option)
        setup = ServiceSetup(arguments=arguments + flat, environment=dict(os.environ), folder=self._paths.root)
        return Service(
            "agent",
            _AGENT_APP,
            lambda: setup,
            ledger=self._snapd.machine.ledger,
            log=LogFile(self._paths.logs / "agent.log"),
            clock=now_utc,
        )


async def run(folder: Path, trees: Path, images: Path, bound_to: int | None = None) -> None:
    """Runs the device of `folder` until SIGTERM, SIGINT, or the end of the process `bound_to`."""
    record = DeviceRecord.load(folder)
    assert record is not None, f"{folder} has no device record"
    here = processes.Identity.of(os.getpid())
    assert here is not None
    record = replace(record, pid=here.pid, started=here.started, ready=False)
    record.save(folder)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    if bound_to is not None:
        _end_with(bound_to, stopped)
    device = Device(record, DevicePaths(root=folder, trees=trees), images)
    try:
        await device.start()
        record = replace(record, ready=True)
        record.save(folder)
        await stopped.wait()
    finally:
        replace(record, ready=False).save(folder)
        await device.stop()


def _end_with(pid: int, stopped: asyncio.Event) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        stopped.set()
        return
    asyncio.get_running_loop().add_reader(descriptor, stopped.set)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status of the device's process."""
    parser = argparse.ArgumentParser(prog="virtual-device")
    for name in ("--folder", "--trees", "--images"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--bound-to", type=int)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        asyncio.run(run(given.folder, given.trees, given.images, given.bound_to))
    except SnapedgeError as error:
        sys.stderr.write(f"error: {error}\n")
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
