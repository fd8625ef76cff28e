"""Snaps go to a store: checked first, all architectures of a version or none, and no harm done by doing it twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from snapedge_hooks.channels import Channel, Revision
from snapedge_hooks.directorystore import DirectoryStore
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.runtimeterms import RuntimeTerms
from snapedge_hooks.storeindex import Sha3, SnapDescription, SnapEntry, SnapKind
from snapedge_hooks.vocabulary import Architecture, SnapName, SnapVersion

from . import publicationplan, verification
from .buildrecord import record_name
from .errors import BuilderError
from .publicationplan import PublishPlan, SnapToPublish
from .remotestore import RemoteRevision, RemoteSnap, Review, Upload
from .verification import VerifiedSnap


class IncompleteVersionError(BuilderError):
    """Not every architecture of a version is there."""

    exit_code = ExitCode.REFUSED

    def __init__(self, name: str, version: str, missing: Sequence[str]) -> None:
        super().__init__(
            f"{name} {version} was built for {', '.join(missing)}, too, and that snap is not given",
            resolution="publish all architectures of a version together: they are released together",
        )


class MixedVersionsError(BuilderError):
    """Two versions, or two files for one architecture, of one snap."""

    exit_code = ExitCode.USAGE

    def __init__(self, name: str, first: Path, second: Path) -> None:
        super().__init__(
            f"{first.name} and {second.name} are not one version of {name}, one file for each architecture",
            resolution="publish one version at a time",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What one snap became in the store.

    Attributes:
        revisions: by architecture.
        channel: it was released to, or None.
    """

    name: SnapName
    version: SnapVersion
    revisions: dict[Architecture, Revision]
    channel: Channel | None


def publish(paths: Sequence[Path], *, store: DirectoryStore, channel: Channel | None) -> tuple[Publication, ...]:
    """Push snaps and release each of their versions to a channel.

    Nothing is pushed before every file is verified and every version complete. All pushes come before the release,
    which is one replacement of the store's index; a publication cut short is finished by doing it again.

    Raises:
        BuilderError: a file does not verify, or a version is not whole.
        SnapedgeError: the store refuses, is full or is away.
    """
    published = []
    for name, snaps in whole_versions(paths).items():
        revisions = {snap.architecture: store.push(snap.path, describe(snap)).revision for snap in snaps}
        published.append(
            Publication(name=name, version=SnapVersion(snaps[0].version), revisions=revisions, channel=channel)
        )
    if channel is not None:
        store.release_all(channel, {publication.name: publication.revisions for publication in published})
    return tuple(published)


def plan(paths: Sequence[Path], *, store: DirectoryStore, channel: Channel | None) -> PublishPlan:
    """What publishing would do now.

    Raises:
        BuilderError: a file does not verify, or a version is not whole.
        StoreUnreadableError: the store's index cannot be read.
    """
    snaps = to_publish(paths)
    entries = store.index().snaps
    seen = {snap.name: _seen(entries.get(snap.name)) for snap in snaps}
    return publicationplan.plan(snaps, store=str(store.root), seen=seen, notes={}, channel=channel, register=False)


def to_publish(paths: Sequence[Path]) -> list[SnapToPublish]:
    """Verified snaps as planners take them; the arguments and errors are those of `whole_versions`."""
    snaps = []
    for name, verified in whole_versions(paths).items():
        files = {
            snap.architecture: Upload(
                name=name,
                version=snap.version,
                architecture=snap.architecture,
                path=snap.path,
                sha3_384=Sha3.of_file(snap.path),
                size=snap.size,
            )
            for snap in verified
        }
        kind = describe(verified[0]).kind
        snaps.append(SnapToPublish(name=name, version=verified[0].version, kind=kind, files=files))
    return snaps


def whole_versions(paths: Sequence[Path]) -> dict[SnapName, list[VerifiedSnap]]:
    """Verified snaps by name: one version of each, with every architecture that was built.

    Raises:
        BuilderError: a file does not verify, or a version is not whole.
    """
    groups: dict[SnapName, list[VerifiedSnap]] = {}
    for snap in verification.verify(paths):
        groups.setdefault(SnapName(snap.name), []).append(snap)
    for name, snaps in groups.items():
        _check_whole(name, snaps)
    return groups


def describe(snap: VerifiedSnap) -> SnapDescription:
    """What the store is to know of a snap."""
    name, version = SnapName(snap.name), SnapVersion(snap.version)
    payload = snap.payload
    if snap.objects is not None:
        return SnapDescription(name=name, version=version, architecture=snap.architecture, kind=SnapKind.CLUSTER)
    if payload is None:
        assert snap.runtime is not None, "a snap without payload and cluster objects has a runtime"
        offer = RuntimeTerms(name=snap.runtime.name, interface=snap.runtime.interface, minimum=snap.runtime.version)
        return SnapDescription(
            name=name, version=version, architecture=snap.architecture, kind=SnapKind.RUNTIME, runtime=offer
        )
    needs = RuntimeTerms(
        name=payload.runtime.name, interface=payload.runtime.interface, minimum=payload.runtime.minimum
    )
    return SnapDescription(
        name=name,
        version=version,
        architecture=snap.architecture,
        kind=SnapKind.MODEL,
        runtime=needs if snap.runtime is None else None,
        image_digest=payload.predicted_image,
        image_size=payload.image_size,
        model_digest=payload.model.digest,
        gate=payload.gate,
    )


def _seen(entry: SnapEntry | None) -> RemoteSnap:
    """What a directory store knows of a snap, as other stores tell it."""
    if entry is None:
        return RemoteSnap(revisions=(), released={})
    revisions = tuple(
        RemoteRevision(
            revision=item.revision,
            architectures=(str(item.architecture),),
            version=item.version,
            sha3_384=item.sha3_384,
            review=Review.APPROVED,
        )
        for item in entry.revisions
    )
    released = {}
    for channel in entry.channels:
        release = entry.released(channel)
        if release is not None:
            released[channel] = {str(name): number for name, number in release.revisions.items()}
    return RemoteSnap(revisions=revisions, released=released)


def _check_whole(name: SnapName, snaps: list[VerifiedSnap]) -> None:
    seen: dict[Architecture, VerifiedSnap] = {}
    for snap in snaps:
        if snap.version != snaps[0].version or snap.architecture in seen:
            raise MixedVersionsError(name, seen.get(snap.architecture, snaps[0]).path, snap.path)
        seen[snap.architecture] = snap
    version = snaps[0].version
    built = _architectures_built(snaps[0].path.parent / record_name(name, version))
    missing = sorted(built - {str(architecture) for architecture in seen})
    if missing:
        raise IncompleteVersionError(name, version, missing)


def _architectures_built(record: Path) -> set[str]:
    """What the record beside the snaps says was built; nothing where there is none to read."""
    try:
        document = json.loads(record.read_bytes())
    except (OSError, ValueError):
        return set()
    snaps = document.get("snaps") if isinstance(document, dict) else None
    return set(snaps) if isinstance(snaps, dict) else set()
