"""Who a device is: a claim word, used once, becomes a token; of both only hashes are kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from sqlalchemy import Connection, Row, delete, insert, select, update

from snapedge_hooks.vocabulary import Architecture

from . import audit, records, tables
from .errors import IdentityError, TwoAgentsError


def new_claim(connection: Connection, device: str, *, now: float) -> str:
    """A word that enrols the device once; earlier words for it stop working."""
    word = secrets.token_urlsafe(24)
    connection.execute(delete(tables.claim).where(tables.claim.c.device == device))
    connection.execute(insert(tables.claim).values(token_hash=_hash(word), device=device, created=now, used=None))
    return word


def enrol(connection: Connection, device: str, word: str, architecture: Architecture, *, now: float) -> str:
    """The device's token, in exchange for a claim word.

    A word works again until the token it gave was used: an answer that got lost strands nobody.

    Raises:
        IdentityError: no such word for that device, used before, or another architecture.
    """
    row = connection.execute(
        select(tables.claim.c.used, tables.device.c.architecture, tables.device.c.agent)
        .join(tables.device, tables.device.c.id == tables.claim.c.device)
        .where(tables.claim.c.token_hash == _hash(word), tables.claim.c.device == device)
    ).first()
    if row is None:
        raise IdentityError(
            f"the claim word for device {device} is not known", resolution="make a new one: fleet device claim"
        )
    if row.used is not None and row.agent is not None:
        raise IdentityError(
            f"the claim word for device {device} was used", resolution="make a new one: fleet device claim"
        )
    if row.architecture != str(architecture):
        raise IdentityError(
            f"device {device} is declared {row.architecture} and enrols as {architecture}",
            resolution="declare it again: fleet device remove, then add",
        )
    token = secrets.token_urlsafe(32)
    connection.execute(
        update(tables.device)
        .where(tables.device.c.id == device)
        .values(token_hash=_hash(token), enrolled_at=now, agent=None, sequence=0, report_hash=None)
    )
    connection.execute(update(tables.claim).where(tables.claim.c.token_hash == _hash(word)).values(used=now))
    audit.record(connection, at=now, actor=device, action="enrol", subject=device, detail={})
    return token


def authenticate(row: Row[object], token: str) -> None:
    """Check that a token is the device's.

    Raises:
        IdentityError: it is not.
    """
    if row.token_hash is None or not hmac.compare_digest(row.token_hash, _hash(token)):
        raise IdentityError(
            f"the token is not device {row.id}'s", resolution="enrol it again: fleet device claim, then the agent"
        )


def authenticate_any(connection: Connection, token: str) -> str:
    """The device that a token belongs to.

    Raises:
        IdentityError: it is nobody's.
    """
    found = connection.execute(select(tables.device.c.id).where(tables.device.c.token_hash == _hash(token))).scalar()
    if found is None:
        raise IdentityError("the token is no device's", resolution="enrol the device: fleet device claim")
    return str(found)


def admit_agent(connection: Connection, device: str, agent: str, *, now: float, lease: float) -> Row[object]:
    """The device's row, now spoken for by that agent.

    An agent silent for `lease` seconds gives its place to another: the state folder may be lost for good.

    Raises:
        TwoAgentsError: another agent speaks for the device.
        UnknownNameError: there is no such device.
    """
    row = records.device_row(connection, device)
    if row.agent == agent:
        return row
    if row.agent is not None and row.seen_at is not None and now - row.seen_at < lease:
        raise TwoAgentsError(
            device, f"agent {row.agent[:8]} was seen {now - row.seen_at:.0f} s ago, now agent {agent[:8]} asks"
        )
    if row.agent is not None:
        audit.record(
            connection, at=now, actor=device, action="agent-replaced", subject=device, detail={"was": row.agent[:8]}
        )
    connection.execute(
        update(tables.device)
        .where(tables.device.c.id == device)
        .values(agent=agent, sequence=0, report_hash=None, seen_at=now)
    )
    return records.device_row(connection, device)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
