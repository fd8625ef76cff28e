"""The error that every part of snapedge raises for a situation a person can act on.

    SnapedgeError            carries brief, details, resolution and the process's exit code
      DocumentError          a file of ours is not what its format says (in `document`)
      ...                    each package adds a class for each situation, built from facts

Exit codes are those of docs/architecture/contracts.md.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command of builder or fleet leaves with."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    REMOTE_AWAY = 4
    INTERRUPTED = 5


class SnapedgeError(Exception):
    """A failure told in one line: what happened and where, then what to do next.

    Attributes:
        brief: what happened and where, without a full stop.
        details: what else is known; may be empty, may have several lines.
        resolution: what the reader can do next; may be empty.
        exit_code: what the command leaves with.
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, brief: str, *, details: str = "", resolution: str = "") -> None:
        super().__init__(brief)
        self.brief = brief
        self.details = details
        self.resolution = resolution

    def __str__(self) -> str:
        """One line: the brief, and the resolution behind it."""
        return f"{self.brief}; {self.resolution}" if self.resolution else self.brief
