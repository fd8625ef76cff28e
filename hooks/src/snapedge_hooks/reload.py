"""How the service looks anew without being restarted: `bin/reload`, its reload command, sends it SIGHUP.

Rules:

1. It is told only once it listens, which its process number in `FILE` says: before that the signal would end it, or
   snapd's programs in front of it, and there is nothing to tell, since it has read no settings yet.
2. Told, it begins again as the process that it is. Whatever is cut off then, a power cut may cut off too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Final

FILE: Final = "converge.pid"
"""In $SNAP_COMMON; one that an earlier process left names another number."""
COMMAND: Final = f"""#!/bin/sh
# A service that has just ended is no failure of who changed a setting.
[ "$(cat "$SNAP_COMMON/{FILE}" 2>/dev/null)" != "$MAINPID" ] || kill -HUP "$MAINPID" 2>/dev/null || true
"""


def listen(common: Path) -> None:
    """Have this process begin again when it is told to."""
    signal.signal(signal.SIGHUP, _begin_again)
    # Without the file nobody tells; the timer finds the new settings within the hour.
    with contextlib.suppress(OSError):
        (common / FILE).write_text(str(os.getpid()))


def _begin_again(_number: int, _frame: FrameType | None) -> None:
    # A second signal is as good as this one until the handler is there again.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - ourselves
