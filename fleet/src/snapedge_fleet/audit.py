"""The audit log: who did what, in a chain of hashes that shows an entry changed, added or removed by hand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select

from snapedge_hooks.document import canonical_json

from . import tables
from .errors import AuditBrokenError

GENESIS = "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that was done."""

    sequence: int
    at: float
    actor: str
    action: str
    subject: str
    detail: Mapping[str, Any]

    def to_document(self) -> dict[str, Any]:
        """The entry as the API shows it."""
        return {
            "sequence": self.sequence,
            "at": self.at,
            "actor": self.actor,
            "action": self.action,
            "subject": self.subject,
            "detail": dict(self.detail),
        }


def record(
    connection: Connection, *, at: float, actor: str, action: str, subject: str, detail: Mapping[str, Any]
) -> None:
    """Append one entry; only inside a writing transaction, so that the chain has one end."""
    last = connection.execute(
        select(tables.audit.c.sequence, tables.audit.c.hash).order_by(tables.audit.c.sequence.desc()).limit(1)
    ).first()
    entry = Entry(
        sequence=1 if last is None else last.sequence + 1,
        at=at,
        actor=actor,
        action=action,
        subject=subject,
        detail=detail,
    )
    previous = GENESIS if last is None else last.hash
    connection.execute(
        insert(tables.audit).values(
            sequence=entry.sequence,
            at=at,
            actor=actor,
            action=action,
            subject=subject,
            detail=canonical_json(dict(detail)).decode(),
            previous=previous,
            hash=_hash(previous, entry),
        )
    )


def entries(connection: Connection, *, limit: int, subject: str | None = None) -> list[Entry]:
    """The newest entries, oldest first; of one subject or of all."""
    query = select(tables.audit).order_by(tables.audit.c.sequence.desc()).limit(limit)
    if subject is not None:
        query = query.where(tables.audit.c.subject == subject)
    return [_entry(row) for row in reversed(connection.execute(query).all())]


def verify(connection: Connection) -> tuple[int, str]:
    """How many entries the chain has, and its head.

    Raises:
        AuditBrokenError: an entry was changed, added or removed by hand.
    """
    previous, count = GENESIS, 0
    for row in connection.execute(select(tables.audit).order_by(tables.audit.c.sequence)):
        count += 1
        if row.sequence != count:
            raise AuditBrokenError(count, f"entry {row.sequence} stands in its place")
        if row.previous != previous:
            raise AuditBrokenError(count, "it does not follow the one before")
        if row.hash != _hash(previous, _entry(row)):
            raise AuditBrokenError(count, "its content is not what was written")
        previous = row.hash
    return count, previous


def _entry(row: Any) -> Entry:
    return Entry(
        sequence=row.sequence,
        at=row.at,
        actor=row.actor,
        action=row.action,
        subject=row.subject,
        detail=json.loads(row.detail),
    )


def _hash(previous: str, entry: Entry) -> str:
    return hashlib.sha256(previous.encode() + canonical_json(entry.to_document())).hexdigest()
