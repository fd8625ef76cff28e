"""What the agent does next: a pure plan from what is wanted, what snapd has, and what is remembered.

1. A held device changes nothing.
2. Runtimes come before the models that need them; a model waits until its runtime is there.
3. A revision that failed here is left alone until the server wants something else.
4. Back to an earlier revision that snapd still has is a revert; everything else is an install from the file.
5. Every snap gets an action, with its reason, also where there is nothing to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from snapedge_fleet.bundle import SnapFile
from snapedge_fleet.snapd import InstalledSnap

from .memory import Memory, Origin


class ActionKind(Enum):
    """What can be done for a snap."""

    SKIP = "skip"
    INSTALL = "install"
    REVERT = "revert"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A file the server wants here, with where to get it."""

    file: SnapFile
    path: str
    rollouts: tuple[int, ...]

    @property
    def origin(self) -> Origin:
        """What to remember of it once snapd has it."""
        return Origin(
            revision=int(self.file.revision),
            version=self.file.version,
            sha3_384=str(self.file.sha3_384),
            model=self.file.model_digest,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What the server wants here."""

    snaps: tuple[Wanted, ...] = ()
    absent: tuple[str, ...] = ()
    held: str = ""

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Desired:
        """The wish of a document; nothing where it is empty.

        Raises:
            ValueError, KeyError, TypeError: it is no such document.
        """
        if not document:
            return cls()
        if document["format"] != 1:
            raise ValueError(f"format {document['format']!r} is not 1")
        return cls(
            snaps=tuple(
                Wanted(file=SnapFile.from_document(one), path=str(one["path"]), rollouts=tuple(one["rollouts"]))
                for one in document["snaps"]
            ),
            absent=tuple(str(name) for name in document["absent"]),
            held=str(document["held"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentAction:
    """One thing to do for a snap; `target` is snapd's revision for a revert."""

    kind: ActionKind
    snap: str
    reason: str
    wanted: Wanted | None = None
    target: str = ""


def decide(desired: Desired, installed: Mapping[str, InstalledSnap | None], memory: Memory) -> list[AgentAction]:
    """The actions, in the order they are to be done."""
    if desired.held:
        return [_skip(wanted.file.snap, f"held: {desired.held}") for wanted in desired.snaps]
    actions: list[AgentAction] = []
    stuck = ""
    for wanted in desired.snaps:
        action = _for_snap(wanted, installed.get(wanted.file.snap), memory)
        if stuck and action.kind is not ActionKind.SKIP:
            action = _skip(action.snap, f"waits for {stuck}")
        if wanted.file.kind.value == "runtime" and is_refused(wanted, memory):
            stuck = wanted.file.snap
        actions.append(action)
    for name in desired.absent:
        known = installed.get(name)
        if known is not None and known.active in memory.origins.get(name, {}):
            actions.append(AgentAction(kind=ActionKind.REMOVE, snap=name, reason="it was rolled back to nothing"))
    return actions


def is_refused(wanted: Wanted, memory: Memory) -> bool:
    """Whether this file failed here for the same rollouts."""
    refusal = memory.refusals.get(wanted.file.snap)
    return refusal is not None and refusal.revision == wanted.file.revision and refusal.rollouts == wanted.rollouts


def is_there(wanted: Wanted, installed: InstalledSnap | None, memory: Memory) -> bool:
    """Whether snapd's active revision is the wanted file."""
    if installed is None:
        return False
    origin = memory.origins.get(wanted.file.snap, {}).get(installed.active)
    return origin is not None and origin.sha3_384 == wanted.file.sha3_384


def kept_files(desired: Desired, memory: Memory) -> set[str]:
    """The files worth keeping: the wanted ones and those to go back to."""
    wanted = {str(one.file.sha3_384) for one in desired.snaps}
    back = {origin.sha3_384 for known in memory.origins.values() for origin in _newest(list(known.values()), count=2)}
    return wanted | back


def _for_snap(wanted: Wanted, installed: InstalledSnap | None, memory: Memory) -> AgentAction:
    name, version = str(wanted.file.snap), wanted.file.version
    if is_there(wanted, installed, memory):
        return _skip(name, f"{version} is there")
    if is_refused(wanted, memory):
        return _skip(name, f"{version} failed here and nothing else is wanted yet")
    if installed is None:
        return AgentAction(kind=ActionKind.INSTALL, snap=name, reason=f"{version} is not there", wanted=wanted)
    origins = memory.origins.get(name, {})
    current = origins.get(installed.active)
    for revision in installed.revisions:
        origin = origins.get(revision)
        is_it = origin is not None and origin.sha3_384 == wanted.file.sha3_384
        if is_it and revision != installed.active and current is not None and wanted.file.revision < current.revision:
            return AgentAction(
                kind=ActionKind.REVERT,
                snap=name,
                reason=f"back from {current.version} to {version}, which snapd still has",
                wanted=wanted,
                target=revision,
            )
    was = installed.version if current is None else current.version
    return AgentAction(kind=ActionKind.INSTALL, snap=name, reason=f"from {was} to {version}", wanted=wanted)


def _newest(origins: Sequence[Origin], *, count: int) -> list[Origin]:
    return sorted(origins, key=lambda origin: origin.revision)[-count:]


def _skip(snap: str, reason: str) -> AgentAction:
    return AgentAction(kind=ActionKind.SKIP, snap=str(snap), reason=reason)
