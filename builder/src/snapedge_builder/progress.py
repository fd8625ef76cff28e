"""How long work tells what it is doing; the command line draws it, libraries only call it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives what happens, from several threads at once. A task is known by its text."""

    def start(self, task: str) -> None:
        """The task begins."""

    def advance(self, task: str, note: str) -> None:
        """The task goes on; the note says with what."""

    def done(self, task: str, outcome: str) -> None:
        """The task ended well; the outcome is a few words such as `41 packages` or `cached`."""


class Silence:
    """Tells nobody."""

    def start(self, task: str) -> None:
        """Nothing."""

    def advance(self, task: str, note: str) -> None:
        """Nothing."""

    def done(self, task: str, outcome: str) -> None:
        """Nothing."""
