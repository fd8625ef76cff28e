"""Publishes both snaps of a model to a store, each time as a new run does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Generic, TypeVar

from snapedge_builder import remotepublication
from snapedge_builder.progress import Silence
from snapedge_builder.publication import Publication
from snapedge_builder.remotepublication import Request
from snapedge_builder.remotestore import RemoteStore
from snapedge_hooks.channels import Channel

from ...fakes.edge import FakeClock

CANDIDATE = Channel.parse("candidate")
BOTH = {"amd64": 1, "arm64": 2}
"""The revisions of a first publication."""

_Store = TypeVar("_Store", bound=RemoteStore)


class Publisher(Generic[_Store]):
    """What publishes, with its clock and its environment."""

    def __init__(
        self,
        snaps: list[Path],
        environment: Mapping[str, str],
        enter: Callable[[FakeClock, Mapping[str, str]], _Store],
    ) -> None:
        self.snaps = snaps
        self.clock = FakeClock()
        self.environment = dict(environment)
        self._enter = enter

    @property
    def store(self) -> _Store:
        """The store, as a new run finds it."""
        return self._enter(self.clock, self.environment)

    @property
    def journal(self) -> Path:
        """What the runs write down between them."""
        return self.snaps[0].parent / "tripler_1.0.0.publication.json"

    def request(self, channel: Channel | None, *, register: bool = False, seconds: float = 60.0) -> Request:
        """Both snaps, to that channel."""
        return Request(paths=self.snaps, channel=channel, register=register, seconds=seconds)

    def __call__(
        self, channel: Channel | None = CANDIDATE, *, register: bool = False, seconds: float = 60.0
    ) -> tuple[Publication, ...]:
        """One run."""
        request = self.request(channel, register=register, seconds=seconds)
        return remotepublication.publish(request, self.store, progress=Silence(), clock=self.clock)
