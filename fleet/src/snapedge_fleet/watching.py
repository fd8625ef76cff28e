"""Follows rollouts until they end, well or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from snapedge_hooks.errors import ExitCode, SnapedgeError

if TYPE_CHECKING:
    from .client import FleetClient

_ENDED = frozenset({"complete", "halted", "superseded"})


class RolloutHaltedError(SnapedgeError):
    """A rollout stopped itself, or was stopped."""

    exit_code = ExitCode.REFUSED

    def __init__(self, title: str, reason: str) -> None:
        super().__init__(f"{title} halted: {reason}", resolution="see fleet status and fleet history")


class StillMovingError(SnapedgeError):
    """A rollout did not end in the time that was given."""

    def __init__(self, seconds: float, last: str) -> None:
        super().__init__(f"not ended after {seconds:g} s: {last}", resolution="watch again, or see fleet status")


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Which rollouts are followed; None means any."""

    snap: str | None = None
    channel: str | None = None
    version: str | None = None

    def means(self, track: Mapping[str, Any]) -> bool:
        """Whether a track of the status is followed."""
        return self.channel is None or track["channel"] == self.channel


def follow(
    client: FleetClient,
    watched: Watched,
    *,
    interval: float,
    timeout: float | None,
    now: Callable[[], float],
    wait: Callable[[float], None],
) -> Iterator[dict[str, Any]]:
    """The status, again and again, until every rollout that is followed has ended.

    Raises:
        RolloutHaltedError: one of them halted.
        StillMovingError: the time is over.
    """
    deadline = None if timeout is None else now() + timeout
    while True:
        status = client.call("status", snap=watched.snap)
        yield status
        rollouts = [track["rollout"] for track in status["tracks"] if watched.means(track)]
        known = [
            one
            for one in rollouts
            if one is not None and (watched.version is None or one["version"] == watched.version)
        ]
        halted = next((one for one in known if one["phase"] == "halted"), None)
        is_over = bool(known) and all(one["phase"] in _ENDED for one in known)
        if halted is not None and is_over:
            raise RolloutHaltedError(f"{halted['snap']} {halted['version']} on {halted['channel']}", halted["reason"])
        if is_over:
            return
        if deadline is not None and now() >= deadline:
            raise StillMovingError(timeout or 0.0, "; ".join(one["reason"] for one in known) or "no such rollout yet")
        wait(interval)
