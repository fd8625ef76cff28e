"""Promotion: a release goes to a safer channel, with the runtime it needs, all architectures or none. Planned first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from snapedge_hooks import storeindex
from snapedge_hooks.channels import Channel, Revision
from snapedge_hooks.storeindex import Release, StoreIndex
from snapedge_hooks.vocabulary import Architecture, SnapName

from . import audit, bundle, leader, records
from .bundle import Bundle, Unresolved
from .control import Control
from .errors import PlanRefusedError, UnknownNameError
from .rollout import WavePlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """A runtime that goes along, and why."""

    snap: SnapName
    release: Release
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionPlan:
    """What a promotion would do.

    Attributes:
        releases: what each channel move releases, runtimes first.
        bundle: what devices get in the end.
        skip: why there is nothing to do; empty where there is.
    """

    snap: SnapName
    version: str
    source: Channel
    target: Channel
    releases: Mapping[SnapName, Mapping[Architecture, Revision]]
    carried: Carried | None
    bundle: Bundle
    index: StoreIndex
    skip: str = ""


def decide(index: StoreIndex, snap: SnapName, source: Channel, target: Channel, control: Control) -> PromotionPlan:
    """The promotion of what `source` names to `target`.

    Raises:
        UnknownNameError: the store never had the snap.
        PlanRefusedError: nothing was released to `source`, or the runtime it needs is nowhere to be had.
    """
    what = f"{snap} from {source} to {target}"
    entry = index.snaps.get(snap)
    if entry is None:
        raise UnknownNameError("snap in the store", snap, index.snaps)
    if source == target:
        raise PlanRefusedError(what, "both channels are the same", resolution="name two channels")
    release = entry.released(source)
    if release is None:
        others = ", ".join(sorted(str(channel) for channel in entry.channels)) or "no channel"
        raise PlanRefusedError(
            what, f"nothing was ever released to {source}", resolution=f"{snap} is released to {others}"
        )
    carried = _carried(index, snap, release, source, target, what)
    releases: dict[SnapName, Mapping[Architecture, Revision]] = {}
    if carried is not None:
        releases[carried.snap] = carried.release.revisions
    releases[snap] = release.revisions
    after = index
    for name, revisions in releases.items():
        after, _ = storeindex.with_release(after, name, target, revisions, now=_moment(control))
    head = bundle.resolve(after, snap, target)
    if isinstance(head, Unresolved):
        raise PlanRefusedError(what, head.reason, resolution="publish the runtime too")
    current = entry.released(target)
    is_there = current is not None and current.release == release.release and carried is None
    return PromotionPlan(
        snap=snap,
        version=str(release.version),
        source=source,
        target=target,
        releases=releases,
        carried=carried,
        bundle=head,
        index=after,
        skip=f"{target} names {snap} {release.version} already" if is_there else "",
    )


def promote(
    control: Control, snap: SnapName, source: Channel, target: Channel, *, dry_run: bool, actor: str
) -> dict[str, Any]:
    """The plan of a promotion and, unless it is a dry run, the promotion: channels moved, rollout made.

    Raises:
        UnknownNameError: the store never had the snap.
        PlanRefusedError: it may not happen.
        ReleaseRefusedError: the release would drop an architecture.
    """
    planned = decide(control.store.index(), snap, source, target, control)
    with control.database.writing() as connection:
        document = describe(control, connection, planned)
        if dry_run or planned.skip:
            return {**document, "done": False}
        control.store.release_all(target, planned.releases)
        audit.record(
            connection,
            at=control.now(),
            actor=actor,
            action="promote",
            subject=str(snap),
            detail={"version": planned.version, "from": str(source), "to": str(target)},
        )
        made = leader.notice(control, connection, control.store.index(), actor=actor)
    number = next((one.id for one in made if (one.snap, one.channel) == (snap, target)), None)
    return {**document, "done": True, "rollout": number}


def describe(control: Control, connection: Connection, planned: PromotionPlan) -> dict[str, Any]:
    """The plan as the API shows it: devices by group, waves, bytes, what goes along and why."""
    track = (planned.snap, planned.target)
    groups = records.tracks(records.groups(connection)).get(track, [])
    waves = leader.plan(control, connection, track, groups)
    by_group = []
    needed = image = 0
    notes = []
    for group in groups:
        rows = records.device_rows(connection, [group.name])
        bytes_needed = 0
        uncovered = 0
        for row in rows:
            files = planned.bundle.files.get(Architecture.parse(row.architecture), ())
            uncovered += not files
            has = {(snap, state.revision) for snap, state in records.device_state(row).snaps.items()}
            bytes_needed += sum(file.size for file in files if (file.snap, file.revision) not in has)
            image += sum(file.image_size or 0 for file in files)
        by_group.append({"group": str(group.name), "devices": len(rows), "bytes": bytes_needed})
        needed += bytes_needed
        if uncovered:
            notes.append(
                f"{uncovered} of group {group.name} have an architecture that {planned.version} is not built for"
            )
    if not groups:
        notes.append(f"no group follows {planned.target} of {planned.snap}: no device changes")
    carried = planned.carried
    return {
        "snap": str(planned.snap),
        "version": planned.version,
        "from": str(planned.source),
        "to": str(planned.target),
        "skip": planned.skip,
        "architectures": sorted(str(architecture) for architecture in planned.bundle.files),
        "carried": None
        if carried is None
        else {"snap": str(carried.snap), "version": str(carried.release.version), "reason": carried.reason},
        "groups": by_group,
        "waves": _wave_documents(waves),
        "bytes": needed,
        "image_bytes": image,
        "notes": notes,
    }


def _wave_documents(planned: WavePlan) -> list[dict[str, Any]]:
    return [
        {
            "wave": number,
            "name": wave.name,
            "devices": wave.size,
            "by_architecture": {str(architecture): size for architecture, size in wave.sizes.items()},
            "max_failures": wave.gate.max_failures,
            "soak": wave.gate.soak,
        }
        for number, wave in enumerate(planned.waves, start=1)
    ]


def _carried(
    index: StoreIndex, snap: SnapName, release: Release, source: Channel, target: Channel, what: str
) -> Carried | None:
    there = bundle.choose_runtime(index, snap, release, target)
    if there is None or not isinstance(there, Unresolved):
        return None
    here = bundle.choose_runtime(index, snap, release, source)
    if here is None or isinstance(here, Unresolved):
        raise PlanRefusedError(what, there.reason, resolution="publish the runtime first: builder publish")
    return Carried(
        snap=here.snap,
        release=here.release,
        reason=f"{snap} {release.version} needs {here.terms}, and {target} has none",
    )


def _moment(control: Control) -> datetime:
    return datetime.fromtimestamp(control.now(), UTC)
