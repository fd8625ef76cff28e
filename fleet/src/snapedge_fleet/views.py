"""What the fleet shows of itself: groups, devices, rollouts, drift, history. Documents for the API and the CLI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from snapedge_hooks.directorystore import DirectoryStore

from . import audit, bundle, desiredstate, gates, progress, records, tables
from .bundle import Unresolved
from .control import Control
from .errors import UnknownNameError
from .inventory import Group
from .records import Track
from .rollout import Phase, Rollout


def groups(control: Control) -> list[dict[str, Any]]:
    """Every group, with how many devices it holds."""
    with control.database.reading() as connection:
        rows = records.device_rows(connection)
        return [
            {**group.to_document(), "devices": sum(row.group_name == group.name for row in rows)}
            for group in records.groups(connection)
        ]


def devices(control: Control, group: str | None = None) -> list[dict[str, Any]]:
    """Every device, or those of a group: declared and observed.

    Raises:
        UnknownNameError: there is no such group.
    """
    with control.database.reading() as connection:
        if group is not None:
            records.group(connection, group)
        rows = records.device_rows(connection, None if group is None else [group])
        return [_device_document(control, row) for row in rows]


def device(control: Control, name: str) -> dict[str, Any]:
    """One device: declared and observed.

    Raises:
        UnknownNameError: there is no such device.
    """
    with control.database.reading() as connection:
        return _device_document(control, records.device_row(connection, name))


def status(control: Control, snap: str | None = None) -> dict[str, Any]:
    """The fleet at a glance: each track with its newest rollout, each device with what it is to have and has."""
    index = control.store.index()
    with control.database.reading() as connection:
        known = records.groups(connection)
        tracks = records.tracks(known)
        if snap is not None and snap not in {one for one, _ in tracks}:
            raise UnknownNameError("followed snap", snap, {one for one, _ in tracks})
        documents = []
        for track, members in sorted(tracks.items()):
            if snap is not None and track[0] != snap:
                continue
            newest = records.newest(connection, track)
            head = bundle.resolve(index, *track)
            documents.append(
                {
                    "snap": str(track[0]),
                    "channel": str(track[1]),
                    "groups": [str(group.name) for group in members],
                    "waits": head.reason if isinstance(head, Unresolved) else "",
                    "rollout": None if newest is None else rollout_document(control, connection, newest),
                }
            )
        rows = records.device_rows(connection)
        chains = {track: records.chain(connection, track) for track in tracks}
        by_name = {str(group.name): group for group in known}
        return {
            "serial": index.serial,
            "tracks": documents,
            "devices": [_standing(control, row, _followed(by_name, row, chains)) for row in rows],
        }


def drift(control: Control) -> list[dict[str, Any]]:
    """Devices that do not have what they are to have, a line for each difference with its reason."""
    with control.database.reading() as connection:
        known = records.groups(connection)
        chains = {track: records.chain(connection, track) for track in records.tracks(known)}
        by_name = {str(group.name): group for group in known}
        found: list[dict[str, Any]] = []
        for row in records.device_rows(connection):
            standing = _standing(control, row, _followed(by_name, row, chains))
            found += [
                {"device": standing["device"], "group": standing["group"], **one}
                for one in standing["snaps"]
                if not one["is_right"]
            ]
        return found


def history(control: Control, snap: str | None, limit: int) -> list[dict[str, Any]]:
    """What was done, oldest first; to one snap, device or group, or to all.

    Raises:
        UnknownNameError: nothing was ever done to that subject.
    """
    with control.database.reading() as connection:
        found = audit.entries(connection, limit=limit, subject=snap)
        if snap is not None and not found:
            subjects = connection.execute(select(tables.audit.c.subject).distinct()).scalars()
            raise UnknownNameError("snap, device or group with a history", snap, subjects)
        return [entry.to_document() for entry in found]


def verify_audit(control: Control) -> dict[str, Any]:
    """How long the audit chain is, and its head.

    Raises:
        AuditBrokenError: it was changed by hand.
    """
    with control.database.reading() as connection:
        count, head = audit.verify(connection)
    return {"entries": count, "head": head}


def store_contents(store: DirectoryStore) -> list[dict[str, Any]]:
    """What the store has: each snap with its channels."""
    index = store.index()
    found = []
    for name, entry in sorted(index.snaps.items()):
        for channel, number in sorted(entry.channels.items(), key=lambda item: str(item[0])):
            release = entry.release(number)
            assert release is not None, "the index was checked when it was read"
            found.append(
                {
                    "snap": str(name),
                    "channel": str(channel),
                    "version": str(release.version),
                    "release": number,
                    "revisions": {str(architecture): int(one) for architecture, one in release.revisions.items()},
                }
            )
        if not entry.channels:
            found.append({"snap": str(name), "channel": None, "version": None, "release": None, "revisions": {}})
    return found


def rollout_document(control: Control, connection: Connection, current: Rollout) -> dict[str, Any]:
    """A rollout with its waves, their counters and what their gates say."""
    counted = progress.tallies(connection, current.id)
    evidence = progress.evidence(connection, current)
    waves = []
    for number, wave in enumerate(current.waves, start=1):
        tallies = counted.get(number, {})
        verdict = ""
        if current.phase is Phase.ACTIVE and number == current.stage:
            verdict = gates.judge(wave.gate, evidence[number - 1], now=control.now()).reason
        waves.append(
            {
                "wave": number,
                "name": wave.name,
                "devices": wave.size,
                "is_open": number <= current.stage,
                "offered": sum(tally.offered for tally in tallies.values()),
                "confirmed": sum(tally.confirmed for tally in tallies.values()),
                "failed": sum(tally.failed for tally in tallies.values()),
                "verdict": verdict,
            }
        )
    return {
        "rollout": current.id,
        "snap": str(current.snap),
        "channel": str(current.channel),
        "version": current.bundle.version,
        "release": current.bundle.release,
        "phase": current.phase.value,
        "stage": current.stage,
        "reason": current.reason,
        "opened": _time_text(current.opened),
        "waves": waves,
    }


def _followed(
    by_name: Mapping[str, Group], row: Row[Any], chains: Mapping[Track, Sequence[Rollout]]
) -> dict[Track, Sequence[Rollout]]:
    group = by_name.get(row.group_name)
    return {} if group is None else {track: chains[track] for track in group.follows.items()}


def _standing(control: Control, row: Row[Any], chains: Mapping[Track, Sequence[Rollout]]) -> dict[str, Any]:
    known = records.device(row)
    observed = records.device_state(row)
    is_held = known.hold is not None and known.hold.is_in_force(datetime.fromtimestamp(control.now(), UTC))
    wanted = desiredstate.decide(known, chains, is_held=is_held)
    snaps = []
    for one in wanted.snaps:
        has = observed.snaps.get(one.file.snap)
        is_right = has is not None and has.revision == one.file.revision and has.outcome == "confirmed"
        snaps.append(
            {
                "snap": str(one.file.snap),
                "wanted": one.file.version,
                "wanted_revision": int(one.file.revision),
                "has": None if has is None else has.version,
                "has_revision": None if has is None else has.revision,
                "outcome": "absent" if has is None else has.outcome,
                "why": _difference(has is None, "" if has is None else has.code, "" if has is None else has.message),
                "is_right": is_right,
            }
        )
    for name in wanted.absent:
        has = observed.snaps.get(name)
        if has is not None and has.revision is not None:
            snaps.append(
                {
                    "snap": str(name),
                    "wanted": None,
                    "wanted_revision": None,
                    "has": has.version,
                    "has_revision": has.revision,
                    "outcome": has.outcome,
                    "why": "it was rolled back and nothing was there before",
                    "is_right": False,
                }
            )
    return {
        "device": str(known.id),
        "group": None if known.group is None else str(known.group),
        "architecture": str(known.architecture),
        "is_reachable": _is_reachable(control, row),
        "seen_at": None if row.seen_at is None else _time_text(row.seen_at),
        "held": wanted.held,
        "note": observed.note,
        "snaps": snaps,
    }


def _difference(is_absent: bool, code: str, message: str) -> str:
    return "it is not there" if is_absent else ": ".join(part for part in (code, message) if part)


def _device_document(control: Control, row: Row[Any]) -> dict[str, Any]:
    known = records.device(row)
    observed = records.device_state(row)
    return {
        "device": str(known.id),
        "architecture": str(known.architecture),
        "labels": dict(known.labels),
        "group": None if known.group is None else str(known.group),
        "held": None if known.hold is None else known.hold.why,
        "is_enrolled": row.token_hash is not None,
        "is_reachable": _is_reachable(control, row),
        "seen_at": None if row.seen_at is None else _time_text(row.seen_at),
        "note": observed.note,
        "snaps": [
            {
                "snap": str(state.snap),
                "revision": state.revision,
                "version": state.version,
                "outcome": state.outcome,
                "code": state.code,
                "message": state.message,
                "details": state.details,
                "model": state.model,
                "bytes_downloaded": state.bytes_downloaded,
            }
            for state in observed.snaps.values()
        ],
    }


def _is_reachable(control: Control, row: Row[Any]) -> bool:
    return row.seen_at is not None and control.now() - row.seen_at <= control.settings.reach


def _time_text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
