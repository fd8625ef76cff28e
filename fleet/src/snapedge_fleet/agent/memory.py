"""What the agent remembers: one JSON file, replaced by rename.

Absent or damaged means beginning again: files are installed once more, nothing is lost that the server does not know.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from snapedge_fleet.errors import AgentRunningError, DataFolderError
from snapedge_hooks.document import canonical_json

_log = logging.getLogger(__name__)
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The store's file behind one of snapd's local revisions, and whether it was confirmed healthy once."""

    revision: int
    version: str
    sha3_384: str
    model: str | None = None
    is_confirmed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A revision that failed here; not tried again until the server wants something else."""

    revision: int
    rollouts: tuple[int, ...]
    code: str
    message: str
    details: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A change of snapd's that was asked for and not seen to its end."""

    change: str
    snap: str
    origin: Origin
    rollouts: tuple[int, ...]


@dataclass(slots=True, kw_only=True)
class Memory:
    """What survives a restart of the agent.

    Attributes:
        agent: this state folder's own name, by which the server tells two agents apart.
        reported: hash of the last report that arrived.
        snaps: what was last seen of the snaps, for when snapd is away.
        origins: for each snap, snapd's revision to the store's file.
    """

    agent: str
    sequence: int = 0
    etag: str = ""
    desired: dict[str, Any] = field(default_factory=dict)
    reported: str = ""
    snaps: list[dict[str, Any]] = field(default_factory=list)
    origins: dict[str, dict[str, Origin]] = field(default_factory=dict)
    refusals: dict[str, Refusal] = field(default_factory=dict)
    downloaded: dict[str, int] = field(default_factory=dict)
    pending: Pending | None = None

    def to_document(self) -> dict[str, Any]:
        """The memory as it is written."""
        return {
            "format": FORMAT,
            "agent": self.agent,
            "sequence": self.sequence,
            "etag": self.etag,
            "desired": self.desired,
            "reported": self.reported,
            "snaps": self.snaps,
            "origins": {
                snap: {revision: asdict(origin) for revision, origin in known.items()}
                for snap, known in self.origins.items()
            },
            "refusals": {snap: asdict(refusal) for snap, refusal in self.refusals.items()},
            "downloaded": self.downloaded,
            "pending": None if self.pending is None else asdict(self.pending),
        }


class MemoryFile:
    """Where the memory lies."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._path = state_dir / "agent.json"

    def load(self) -> Memory:
        """The memory as it was saved; a fresh one where there is none or it is damaged."""
        try:
            return _parse(json.loads(self._path.read_bytes()))
        except FileNotFoundError:
            return Memory(agent=uuid.uuid4().hex)
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("%s cannot be used, beginning again: %s", self._path, error)
            return Memory(agent=uuid.uuid4().hex)

    def save(self, memory: Memory) -> None:
        """Write the memory.

        Raises:
            DataFolderError: the folder cannot be written.
        """
        temporary = self._path.with_suffix(".new")
        try:
            with temporary.open("wb") as file:
                file.write(canonical_json(memory.to_document()))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise DataFolderError(
                self._path, error.strerror or str(error), resolution="check --state-dir, its room and its rights"
            ) from error

    @contextmanager
    def alone(self) -> Iterator[None]:
        """The right to be the only agent of this folder.

        Raises:
            AgentRunningError: another agent has it.
            DataFolderError: the folder cannot be written.
        """
        try:
            self._state_dir.mkdir(parents=True, exist_ok=True)
            lock = (self._state_dir / "agent.lock").open("ab")
        except OSError as error:
            raise DataFolderError(
                self._state_dir, error.strerror or str(error), resolution="check --state-dir and its rights"
            ) from error
        with lock:
            try:
                fcntl.flock(lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise AgentRunningError(self._state_dir) from error
            yield


def _parse(document: dict[str, Any]) -> Memory:
    if document["format"] != FORMAT:
        raise ValueError(f"format {document['format']} is not {FORMAT}")
    pending = document["pending"]
    return Memory(
        agent=document["agent"],
        sequence=document["sequence"],
        etag=document["etag"],
        desired=document["desired"],
        reported=document["reported"],
        snaps=document["snaps"],
        origins={
            snap: {revision: Origin(**origin) for revision, origin in known.items()}
            for snap, known in document["origins"].items()
        },
        refusals={
            snap: Refusal(**{**refusal, "rollouts": tuple(refusal["rollouts"])})
            for snap, refusal in document["refusals"].items()
        },
        downloaded=document["downloaded"],
        pending=None
        if pending is None
        else Pending(
            change=pending["change"],
            snap=pending["snap"],
            origin=Origin(**pending["origin"]),
            rollouts=tuple(pending["rollouts"]),
        ),
    )
