"""A store that is somebody else's machine: what publishing asks of it, and how it can fail.

Two modules speak to one: `snapcraftcli` through snapcraft's command, `snapstore` through the store's HTTP API.

    StoreError             the root: a store did not do what it was asked
      StoreAwayError       it does not answer, is overloaded or broke off; the same command may be run again
      StoreLoginError      it does not take the credentials, or they may not do this
      StoreRefusedError    it understood, and said no
        NameNotOursError   the snap's name is not registered, or is another publisher's
        DuplicateError     it has a file with this very content
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from snapedge_hooks.channels import Channel, Revision
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.storeindex import Sha3
from snapedge_hooks.vocabulary import Architecture, SnapName

from .errors import BuilderError

CREDENTIALS = "SNAPCRAFT_STORE_CREDENTIALS"
"""The environment variable that snapcraft reads its login from; ours, too."""


class StoreError(BuilderError):
    """A store did not do what it was asked."""


class StoreAwayError(StoreError):
    """The store does not answer now."""

    exit_code = ExitCode.REMOTE_AWAY

    def __init__(self, store: str, problem: str, *, details: str = "") -> None:
        super().__init__(
            f"{store}: {problem}", details=details, resolution="run the same command again later: it goes on from here"
        )


class StoreLoginError(StoreError):
    """The store does not take the credentials."""

    def __init__(self, store: str, problem: str, *, details: str = "") -> None:
        super().__init__(
            f"{store}: {problem}",
            details=details,
            resolution=f"put what `snapcraft export-login` writes into {CREDENTIALS}, with rights to push and release",
        )


class StoreRefusedError(StoreError):
    """The store said no."""

    exit_code = ExitCode.REFUSED

    def __init__(self, store: str, problem: str, *, details: str = "", resolution: str = "") -> None:
        super().__init__(f"{store}: {problem}", details=details, resolution=resolution)


class NameNotOursError(StoreRefusedError):
    """The snap's name is not ours to publish under."""

    def __init__(self, store: str, name: str, *, details: str = "", problem: str = "") -> None:
        super().__init__(
            store,
            problem or f"{name} is not registered, or not for this account",
            details=details,
            resolution=f"register it with --register or `snapcraft register {name}`, or ask its publisher to share it",
        )


class DuplicateError(StoreRefusedError):
    """The store has a file with this very content."""

    def __init__(self, store: str, file: str) -> None:
        super().__init__(
            store,
            f"has the content of {file} already, and does not say as which revision",
            resolution="look it up with `snapcraft list-revisions`, and release it from there",
        )


class Review(Enum):
    """What a store thinks of an uploaded file."""

    APPROVED = "approved"
    PROCESSING = "processing"
    MANUAL = "manual review"
    REJECTED = "rejected"

    def __str__(self) -> str:
        """The word people read."""
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteRevision:
    """A file that a store has.

    Attributes:
        sha3_384: of the file, or None from a store that does not tell.
        problems: why it was rejected, in the store's words.
    """

    revision: Revision
    architectures: tuple[str, ...]
    version: str
    sha3_384: Sha3 | None
    review: Review
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteSnap:
    """What a store knows of a snap.

    Attributes:
        revisions: newest first.
        released: by architecture, what a channel leads to; nothing where it is closed.
    """

    revisions: tuple[RemoteRevision, ...]
    released: Mapping[Channel, Mapping[str, Revision]]

    def in_channel(self, channel: Channel) -> Mapping[str, Revision]:
        """What the channel leads to by architecture, without what it falls back to."""
        return self.released.get(channel, {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """What became of an upload.

    Attributes:
        revision: that it got, where the store has said so.
        review: what the store thinks of it by now.
        ticket: where to ask for more; empty where there is nothing to ask.
        problems: why it was rejected.
    """

    revision: Revision | None
    review: Review
    ticket: str = ""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file on its way to a store."""

    name: SnapName
    version: str
    architecture: Architecture
    path: Path
    sha3_384: Sha3
    size: int


class UploadProgress(Protocol):
    """Is told how far an upload is."""

    def __call__(self, sent: int, of: int) -> None:
        """So many bytes of so many."""


class RemoteStore(Protocol):
    """What publishing asks of a store. Every method raises `StoreError`s only."""

    @property
    def title(self) -> str:
        """What people call it."""

    @property
    def address(self) -> str:
        """Which store it is: revisions are numbers of one store."""

    def owns(self, name: SnapName) -> bool:
        """Whether the account may publish under the name."""

    def register(self, name: SnapName) -> None:
        """Make the name the account's."""

    def look(self, name: SnapName) -> RemoteSnap:
        """What the store knows of the snap."""

    def upload(self, upload: Upload, *, told: UploadProgress, seconds: float) -> Uploaded:
        """Bring a file to the store, releasing it nowhere; wait so long for its review."""

    def ask(self, ticket: str, *, seconds: float) -> Uploaded:
        """Wait so long for the review of an upload that was under way."""

    def release(self, name: SnapName, revision: Revision, channel: Channel) -> None:
        """Lead a channel to a revision, for the revision's architecture."""

    def close(self, name: SnapName, channel: Channel) -> None:
        """Lead a channel to nothing, for every architecture."""


def short_channel(channel: Channel) -> str:
    """A channel as publishers write it: without the track that goes without saying."""
    return str(channel).removeprefix("latest/")
