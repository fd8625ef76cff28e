"""What operators order: groups, devices, holds, and pausing, resuming and rolling back a rollout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from snapedge_hooks.channels import Channel
from snapedge_hooks.document import canonical_json
from snapedge_hooks.vocabulary import Architecture, SnapName

from . import audit, enrolment, leader, records, tables
from .control import Control
from .errors import NameTakenError, RolloutStateError, UnknownNameError
from .inventory import DeviceId, GroupName, group_of
from .rollout import Phase, Rollout
from .selector import Selector


def add_group(
    control: Control, name: GroupName, selector: Selector, follows: Mapping[SnapName, Channel], *, actor: str
) -> dict[str, Any]:
    """A new group, last in order.

    Raises:
        NameTakenError: there is one of that name.
    """
    with control.database.writing() as connection:
        if any(group.name == name for group in records.groups(connection)):
            raise NameTakenError("group", name)
        position = connection.execute(select(func.max(tables.fleet_group.c.position))).scalar() or 0
        connection.execute(
            insert(tables.fleet_group).values(
                name=str(name), position=position + 1, selector=str(selector), follows=_follows_text(follows)
            )
        )
        _regroup(connection)
        return _group_changed(control, connection, "group-add", name, actor)


def set_group(
    control: Control,
    name: str,
    *,
    selector: Selector | None,
    follows: Mapping[SnapName, Channel],
    unfollow: Iterable[SnapName],
    actor: str,
) -> dict[str, Any]:
    """The group with another selector, or with channels followed and not followed any more.

    Raises:
        UnknownNameError: there is no such group, or it does not follow what it is to leave.
    """
    with control.database.writing() as connection:
        group = records.group(connection, name)
        followed = {**group.follows, **follows}
        for snap in unfollow:
            if followed.pop(snap, None) is None:
                raise UnknownNameError("followed snap", snap, group.follows)
        connection.execute(
            update(tables.fleet_group)
            .where(tables.fleet_group.c.name == name)
            .values(selector=str(group.selector if selector is None else selector), follows=_follows_text(followed))
        )
        _regroup(connection)
        return _group_changed(control, connection, "group-set", name, actor)


def add_device(
    control: Control, name: DeviceId, architecture: Architecture, labels: Mapping[str, str], *, actor: str
) -> dict[str, Any]:
    """A new device, and the word it enrols with.

    Raises:
        NameTakenError: there is one of that name.
    """
    with control.database.writing() as connection:
        if connection.execute(select(tables.device.c.id).where(tables.device.c.id == str(name))).first() is not None:
            raise NameTakenError("device", name)
        connection.execute(
            insert(tables.device).values(
                id=str(name),
                architecture=str(architecture),
                labels=canonical_json(dict(labels)).decode(),
                sequence=0,
                state="{}",
            )
        )
        _regroup(connection, only=name)
        word = enrolment.new_claim(connection, name, now=control.now())
        _note(
            control, connection, actor, "device-add", name, {"architecture": str(architecture), "labels": dict(labels)}
        )
        group = records.device_row(connection, name).group_name
    return {"device": str(name), "claim": word, "group": group}


def claim_device(control: Control, name: str, *, actor: str) -> dict[str, Any]:
    """A new word for a device that is to enrol again; its old token works until then.

    Raises:
        UnknownNameError: there is no such device.
    """
    with control.database.writing() as connection:
        records.device_row(connection, name)
        word = enrolment.new_claim(connection, name, now=control.now())
        _note(control, connection, actor, "device-claim", name, {})
    return {"device": name, "claim": word}


def remove_device(control: Control, name: str, *, actor: str) -> dict[str, Any]:
    """Forget a device; what it runs stays as it is.

    Raises:
        UnknownNameError: there is no such device.
    """
    with control.database.writing() as connection:
        records.device_row(connection, name)
        connection.execute(delete(tables.device).where(tables.device.c.id == name))
        _note(control, connection, actor, "device-remove", name, {})
    return {"device": name}


def label_device(
    control: Control, name: str, labels: Mapping[str, str], unlabel: Iterable[str], *, actor: str
) -> dict[str, Any]:
    """A device with labels set and taken away.

    Raises:
        UnknownNameError: there is no such device.
    """
    with control.database.writing() as connection:
        known = records.device(records.device_row(connection, name))
        gone = set(unlabel)
        changed = {key: value for key, value in {**known.labels, **labels}.items() if key not in gone}
        connection.execute(
            update(tables.device).where(tables.device.c.id == name).values(labels=canonical_json(changed).decode())
        )
        _regroup(connection, only=name)
        _note(control, connection, actor, "device-label", name, {"labels": changed})
        group = records.device_row(connection, name).group_name
    return {"device": name, "labels": changed, "group": group}


def hold_device(control: Control, name: str, why: str | None, until: datetime | None, *, actor: str) -> dict[str, Any]:
    """A device that stays as it is, or, without a reason, one that does not any more.

    Raises:
        UnknownNameError: there is no such device.
    """
    with control.database.writing() as connection:
        records.device_row(connection, name)
        connection.execute(
            update(tables.device)
            .where(tables.device.c.id == name)
            .values(hold_why=why, hold_until=None if until is None else until.timestamp())
        )
        _note(control, connection, actor, "unhold" if why is None else "hold", name, {"why": why})
    return {"device": name, "held": why}


def pause(control: Control, snap: str, channel: Channel | None, *, actor: str) -> dict[str, Any]:
    """A rollout whose waves stay as they are.

    Raises:
        UnknownNameError: no rollout of that snap.
        RolloutStateError: it is not moving.
    """
    with control.database.writing() as connection:
        current = _current(connection, snap, channel)
        if current.phase is not Phase.ACTIVE:
            raise RolloutStateError("pause", _title(current), current.phase.value, resolution="there is nothing to do")
        return _order(control, connection, current, Phase.PAUSED, current.stage, f"paused by {actor}", "pause", actor)


def resume(control: Control, snap: str, channel: Channel | None, *, actor: str) -> dict[str, Any]:
    """A paused rollout that moves again.

    Raises:
        UnknownNameError: no rollout of that snap.
        RolloutStateError: it is not paused.
    """
    with control.database.writing() as connection:
        current = _current(connection, snap, channel)
        if current.phase is not Phase.PAUSED:
            raise RolloutStateError(
                "resume",
                _title(current),
                current.phase.value,
                resolution="a halted release needs a new one in its place",
            )
        return _order(control, connection, current, Phase.ACTIVE, current.stage, f"resumed by {actor}", "resume", actor)


def rollback(control: Control, snap: str, channel: Channel | None, *, actor: str) -> dict[str, Any]:
    """A rollout with every wave closed: all its devices go back to what they had. One row, whatever the fleet's size.

    Raises:
        UnknownNameError: no rollout of that snap.
        RolloutStateError: it is rolled back.
    """
    with control.database.writing() as connection:
        current = _current(connection, snap, channel)
        if current.phase is Phase.HALTED and current.stage == 0:
            raise RolloutStateError("roll back", _title(current), "halted with no wave open", resolution="it is done")
        reason = f"rolled back by {actor}"
        return _order(control, connection, current, Phase.HALTED, 0, reason, "rollback", actor)


def _order(
    control: Control,
    connection: Connection,
    current: Rollout,
    phase: Phase,
    stage: int,
    reason: str,
    action: str,
    actor: str,
) -> dict[str, Any]:
    leader.close_rollout(connection, current.id, phase, stage, reason)
    detail = {"rollout": current.id, "channel": str(current.channel), "version": current.bundle.version}
    _note(control, connection, actor, action, current.snap, detail)
    return {**detail, "snap": str(current.snap), "phase": phase.value, "stage": stage, "reason": reason}


def _current(connection: Connection, snap: str, channel: Channel | None) -> Rollout:
    rows = connection.execute(select(tables.rollout).order_by(tables.rollout.c.id.desc())).all()
    of_snap = [records.rollout(row) for row in rows if row.snap == snap]
    if not of_snap:
        raise UnknownNameError("rollout", snap, {row.snap for row in rows})
    if channel is not None:
        on_channel = [one for one in of_snap if one.channel == channel]
        if not on_channel:
            raise UnknownNameError("rollout", f"{snap} on {channel}", {f"{snap} on {one.channel}" for one in of_snap})
        return on_channel[0]
    moving = [one for one in of_snap if one.phase in (Phase.ACTIVE, Phase.PAUSED)]
    return (moving or of_snap)[0]


def _title(current: Rollout) -> str:
    return f"rollout {current.id} ({current.snap} {current.bundle.version} on {current.channel})"


def _group_changed(control: Control, connection: Connection, action: str, name: str, actor: str) -> dict[str, Any]:
    group = records.group(connection, name)
    count = connection.execute(
        select(func.count()).select_from(tables.device).where(tables.device.c.group_name == name)
    ).scalar_one()
    _note(control, connection, actor, action, name, group.to_document())
    return {**group.to_document(), "devices": count}


def _note(
    control: Control, connection: Connection, actor: str, action: str, subject: str, detail: Mapping[str, Any]
) -> None:
    records.bump_epoch(connection)
    audit.record(connection, at=control.now(), actor=actor, action=action, subject=str(subject), detail=detail)


def _regroup(connection: Connection, only: str | None = None) -> None:
    """Write down where devices belong now, so that a poll need not ask every selector."""
    groups = records.groups(connection)
    rows = records.device_rows(connection) if only is None else [records.device_row(connection, only)]
    for row in rows:
        found = group_of(records.device(row), groups)
        name = None if found is None else str(found.name)
        if name != row.group_name:
            connection.execute(update(tables.device).where(tables.device.c.id == row.id).values(group_name=name))


def _follows_text(follows: Mapping[SnapName, Channel]) -> str:
    return canonical_json({str(snap): str(channel) for snap, channel in follows.items()}).decode()
