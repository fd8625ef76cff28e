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
from snapedge_hooks.storeindex import SnapDescription, SnapKind, StoreRevision
from snapedge_hooks.vocabulary import Architecture, SnapName, SnapVersion

from . import verification
from .buildrecord import record_name
from .errors import BuilderError
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
    revisions: dict[Architecture, StoreRevision]
    channel: Channel | None


def publish(paths: Sequence[Path], *, store: DirectoryStore, channel: Channel | None) -> tuple[Publication, ...]:
    """Push snaps and release each of their versions to a channel.

    Nothing is pushed before every file is verified and every version complete. All pushes come before the release,
    which is one replacement of the store's index; a publication cut short is finished by doing it again.

    Raises:
        BuilderError: a file does not verify, or a version is not whole.
        SnapedgeError: the store refuses, is full or is away.
    """
    groups: dict[SnapName, list[VerifiedSnap]] = {}
    for snap in verification.verify(paths):
        groups.setdefault(SnapName(snap.name), []).append(snap)
    for name, snaps in groups.items():
        _check_whole(name, snaps)
    published = []
    for name, snaps in groups.items():
        revisions = {snap.architecture: store.push(snap.path, describe(snap)) for snap in snaps}
        published.append(
            Publication(name=name, version=SnapVersion(snaps[0].version), revisions=revisions, channel=channel)
        )
    if channel is not None:
        store.release_all(
            channel,
            {publication.name: _revision_numbers(publication.revisions) for publication in published},
        )
    return tuple(published)


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


def _revision_numbers(revisions: dict[Architecture, StoreRevision]) -> dict[Architecture, Revision]:
    return {architecture: found.revision for architecture, found in revisions.items()}
