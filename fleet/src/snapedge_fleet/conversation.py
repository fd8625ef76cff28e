"""What the server says to agents: desired state, interval, and what their reports change."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, update

from snapedge_hooks.document import canonical_json
from snapedge_hooks.vocabulary import Architecture

from . import desiredstate, enrolment, progress, records, tables
from .control import Control
from .desiredstate import DesiredState
from .errors import ReportError, TwoAgentsError
from .gates import Progress
from .inventory import Device, Group, SnapState
from .records import Track
from .rollout import Phase, Rollout

_OUTCOMES = frozenset({"confirmed", "failed", "working", "waiting"})
_MAX_TEXT = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """An answer to a poll: the document, its ETag, and when to ask again."""

    data: bytes
    etag: str
    interval: float


def enrol(control: Control, device: str, word: str, architecture: Architecture) -> str:
    """A device token in exchange for a claim word.

    Raises:
        IdentityError: the word does not enrol that device.
    """
    with control.database.writing() as connection:
        return enrolment.enrol(connection, device, word, architecture, now=control.now())


def poll(control: Control, device: str, token: str, agent: str) -> Wish:
    """What the device is to have; a device that a moving rollout holds has now been told so.

    Raises:
        IdentityError: the token is not the device's.
        TwoAgentsError: another agent speaks for it.
        UnknownNameError: there is no such device.
    """
    now = control.now()
    with control.database.writing() as connection:
        row = _admitted(control, connection, device, token, agent)
        connection.execute(update(tables.device).where(tables.device.c.id == device).values(seen_at=now))
        known, chains, state = _decided(connection, row, now)
        rollouts = desiredstate.moving(chains.values())
        if not state.held:
            for one in rollouts:
                if one.holds(known.id, known.architecture):
                    progress.offer(connection, one, known, now=now)
        data, etag = state.encode()
    is_active = any(one.phase is Phase.ACTIVE for one in rollouts)
    return Wish(
        data=data, etag=etag, interval=control.settings.poll_active if is_active else control.settings.poll_idle
    )


def report(control: Control, device: str, token: str, agent: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """Take a device's report in; the same report twice changes nothing the second time.

    Raises:
        IdentityError: the token is not the device's.
        TwoAgentsError: another agent speaks for it, or two copies of one.
        ReportError: it is no report.
    """
    now = control.now()
    sequence, snaps, note = _parse(device, document)
    content = {key: value for key, value in document.items() if key != "sequence"}
    digest = hashlib.sha256(canonical_json(content)).hexdigest()
    with control.database.writing() as connection:
        row = _admitted(control, connection, device, token, agent)
        if sequence < row.sequence:
            return {"accepted": False, "last": row.sequence}
        if sequence == row.sequence and row.report_hash is not None:
            if row.report_hash != digest:
                raise TwoAgentsError(device, f"report {sequence} came twice with different content")
            return {"accepted": True, "last": sequence}
        connection.execute(
            update(tables.device)
            .where(tables.device.c.id == device)
            .values(
                seen_at=now,
                sequence=sequence,
                report_hash=digest,
                state=canonical_json({"snaps": document["snaps"], "note": note}).decode(),
            )
        )
        known, chains, _ = _decided(connection, row, now)
        for one in desiredstate.moving(chains.values()):
            _take_in(connection, one, known, snaps, now)
    return {"accepted": True, "last": sequence}


def explain(control: Control, device: str) -> dict[str, Any]:
    """Why a device is to have what it is to have, and what it has.

    Raises:
        UnknownNameError: there is no such device.
    """
    now = control.now()
    with control.database.reading() as connection:
        row = records.device_row(connection, device)
        known, chains, state = _decided(connection, row, now)
        group = _group(connection, known)
    lines = desiredstate.why(known, group, chains, is_held=bool(state.held))
    return {"device": device, "why": lines, "desired": state.to_document()}


def _take_in(connection: Connection, rollout: Rollout, device: Device, snaps: list[SnapState], now: float) -> None:
    if not rollout.holds(device.id, device.architecture):
        return
    state, reason = progress.judge_report(rollout, device, snaps)
    if state is not Progress.OFFERED:
        progress.offer(connection, rollout, device, now=now)
    progress.move(connection, rollout, device, state, reason, now=now)


def _admitted(control: Control, connection: Connection, device: str, token: str, agent: str) -> Row[Any]:
    enrolment.authenticate(records.device_row(connection, device), token)
    return enrolment.admit_agent(connection, device, agent, now=control.now(), lease=control.settings.lease)


def _decided(
    connection: Connection, row: Row[Any], now: float
) -> tuple[Device, dict[Track, list[Rollout]], DesiredState]:
    device = records.device(row)
    chains = desiredstate.chains_of(connection, _group(connection, device))
    is_held = device.hold is not None and device.hold.is_in_force(datetime.fromtimestamp(now, UTC))
    return device, chains, desiredstate.decide(device, chains, is_held=is_held)


def _group(connection: Connection, device: Device) -> Group | None:
    return None if device.group is None else records.group(connection, device.group)


def _parse(device: str, document: Mapping[str, Any]) -> tuple[int, list[SnapState], str]:
    try:
        if document["format"] != 1:
            raise ReportError(device, f"format {document['format']!r} is not 1")
        sequence = document["sequence"]
        if isinstance(sequence, bool) or not isinstance(sequence, int) or sequence < 1:
            raise ReportError(device, f"sequence {sequence!r} is not a whole number from 1")
        snaps = [records.snap_state(one) for one in document["snaps"]]
        note = str(document.get("note", ""))[:_MAX_TEXT]
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise ReportError(device, f"{type(error).__name__}: {error}") from error
    for state in snaps:
        if state.outcome not in _OUTCOMES:
            raise ReportError(device, f"outcome '{state.outcome}' of {state.snap} is none of {sorted(_OUTCOMES)}")
        if len(state.details) > _MAX_TEXT or len(state.message) > _MAX_TEXT:
            raise ReportError(device, f"what it says of {state.snap} is longer than {_MAX_TEXT} characters")
    return sequence, snaps, note


def check(control: Control, device: str, token: str, agent: str) -> None:
    """Check who asks about a device.

    Raises:
        IdentityError: the token is not the device's.
        TwoAgentsError: another agent speaks for it.
        UnknownNameError: there is no such device.
    """
    with control.database.writing() as connection:
        _admitted(control, connection, device, token, agent)


def check_reader(control: Control, token: str) -> None:
    """Check that a token is some device's.

    Raises:
        IdentityError: it is nobody's.
    """
    with control.database.reading() as connection:
        enrolment.authenticate_any(connection, token)
