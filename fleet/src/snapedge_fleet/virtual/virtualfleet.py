"""The virtual devices of one root: starting them, asking them, ending them.

A root holds a folder for each device (`devices/NAME`) and what they share (`trees`, `images`). Devices are found by
what they wrote of themselves, and a process is only ever signalled when its start time is the one written down.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from snapedge_hooks.sandbox import find_sandbox

from . import addresses, claims, processes
from .deviceerrors import (
    AddressTakenError,
    DeviceDownError,
    DevicesRunningError,
    DeviceStartError,
    RootBusyError,
    RootUnusableError,
    UnknownDeviceError,
)
from .devicepaths import DevicePaths
from .devicerecord import API_PORT, REGISTRY_PORT, DeviceRecord, check_name
from .shims import snapdsocket
from .snapdapi import LONGEST_SOCKET_PATH
from .snaptrees import remove_tree

_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 45.0
_POLL_SECONDS: Final = 0.05
_NUMBERING_SECONDS: Final = 120.0
_KEPT_FOLDERS: Final = ("devices", "trees", "images")
_SHORT_FOLDER_FILE: Final = "short-folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpRequest:
    """Which devices to start, and as what.

    Attributes:
        server: the fleet's server; empty runs no agent.
        claims: claim word by device, where there is a server.
        bound_to: number of a process with which the devices end; None lets them stay.
    """

    names: Sequence[str]
    architecture: str
    labels: Mapping[str, str] = field(default_factory=dict)
    server: str = ""
    claims: claims.Claims | None = None
    bound_to: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReport:
    """A device as `fleet virtual status` shows it."""

    record: DeviceRecord
    running: bool
    snaps: Sequence[Mapping[str, Any]] = ()
    endpoints: Mapping[str, str] = field(default_factory=dict)
    agent: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The report for machines."""
        host = self.record.addresses.host
        return {
            "id": self.record.name,
            "running": self.running,
            "address": host,
            "architecture": self.record.architecture,
            "labels": dict(self.record.labels),
            "socket": self.record.socket,
            "registry": f"{host}:{REGISTRY_PORT}",
            "kubernetes": f"https://{host}:{API_PORT}",
            "agent": self.agent,
            "snaps": [
                {key: one.get(key) for key in ("name", "revision", "version", "status", "health")} for one in self.snaps
            ],
            "endpoints": dict(self.endpoints),
        }


