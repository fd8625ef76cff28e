"""What every part of the control plane works with: the database, the store, the clock and the settings."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from snapedge_hooks.directorystore import DirectoryStore

from .database import Database
from .rollout import WavePolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the fleet is steered; times in seconds.

    Attributes:
        poll_active: how often devices ask while a rollout moves over their group.
        poll_idle: how often they ask otherwise.
        policy: how rollouts are cut into waves.
    """

    poll_active: float = 60.0
    poll_idle: float = 900.0
    policy: WavePolicy = field(default_factory=lambda: WavePolicy(settle=1_000.0, soak=300.0, timeout=1_800.0))

    @property
    def reach(self) -> float:
        """How long ago a device may have spoken to count as reachable."""
        return 3 * self.poll_idle

    @property
    def lease(self) -> float:
        """How long an agent that fell silent keeps its device from another agent."""
        return 2 * self.poll_idle


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """The control plane of one fleet."""

    database: Database
    store: DirectoryStore
    settings: Settings = field(default_factory=Settings)
    now: Callable[[], float] = time.time

    @classmethod
    def open(cls, data: Path, store: Path, settings: Settings | None = None) -> Control:
        """The control plane of a data folder and a store folder.

        Raises:
            DataFolderError: the data folder cannot be used.
        """
        return cls(database=Database.open(data), store=DirectoryStore(store), settings=settings or Settings())

    def close(self) -> None:
        """Give the database back."""
        self.database.close()
