"""What a virtual device writes of itself into its folder: who it is, and whether it runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from .addresses import DeviceAddresses
from .deviceerrors import DeviceNameError
from .processes import Identity

_NAME: Final = re.compile(r"^[a-z0-9](?:-?[a-z0-9])*$")
_LONGEST_NAME: Final = 40
_FILE: Final = "device.json"
API_PORT: Final = 16443
REGISTRY_PORT: Final = 32000


def check_name(name: str) -> str:
    """`name`, if a device can have it.

    Raises:
        DeviceNameError: when it cannot.
    """
    if len(name) > _LONGEST_NAME or _NAME.fullmatch(name) is None:
        raise DeviceNameError(name)
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRecord:
    """A device's identity, and the process that it was last.

    Attributes:
        number: which block of addresses is its own.
        socket: the path by which its snapd is reached, short enough for a socket.
        process: number and start time of its process; a `pid` of 0 before it was ever started.
        ready: True once everything in it answers.
    """

    name: str
    number: int
    architecture: str
    socket: str
    labels: Mapping[str, str] = field(default_factory=dict)
    server: str = ""
    pid: int = 0
    started: int = 0
    ready: bool = False

    @property
    def addresses(self) -> DeviceAddresses:
        """The device's block of addresses."""
        return DeviceAddresses.of_device(self.number)

    @property
    def process(self) -> Identity:
        """The process that it runs as, or ran as."""
        return Identity(pid=self.pid, started=self.started)

    @property
    def is_running(self) -> bool:
        """True while that very process lives."""
        return self.pid > 0 and self.process.is_alive

    def save(self, folder: Path) -> None:
        """Writes the record into the device's folder in one step."""
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{_FILE}.new"
        temporary.write_bytes(orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2))
        temporary.replace(folder / _FILE)

    @classmethod
    def load(cls, folder: Path) -> DeviceRecord | None:
        """The record in a device's folder; None where there is none, or none of ours."""
        try:
            document: Any = orjson.loads((folder / _FILE).read_bytes())
            return cls(**document)
        except (FileNotFoundError, NotADirectoryError, orjson.JSONDecodeError, TypeError):
            return None