class VirtualFleet:
    """The devices of one root."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def records(self) -> list[DeviceRecord]:
        """Every device that was ever started in this root, by name."""
        folder = self.root / "devices"
        entries = sorted(folder.iterdir()) if folder.is_dir() else []
        return [record for entry in entries if (record := DeviceRecord.load(entry)) is not None]

    def paths(self, name: str) -> DevicePaths:
        """Where a device keeps its things."""
        return DevicePaths(root=self.root / "devices" / name, trees=self.root / "trees")

    def find(self, name: str) -> DeviceRecord:
        """The device of that name.

        Raises:
            UnknownDeviceError: when there is none.
        """
        known = {record.name: record for record in self.records()}
        if name not in known:
            raise UnknownDeviceError(name, self.root, known)
        return known[name]

    def find_running(self, name: str) -> DeviceRecord:
        """The device of that name, which runs.

        Raises:
            UnknownDeviceError: when there is none.
            DeviceDownError: when it does not run.
        """
        record = self.find(name)
        if not record.is_running:
            raise DeviceDownError(name)
        return record

    def up(self, request: UpRequest) -> list[DeviceRecord]:
        """Starts devices, and returns when each of them is ready; where one fails, those started here are ended.

        A device that was there before comes up as it was: its snaps, its state, its addresses.

        Raises:
            SnapedgeError: when the machine lacks something, devices run already, or one does not come up.
        """
        names = [check_name(name) for name in request.names]
        words = {name: request.claims.word(name) for name in names} if request.claims is not None else {}
        processes.require_programs()
        find_sandbox()
        with self._locked():
            known = {record.name: record for record in self.records()}
            running = [name for name in names if name in known and known[name].is_running]
            if running:
                raise DevicesRunningError(running, self.root)
            started: list[tuple[DeviceRecord, subprocess.Popen[bytes]]] = []
            try:
                with _numbering():
                    taken = {record.number for record in known.values()}
                    for name in names:
                        record = self._planned(name, request, known.get(name), taken)
                        taken.add(record.number)
                        self._write_claim(name, words.get(name, ""))
                        started.append((record, self._launch(record, request)))
                    return [self._await_ready(record, process) for record, process in started]
            except BaseException:
                self._end([record.name for record, _ in started], {one.name: process for one, process in started})
                raise

    def down(self, names: Sequence[str] = ()) -> list[str]:
        """Ends devices (all of them, unless some are named) and whatever they left; returns those that ran.

        Raises:
            UnknownDeviceError: when one that is named is not there.
        """
        if not self.root.is_dir():
            return []
        chosen = [self.find(name).name for name in names] or [record.name for record in self.records()]
        with self._locked():
            ended = self._end(chosen, {})
            if not names:
                self._forget_short_folder()
        return ended

    def purge(self) -> None:
        """Removes everything that devices keep in this root; none of them may run.

        Raises:
            DevicesRunningError: when one does.
        """
        if not self.root.is_dir():
            return
        with self._locked():
            running = [record.name for record in self.records() if record.is_running]
            if running:
                raise DevicesRunningError(running, self.root)
            for name in _KEPT_FOLDERS:
                remove_tree(self.root / name)

    def status(self) -> list[DeviceReport]:
        """What each device says of itself now."""
        return [self._report(record) for record in self.records()]

    def _report(self, record: DeviceRecord) -> DeviceReport:
        if not record.is_running:
            return DeviceReport(record=record, running=False)
        try:
            about = snapdsocket.call(record.socket, "GET", "/virtual").document["result"]
            snaps = snapdsocket.call(record.socket, "GET", "/v2/snaps").document["result"]
        except snapdsocket.SocketError:
            return DeviceReport(record=record, running=record.is_running)
        return DeviceReport(
            record=record,
            running=True,
            snaps=[one for one in snaps if one["revision"].startswith("x")],
            endpoints=about["endpoints"],
            agent=about["agent"],
        )

    def _planned(self, name: str, request: UpRequest, known: DeviceRecord | None, taken: set[int]) -> DeviceRecord:
        socket_path = str(self._short(self.paths(name).socket))
        if known is None:
            number = next(one for one in range(addresses.CAPACITY) if one not in taken and busy_port(one) is None)
            record = DeviceRecord(name=name, number=number, architecture=request.architecture, socket=socket_path)
        else:
            port = busy_port(known.number)
            if port is not None:
                raise AddressTakenError(name, known.addresses.host, port)
            record = replace(known, socket=socket_path)
        record = replace(
            record,
            architecture=request.architecture,
            labels={**record.labels, **request.labels},
            server=request.server or record.server,
            pid=0,
            started=0,
            ready=False,
        )
        record.save(self.paths(name).root)
        return record

    def _write_claim(self, name: str, word: str) -> None:
        if not word:
            return
        folder = self.paths(name).root / "agent"
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / "claim"
        target.touch(mode=0o600, exist_ok=True)
        target.write_text(word + "\n", encoding="utf-8")

    def _launch(self, record: DeviceRecord, request: UpRequest) -> subprocess.Popen[bytes]:
        paths = self.paths(record.name)
        paths.logs.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-P", "-m", f"{__package__}.device"]
        folders = {"--folder": paths.root, "--trees": paths.trees, "--images": self.root / "images"}
        command += [str(word) for pair in folders.items() for word in pair]
        command += ["--bound-to", str(request.bound_to)] if request.bound_to is not None else []
        with (paths.logs / "device.log").open("ab") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=paths.root, start_new_session=True
            )

    def _await_ready(self, record: DeviceRecord, process: subprocess.Popen[bytes]) -> DeviceRecord:
        folder, log = self.paths(record.name).root, self.paths(record.name).logs / "device.log"
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise DeviceStartError(record.name, _last_line(log) or f"it left with {process.returncode}", log)
            now = DeviceRecord.load(folder)
            if now is not None and now.pid == process.pid and now.ready:
                return now
            time.sleep(_POLL_SECONDS)
        raise DeviceStartError(record.name, f"not ready after {_START_SECONDS:.0f} s", log)

    def _end(self, names: Sequence[str], launched: Mapping[str, subprocess.Popen[bytes]]) -> list[str]:
        ended = []
        records = [record for name in names if (record := DeviceRecord.load(self.paths(name).root)) is not None]
        for name, process in launched.items():
            # One that was just launched may not have written who it is yet.
            if process.poll() is None:
                process.terminate()
                ended.append(name)
        for record in records:
            if record.is_running:
                _signal(record, signal.SIGTERM)
                ended.append(record.name)
        deadline = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < deadline and any(record.is_running for record in records):
            for process in launched.values():
                process.poll()
            time.sleep(_POLL_SECONDS)
        for record in records:
            if record.is_running:
                _signal(record, signal.SIGKILL)
            processes.Ledger(self.paths(record.name).sessions).end_leftovers()
            self.paths(record.name).socket.unlink(missing_ok=True)
        for process in launched.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=1)
        return sorted(set(ended))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            file = (self.root / ".lock").open("w", encoding="ascii")
        except OSError as error:
            raise RootUnusableError(self.root, error.strerror or str(error)) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RootBusyError(self.root) from error
            yield

    def _short(self, path: Path) -> Path:
        """`path`, or the same file by way of a short link where the kernel takes no socket path so long."""
        if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
            return path
        note = self.root / _SHORT_FOLDER_FILE
        folder = Path(note.read_text(encoding="utf-8")) if note.is_file() else None
        if folder is None or not folder.is_dir():
            folder = Path(tempfile.mkdtemp(prefix="snapedge-", dir="/tmp"))
            (folder / "d").symlink_to(self.root / "devices")
            note.write_text(str(folder), encoding="utf-8")
        return folder / "d" / path.relative_to(self.root / "devices")

    def _forget_short_folder(self) -> None:
        note = self.root / _SHORT_FOLDER_FILE
        if note.is_file():
            folder = Path(note.read_text(encoding="utf-8"))
            (folder / "d").unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                folder.rmdir()
            note.unlink()


def busy_port(number: int) -> int | None:
    """The port of that device's block on which something listens; None where all are free."""
    host = addresses.DeviceAddresses.of_device(number).host
    for port in (REGISTRY_PORT, API_PORT):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                return port
    return None


@contextlib.contextmanager
def _numbering() -> Iterator[None]:
    """Held while devices choose addresses and begin to listen, so that two roots do not choose the same.

    A name in the abstract space needs no file, and is free again when its holder ends, however that comes about.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as holder:
        deadline = time.monotonic() + _NUMBERING_SECONDS
        while True:
            try:
                holder.bind("\0snapedge-virtual-addresses")
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_SECONDS)
        yield


def _signal(record: DeviceRecord, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(record.pid, number)


def _last_line(path: Path) -> str:
    lines = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else ""
