"""The index of a directory store: what it holds and every change it can go through.

Rules:

1. Revisions are positive integers, one sequence for each snap name, shared by its architectures. They are never reused.
2. The same file (sha3-384) is the same revision, however often it is pushed.
3. A release names one revision for each architecture and one version; it never changes.
4. A channel names one release or is closed. A closed channel follows the next safer risk of its track.
5. Every architecture or none: a release may not drop one that its version has, or that the channel's devices run.
6. Nothing is forgotten: each move of a channel is an event of the snap's history.

Nothing here writes; `directorystore` does. `storedocument` reads and writes the index as JSON.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from pathlib import Path
from types import MappingProxyType

from .channels import Channel, Revision
from .errors import ExitCode, SnapedgeError
from .runtimeterms import RuntimeTerms, version_order
from .vocabulary import Architecture, Digest, GateMode, SnapName, SnapVersion


class SnapKind(Enum):
    """What a snap file brings: a model, the runtime that models share, or what a cluster needs to serve them."""

    MODEL = "model"
    RUNTIME = "runtime"
    CLUSTER = "cluster"

    def __str__(self) -> str:
        """The word used in the index."""
        return self.value


class Sha3(str):
    """A file's sha3-384 in lower-case hex: what snapd and the Snap Store know a snap file by."""

    __slots__ = ()

    def __new__(cls, text: str) -> Sha3:
        """The digest that is written so.

        Raises:
            ValueError: it is not 96 hexadecimal digits in lower case.
        """
        if not re.fullmatch(r"[0-9a-f]{96}", text):
            raise ValueError(f"{text!r} is not a sha3-384: 96 hexadecimal digits in lower case")
        return super().__new__(cls, text)

    @classmethod
    def of_file(cls, path: Path) -> Sha3:
        """The digest of a file, read in pieces.

        Raises:
            OSError: the file cannot be read.
        """
        with path.open("rb") as file:
            return cls(hashlib.file_digest(file, "sha3_384").hexdigest())


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapDescription:
    """What a publisher knows of a snap file; the store adds revision, digest and size.

    Attributes:
        runtime: what the model needs or the runtime provides; None for a model snap that
            carries its own, and for one that readies a cluster.
        image_digest: the image's manifest as the device will make it; None where there is no model.
        image_size: what the whole image weighs, in bytes; None where there is no model.
    """

    name: SnapName
    version: SnapVersion
    architecture: Architecture
    kind: SnapKind
    runtime: RuntimeTerms | None = None
    image_digest: Digest | None = None
    image_size: int | None = None
    model_digest: Digest | None = None
    gate: GateMode | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRevision:
    """A snap file in the store."""

    revision: Revision
    version: SnapVersion
    architecture: Architecture
    sha3_384: Sha3
    size: int
    uploaded: datetime
    kind: SnapKind
    runtime: RuntimeTerms | None
    image_digest: Digest | None
    image_size: int | None
    model_digest: Digest | None
    gate: GateMode | None

    @property
    def file(self) -> str:
        """Where the file lies below the store's root."""
        return f"snaps/{self.sha3_384}.snap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One version of a snap for every architecture it is built for."""

    release: int
    version: SnapVersion
    revisions: Mapping[Architecture, Revision]
    created: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelEvent:
    """A channel was moved to a release; `was` is the one before it, None where it was closed."""

    at: datetime
    channel: Channel
    release: int
    was: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapEntry:
    """Everything the store knows of one snap name, oldest first."""

    revisions: tuple[StoreRevision, ...] = ()
    releases: tuple[Release, ...] = ()
    channels: Mapping[Channel, int] = field(default_factory=lambda: MappingProxyType({}))
    history: tuple[ChannelEvent, ...] = ()

    def revision(self, number: int) -> StoreRevision | None:
        """The revision of that number."""
        return next((known for known in self.revisions if known.revision == number), None)

    def release(self, number: int) -> Release | None:
        """The release of that number."""
        return next((known for known in self.releases if known.release == number), None)

    def released(self, channel: Channel) -> Release | None:
        """What the channel itself names; None where it is closed."""
        number = self.channels.get(channel)
        return None if number is None else self.release(number)

    def effective(self, channel: Channel) -> tuple[Channel, Release] | None:
        """What a device following the channel gets, and the channel it comes from."""
        for nearest in channel.and_safer():
            release = self.released(nearest)
            if release is not None:
                return nearest, release
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreIndex:
    """The whole store at one moment; `serial` grows by one with each change."""

    serial: int = 0
    snaps: Mapping[SnapName, SnapEntry] = field(default_factory=lambda: MappingProxyType({}))

    def entry(self, name: SnapName) -> SnapEntry:
        """What is known of a snap.

        Raises:
            UnknownSnapError: nothing of that name was ever pushed.
        """
        found = self.snaps.get(name)
        if found is None:
            raise UnknownSnapError(name, sorted(self.snaps))
        return found

    def runtimes(self, channel: Channel, terms: RuntimeTerms) -> Iterator[tuple[SnapName, Channel, Release]]:
        """Runtime releases that meet the terms on every architecture, the channel itself first, then the safer ones."""
        for nearest in channel.and_safer():
            found = []
            for name, entry in self.snaps.items():
                release = entry.released(nearest)
                if release is not None and _provides(entry, release, terms):
                    found.append((name, nearest, release))
            yield from sorted(found, key=lambda item: version_order(item[2].version), reverse=True)


