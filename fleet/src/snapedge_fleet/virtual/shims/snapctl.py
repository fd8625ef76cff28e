"""`snapctl`: hands its arguments to snapd with the caller's cookie, and passes the answer on."""

from __future__ import annotations

import os
import sys

from . import snapdsocket


def main() -> int:
    """Exit status of the call."""
    body = {"context-id": os.environ.get("SNAP_COOKIE", ""), "args": sys.argv[1:]}
    try:
        answer = snapdsocket.call(os.environ["SNAPD_SOCKET"], "POST", "/v2/snapctl", body).document
    except (snapdsocket.SocketError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    result = answer["result"]
    if answer["type"] == "error" and result.get("kind") != "unsuccessful":
        sys.stderr.write(f"error: {result['message']}\n")
        return 1
    shown = result.get("value", result)
    sys.stdout.write(shown["stdout"])
    sys.stderr.write(shown["stderr"])
    return int(shown.get("exit-code", 0))
