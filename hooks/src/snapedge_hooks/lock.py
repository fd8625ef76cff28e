"""One convergence at a time on a device: an flock in $SNAP_COMMON that hooks and services share.

The kernel gives it back when its holder dies, however it dies.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .clock import Deadline
from .errors import SnapedgeError

_POLL = 0.1


class LockedError(SnapedgeError):
    """Another hook or service of this snap is converging and did not end in time."""

    def __init__(self) -> None:
        super().__init__(
            "another hook or service of this snap is still at work", resolution="wait for it, see `snap changes`"
        )


@contextmanager
def held(path: Path, deadline: Deadline) -> Iterator[None]:
    """Hold the lock.

    Raises:
        LockedError: somebody else held it until the deadline.
        SnapedgeError: the lock file cannot be opened.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    except OSError as error:
        raise SnapedgeError(f"{path}: {error.strerror}", resolution="make $SNAP_COMMON writable") from error
    with file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if deadline.has_passed:
                    raise LockedError from None
                deadline.pause(_POLL)
        yield
