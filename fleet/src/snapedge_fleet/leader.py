"""Moves rollouts: notices what channels name now, times devices out, and does what `rollout.step` says.

One leader at a time moves a data folder's rollouts; a lock file sees to it. Each tick is safe to repeat and to be cut
off anywhere: every transition is written once, in the transaction that changes the rollout.
"""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, func, insert, select, update

from snapedge_hooks.document import canonical_json
from snapedge_hooks.storeindex import StoreIndex
from snapedge_hooks.vocabulary import Architecture

from . import audit, bundle, gates, progress, records, rollout, tables
from .bundle import Bundle, Unresolved
from .control import Control
from .errors import LeaderElsewhereError
from .inventory import Group
from .records import Track
from .rollout import Candidate, Phase, Rollout, Transition, TransitionKind, WavePlan

_log = logging.getLogger(__name__)
_ACTOR = "leader"


@contextmanager
def leadership(data: Path) -> Iterator[None]:
    """The right to move the rollouts of a data folder, for as long as the block runs.

    Raises:
        LeaderElsewhereError: another process has it.
    """
    with (data / "leader.lock").open("ab") as lock:
        try:
            fcntl.flock(lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LeaderElsewhereError(data) from error
        yield


def tick(control: Control) -> list[Transition]:
    """One round over every track; the transitions that were made."""
    index = control.store.index()
    made: list[Transition] = []
    with control.database.writing() as connection:
        notice(control, connection, index)
        for track in records.tracks(records.groups(connection)):
            current = records.newest(connection, track)
            if current is not None and current.phase is Phase.ACTIVE:
                made += _move(control, connection, current)
    return made


def notice(control: Control, connection: Connection, index: StoreIndex, *, actor: str = _ACTOR) -> list[Rollout]:
    """Make a rollout for each track whose channel names something else than the newest rollout brings."""
    made = []
    for track, groups in records.tracks(records.groups(connection)).items():
        head = bundle.resolve(index, *track)
        current = records.newest(connection, track)
        if isinstance(head, Unresolved) or (current is not None and current.bundle == head):
            continue
        made.append(_start(control, connection, track, groups, head, current, actor))
    return made


def plan(control: Control, connection: Connection, track: Track, groups: Sequence[Group]) -> WavePlan:
    """The waves a rollout on that track would have now."""
    previous = connection.execute(select(func.max(tables.rollout.c.id))).scalar() or 0
    seed = f"{track[0]}|{track[1]}|{previous + 1}"
    now = control.now()
    candidates = [
        Candidate(
            id=row.id,
            architecture=Architecture.parse(row.architecture),
            is_reachable=row.seen_at is not None and now - row.seen_at <= control.settings.reach,
        )
        for row in records.device_rows(connection, [group.name for group in groups])
        if row.hold_why is None
    ]
    return rollout.plan_waves(seed, candidates, control.settings.policy)


def close_rollout(connection: Connection, number: int, phase: Phase, stage: int, reason: str) -> None:
    """Give a rollout another phase and stage."""
    connection.execute(
        update(tables.rollout)
        .where(tables.rollout.c.id == number)
        .values(phase=phase.value, stage=stage, reason=reason)
    )
    records.bump_epoch(connection)


def _start(
    control: Control,
    connection: Connection,
    track: Track,
    groups: Sequence[Group],
    head: Bundle,
    current: Rollout | None,
    actor: str,
) -> Rollout:
    now = control.now()
    waves = plan(control, connection, track, groups)
    number = (connection.execute(select(func.max(tables.rollout.c.id))).scalar() or 0) + 1
    if current is not None and current.phase in (Phase.ACTIVE, Phase.PAUSED):
        close_rollout(
            connection, current.id, Phase.SUPERSEDED, current.stage, f"rollout {number} of {head.version} took over"
        )
    snap, channel = track
    connection.execute(
        insert(tables.rollout).values(
            id=number,
            snap=str(snap),
            channel=str(channel),
            base=None if current is None else current.id,
            bundle=canonical_json(head.to_document()).decode(),
            salt=waves.salt,
            waves=canonical_json([wave.to_document() for wave in waves.waves]).decode(),
            stage=0,
            phase=Phase.ACTIVE.value,
            opened=now,
            created=now,
            reason=f"{channel} names release {head.release}",
        )
    )
    records.bump_epoch(connection)
    audit.record(
        connection,
        at=now,
        actor=actor,
        action="rollout",
        subject=str(snap),
        detail={
            "rollout": number,
            "channel": str(channel),
            "version": head.version,
            "release": head.release,
            "waves": [wave.size for wave in waves.waves],
        },
    )
    _log.info("rollout %d: %s %s on %s", number, snap, head.version, channel)
    made = records.newest(connection, track)
    assert made is not None, "it was just written"
    return made


def _move(control: Control, connection: Connection, current: Rollout) -> list[Transition]:
    now = control.now()
    progress.expire(connection, current, now=now)
    evidence = progress.evidence(connection, current)
    beyond: dict[Architecture, int] = {}
    if current.stage:
        gate = current.waves[current.stage - 1].gate
        missing = gates.unproved(gate, evidence[-1])
        if missing and now >= current.opened + gate.timeout:
            beyond = _beyond(control, connection, current)
            evidence = progress.evidence(connection, current, exhausted=frozenset(missing) - frozenset(beyond))
    transitions = rollout.step(current, now, evidence, beyond)
    for transition in transitions:
        _apply(connection, current, transition, now)
    return list(transitions)


def _apply(connection: Connection, current: Rollout, transition: Transition, now: float) -> None:
    rounds = connection.execute(
        select(func.count())
        .select_from(tables.transition)
        .where(
            tables.transition.c.rollout == current.id,
            tables.transition.c.wave == transition.wave,
            tables.transition.c.kind == transition.kind.value,
        )
    ).scalar_one()
    connection.execute(
        insert(tables.transition).values(
            rollout=current.id,
            wave=transition.wave,
            kind=transition.kind.value,
            round=rounds,
            at=now,
            reason=transition.reason,
        )
    )
    phase = {TransitionKind.HALT: Phase.HALTED, TransitionKind.COMPLETE: Phase.COMPLETE}.get(
        transition.kind, Phase.ACTIVE
    )
    close_rollout(connection, current.id, phase, transition.stage, transition.reason)
    if transition.kind is TransitionKind.WIDEN:
        records.save_waves(connection, current.id, rollout.widened(current.waves, transition.wave, transition.cutoffs))
    if transition.kind in (TransitionKind.OPEN, TransitionKind.WIDEN):
        connection.execute(update(tables.rollout).where(tables.rollout.c.id == current.id).values(opened=now))
    audit.record(
        connection,
        at=now,
        actor=_ACTOR,
        action=transition.kind.value,
        subject=str(current.snap),
        detail={
            "rollout": current.id,
            "channel": str(current.channel),
            "version": current.bundle.version,
            "wave": transition.wave,
            "reason": transition.reason,
        },
    )
    _log.info("rollout %d, wave %d: %s: %s", current.id, transition.wave, transition.kind.value, transition.reason)


def _beyond(control: Control, connection: Connection, current: Rollout) -> dict[Architecture, int]:
    """The cutoff that takes in the next reachable device of each architecture outside the open waves."""
    groups = records.tracks(records.groups(connection)).get((current.snap, current.channel), [])
    now = control.now()
    found: dict[Architecture, int] = {}
    for row in records.device_rows(connection, [group.name for group in groups]):
        architecture = Architecture.parse(row.architecture)
        is_reachable = row.seen_at is not None and now - row.seen_at <= control.settings.reach
        place = rollout.bucket(current.salt, row.id)
        if is_reachable and row.hold_why is None and place >= current.cutoff(architecture):
            found[architecture] = min(found.get(architecture, rollout.BUCKETS), place + 1)
    return found
