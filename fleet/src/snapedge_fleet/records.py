"""Rows become domain values here, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from snapedge_hooks.channels import Channel
from snapedge_hooks.document import canonical_json
from snapedge_hooks.vocabulary import Architecture, SnapName

from . import tables
from .bundle import Bundle
from .errors import UnknownNameError
from .inventory import Device, DeviceId, DeviceState, Group, GroupName, Hold, SnapState
from .rollout import Phase, Rollout, Wave
from .selector import Selector

Track = tuple[SnapName, Channel]
"""What a group follows: one channel of one snap."""


def groups(connection: Connection) -> list[Group]:
    """Every group in the order that decides where a device belongs."""
    rows = connection.execute(select(tables.fleet_group).order_by(tables.fleet_group.c.position))
    return [
        Group(
            name=GroupName(row.name),
            selector=Selector.parse(row.selector),
            follows={SnapName(snap): Channel.parse(channel) for snap, channel in json.loads(row.follows).items()},
        )
        for row in rows
    ]


def group(connection: Connection, name: str) -> Group:
    """The group of that name.

    Raises:
        UnknownNameError: there is none.
    """
    known = groups(connection)
    found = next((one for one in known if one.name == name), None)
    if found is None:
        raise UnknownNameError("group", name, (one.name for one in known))
    return found


def tracks(known: Iterable[Group]) -> dict[Track, list[Group]]:
    """The groups that follow each track, in the groups' order."""
    found: dict[Track, list[Group]] = {}
    for one in known:
        for snap, channel in one.follows.items():
            found.setdefault((snap, channel), []).append(one)
    return found


def device(row: Row[Any]) -> Device:
    """The device of a row."""
    hold = None
    if row.hold_why is not None:
        until = None if row.hold_until is None else datetime.fromtimestamp(row.hold_until, UTC)
        hold = Hold(why=row.hold_why, until=until)
    return Device(
        id=DeviceId(row.id),
        architecture=Architecture.parse(row.architecture),
        labels=json.loads(row.labels),
        group=None if row.group_name is None else GroupName(row.group_name),
        hold=hold,
    )


def device_state(row: Row[Any]) -> DeviceState:
    """What a row's device was last seen with."""
    document = json.loads(row.state)
    return DeviceState(
        seen_at=None if row.seen_at is None else datetime.fromtimestamp(row.seen_at, UTC),
        sequence=row.sequence,
        snaps={SnapName(one["snap"]): snap_state(one) for one in document.get("snaps", [])},
        note=document.get("note", ""),
    )


def snap_state(document: Mapping[str, Any]) -> SnapState:
    """One snap of a report.

    Raises:
        ValueError, KeyError, TypeError: it is no such document.
    """
    return SnapState(
        snap=SnapName(document["snap"]),
        revision=_optional_int(document["revision"]),
        version=str(document["version"]),
        outcome=str(document["outcome"]),
        wanted=_optional_int(document.get("wanted")),
        code=str(document.get("code", "")),
        message=str(document.get("message", "")),
        details=str(document.get("details", "")),
        model=None if document.get("model") is None else str(document["model"]),
        bytes_downloaded=int(document.get("bytes_downloaded", 0)),
    )


def device_row(connection: Connection, name: str) -> Row[Any]:
    """The row of a device.

    Raises:
        UnknownNameError: there is none.
    """
    row = connection.execute(select(tables.device).where(tables.device.c.id == name)).first()
    if row is None:
        known = connection.execute(select(tables.device.c.id).limit(10_000)).scalars()
        raise UnknownNameError("device", name, known)
    return row


def device_rows(connection: Connection, group_names: Iterable[str] | None = None) -> list[Row[Any]]:
    """The rows of every device, or of those in some groups, by name."""
    query = select(tables.device).order_by(tables.device.c.id)
    if group_names is not None:
        query = query.where(tables.device.c.group_name.in_(list(group_names)))
    return list(connection.execute(query).all())


def rollout(row: Row[Any]) -> Rollout:
    """The rollout of a row."""
    return Rollout(
        id=row.id,
        snap=SnapName(row.snap),
        channel=Channel.parse(row.channel),
        bundle=Bundle.from_document(json.loads(row.bundle)),
        salt=row.salt,
        waves=tuple(Wave.from_document(wave) for wave in json.loads(row.waves)),
        stage=row.stage,
        phase=Phase(row.phase),
        opened=row.opened,
        reason=row.reason,
    )


def chain(connection: Connection, track: Track) -> list[Rollout]:
    """The rollouts that decide what a track's devices have: the newest first, down to one that everybody got."""
    snap, channel = track
    query = (
        select(tables.rollout)
        .where(tables.rollout.c.snap == str(snap), tables.rollout.c.channel == str(channel))
        .order_by(tables.rollout.c.id.desc())
    )
    found = []
    for row in connection.execute(query):
        one = rollout(row)
        found.append(one)
        if one.phase is Phase.COMPLETE:
            break
    return found


def newest(connection: Connection, track: Track) -> Rollout | None:
    """The newest rollout of a track."""
    snap, channel = track
    row = connection.execute(
        select(tables.rollout)
        .where(tables.rollout.c.snap == str(snap), tables.rollout.c.channel == str(channel))
        .order_by(tables.rollout.c.id.desc())
        .limit(1)
    ).first()
    return None if row is None else rollout(row)


def save_waves(connection: Connection, number: int, waves: Iterable[Wave]) -> None:
    """Write the waves of a rollout."""
    connection.execute(
        update(tables.rollout)
        .where(tables.rollout.c.id == number)
        .values(waves=canonical_json([wave.to_document() for wave in waves]).decode())
    )


def bump_epoch(connection: Connection) -> None:
    """Say that what devices are to have may have changed."""
    changed = connection.execute(
        update(tables.meta).where(tables.meta.c.key == "epoch").values(value=_next_epoch(connection))
    )
    if not changed.rowcount:
        connection.execute(insert(tables.meta).values(key="epoch", value="1"))


def epoch(connection: Connection) -> int:
    """A number that grows whenever what devices are to have may have changed."""
    value = connection.execute(select(tables.meta.c.value).where(tables.meta.c.key == "epoch")).scalar()
    return 0 if value is None else int(value)


def _next_epoch(connection: Connection) -> str:
    return str(epoch(connection) + 1)


def _optional_int(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is not a whole number")
    return value
