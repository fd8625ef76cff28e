"""The fleet of a local data folder, behind the interface of `client`."""

from __future__ import annotations

from typing import Any

from . import operations
from .client import actor_name
from .control import Control


class LocalFleet:
    """The fleet of a local data folder, in this process."""

    def __init__(self, control: Control, *, actor: str | None = None) -> None:
        self._control = control
        self._actor = actor or actor_name()

    def call(self, operation: str, **arguments: Any) -> Any:
        """The operation's result."""
        return operations.perform(self._control, operation, arguments, actor=self._actor)

    def close(self) -> None:
        """Close the database."""
        self._control.close()
