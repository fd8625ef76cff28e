"""What a virtual device's snapd remembers: one file, replaced as a whole, so that a power cut loses nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from snapedge_hooks.errors import SnapedgeError

from .changes import Change
from .tasks import Connection, Installed

_FORMAT: Final = 1
_KEPT_CHANGES: Final = 100


class StateFileError(SnapedgeError):
    """The state file is not one of ours."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path} is no state of a virtual device ({reason})",
            resolution="remove the device's folder and start the device again",
        )


@dataclass(slots=True, kw_only=True)
class RevisionRecord:
    """A revision on the device; `digest` names the tree that its files are in."""

    revision: str
    version: str
    digest: str
    devmode: bool = False
    installed: str = ""


@dataclass(slots=True, kw_only=True)
class SnapRecord:
    """An installed snap.

    Attributes:
        preinstalled: it came with the device (snapd, bases, microk8s) and has no files.
        disabled_services: names that `snap stop --disable` or install-mode turned off.
        failures: of refreshes to one revision, as GET /v2/snaps shows them.
    """

    name: str
    revisions: list[RevisionRecord] = field(default_factory=list)
    current: str = ""
    active: bool = False
    hold: str = ""
    preinstalled: bool = False
    disabled_services: list[str] = field(default_factory=list)
    failures: dict[str, Any] = field(default_factory=dict)
    cookie: str = ""

    def find(self, revision: str) -> RevisionRecord | None:
        """The revision of that name, if it is on the device."""
        return next((one for one in self.revisions if one.revision == revision), None)

    @property
    def next_local(self) -> str:
        """The revision that a file installed now would get."""
        numbers = [int(one.revision[1:]) for one in self.revisions if one.revision.startswith("x")]
        return f"x{max(numbers, default=0) + 1}"

    def as_installed(self, hooks: frozenset[str]) -> Installed:
        """The snap as the planner sees it."""
        return Installed(
            name=self.name,
            current=self.current,
            sequence=tuple(one.revision for one in self.revisions),
            active=self.active,
            hooks=hooks,
        )


@dataclass(slots=True, kw_only=True)
class SnapState:
    """All of it.

    Attributes:
        connections: by plug.
        config: by snap; `system` is the device's own.
        saved_config: configuration by snap and revision, as it was when that revision was last left.
        health: by snap, as `snapctl set-health` gave it.
    """

    snaps: dict[str, SnapRecord] = field(default_factory=dict)
    connections: dict[str, Connection] = field(default_factory=dict)
    config: dict[str, dict[str, Any]] = field(default_factory=dict)
    saved_config: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    health: dict[str, dict[str, Any]] = field(default_factory=dict)
    changes: dict[str, Change] = field(default_factory=dict)
    last_change: int = 0
    last_task: int = 0

    def connections_of(self, snap: str) -> list[Connection]:
        """The connections that `snap` has a side of, by plug."""
        return [one for _, one in sorted(self.connections.items()) if snap in (one.plug_snap, one.slot_snap)]

    def to_json(self) -> dict[str, Any]:
        """The document that the state file holds; what writes it must take dataclasses, as orjson does."""
        return {
            "format": _FORMAT,
            "snaps": self.snaps,
            "connections": self.connections,
            "config": self.config,
            "saved-config": self.saved_config,
            "health": self.health,
            "changes": {number: change.to_json() for number, change in self.changes.items()},
            "last-change": self.last_change,
            "last-task": self.last_task,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> SnapState:
        """The state that `to_json` wrote."""
        return cls(
            snaps={
                name: SnapRecord(**{**one, "revisions": [RevisionRecord(**revision) for revision in one["revisions"]]})
                for name, one in document["snaps"].items()
            },
            connections={plug: Connection(**one) for plug, one in document["connections"].items()},
            config=document["config"],
            saved_config=document["saved-config"],
            health=document["health"],
            changes={number: Change.from_json(one) for number, one in document["changes"].items()},
            last_change=document["last-change"],
            last_task=document["last-task"],
        )


class StateFile:
    """Keeps a `SnapState` on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> SnapState:
        """The state as last saved; an empty one where there is none.

        Raises:
            StateFileError: when the file is not a state of ours.
        """
        try:
            document = orjson.loads(self._path.read_bytes())
        except FileNotFoundError:
            return SnapState()
        except orjson.JSONDecodeError as error:
            raise StateFileError(self._path, str(error)) from error
        if not isinstance(document, dict) or document.get("format") != _FORMAT:
            raise StateFileError(self._path, "unknown format")
        try:
            return SnapState.from_json(document)
        except (KeyError, TypeError, ValueError) as error:
            raise StateFileError(self._path, repr(error)) from error

    def save(self, state: SnapState) -> None:
        """Writes the state in one step; the oldest finished changes are dropped."""
        ready = [number for number, change in state.changes.items() if change.is_ready]
        for number in ready[: max(0, len(ready) - _KEPT_CHANGES)]:
            del state.changes[number]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(self._path.name + ".new")
        with temporary.open("wb") as file:
            file.write(orjson.dumps(state.to_json()))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
