"""Carries out publish plans: does what the plan says, in its order, and notes it.

The store releases one architecture at a time, so "all or none" is made here: everything is uploaded and approved before
the first release, and when a later release is refused or interrupted, the earlier ones are taken back.

    PublicationPendingError   the store has not approved everything in the time there was; nothing is released
    PartlyReleasedError       some architectures are released, and it could not be put right from here
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from snapedge_hooks.channels import Channel, Revision
from snapedge_hooks.clock import Clock, Deadline
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Architecture, SnapName, SnapVersion

from . import publication, publicationplan
from .errors import BuilderError
from .progress import Progress
from .publication import Publication
from .publicationjournal import Journal, Note, journal_name
from .publicationplan import PublishAction, PublishKind, PublishPlan, SnapToPublish
from .remotestore import (
    DuplicateError,
    RemoteSnap,
    RemoteStore,
    Review,
    StoreAwayError,
    StoreError,
    StoreRefusedError,
    Upload,
    Uploaded,
    short_channel,
)

_POLL_SECONDS = 10.0


class PublicationPendingError(BuilderError):
    """The store needs longer than there was time."""

    exit_code = ExitCode.REMOTE_AWAY

    def __init__(self, store: str, pending: Sequence[tuple[Upload, Uploaded]], of: int) -> None:
        manual = any(found.review is Review.MANUAL for _, found in pending)
        super().__init__(
            f"{store}: nothing is released yet: {len(pending)} of {of} files are not approved",
            details="\n".join(
                f"{upload.path.name}  {f'revision {found.revision}' if found.revision else 'no revision yet'}  "
                f"{found.review}"
                for upload, found in pending
            ),
            resolution=("when its publisher hears that the review is done, " if manual else "in a while ")
            + "run the same command again: nothing is sent twice",
        )


class PartlyReleasedError(BuilderError):
    """Some architectures of a version are released, and some are not."""

    def __init__(
        self,
        store: str,
        name: str,
        channel: Channel,
        released: Mapping[Architecture, Revision],
        cause: str,
        *,
        is_away: bool = False,
    ) -> None:
        done = ", ".join(f"{architecture} (revision {number})" for architecture, number in released.items())
        super().__init__(
            f"{store}: {name} is released to {channel} for {done} only: {cause}",
            resolution="run the same command again to release the rest, or "
            f"`snapcraft release {name} REVISION {short_channel(channel)}` with the earlier revision to go back",
        )
        if is_away:
            self.exit_code = ExitCode.REMOTE_AWAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What somebody asks to be published.

    Attributes:
        channel: to release to, or None to upload alone.
        register: whether names may be registered.
        seconds: to wait for the store's reviews, all together.
    """

    paths: Sequence[Path]
    channel: Channel | None
    register: bool = False
    seconds: float = 300.0


@dataclass(slots=True)
class _Publishing:
    """A publication under way."""

    store: RemoteStore
    journal: Journal
    progress: Progress
    deadline: Deadline
    snaps: Mapping[SnapName, SnapToPublish]
    found: dict[tuple[SnapName, Architecture], Uploaded] = field(default_factory=dict)


def plan(request: Request, store: RemoteStore) -> PublishPlan:
    """What publishing would do now.

    Raises:
        BuilderError: a file does not verify, or a version is not whole.
        StoreError: the store is away or refuses.
    """
    snaps = publication.to_publish(request.paths)
    return _plan(request, store, snaps, _journal(store, snaps))


