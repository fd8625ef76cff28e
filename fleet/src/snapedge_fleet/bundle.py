"""What one rollout moves: a snap's release, and the runtime's that it needs, as one thing.

A model snap finds its runtime on the device, so the two are decided together: the runtime comes from the channel the
model comes from, or from the nearest safer one that has a suitable runtime. A full snap carries its own and needs none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snapedge_hooks.channels import Channel, Revision
from snapedge_hooks.runtimeterms import RuntimeTerms
from snapedge_hooks.storeindex import Release, Sha3, SnapKind, StoreIndex
from snapedge_hooks.vocabulary import Architecture, SnapName


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapFile:
    """One snap file that a device is to have."""

    snap: SnapName
    revision: Revision
    version: str
    sha3_384: Sha3
    size: int
    kind: SnapKind
    image_size: int | None = None
    model_digest: str | None = None

    def to_document(self) -> dict[str, Any]:
        """The file as documents carry it."""
        return {
            "snap": str(self.snap),
            "revision": int(self.revision),
            "version": self.version,
            "sha3_384": str(self.sha3_384),
            "size": self.size,
            "kind": str(self.kind),
            "image_size": self.image_size,
            "model_digest": self.model_digest,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> SnapFile:
        """The file that `to_document` wrote.

        Raises:
            ValueError, KeyError, TypeError: it is no such document.
        """
        return cls(
            snap=SnapName(document["snap"]),
            revision=Revision(document["revision"]),
            version=str(document["version"]),
            sha3_384=Sha3(document["sha3_384"]),
            size=int(document["size"]),
            kind=SnapKind(document["kind"]),
            image_size=document.get("image_size"),
            model_digest=document.get("model_digest"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A release with what it needs, for each architecture; runtimes stand before the snap that needs them."""

    snap: SnapName
    release: int
    version: str
    files: Mapping[Architecture, tuple[SnapFile, ...]]

    def revision(self, architecture: Architecture) -> Revision | None:
        """The snap's own revision there; None where the release has none."""
        files = self.files.get(architecture, ())
        return next((file.revision for file in files if file.snap == self.snap), None)

    def to_document(self) -> dict[str, Any]:
        """The bundle as the database and the API carry it."""
        return {
            "snap": str(self.snap),
            "release": self.release,
            "version": self.version,
            "files": {
                str(architecture): [file.to_document() for file in files]
                for architecture, files in sorted(self.files.items(), key=lambda item: str(item[0]))
            },
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Bundle:
        """The bundle that `to_document` wrote.

        Raises:
            ValueError, KeyError, TypeError: it is no such document.
        """
        return cls(
            snap=SnapName(document["snap"]),
            release=int(document["release"]),
            version=str(document["version"]),
            files={
                Architecture.parse(architecture): tuple(SnapFile.from_document(file) for file in files)
                for architecture, files in document["files"].items()
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeChoice:
    """The runtime that a model's release gets, and the channel it comes from."""

    snap: SnapName
    channel: Channel
    release: Release
    terms: RuntimeTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class Unresolved:
    """Why a channel gives no bundle, in one line."""

    reason: str


def resolve(index: StoreIndex, snap: SnapName, channel: Channel) -> Bundle | Unresolved:
    """What the devices that follow the channel are to have, or why there is nothing they can have."""
    entry = index.snaps.get(snap)
    effective = None if entry is None else entry.effective(channel)
    if effective is None:
        return Unresolved(reason=f"nothing of {snap} was ever released to {channel} or a safer channel")
    _, release = effective
    choice = choose_runtime(index, snap, release, channel)
    if isinstance(choice, Unresolved):
        return choice
    runtime = () if choice is None else ((choice.snap, choice.release),)
    return Bundle(
        snap=snap,
        release=release.release,
        version=str(release.version),
        files={
            architecture: tuple(
                _file(index, name, of.revisions[architecture]) for name, of in (*runtime, (snap, release))
            )
            for architecture in release.revisions
        },
    )


def choose_runtime(
    index: StoreIndex, snap: SnapName, release: Release, channel: Channel
) -> RuntimeChoice | Unresolved | None:
    """The runtime for a release on that channel; None where it needs none, a reason where none fits."""
    entry = index.entry(snap)
    needed = [entry.revision(number) for number in release.revisions.values()]
    terms = next((known.runtime for known in needed if known is not None and known.runtime is not None), None)
    if terms is None or any(known is not None and known.kind is SnapKind.RUNTIME for known in needed):
        return None
    for name, found_in, offered in index.runtimes(channel, terms):
        if set(release.revisions) <= set(offered.revisions):
            return RuntimeChoice(snap=name, channel=found_in, release=offered, terms=terms)
    architectures = ", ".join(sorted(str(architecture) for architecture in release.revisions))
    return Unresolved(
        reason=f"{snap} {release.version} needs the runtime {terms} for {architectures}, and neither {channel} "
        "nor a safer channel has one"
    )


def _file(index: StoreIndex, name: SnapName, number: Revision) -> SnapFile:
    known = index.entry(name).revision(number)
    assert known is not None, "an index names no revision that it does not hold"
    return SnapFile(
        snap=name,
        revision=known.revision,
        version=str(known.version),
        sha3_384=known.sha3_384,
        size=known.size,
        kind=known.kind,
        image_size=known.image_size,
        model_digest=known.model_digest,
    )
