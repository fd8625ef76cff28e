"""Where devices stand with a rollout, and the counters over it: both change in the same transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, Update, insert, select, update

from snapedge_hooks.vocabulary import Architecture

from . import tables
from .gates import Progress, Tally, WaveEvidence
from .inventory import Device, SnapState
from .rollout import Rollout

_progress = tables.progress.c
_counter = tables.counter.c


def offer(connection: Connection, rollout: Rollout, device: Device, *, now: float) -> None:
    """Note that the device was told to have the rollout's bundle; nothing where it was told before."""
    if _state(connection, rollout, device) is not None:
        return
    wave = rollout.wave_of(device.id, device.architecture)
    connection.execute(
        insert(tables.progress).values(
            rollout=rollout.id,
            device=str(device.id),
            wave=wave,
            architecture=str(device.architecture),
            state=Progress.OFFERED.value,
            since=now,
            offered_at=now,
            reason="",
        )
    )
    _count(connection, rollout.id, wave, str(device.architecture), Progress.OFFERED, 1, now)


def judge_report(rollout: Rollout, device: Device, snaps: Sequence[SnapState]) -> tuple[Progress, str]:
    """What a device's report says of the rollout's bundle, and why."""
    files = rollout.bundle.files.get(device.architecture, ())
    known = {state.snap: state for state in snaps}
    for file in files:
        state = known.get(file.snap)
        if state is not None and state.wanted == file.revision and state.outcome == "failed":
            said = ": ".join(part for part in (state.code, state.message) if part)
            return Progress.FAILED, f"{device.id}: {file.snap} {file.version}: {said or 'failed'}"
    is_there = all(
        (state := known.get(file.snap)) is not None and state.revision == file.revision and state.outcome == "confirmed"
        for file in files
    )
    if files and is_there:
        return Progress.CONFIRMED, ""
    waiting = next((state for state in snaps if state.outcome == "waiting"), None)
    reason = "" if waiting is None else f"{device.id}: waits: {waiting.code or waiting.message}"
    return Progress.OFFERED, reason


def move(
    connection: Connection, rollout: Rollout, device: Device, state: Progress, reason: str, *, now: float
) -> Progress | None:
    """Note where a device stands now; the state it left, None where it stays or was never told.

    A device that was confirmed stays so until it is reported failed.
    """
    current = _state(connection, rollout, device)
    if current is None or current is state or (current is Progress.CONFIRMED and state is Progress.OFFERED):
        if current is state and reason:
            connection.execute(_of(rollout, device).values(reason=reason))
        return None
    if current is Progress.FAILED and state is Progress.OFFERED:
        return None
    _move(connection, rollout, device, current, state, reason, now)
    return current


def expire(connection: Connection, rollout: Rollout, *, now: float) -> list[str]:
    """Turn devices that took the order and never said what became of it into failures; their names."""
    expired = []
    for number, wave in enumerate(rollout.waves[: rollout.stage], start=1):
        late = connection.execute(
            select(_progress.device, _progress.architecture, _progress.reason).where(
                _progress.rollout == rollout.id,
                _progress.wave == number,
                _progress.state == Progress.OFFERED.value,
                _progress.offered_at <= now - wave.gate.timeout,
            )
        ).all()
        for row in late:
            reason = row.reason or f"{row.device}: not confirmed within {wave.gate.timeout:g} s"
            connection.execute(
                update(tables.progress)
                .where(_progress.rollout == rollout.id, _progress.device == row.device)
                .values(state=Progress.FAILED.value, since=now, reason=reason)
            )
            _count(connection, rollout.id, number, row.architecture, Progress.OFFERED, -1, now)
            _count(connection, rollout.id, number, row.architecture, Progress.FAILED, 1, now)
            expired.append(row.device)
    return expired


def evidence(
    connection: Connection, rollout: Rollout, *, exhausted: frozenset[Architecture] = frozenset()
) -> tuple[WaveEvidence, ...]:
    """What the counters say of each open wave."""
    return tuple(
        _wave_evidence(connection, rollout, number, exhausted if number == rollout.stage else frozenset())
        for number in range(1, rollout.stage + 1)
    )


def tallies(connection: Connection, rollout_id: int) -> Mapping[int, Mapping[Architecture, Tally]]:
    """The counters of a rollout, by wave and architecture."""
    rows = connection.execute(select(tables.counter).where(_counter.rollout == rollout_id))
    counts: dict[int, dict[Architecture, dict[str, int]]] = {}
    for row in rows:
        wave = counts.setdefault(row.wave, {})
        wave.setdefault(Architecture.parse(row.architecture), {})[row.state] = row.devices
    return {
        wave: {architecture: Tally(**states) for architecture, states in by_architecture.items()}
        for wave, by_architecture in counts.items()
    }


def _wave_evidence(
    connection: Connection, rollout: Rollout, number: int, exhausted: frozenset[Architecture]
) -> WaveEvidence:
    of_wave = tallies(connection, rollout.id).get(number, {})
    changed = connection.execute(
        select(_counter.changed)
        .where(_counter.rollout == rollout.id, _counter.wave == number)
        .order_by(_counter.changed.desc())
        .limit(1)
    ).scalar()
    failure = ""
    if any(tally.failed for tally in of_wave.values()):
        failure = (
            connection.execute(
                select(_progress.reason)
                .where(
                    _progress.rollout == rollout.id,
                    _progress.wave == number,
                    _progress.state == Progress.FAILED.value,
                )
                .order_by(_progress.since)
                .limit(1)
            ).scalar()
            or ""
        )
    return WaveEvidence(tallies=of_wave, opened=rollout.opened, changed=changed, failure=failure, exhausted=exhausted)


def _state(connection: Connection, rollout: Rollout, device: Device) -> Progress | None:
    value = connection.execute(
        select(_progress.state).where(_progress.rollout == rollout.id, _progress.device == str(device.id))
    ).scalar()
    return None if value is None else Progress(value)


def _of(rollout: Rollout, device: Device) -> Update:
    return update(tables.progress).where(_progress.rollout == rollout.id, _progress.device == str(device.id))


def _move(
    connection: Connection,
    rollout: Rollout,
    device: Device,
    current: Progress,
    state: Progress,
    reason: str,
    now: float,
) -> None:
    row = connection.execute(
        select(_progress.wave, _progress.architecture).where(
            _progress.rollout == rollout.id, _progress.device == str(device.id)
        )
    ).one()
    connection.execute(_of(rollout, device).values(state=state.value, since=now, reason=reason))
    _count(connection, rollout.id, row.wave, row.architecture, current, -1, now)
    _count(connection, rollout.id, row.wave, row.architecture, state, 1, now)


def _count(
    connection: Connection, rollout_id: int, wave: int, architecture: str, state: Progress, change: int, now: float
) -> None:
    changed = connection.execute(
        update(tables.counter)
        .where(
            _counter.rollout == rollout_id,
            _counter.wave == wave,
            _counter.architecture == architecture,
            _counter.state == state.value,
        )
        .values(devices=_counter.devices + change, changed=now)
    )
    if not changed.rowcount:
        connection.execute(
            insert(tables.counter).values(
                rollout=rollout_id, wave=wave, architecture=architecture, state=state.value, devices=change, changed=now
            )
        )
