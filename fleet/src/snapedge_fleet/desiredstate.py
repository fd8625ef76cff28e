"""What a device is to have, as the document its agent asks for, and why.

The document has no time in it: the same wish has the same bytes, so its hash is the ETag and most answers are 304.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from snapedge_hooks.document import canonical_json
from snapedge_hooks.vocabulary import SnapName

from . import records, rollout
from .bundle import SnapFile
from .inventory import Device, Group
from .records import Track
from .rollout import Phase, Rollout

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredSnap:
    """A file the device is to have, and the rollouts that say so."""

    file: SnapFile
    rollouts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredState:
    """What one device is to have.

    Attributes:
        snaps: in the order they are to be installed, runtimes first.
        absent: snaps that a rollout brought and a rollback took away again.
        held: why the device stays as it is; empty where it does not.
    """

    device: Device
    snaps: tuple[DesiredSnap, ...] = ()
    absent: tuple[SnapName, ...] = ()
    held: str = ""

    def to_document(self) -> dict[str, Any]:
        """The document as the agent gets it."""
        return {
            "format": FORMAT,
            "device": str(self.device.id),
            "group": None if self.device.group is None else str(self.device.group),
            "held": self.held,
            "snaps": [
                {
                    **one.file.to_document(),
                    "path": f"/v1/store/snaps/{one.file.sha3_384}.snap",
                    "rollouts": one.rollouts,
                }
                for one in self.snaps
            ],
            "absent": [str(name) for name in self.absent],
        }

    def encode(self) -> tuple[bytes, str]:
        """The document's bytes and their ETag."""
        data = canonical_json(self.to_document())
        return data, f'"{hashlib.sha256(data).hexdigest()[:32]}"'


def decide(device: Device, chains: Mapping[Track, Sequence[Rollout]], *, is_held: bool) -> DesiredState:
    """What the device is to have, from the rollouts of every track its group follows.

    Where two models need the same runtime snap, its highest revision serves both.
    """
    if is_held:
        return DesiredState(device=device, held=device.hold.why if device.hold else "")
    files: dict[SnapName, tuple[SnapFile, list[int]]] = {}
    absent: list[SnapName] = []
    for (snap, _channel), chain in sorted(chains.items()):
        holder = next((one for one in chain if one.holds(device.id, device.architecture)), None)
        wanted = () if holder is None else holder.bundle.files.get(device.architecture, ())
        if not wanted and chain:
            absent.append(snap)
        for file in wanted:
            assert holder is not None, "files come from a rollout"
            known = files.get(file.snap)
            numbers = [*(known[1] if known else []), holder.id]
            newest = file if known is None or file.revision > known[0].revision else known[0]
            files[file.snap] = (newest, numbers)
    ordered = sorted(files.values(), key=lambda item: (item[0].kind.value != "runtime", item[0].snap))
    return DesiredState(
        device=device,
        snaps=tuple(DesiredSnap(file=file, rollouts=tuple(numbers)) for file, numbers in ordered),
        absent=tuple(name for name in absent if name not in files),
    )


def chains_of(connection: Connection, group: Group | None) -> dict[Track, list[Rollout]]:
    """The rollouts of every track a group follows."""
    if group is None:
        return {}
    return {track: records.chain(connection, track) for track in group.follows.items()}


def moving(chains: Iterable[Sequence[Rollout]]) -> list[Rollout]:
    """The rollouts that gates still look at: the newest of each track, while it is active or paused."""
    return [chain[0] for chain in chains if chain and chain[0].phase in (Phase.ACTIVE, Phase.PAUSED)]


def why(device: Device, group: Group | None, chains: Mapping[Track, Sequence[Rollout]], *, is_held: bool) -> list[str]:
    """Why the device is to have what it is to have, a sentence for each thing that decides."""
    if group is None:
        return ["no group's selector holds it, so nothing is sent to it"]
    lines = [f"it belongs to group {group.name} ({str(group.selector) or 'every device'})"]
    if is_held and device.hold is not None:
        until = "" if device.hold.until is None else f" until {device.hold.until.isoformat()}"
        lines.append(f"it is held{until}: {device.hold.why}")
    if not group.follows:
        lines.append("the group follows no channel")
    for (snap, channel), chain in sorted(chains.items()):
        lines.append(_track_line(device, snap, str(channel), chain))
    return lines


def _track_line(device: Device, snap: SnapName, channel: str, chain: Sequence[Rollout]) -> str:
    if not chain:
        return f"{snap} follows {channel}: nothing was released there"
    newest = chain[0]
    bundle = rollout.desired(device.id, device.architecture, chain)
    has = "nothing" if bundle is None else bundle.version
    place = rollout.bucket(newest.salt, device.id)
    wave = newest.wave_of(device.id, device.architecture)
    state = f"rollout {newest.id} of {newest.bundle.version} is {newest.phase.value} with {newest.stage} of "
    return (
        f"{snap} follows {channel} and is to have {has}: {state}{len(newest.waves)} waves open; bucket {place} is in "
        f"wave {wave} ({newest.waves[wave - 1].name}), open below {newest.cutoff(device.architecture)}"
    )
