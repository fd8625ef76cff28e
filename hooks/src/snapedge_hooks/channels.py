"""Channels and revisions in the store's words.

`[<track>/]<risk>[/<branch>]`; the default track is `latest`. A closed channel follows the next safer risk of its track.
Sources: snapd snap/channel/channel.go, snapcraft docs/reference/channels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

DEFAULT_TRACK = "latest"
_TRACK = re.compile(r"(?=.{1,28}\Z)[a-zA-Z0-9](?:[_.-]?[a-zA-Z0-9])*")
_BRANCH = re.compile(r"[a-zA-Z0-9](?:[_.-]?[a-zA-Z0-9])*")


class Risk(IntEnum):
    """How far a release has come; smaller is safer."""

    STABLE = 0
    CANDIDATE = 1
    BETA = 2
    EDGE = 3

    def __str__(self) -> str:
        """The store's word."""
        return self.name.lower()

    @classmethod
    def parse(cls, text: str) -> Risk:
        """The risk of that name.

        Raises:
            ValueError: any other word.
        """
        for risk in cls:
            if text == str(risk):
                return risk
        raise ValueError(f"{text!r} is not a risk ({', '.join(str(risk) for risk in cls)})")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Channel:
    """Where devices look for a snap: a track, a risk and, for a while, a branch."""

    track: str = DEFAULT_TRACK
    risk: Risk
    branch: str = ""

    def __post_init__(self) -> None:
        if not _TRACK.fullmatch(self.track):
            raise ValueError(f"{self.track!r} is not a track name")
        if self.branch and not _BRANCH.fullmatch(self.branch):
            raise ValueError(f"{self.branch!r} is not a branch name")

    def __str__(self) -> str:
        """The full form, `latest/stable` or `2/beta/hotfix`."""
        return "/".join(part for part in (self.track, str(self.risk), self.branch) if part)

    @classmethod
    def parse(cls, text: str) -> Channel:
        """A channel in any form people write: `stable`, `2`, `2/edge`, `edge/fix`, `2/edge/fix`.

        Raises:
            ValueError: it has no such form; the message names the bad part.
        """
        parts = text.split("/")
        if not all(parts) or len(parts) > 3:
            raise ValueError(f"{text!r} is not a channel: [<track>/]<risk>[/<branch>]")
        risks = {str(risk) for risk in Risk}
        if len(parts) == 1:
            return cls(risk=Risk.parse(text)) if text in risks else cls(track=text, risk=Risk.STABLE)
        if len(parts) == 2 and parts[0] in risks:
            return cls(risk=Risk.parse(parts[0]), branch=parts[1])
        return cls(track=parts[0], risk=Risk.parse(parts[1]), branch=parts[2] if len(parts) == 3 else "")

    def and_safer(self) -> Iterator[Channel]:
        """This channel and those it falls back to while it is closed, nearest first."""
        yield self
        if self.branch:
            yield Channel(track=self.track, risk=self.risk)
        for risk in sorted(Risk, reverse=True):
            if risk < self.risk:
                yield Channel(track=self.track, risk=risk)


class Revision(int):
    """A positive number that the store gives a snap file; "version" is the publisher's word, this is the store's."""

    def __new__(cls, number: int) -> Revision:
        """The revision of that number.

        Raises:
            ValueError: below 1, or a boolean.
        """
        if isinstance(number, bool) or number < 1:
            raise ValueError(f"{number!r} is not a store revision: a whole number from 1")
        return super().__new__(cls, number)
