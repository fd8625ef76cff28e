"""What can be wrong with a root of virtual devices, in words for whoever typed the command."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from snapedge_hooks.errors import ExitCode, SnapedgeError


class DeviceNameError(SnapedgeError):
    """A name that no device can have."""

    exit_code = ExitCode.USAGE

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name!r} is not a device's name", resolution="use 1 to 40 lower-case letters, digits and single dashes"
        )


class UnknownDeviceError(SnapedgeError):
    """No such device in the root."""

    exit_code = ExitCode.USAGE

    def __init__(self, name: str, root: Path, known: Iterable[str]) -> None:
        names = ", ".join(known)
        super().__init__(
            f"there is no virtual device {name} in {root}",
            resolution=f"the devices are {names}" if names else "start some: fleet virtual up",
        )


class DeviceDownError(SnapedgeError):
    """The device is there and does not run."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"virtual device {name} is not running", resolution=f"start it: fleet virtual up --names {name}"
        )


class DevicesRunningError(SnapedgeError):
    """Some of the devices asked for run already."""

    def __init__(self, names: Iterable[str], root: Path) -> None:
        listed = ", ".join(names)
        super().__init__(
            f"already running in {root}: {listed}",
            resolution="end them with fleet virtual down, or give other --names or another --root",
        )


class RootBusyError(SnapedgeError):
    """Another command works in the root."""

    def __init__(self, root: Path) -> None:
        super().__init__(
            f"another fleet virtual command is at work in {root}", resolution="wait for it, or give another --root"
        )


class RootUnusableError(SnapedgeError):
    """The root cannot be written."""

    def __init__(self, root: Path, reason: str) -> None:
        super().__init__(f"cannot keep virtual devices in {root}: {reason}", resolution="give another --root")


class AddressTakenError(SnapedgeError):
    """What a device listens on is in use by something else."""

    def __init__(self, name: str, address: str, port: int) -> None:
        super().__init__(
            f"virtual device {name} cannot listen on {address}:{port}: it is in use",
            resolution="end what listens there, or remove the device's folder so that it gets another address",
        )


class DeviceStartError(SnapedgeError):
    """A device did not come up."""

    def __init__(self, name: str, reason: str, log: Path) -> None:
        super().__init__(
            f"virtual device {name} did not come up: {reason}",
            resolution=f"its log is {log}; fleet virtual down tidies up",
        )


class ClaimFileError(SnapedgeError):
    """The file of claim words does not say what a device needs."""

    exit_code = ExitCode.USAGE

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path}: {reason}",
            resolution="write a line for each device, its name and its claim word; fleet device claim makes the words",
        )
