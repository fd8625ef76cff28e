"""The only caller of xdelta3: how many bytes a refresh from one snap to the next is, as the store makes its deltas.

The store runs `xdelta3 -3` on the two packed snaps, with its default source window of 64 MiB; a device that cannot use
the result downloads the whole snap.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from . import processes
from .errors import BuilderError

WINDOW = 64 * 1024 * 1024
"""How far around a place in the old snap xdelta3 looks for the same bytes, unless told otherwise."""
_TIMEOUT_SECONDS = 1800.0
_PACKAGE = "xdelta3"


class DeltaError(BuilderError):
    """xdelta3 failed."""

    def __init__(self, old: Path, new: Path, outcome: processes.Outcome) -> None:
        super().__init__(
            f"no delta from {old.name} to {new.name}: xdelta3 ended with {outcome.status}",
            details=outcome.errors.strip(),
            resolution="make room where temporary files are written" if outcome.says_no_room else "",
        )


def delta_size(old: Path, new: Path) -> int:
    """The bytes of the store's delta between two packed snaps.

    Raises:
        ToolMissingError: there is no xdelta3.
        ToolTimeoutError: it did not end in half an hour.
        DeltaError: it failed.
    """
    with tempfile.TemporaryDirectory(prefix="snapedge-delta-") as folder:
        file = Path(folder) / "delta"
        done = processes.run(
            ["xdelta3", "-3", "-e", "-f", "-s", old.absolute(), new.absolute(), file],
            package=_PACKAGE,
            seconds=_TIMEOUT_SECONDS,
        )
        if done.status != 0 or not file.exists():
            raise DeltaError(old, new, done)
        return file.stat().st_size
