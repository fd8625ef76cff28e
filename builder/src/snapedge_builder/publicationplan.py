"""What publishing to a store comes to: from the files and what the store knows, to actions with reasons.

Pure: it asks nobody and writes nothing. Rules:

1. A name is registered only where somebody asked for that.
2. A file that the store has is not sent again, whoever sent it; one that it rejected is not sent again either.
3. Nothing is released before every file of every snap was uploaded and approved.
4. A snap is released for all its architectures or for none; runtimes before the models that need them.
5. What need not be done is in the plan too, and says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from snapedge_hooks.channels import Channel, Revision
from snapedge_hooks.storeindex import SnapKind
from snapedge_hooks.vocabulary import Architecture, SnapName

from .publicationjournal import Note
from .remotestore import NameNotOursError, RemoteRevision, RemoteSnap, Review, StoreRefusedError, Upload

_ORDER = (SnapKind.RUNTIME, SnapKind.CLUSTER, SnapKind.MODEL)


class PublishKind(Enum):
    """What an action does, in the order they come."""

    REGISTER = "register"
    UPLOAD = "upload"
    WAIT = "wait"
    RELEASE = "release"

    def __str__(self) -> str:
        """The word people and machines read."""
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishAction:
    """One thing to do, or not to do.

    Attributes:
        architecture: None where it concerns all.
        revision: in the store, where it is known before.
        review: of that revision.
        ticket: where a review under way is asked for.
    """

    kind: PublishKind
    name: SnapName
    architecture: Architecture | None
    reason: str
    skip: bool = False
    revision: Revision | None = None
    review: Review = Review.PROCESSING
    ticket: str = ""

    def __str__(self) -> str:
        """One line for people."""
        mark = "skip" if self.skip else "do"
        return f"{mark:<4}  {self.kind.value:<8}  {self.architecture or 'all':<5}  {self.name}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapToPublish:
    """All files of one version of a snap."""

    name: SnapName
    version: str
    kind: SnapKind
    files: Mapping[Architecture, Upload]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishPlan:
    """All actions, in the order they are carried out."""

    actions: tuple[PublishAction, ...]

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return all(action.skip for action in self.actions)


def in_order(snaps: Sequence[SnapToPublish]) -> list[SnapToPublish]:
    """Snaps in the order of rule 4."""
    return sorted(snaps, key=lambda snap: (_ORDER.index(snap.kind), snap.name))


def plan(
    snaps: Sequence[SnapToPublish],
    *,
    store: str,
    seen: Mapping[SnapName, RemoteSnap | None],
    notes: Mapping[str, Note],
    channel: Channel | None,
    register: bool,
) -> PublishPlan:
    """The plan that brings snaps to a store.

    Args:
        snaps: what to publish.
        store: what people call it.
        seen: what it knows of each snap; None where the name is not the account's.
        notes: what earlier runs noted, by sha3-384.
        channel: to release to, or None to upload alone.
        register: whether names may be registered.

    Raises:
        NameNotOursError: a name would have to be registered, and nobody asked for that.
        StoreRefusedError: the store rejected a file before.
    """
    ordered = in_order(snaps)
    registrations = [_registration(snap, seen[snap.name], store, register) for snap in ordered]
    uploads, waits, releases = [], [], []
    for snap in ordered:
        remote = seen[snap.name]
        there = {} if remote is None or channel is None else remote.in_channel(channel)
        for architecture, upload in snap.files.items():
            found = find(upload, remote, notes)
            if found is not None and found.review is Review.REJECTED:
                raise rejected(store, upload, found.problems)
            note = notes.get(upload.sha3_384)
            ticket = "" if note is None or found is not None else note.ticket
            uploads.append(_upload(upload, found, ticket))
            waits.append(_wait(upload, found))
            if channel is not None:
                revision = None if found is None else found.revision
                releases.append(_release(snap, architecture, revision, there.get(str(architecture)), channel))
    return PublishPlan(actions=(*registrations, *uploads, *waits, *releases))


def find(upload: Upload, remote: RemoteSnap | None, notes: Mapping[str, Note]) -> RemoteRevision | None:
    """The revision that a file is in the store: by its digest, or by what was noted where the store tells none."""
    if remote is None:
        return None
    for found in remote.revisions:
        if found.sha3_384 == upload.sha3_384:
            return found
    note = notes.get(upload.sha3_384)
    if note is not None and note.revision is not None:
        for found in remote.revisions:
            if found.revision == note.revision and found.sha3_384 is None:
                return found
    return None


def _registration(snap: SnapToPublish, remote: RemoteSnap | None, store: str, register: bool) -> PublishAction:
    if remote is None and not register:
        raise NameNotOursError(store, snap.name)
    reason = "the name is this account's" if remote is not None else "the name is not this account's yet"
    return PublishAction(
        kind=PublishKind.REGISTER, name=snap.name, architecture=None, reason=reason, skip=remote is not None
    )


def _upload(upload: Upload, found: RemoteRevision | None, ticket: str) -> PublishAction:
    if found is not None:
        reason = f"the store has {upload.path.name} as revision {found.revision}"
    elif ticket:
        reason = f"{upload.path.name} was sent before"
    else:
        reason = f"{upload.path.name} is not in the store"
    return PublishAction(
        kind=PublishKind.UPLOAD,
        name=upload.name,
        architecture=upload.architecture,
        reason=reason,
        skip=found is not None or bool(ticket),
        revision=None if found is None else found.revision,
        review=Review.PROCESSING if found is None else found.review,
        ticket=ticket,
    )


def _wait(upload: Upload, found: RemoteRevision | None) -> PublishAction:
    reason = "the store reviews it" if found is None else f"its review: {found.review}"
    return PublishAction(
        kind=PublishKind.WAIT,
        name=upload.name,
        architecture=upload.architecture,
        reason=reason,
        skip=found is not None and found.review is Review.APPROVED,
        revision=None if found is None else found.revision,
    )


def _release(
    snap: SnapToPublish,
    architecture: Architecture,
    revision: Revision | None,
    there: Revision | None,
    channel: Channel,
) -> PublishAction:
    if revision is not None and revision == there:
        reason = f"{channel} leads to revision {revision} already"
    elif there is None:
        reason = f"{channel} leads to nothing for {architecture}"
    else:
        reason = f"{channel} leads to revision {there}"
    return PublishAction(
        kind=PublishKind.RELEASE,
        name=snap.name,
        architecture=architecture,
        reason=reason,
        skip=revision is not None and revision == there,
        revision=revision,
    )


def rejected(store: str, upload: Upload, problems: Sequence[str]) -> StoreRefusedError:
    """What to say of a file that the store's review did not pass."""
    return StoreRefusedError(
        store,
        f"rejected {upload.path.name}",
        details="\n".join(problems),
        resolution="nothing was released; correct it, give it a new version and publish that",
    )
