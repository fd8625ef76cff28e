"""Devices and groups: what is declared of them, and what a device was last seen with.

A device belongs to one group: the first, in the groups' order, whose selector its labels fulfil. A group follows one
channel for each snap.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from snapedge_hooks.channels import Channel
from snapedge_hooks.vocabulary import Architecture, SnapName

from .errors import FollowError
from .selector import Selector

_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9._-]{0,61}[a-zA-Z0-9])?")


class DeviceId(str):
    """What a device is called in the fleet: 1 to 63 letters, digits, dots, dashes and underscores."""

    __slots__ = ()

    def __new__(cls, text: str) -> DeviceId:
        """The name that is written so.

        Raises:
            ValueError: it is no such name.
        """
        if not _NAME.fullmatch(text):
            raise ValueError(f"'{text}' is not a device's name: 1 to 63 letters, digits and ._-")
        return super().__new__(cls, text)


class GroupName(str):
    """What a group is called; the grammar of `DeviceId`."""

    __slots__ = ()

    def __new__(cls, text: str) -> GroupName:
        """The name that is written so.

        Raises:
            ValueError: it is no such name.
        """
        if not _NAME.fullmatch(text):
            raise ValueError(f"'{text}' is not a group's name: 1 to 63 letters, digits and ._-")
        return super().__new__(cls, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A person's word that a device stays as it is; None in `until` means until it is lifted."""

    why: str
    until: datetime | None = None

    def is_in_force(self, now: datetime) -> bool:
        """Whether the device is held at that moment."""
        return self.until is None or now < self.until


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What is declared of a device."""

    id: DeviceId
    architecture: Architecture
    labels: Mapping[str, str] = field(default_factory=dict)
    group: GroupName | None = None
    hold: Hold | None = None

    @property
    def all_labels(self) -> dict[str, str]:
        """Its own labels, with `arch` and `id`."""
        return {**self.labels, "arch": str(self.architecture), "id": str(self.id)}


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapState:
    """What a device has of one snap, as its agent reported it.

    Attributes:
        revision: the store's revision; None where the file did not come from the store.
        outcome: what became of the last order: `confirmed`, `failed`, `working` or `waiting`.
        message: why, in one line; empty when confirmed.
    """

    snap: SnapName
    revision: int | None
    version: str
    outcome: str
    wanted: int | None = None
    code: str = ""
    message: str = ""
    details: str = ""
    model: str | None = None
    bytes_downloaded: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceState:
    """What a device was last seen with."""

    seen_at: datetime | None = None
    sequence: int = 0
    snaps: Mapping[SnapName, SnapState] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Devices that follow the same channels."""

    name: GroupName
    selector: Selector
    follows: Mapping[SnapName, Channel] = field(default_factory=dict)

    def to_document(self) -> dict[str, Any]:
        """The group as the API shows it."""
        return {
            "name": str(self.name),
            "selector": str(self.selector),
            "follows": {str(snap): str(channel) for snap, channel in sorted(self.follows.items())},
        }


def group_of(device: Device, groups: Iterable[Group]) -> Group | None:
    """The group a device belongs to: the first that holds it."""
    labels = device.all_labels
    return next((group for group in groups if group.selector.holds_for(labels)), None)


def parse_follow(text: str) -> tuple[SnapName, Channel]:
    """Snap and channel of `wine-rater=candidate`.

    Raises:
        FollowError: one of them is none.
    """
    name, equals, channel = text.partition("=")
    if not equals:
        raise FollowError(text, "the channel is missing")
    try:
        return SnapName(name.strip()), Channel.parse(channel.strip())
    except ValueError as error:
        raise FollowError(text, str(error)) from error
