"""The one door to the Snap Store's HTTP API: the paths that its documentation names, and snapcraft uses.

Rules:

1. Credentials go to the store's API alone: not to the storage that takes the bytes, to no other host, into no error.
2. Retried is what may be repeated: reading; sending bytes, which only the next request gives a meaning; registering,
   since a name of ours is told as such. A push or a release whose answer was lost is looked for first.
3. A store that says when to come back (Retry-After) is obeyed, within the time there is.
4. Every answer is bounded, and read as data: what is not as documented is an error that says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from snapedge_hooks.channels import Channel, Revision
from snapedge_hooks.clock import Clock, Deadline
from snapedge_hooks.storeindex import Sha3
from snapedge_hooks.vocabulary import SnapName

from . import snapstoreaddress
from .remotestore import (
    DuplicateError,
    NameNotOursError,
    RemoteRevision,
    RemoteSnap,
    Review,
    StoreAwayError,
    StoreRefusedError,
    Upload,
    Uploaded,
    UploadProgress,
    short_channel,
)
from .snapstorewire import LostAnswerError, Reply, StoreWire

SERIES = "16"
_PAGE_SIZE = 500
_MOST_PAGES = 20
_FIRST_POLL = 1.0
_LONGEST_POLL = 15.0
_ATTEMPTS = 3
_REVIEWS = {
    "being_processed": Review.PROCESSING,
    "ready_to_release": Review.APPROVED,
    "need_manual_review": Review.MANUAL,
}
_STATUSES = {
    "Published": Review.APPROVED,
    "Unpublished": Review.APPROVED,
    "ManualReviewPending": Review.MANUAL,
    "NeedsInformation": Review.MANUAL,
    "ReviewInProgress": Review.PROCESSING,
    "ReviewQueued": Review.PROCESSING,
    "AutomaticallyRejected": Review.REJECTED,
    "Rejected": Review.REJECTED,
}
_SAME_CONTENT = "exact same content"


class SnapStore:
    """A `RemoteStore` behind HTTP."""

    title = "Snap Store"

    def __init__(self, *, clock: Clock, environment: Mapping[str, str] | None = None, seconds: float = 300.0) -> None:
        """A store whose address and login the environment says.

        Args:
            clock: to pause by.
            environment: with SNAPCRAFT_STORE_CREDENTIALS; this process's where not given.
            seconds: that any one request may be put off by the store.

        Raises:
            CredentialsError: there is no login.
            StoreAddressError: credentials may not be sent to the address.
        """
        environment = os.environ if environment is None else environment
        self._clock = clock
        self._wire = StoreWire(environment, clock=clock, title=self.title, seconds=seconds)
        self._storage = snapstoreaddress.address(snapstoreaddress.STORAGE, environment)
        self._account: dict[str, Any] | None = None

    @property
    def address(self) -> str:
        """The address of its API."""
        return self._wire.dashboard

    def owns(self, name: SnapName) -> bool:
        """Whether the account's list of snaps has it."""
        return name in self._snaps()

    def register(self, name: SnapName) -> None:
        """POST /dev/api/register-name/."""
        body = {"snap_name": name, "series": SERIES, "is_private": False}
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                reply = self._wire.post("/dev/api/register-name/", body)
                break
            except LostAnswerError as error:
                if attempt == _ATTEMPTS:
                    raise self._wire.away(error) from error
        self._account = None
        if reply.status == 409 and reply.has_code("already_owned"):
            return
        if reply.status == 409:
            raise NameNotOursError(
                self.title, name, details=reply.words, problem=f"{name} is taken or reserved ({reply.first_code})"
            )
        self._expect(reply, "register the name", 200, 201)

    def look(self, name: SnapName) -> RemoteSnap:
        """GET /api/v2/snaps/NAME/releases and /channel-map."""
        revisions = tuple(self._revisions(name))
        released: dict[Channel, dict[str, Revision]] = {}
        reply = self._wire.get(f"/api/v2/snaps/{name}/channel-map")
        self._expect(reply, f"tell the channels of {name}", 200, name=name)
        for item in reply.objects("channel-map"):
            progressive = item.get("progressive")
            if isinstance(progressive, dict) and progressive.get("percentage") is not None:
                continue  # on its way to a part of the devices; the channel itself leads elsewhere
            channel, revision = _channel(item.get("channel")), _revision(item.get("revision"))
            if channel is not None and revision is not None:
                released.setdefault(channel, {})[str(item.get("architecture"))] = revision
        return RemoteSnap(revisions=revisions, released=released)

    def upload(self, upload: Upload, *, told: UploadProgress, seconds: float) -> Uploaded:  # noqa: ARG002 - `ask` waits
        """POST /unscanned-upload/ to the storage, then /dev/api/snap-push/; returns before the review."""
        checked = self._wire.post("/dev/api/snap-push/", {"name": upload.name, "dry_run": True}, may_repeat=True)
        self._expect(checked, f"take an upload of {upload.name}", 200, 202, name=upload.name)
        upload_id = self._send(upload, told)
        body = {
            "name": upload.name,
            "series": SERIES,
            "updown_id": upload_id,
            "binary_filesize": upload.size,
            "source_uploaded": False,
        }
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                reply = self._wire.post("/dev/api/snap-push/", body)
                break
            except LostAnswerError as error:
                found = self._by_digest(upload)
                if found is not None:
                    return found
                if attempt == _ATTEMPTS:
                    raise self._wire.away(error) from error
        if _SAME_CONTENT in reply.words:
            raise DuplicateError(self.title, upload.path.name)
        self._expect(reply, f"take {upload.path.name}", 200, 201, 202, name=upload.name)
        ticket = reply.document.get("status_details_url")
        if not isinstance(ticket, str) or not ticket.startswith("http"):
            raise self._wire.odd("took an upload without saying where its review is told")
        return Uploaded(revision=None, review=Review.PROCESSING, ticket=ticket)

    def ask(self, ticket: str, *, seconds: float) -> Uploaded:
        """GET the status of an upload until its review has ended, or the time has."""
        deadline, pause = Deadline.after(self._clock, seconds), _FIRST_POLL
        while True:
            reply = self._wire.get(ticket)
            if reply.status in (404, 410):
                return Uploaded(revision=None, review=Review.PROCESSING)
            self._expect(reply, "tell how a review goes", 200)
            found = self._status(reply.document, ticket)
            if found.review is not Review.PROCESSING or deadline.has_passed:
                return found
            deadline.pause(pause)
            pause = min(pause * 1.5, _LONGEST_POLL)

    def release(self, name: SnapName, revision: Revision, channel: Channel) -> None:
        """POST /dev/api/snap-release/; a lost answer is looked for before it is done again."""
        body = {"name": name, "revision": str(int(revision)), "channels": [short_channel(channel)]}
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                reply = self._wire.post("/dev/api/snap-release/", body)
                break
            except LostAnswerError as error:
                if revision in self.look(name).in_channel(channel).values():
                    return
                if attempt == _ATTEMPTS:
                    raise self._wire.away(error) from error
        self._expect(reply, f"release {name} revision {revision} to {channel}", 200, 201, name=name)

    def close(self, name: SnapName, channel: Channel) -> None:
        """POST /dev/api/snaps/ID/close."""
        snap = self._snaps().get(name)
        identity = snap.get("snap-id") if isinstance(snap, dict) else None
        if not isinstance(identity, str):
            raise NameNotOursError(self.title, name)
        body = {"channels": [short_channel(channel)]}
        reply = self._wire.post(f"/dev/api/snaps/{identity}/close", body, may_repeat=True)
        self._expect(reply, f"close {channel}", 200, name=name)

    def _snaps(self) -> dict[str, Any]:
        """The account's snaps by name."""
        if self._account is None:
            reply = self._wire.get("/dev/api/account")
            self._expect(reply, "tell the account's snaps", 200)
            self._account = reply.document
        snaps = self._account.get("snaps")
        found = snaps.get(SERIES, {}) if isinstance(snaps, dict) else None
        if not isinstance(found, dict):
            raise self._wire.odd("told an account without its snaps")
        return found

    def _send(self, upload: Upload, told: UploadProgress) -> str:
        """Bring the bytes to the storage; again from the beginning where it broke off, since it has no resuming."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                reply = self._wire.send_file(f"{self._storage}/unscanned-upload/", upload.path, told)
                break
            except LostAnswerError as error:
                if attempt == _ATTEMPTS:
                    raise StoreAwayError(
                        self.title, f"broke off {upload.path.name} {attempt} times: {error}"
                    ) from error
        self._expect(reply, f"store {upload.path.name}", 200, 201)
        upload_id = reply.document.get("upload_id")
        if not reply.document.get("successful", True) or not isinstance(upload_id, str) or not upload_id:
            raise self._wire.odd(f"stored {upload.path.name} without saying under which id")
        return upload_id

    def _by_digest(self, upload: Upload) -> Uploaded | None:
        for found in self._revisions(upload.name):
            if found.sha3_384 == upload.sha3_384:
                return Uploaded(revision=found.revision, review=found.review, problems=found.problems)
        return None

    def _revisions(self, name: SnapName) -> Iterator[RemoteRevision]:
        seen: set[int] = set()
        for page in range(1, _MOST_PAGES + 1):
            reply = self._wire.get(f"/api/v2/snaps/{name}/releases?page={page}&size={_PAGE_SIZE}")
            self._expect(reply, f"tell the revisions of {name}", 200, name=name)
            for item in reply.objects("revisions"):
                found = _remote_revision(item)
                if found is not None and found.revision not in seen:
                    seen.add(found.revision)
                    yield found
            if len(reply.objects("releases")) < _PAGE_SIZE:
                return

    def _status(self, document: Mapping[str, Any], ticket: str) -> Uploaded:
        errors = document.get("errors")
        said = [item for item in errors if isinstance(item, dict)] if isinstance(errors, list) else []
        problems = tuple(str(item.get("message", item)) for item in said)
        if any(_SAME_CONTENT in problem or "Duplicate" in problem for problem in problems):
            # Whoever sent it, it is there: the caller finds it by its digest.
            return Uploaded(revision=None, review=Review.PROCESSING)
        revision = _revision(document.get("revision"))
        if not document.get("processed"):
            return Uploaded(revision=None, review=Review.PROCESSING, ticket=ticket)
        if problems:
            return Uploaded(revision=revision, review=Review.REJECTED, problems=problems)
        review = _REVIEWS.get(str(document.get("code")), Review.REJECTED)
        if document.get("can_release") and revision is not None:
            review = Review.APPROVED
        if review is Review.REJECTED:
            return Uploaded(revision=revision, review=review, problems=(f"its review ended as {document.get('code')}",))
        return Uploaded(revision=revision, review=review, ticket=ticket)

    def _expect(self, reply: Reply, what: str, *statuses: int, name: str = "") -> None:
        if reply.status in statuses:
            return
        if name and (reply.status == 404 or reply.has_code("resource-forbidden")):
            raise NameNotOursError(self.title, name, details=reply.words)
        self._wire.check_login(reply)
        raise StoreRefusedError(
            self.title,
            f"does not {what} (answered {reply.status})",
            details=reply.words,
            resolution="correct what it says, then run the same command again",
        )


def _remote_revision(item: Mapping[str, Any]) -> RemoteRevision | None:
    revision = _revision(item.get("revision"))
    if revision is None:
        return None
    try:
        digest = Sha3(str(item.get("sha3-384", "")))
    except ValueError:
        digest = None
    return RemoteRevision(
        revision=revision,
        architectures=tuple(str(name) for name in item.get("architectures") or []),
        version=str(item.get("version", "")),
        sha3_384=digest,
        review=_STATUSES.get(str(item.get("status")), Review.PROCESSING),
    )


def _revision(value: Any) -> Revision | None:
    """A revision as the API writes it: a number, or its text."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    return Revision(value) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _channel(value: Any) -> Channel | None:
    try:
        return Channel.parse(value) if isinstance(value, str) else None
    except ValueError:
        return None
