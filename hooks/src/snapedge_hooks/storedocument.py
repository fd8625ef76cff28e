"""The index of a directory store as JSON, read and written.

The shape is in docs/architecture/contracts.md, "Directory store".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from .channels import Channel, Revision
from .document import Fields, canonical_json, parse_object
from .runtimeterms import RuntimeTerms
from .storeindex import ChannelEvent, Release, Sha3, SnapEntry, SnapKind, StoreIndex, StoreRevision
from .vocabulary import Architecture, Digest, GateMode, SnapName, SnapVersion

FORMAT = 1
MAX_INDEX_BYTES = 256 * 1024 * 1024


def parse(data: bytes, *, what: str) -> StoreIndex:
    """The index of that text.

    Raises:
        DocumentError: it is not one; the error names the place.
    """
    fields = parse_object(data, what=what, max_bytes=MAX_INDEX_BYTES)
    fields.format(FORMAT)
    serial = fields.integer("serial")
    snaps: dict[SnapName, SnapEntry] = {}
    for text, item in fields.mapping("snaps"):
        try:
            name = SnapName(text)
        except ValueError as error:
            raise fields.error(f"snaps.{text}", str(error)) from error
        snaps[name] = _parse_entry(item)
    fields.done()
    return StoreIndex(serial=serial, snaps=snaps)


def serialize(index: StoreIndex) -> bytes:
    """The index as canonical JSON; `parse` reads the same value back."""
    return canonical_json(
        {
            "format": FORMAT,
            "serial": index.serial,
            "snaps": {str(name): _entry_document(entry) for name, entry in index.snaps.items()},
        }
    )


def _revision_document(revision: StoreRevision) -> dict[str, Any]:
    runtime = revision.runtime
    return {
        "revision": int(revision.revision),
        "version": str(revision.version),
        "architecture": str(revision.architecture),
        "sha3_384": str(revision.sha3_384),
        "size": revision.size,
        "uploaded": _time_text(revision.uploaded),
        "kind": str(revision.kind),
        "runtime": None
        if runtime is None
        else {"name": runtime.name, "interface": runtime.interface, "minimum": runtime.minimum},
        "image_digest": revision.image_digest,
        "image_size": revision.image_size,
        "model_digest": revision.model_digest,
        "gate": None if revision.gate is None else str(revision.gate),
    }


def _entry_document(entry: SnapEntry) -> dict[str, Any]:
    return {
        "revisions": [_revision_document(revision) for revision in entry.revisions],
        "releases": [
            {
                "release": release.release,
                "version": str(release.version),
                "revisions": {str(architecture): int(number) for architecture, number in release.revisions.items()},
                "created": _time_text(release.created),
            }
            for release in entry.releases
        ],
        "channels": {str(channel): number for channel, number in entry.channels.items()},
        "history": [
            {"at": _time_text(event.at), "channel": str(event.channel), "release": event.release, "was": event.was}
            for event in entry.history
        ],
    }


def _parse_entry(fields: Fields) -> SnapEntry:
    entry = SnapEntry(
        revisions=tuple(_parse_revision(item) for item in fields.objects("revisions")),
        releases=tuple(_parse_release(item) for item in fields.objects("releases")),
        channels=_parse_channels(fields, fields.raw("channels", dict, "an object")),
        history=tuple(_parse_event(item) for item in fields.objects("history")),
    )
    fields.done()
    for channel, number in entry.channels.items():
        if entry.release(number) is None:
            raise fields.error(f"channels.{channel}", f"names release {number}, which is not there")
    for release in entry.releases:
        for revision in release.revisions.values():
            if entry.revision(revision) is None:
                raise fields.error("releases", f"release {release.release} names revision {revision}, not there")
    return entry


def _parse_revision(fields: Fields) -> StoreRevision:
    runtime = fields.optional_object("runtime")
    terms = None
    if runtime is not None:
        terms = RuntimeTerms(
            name=runtime.text("name"), interface=runtime.integer("interface"), minimum=runtime.text("minimum")
        )
        runtime.done()

    def optional_digest(key: str) -> Digest | None:
        return None if (text := fields.optional_text(key)) is None else _digest(fields, key, text)

    gate = fields.optional_text("gate")
    revision = StoreRevision(
        revision=Revision(fields.integer("revision", minimum=1)),
        version=fields.parsed("version", SnapVersion),
        architecture=fields.parsed("architecture", Architecture.parse),
        sha3_384=fields.parsed("sha3_384", Sha3),
        size=fields.integer("size"),
        uploaded=fields.parsed("uploaded", _parse_time),
        kind=fields.parsed("kind", SnapKind),
        runtime=terms,
        image_digest=optional_digest("image_digest"),
        image_size=fields.optional_integer("image_size"),
        model_digest=optional_digest("model_digest"),
        gate=None if gate is None else _gate(fields, gate),
    )
    fields.done()
    return revision


def _parse_release(fields: Fields) -> Release:
    revisions: dict[Architecture, Revision] = {}
    named = fields.raw("revisions", dict, "an object")
    for text, number in sorted(named.items()):
        try:
            revisions[Architecture.parse(text)] = Revision(number)
        except (ValueError, TypeError) as error:
            raise fields.error(f"revisions.{text}", str(error)) from error
    release = Release(
        release=fields.integer("release", minimum=1),
        version=fields.parsed("version", SnapVersion),
        revisions=revisions,
        created=fields.parsed("created", _parse_time),
    )
    fields.done()
    return release


def _parse_channels(fields: Fields, named: Mapping[str, Any]) -> dict[Channel, int]:
    channels: dict[Channel, int] = {}
    for text, number in sorted(named.items()):
        if isinstance(number, bool) or not isinstance(number, int):
            raise fields.error(f"channels.{text}", "is not a release number")
        try:
            channels[Channel.parse(text)] = number
        except ValueError as error:
            raise fields.error(f"channels.{text}", str(error)) from error
    return channels


def _parse_event(fields: Fields) -> ChannelEvent:
    event = ChannelEvent(
        at=fields.parsed("at", _parse_time),
        channel=fields.parsed("channel", Channel.parse),
        release=fields.integer("release", minimum=1),
        was=fields.optional_integer("was", minimum=1),
    )
    fields.done()
    return event


def _digest(fields: Fields, key: str, text: str) -> Digest:
    try:
        return Digest(text)
    except ValueError as error:
        raise fields.error(key, str(error)) from error


def _gate(fields: Fields, text: str) -> GateMode:
    try:
        return GateMode(text)
    except ValueError as error:
        raise fields.error("gate", str(error)) from error


def _time_text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _parse_time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} is a time without its zone")
    return moment
