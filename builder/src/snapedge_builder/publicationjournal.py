"""What publishing noted beside the snaps, so that a run that was cut short is gone on with.

`<name>_<version>.publication.json` holds for each store and file (by sha3-384) its revision, or where the store is to
be asked for it. It is a memory and nothing else: lost, unreadable or read-only, files are looked up or sent again. No
secret is in it.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snapedge_hooks.channels import Revision
from snapedge_hooks.document import canonical_json

_LOG = logging.getLogger(__name__)
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What is known of one upload.

    Attributes:
        revision: that the store gave it, or None.
        ticket: where the store tells how its review goes, or empty.
    """

    revision: Revision | None = None
    ticket: str = ""


class Journal:
    """The notes on the versions that are being published to one store."""

    def __init__(self, store: str, files: Iterable[Path]) -> None:
        """Read what there is.

        Args:
            store: that notes are about, such as its address: another store's revisions are other numbers.
            files: the journal of each version.
        """
        self._store = store
        self._documents = {path: _read(path) for path in sorted(set(files))}

    def notes(self) -> dict[str, Note]:
        """Everything noted about the store, by sha3-384."""
        found: dict[str, Note] = {}
        for document in self._documents.values():
            for digest, said in document.get(self._store, {}).items():
                note = _note(said)
                if note is not None:
                    found[digest] = note
        return found

    def write(self, path: Path, sha3_384: str, note: Note) -> None:
        """Note something in a version's journal; where that cannot be written, go on without."""
        document = self._documents.setdefault(path, {})
        said: dict[str, Any] = {"ticket": note.ticket} if note.revision is None else {"revision": int(note.revision)}
        document.setdefault(self._store, {})[sha3_384] = said
        self._save(path)

    def forget(self, path: Path, sha3_384: str) -> None:
        """Take a note back that turned out to be worth nothing."""
        self._documents.get(path, {}).get(self._store, {}).pop(sha3_384, None)
        self._save(path)

    def _save(self, path: Path) -> None:
        document = self._documents.get(path, {})
        try:
            _replace(path, canonical_json({"format": FORMAT, "stores": document}) + b"\n")
        except OSError as error:
            _LOG.warning("%s cannot be written (%s): a run cut short sends files again", path.name, error.strerror)


def journal_name(name: str, version: str) -> str:
    """What the journal of a snap's version is called."""
    return f"{name}_{version}.publication.json"


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    stores = document.get("stores") if isinstance(document, dict) and document.get("format") == FORMAT else None
    if not isinstance(stores, dict):
        return {}
    return {name: files for name, files in stores.items() if isinstance(files, dict)}


def _note(said: Any) -> Note | None:
    if not isinstance(said, dict):
        return None
    revision, ticket = said.get("revision"), said.get("ticket")
    if isinstance(revision, int) and not isinstance(revision, bool) and revision > 0:
        return Note(revision=Revision(revision))
    return Note(ticket=ticket) if isinstance(ticket, str) and ticket else None


def _replace(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
