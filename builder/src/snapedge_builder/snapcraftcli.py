"""The one door to snapcraft's command: a store as `snapcraft` shows it.

The credentials go from our environment to snapcraft's, never through an argument or a message. What it prints is read
as its documentation and sources have it; its table of revisions tells no digests.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace

from snapedge_hooks.channels import Channel, Revision
from snapedge_hooks.clock import Clock
from snapedge_hooks.vocabulary import SnapName

from . import processes
from .processes import Outcome, ToolTimeoutError
from .remotestore import (
    CREDENTIALS,
    DuplicateError,
    NameNotOursError,
    RemoteRevision,
    RemoteSnap,
    Review,
    StoreAwayError,
    StoreError,
    StoreLoginError,
    StoreRefusedError,
    Upload,
    Uploaded,
    UploadProgress,
    short_channel,
)
from .snapstoreaddress import dashboard

_PACKAGE = "snapcraft with `snap install snapcraft --classic`, or publish with --store snap-store, which needs no tool"
_SECONDS = 120.0
_SLOWEST_UPLOAD = 100_000
"""Bytes a second below which an upload is taken for stuck."""
_READ_PAUSES = (2.0, 8.0)
_CREATED = re.compile(r"Revision '?([0-9]+)'? created for")
_AWAY = re.compile(
    r"Maximum retries exceeded|\[(?:429|5\d\d)\]|timed out|Connection (?:aborted|refused|reset)|"
    r"Failed to establish|Temporary failure in name resolution",
    re.IGNORECASE,
)
_LOGIN = re.compile(
    r"no longer valid|\[401\]|re-?login|login before|macaroon-permission-required|No credentials found|"
    r"No keyring found|Cannot parse config|Expected valid",
    re.IGNORECASE,
)
_UNKNOWN_NAME = re.compile(r"resource-not-found|not registered|resource-forbidden", re.IGNORECASE)
_DUPLICATE = re.compile(r"exact same content|already been uploaded|Duplicate snap", re.IGNORECASE)
_MANUAL = re.compile(r"manual review", re.IGNORECASE)
_LOG_LINE = re.compile(r"^(?:Full execution log|Recommended resolution|For more information)", re.IGNORECASE)


class SnapcraftCli:
    """A `RemoteStore` behind snapcraft's command."""

    title = "snapcraft"

    def __init__(
        self, *, clock: Clock, executable: str = "snapcraft", environment: Mapping[str, str] | None = None
    ) -> None:
        """A store that is reached by running `executable`.

        Args:
            clock: to pause by.
            executable: snapcraft.
            environment: what this process has, where the credentials are.
        """
        self._clock = clock
        self._executable = executable
        self._environment = os.environ if environment is None else environment
        self._owned: frozenset[str] | None = None

    @property
    def address(self) -> str:
        """The store that snapcraft publishes to."""
        return dashboard(self._environment)

    def owns(self, name: SnapName) -> bool:
        """Whether `snapcraft names` has it."""
        if self._owned is None:
            output = self._read("names").output
            rows = [line.split() for line in output.splitlines()]
            self._owned = frozenset(row[0] for row in rows if len(row) >= 3 and row[0] != "Name")
        return name in self._owned

    def register(self, name: SnapName) -> None:
        """`snapcraft register`."""
        self._run("register", "--yes", name)
        self._owned = (self._owned or frozenset()) | {name}

    def look(self, name: SnapName) -> RemoteSnap:
        """`snapcraft list-revisions`."""
        return parse_revisions(self._read("list-revisions", name).output)

    def upload(self, upload: Upload, *, told: UploadProgress, seconds: float) -> Uploaded:
        """`snapcraft upload`, which waits for the review; what it would release to is left out."""
        told(0, upload.size)
        limit = max(seconds, _SECONDS) + upload.size / _SLOWEST_UPLOAD
        try:
            done = self._run("upload", str(upload.path.absolute()), seconds=limit)
        except ToolTimeoutError as error:
            raise StoreAwayError(
                self.title, f"{upload.path.name} may be there, but its review took more than {limit:.0f} s"
            ) from error
        created = _CREATED.search(done.output) or _CREATED.search(done.errors)
        if created is None:
            raise StoreRefusedError(
                self.title,
                f"did not say which revision {upload.path.name} is",
                details=_told(done),
                resolution="look it up with `snapcraft list-revisions`",
            )
        review = Review.MANUAL if _MANUAL.search(done.errors + done.output) else Review.APPROVED
        return Uploaded(revision=Revision(int(created[1])), review=review)

    def ask(self, ticket: str, *, seconds: float) -> Uploaded:  # noqa: ARG002 - the store's API has tickets
        """Snapcraft gives no tickets: its uploads wait themselves."""
        return Uploaded(revision=None, review=Review.PROCESSING)

    def release(self, name: SnapName, revision: Revision, channel: Channel) -> None:
        """`snapcraft release`; an answer that was lost is looked for before it is done again."""
        try:
            self._run("release", name, str(int(revision)), short_channel(channel))
        except StoreAwayError:
            if revision not in self.look(name).in_channel(channel).values():
                self._run("release", name, str(int(revision)), short_channel(channel))

    def close(self, name: SnapName, channel: Channel) -> None:
        """`snapcraft close`."""
        self._run("close", name, short_channel(channel))

    def _read(self, *arguments: str) -> Outcome:
        """Run something that changes nothing; again where the store was away."""
        for pause in _READ_PAUSES:
            try:
                return self._run(*arguments)
            except StoreAwayError:
                self._clock.sleep(pause)
        return self._run(*arguments)

    def _run(self, *arguments: str, seconds: float = _SECONDS) -> Outcome:
        done = processes.run(
            [self._executable, *arguments], package=_PACKAGE, seconds=seconds, environment=self._environment
        )
        done = replace(done, output=self._without_secret(done.output), errors=self._without_secret(done.errors))
        if done.status != 0:
            raise self._refusal(arguments, done)
        return done

    def _refusal(self, arguments: tuple[str, ...], done: Outcome) -> StoreError:
        said = _told(done)
        subject = arguments[1] if len(arguments) > 1 else ""
        if _DUPLICATE.search(said):
            return DuplicateError(self.title, subject.rpartition("/")[2])
        if _LOGIN.search(said):
            return StoreLoginError(self.title, "does not take the credentials, or they may not do this", details=said)
        if _AWAY.search(said):
            return StoreAwayError(self.title, f"`snapcraft {arguments[0]}` did not reach the store", details=said)
        if _UNKNOWN_NAME.search(said):
            return NameNotOursError(self.title, subject.rpartition("/")[2].partition("_")[0], details=said)
        return StoreRefusedError(
            self.title,
            f"`snapcraft {arguments[0]}` failed with exit code {done.status}",
            details=said,
            resolution="correct what it says, then run the same command again",
        )

    def _without_secret(self, text: str) -> str:
        secret = self._environment.get(CREDENTIALS, "").strip()
        return text.replace(secret, f"${CREDENTIALS}") if secret else text