def publish(request: Request, store: RemoteStore, *, progress: Progress, clock: Clock) -> tuple[Publication, ...]:
    """Upload snaps and release each of their versions, all architectures or none.

    A publication cut short is finished by doing it again.

    Raises:
        BuilderError: a file does not verify, or a version is not whole.
        StoreError: the store is away or refuses; nothing is released.
        PublicationPendingError: the store has not approved everything yet; nothing is released.
        PartlyReleasedError: the store went away between two releases.
    """
    snaps = publication.to_publish(request.paths)
    journal = _journal(store, snaps)
    made = _plan(request, store, snaps, journal)
    under_way = _Publishing(
        store=store,
        journal=journal,
        progress=progress,
        deadline=Deadline.after(clock, request.seconds),
        snaps={snap.name: snap for snap in snaps},
    )
    for action in made.actions:
        match action.kind:
            case PublishKind.REGISTER if not action.skip:
                store.register(action.name)
            case PublishKind.UPLOAD:
                _upload(action, under_way)
            case PublishKind.WAIT if not action.skip:
                _wait(action, under_way)
    revisions = _approved(under_way)
    for snap in publicationplan.in_order(snaps):
        to_do = [item for item in made.actions if item.kind is PublishKind.RELEASE and item.name == snap.name]
        if request.channel is not None and not all(item.skip for item in to_do):
            _release(under_way, snap, revisions[snap.name], request.channel)
    return tuple(
        Publication(
            name=snap.name, version=SnapVersion(snap.version), revisions=revisions[snap.name], channel=request.channel
        )
        for snap in snaps
    )


def _journal(store: RemoteStore, snaps: Sequence[SnapToPublish]) -> Journal:
    return Journal(store.address, [_journal_path(upload) for snap in snaps for upload in snap.files.values()])


def _journal_path(upload: Upload) -> Path:
    return upload.path.absolute().parent / journal_name(upload.name, upload.version)


def _plan(request: Request, store: RemoteStore, snaps: Sequence[SnapToPublish], journal: Journal) -> PublishPlan:
    seen: dict[SnapName, RemoteSnap | None] = {
        snap.name: store.look(snap.name) if store.owns(snap.name) else None for snap in snaps
    }
    return publicationplan.plan(
        snaps,
        store=store.title,
        seen=seen,
        notes=journal.notes(),
        channel=request.channel,
        register=request.register,
    )


def _upload(action: PublishAction, under_way: _Publishing) -> None:
    assert action.architecture is not None, "a file is for one architecture"
    upload = under_way.snaps[action.name].files[action.architecture]
    if action.skip:
        under_way.found[action.name, action.architecture] = Uploaded(
            revision=action.revision, review=action.review, ticket=action.ticket
        )
        return
    task = upload.path.name
    under_way.progress.start(task)

    def told(sent: int, of: int) -> None:
        under_way.progress.advance(task, f"sent {sent * 100 // max(of, 1)} %")

    try:
        found = under_way.store.upload(upload, told=told, seconds=under_way.deadline.remaining)
    except DuplicateError:
        found = _there_already(under_way, upload)
    _note(under_way, upload, found)
    under_way.progress.done(task, f"revision {found.revision}" if found.revision else "sent")


def _there_already(under_way: _Publishing, upload: Upload) -> Uploaded:
    """The revision of a file that the store says it has: by digest, or the only one of that version and architecture.

    Raises:
        DuplicateError: several may be it.
    """
    remote = under_way.store.look(upload.name)
    found = publicationplan.find(upload, remote, under_way.journal.notes())
    if found is None:
        alike = [
            item
            for item in remote.revisions
            if item.sha3_384 is None
            and item.version == upload.version
            and item.architectures == (str(upload.architecture),)
        ]
        if len(alike) > 1:
            raise DuplicateError(under_way.store.title, upload.path.name)
        # None at all: it came a moment ago, and is not listed before it was looked at.
        found = alike[0] if alike else None
    if found is None:
        return Uploaded(revision=None, review=Review.PROCESSING)
    return Uploaded(revision=found.revision, review=found.review, problems=found.problems)


def _note(under_way: _Publishing, upload: Upload, found: Uploaded) -> None:
    under_way.found[upload.name, upload.architecture] = found
    if found.review is Review.REJECTED:
        raise publicationplan.rejected(under_way.store.title, upload, found.problems)
    if found.revision is not None or found.ticket:
        note = Note(revision=found.revision, ticket=found.ticket)
        under_way.journal.write(_journal_path(upload), upload.sha3_384, note)