def with_revision(
    index: StoreIndex, description: SnapDescription, *, sha3_384: Sha3, size: int, now: datetime
) -> tuple[StoreIndex, StoreRevision]:
    """The index with that file in it, and the revision it has; unchanged where the file was there.

    Raises:
        FileKnownOtherwiseError: the same bytes are known under another name, version or architecture.
    """
    for name, entry in index.snaps.items():
        for known in entry.revisions:
            if known.sha3_384 == sha3_384:
                said = (description.name, description.version, description.architecture)
                if said != (name, known.version, known.architecture):
                    raise FileKnownOtherwiseError(sha3_384, f"{name} {known.version} {known.architecture}")
                return index, known
    entry = index.snaps.get(description.name, SnapEntry())
    revision = StoreRevision(
        revision=Revision(max((known.revision for known in entry.revisions), default=0) + 1),
        version=description.version,
        architecture=description.architecture,
        sha3_384=sha3_384,
        size=size,
        uploaded=now,
        kind=description.kind,
        runtime=description.runtime,
        image_digest=description.image_digest,
        image_size=description.image_size,
        model_digest=description.model_digest,
        gate=description.gate,
    )
    changed = replace(entry, revisions=(*entry.revisions, revision))
    return _with_entry(index, description.name, changed), revision


def with_release(
    index: StoreIndex,
    name: SnapName,
    channel: Channel,
    revisions: Mapping[Architecture, Revision],
    *,
    now: datetime,
) -> tuple[StoreIndex, Release]:
    """The index with those revisions released to the channel; unchanged where the channel has exactly them.

    Raises:
        UnknownSnapError: nothing of that name was ever pushed.
        ReleaseRefusedError: a revision is unknown or of another architecture, the versions differ, or one is missing.
    """
    entry = index.entry(name)
    chosen = _chosen(name, entry, channel, revisions)
    release = next((known for known in entry.releases if dict(known.revisions) == dict(revisions)), None)
    if release is not None and entry.channels.get(channel) == release.release:
        return index, release
    releases = entry.releases
    if release is None:
        number = max((known.release for known in entry.releases), default=0) + 1
        ordered = {architecture: revisions[architecture] for architecture in sorted(revisions, key=str)}
        release = Release(release=number, version=chosen[0].version, revisions=ordered, created=now)
        releases = (*entry.releases, release)
    event = ChannelEvent(at=now, channel=channel, release=release.release, was=entry.channels.get(channel))
    changed = replace(
        entry,
        releases=releases,
        channels={**entry.channels, channel: release.release},
        history=(*entry.history, event),
    )
    return _with_entry(index, name, changed), release


class UnknownSnapError(SnapedgeError):
    """Nothing of that name was ever pushed to the store."""

    exit_code = ExitCode.REFUSED

    def __init__(self, name: str, known: list[SnapName]) -> None:
        super().__init__(
            f"the store has no snap '{name}'",
            resolution=f"it has {', '.join(known)}" if known else "publish it first: builder publish",
        )
        self.name = name


class ReleaseRefusedError(SnapedgeError):
    """A release would not be whole, or would not be what it says."""

    exit_code = ExitCode.REFUSED

    def __init__(self, name: str, channel: Channel, problem: str, *, resolution: str) -> None:
        super().__init__(f"{name} is not released to {channel}: {problem}", resolution=resolution)


class FileKnownOtherwiseError(SnapedgeError):
    """The same bytes cannot be two snaps."""

    exit_code = ExitCode.REFUSED

    def __init__(self, sha3_384: str, known_as: str) -> None:
        super().__init__(
            f"the file {sha3_384[:12]} is in the store as {known_as}",
            resolution="describe it by what its snap.yaml says",
        )


def _chosen(
    name: SnapName, entry: SnapEntry, channel: Channel, revisions: Mapping[Architecture, Revision]
) -> list[StoreRevision]:
    if not revisions:
        raise ReleaseRefusedError(name, channel, "no revision is named", resolution="name one for each architecture")
    chosen = []
    for architecture, number in revisions.items():
        known = entry.revision(number)
        if known is None:
            raise ReleaseRefusedError(
                name, channel, f"it has no revision {number}", resolution="push the file first: builder publish"
            )
        if known.architecture is not architecture:
            raise ReleaseRefusedError(
                name,
                channel,
                f"revision {number} is for {known.architecture}, not {architecture}",
                resolution=f"name a revision for {architecture}",
            )
        chosen.append(known)
    versions = sorted({str(known.version) for known in chosen})
    if len(versions) > 1:
        raise ReleaseRefusedError(
            name, channel, f"the versions differ: {', '.join(versions)}", resolution="release one version at a time"
        )
    needed = {known.architecture for known in entry.revisions if known.version == chosen[0].version}
    current = entry.released(channel)
    if current is not None:
        needed |= set(current.revisions)
    missing = sorted(str(architecture) for architecture in needed - set(revisions))
    if missing:
        raise ReleaseRefusedError(
            name,
            channel,
            f"{versions[0]} has no revision named for {', '.join(missing)}",
            resolution="publish all architectures together; none is released without the others",
        )
    return chosen


def _provides(entry: SnapEntry, release: Release, terms: RuntimeTerms) -> bool:
    for number in release.revisions.values():
        known = entry.revision(number)
        if known is None or known.kind is not SnapKind.RUNTIME or known.runtime is None:
            return False
        if not terms.are_met_by(known.runtime):
            return False
    return True


def _with_entry(index: StoreIndex, name: SnapName, entry: SnapEntry) -> StoreIndex:
    return StoreIndex(serial=index.serial + 1, snaps={**index.snaps, name: entry})