def parse_revisions(table: str) -> RemoteSnap:
    """What a table of `snapcraft list-revisions` says: Rev., Uploaded, Arches, Version, Channels.

    A channel with a star is one that leads there now.
    """
    revisions = []
    released: dict[Channel, dict[str, Revision]] = {}
    for line in table.splitlines():
        cells = line.split()
        if len(cells) < 4 or not cells[0].isdigit() or int(cells[0]) == 0:
            continue
        revision = Revision(int(cells[0]))
        architectures = tuple(cells[2].split(","))
        revisions.append(
            RemoteRevision(
                revision=revision,
                architectures=architectures,
                version=cells[3],
                sha3_384=None,
                review=Review.APPROVED,
            )
        )
        for word in cells[4].split(",") if len(cells) > 4 else []:
            channel = _active(word)
            if channel is not None:
                for architecture in architectures:
                    released.setdefault(channel, {}).setdefault(architecture, revision)
    return RemoteSnap(revisions=tuple(revisions), released=released)


def _active(word: str) -> Channel | None:
    if not word.endswith("*"):
        return None
    try:
        return Channel.parse(word.removesuffix("*"))
    except ValueError:
        return None


def _told(done: Outcome) -> str:
    """What a run said that a person can use."""
    lines = [line.rstrip() for line in (*done.errors.splitlines(), *done.output.splitlines())]
    return "\n".join(line for line in lines if line and not _LOG_LINE.match(line))[-4000:]