def _wait(action: PublishAction, under_way: _Publishing) -> None:
    assert action.architecture is not None, "a file is for one architecture"
    upload = under_way.snaps[action.name].files[action.architecture]
    found = under_way.found[action.name, action.architecture]
    if found.revision is not None and found.review in (Review.APPROVED, Review.MANUAL) and not action.revision:
        return  # the upload itself waited for its review
    task = f"review of {upload.path.name}"
    under_way.progress.start(task)
    was_sent = bool(found.ticket)
    while True:
        if found.ticket:
            found = under_way.store.ask(found.ticket, seconds=under_way.deadline.remaining)
            if found.review is Review.PROCESSING and not found.ticket:
                continue
        else:
            found = _there_already(under_way, upload)
            if was_sent and found.revision is None:
                under_way.journal.forget(_journal_path(upload), upload.sha3_384)
                raise StoreAwayError(under_way.store.title, f"has forgotten that {upload.path.name} was sent")
        if found.review is not Review.PROCESSING or under_way.deadline.has_passed:
            break
        under_way.progress.advance(task, str(found.review))
        under_way.deadline.pause(_POLL_SECONDS)
    _note(under_way, upload, found)
    if found.review is Review.APPROVED:
        under_way.progress.done(task, f"revision {found.revision} approved")


def _approved(under_way: _Publishing) -> dict[SnapName, dict[Architecture, Revision]]:
    pending = []
    revisions: dict[SnapName, dict[Architecture, Revision]] = {}
    for snap in under_way.snaps.values():
        for architecture, upload in snap.files.items():
            found = under_way.found[snap.name, architecture]
            if found.review is Review.APPROVED and found.revision is not None:
                revisions.setdefault(snap.name, {})[architecture] = found.revision
            else:
                pending.append((upload, found))
    if pending:
        raise PublicationPendingError(under_way.store.title, pending, len(under_way.found))
    return revisions


def _release(
    under_way: _Publishing, snap: SnapToPublish, revisions: Mapping[Architecture, Revision], channel: Channel
) -> None:
    store = under_way.store
    task = f"release of {snap.name} to {channel}"
    under_way.progress.start(task)
    before = store.look(snap.name).in_channel(channel)
    done: dict[Architecture, Revision] = {}
    doubtful: dict[Architecture, Revision] = {}
    try:
        for architecture, revision in revisions.items():
            if before.get(str(architecture)) != revision:
                doubtful = {architecture: revision}
                store.release(snap.name, revision, channel)
                done |= doubtful
    except StoreAwayError as error:
        if done:
            raise PartlyReleasedError(store.title, snap.name, channel, done, error.brief, is_away=True) from error
        raise
    except StoreError as error:
        _take_back(store, snap.name, channel, done, before, error.brief)
        raise
    except KeyboardInterrupt:
        # The one that was under way may have been released, too.
        _take_back(store, snap.name, channel, done | doubtful, before, "interrupted")
        raise
    _check(store, snap.name, revisions, channel)
    under_way.progress.done(task, ", ".join(f"{name} {number}" for name, number in revisions.items()))


def _take_back(
    store: RemoteStore,
    name: SnapName,
    channel: Channel,
    done: Mapping[Architecture, Revision],
    before: Mapping[str, Revision],
    cause: str,
) -> None:
    """Lead the channel back to where it led, for the architectures that were released."""
    left = dict(done)
    try:
        for architecture in reversed(list(done)):
            earlier = before.get(str(architecture))
            if earlier is not None:
                store.release(name, earlier, channel)
                del left[architecture]
        if left and not before:
            store.close(name, channel)
            left = {}
    except StoreError as error:
        raise PartlyReleasedError(store.title, name, channel, left, f"{cause}; then {error.brief}") from error
    if left:
        # A channel closes for every architecture at once: closing it would take away what others run.
        raise PartlyReleasedError(store.title, name, channel, left, cause)


def _check(store: RemoteStore, name: SnapName, revisions: Mapping[Architecture, Revision], channel: Channel) -> None:
    there = store.look(name).in_channel(channel)
    for architecture, revision in revisions.items():
        found = there.get(str(architecture))
        if found != revision:
            raise StoreRefusedError(
                store.title,
                f"took the release of {name} revision {revision}, and {channel} leads to {found or 'nothing'}",
                resolution="look at `snapcraft status`: somebody else may have released at the same time",
            )
