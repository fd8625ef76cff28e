"""The one door to the scripts in rigs/."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

RIGS = Path(__file__).parent / "rigs"
STATE = Path(os.environ.get("SNAPEDGE_RIGS_STATE", "/var/lib/snapedge-rigs"))
RUN = Path("/run/snapedge-rigs")


class RigError(Exception):
    """A rig's command failed; the message holds what it said."""

    def __init__(self, command: tuple[str, ...], code: int, output: str) -> None:
        super().__init__(f"{' '.join(command)} gave {code}:\n{output.strip()[-4000:]}")
        self.output = output


def run(script: str, *arguments: str, timeout: float = 120, name: str = "", data: bytes = b"") -> str:
    """What a rig's command printed on stdout.

    Args:
        script: `cluster` or `edge-device`.
        arguments: of the command.
        timeout: seconds.
        name: the device that is meant, for edge-device.
        data: what it reads on stdin.

    Raises:
        RigError: it failed, or did not end in time.
    """
    command = (str(RIGS / script), *arguments)
    environment = {**os.environ, **({"EDGE_DEVICE_NAME": name} if name else {})}
    try:
        done = subprocess.run(
            command,
            input=data,
            capture_output=True,
            timeout=timeout,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RigError(command, -1, f"not done after {timeout:g} s") from error
    said, printed = done.stderr.decode(errors="replace"), done.stdout.decode(errors="replace")
    if done.returncode != 0:
        raise RigError(command, done.returncode, printed + said)
    print(said, end="", file=sys.stderr)
    return printed
