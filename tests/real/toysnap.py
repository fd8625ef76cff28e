"""A snap with the shape of ours whose hooks and service only tell a listener that they run."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

NAME = "snapedge-toy"
HOOKS = (
    "install",
    "pre-refresh",
    "post-refresh",
    "configure",
    "check-health",
    "connect-plug-mk8s",
    "disconnect-plug-mk8s",
    "remove",
)
QUIET = 0.4
"""Seconds without a word after which everything is taken as said."""

_SNAP_YAML = """\
name: {name}
version: "{version}"
summary: tells what snapd runs
description: tells what snapd runs
base: core24
confinement: strict
grade: stable
architectures: [all]
plugs:
  network: null
  mk8s:
    interface: content
    content: microk8s
    target: $SNAP_DATA/microk8s
apps:
  service:
    command: bin/service
    daemon: simple
    plugs: [network, mk8s]
hooks:
{hooks}
"""

_TELL = """\
import os, signal, socket, subprocess, sys
def tell(*words):
    words = (os.environ["SNAP_VERSION"], os.environ["SNAP_REVISION"], *words)
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(" ".join(words).encode(), ("127.0.0.1", {port}))
what = sys.argv[1]
if what == "service":
    def stop(*_):
        tell("service", "stops")
        sys.exit(0)
    signal.signal(signal.SIGTERM, stop)
    tell("service", "starts")
    while True:
        signal.pause()
def ask(*command):
    return subprocess.run(command, capture_output=True, text=True)
runs = " active" in ask("snapctl", "services", os.environ["SNAP_INSTANCE_NAME"] + ".service").stdout
joined = ask("snapctl", "is-connected", "mk8s").returncode == 0
tell(what, "serving" if runs else "stopped", "connected" if joined else "unconnected")
sys.exit(1 if what == "{failing}" else 0)
"""


class Listener:
    """Hears what toy snaps tell, while its `with` block lasts."""

    def __enter__(self) -> Listener:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(QUIET)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._socket.getsockname()[1])

    def heard(self) -> tuple[list[str], list[str]]:
        """What hooks said since last time, in order, and what the service said.

        The two are apart because a service starts beside what snapd does next.
        """
        hooks: list[str] = []
        services: list[str] = []
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                line = self._socket.recv(1000).decode()
            except TimeoutError:
                break
            (services if " service " in line else hooks).append(line)
        return hooks, services


def pack(folder: Path, version: str, port: int, *, failing: str = "") -> Path:
    """A snap file whose hooks tell `port`, and whose hook `failing` exits 1."""
    tree = folder / version
    (tree / "meta" / "hooks").mkdir(parents=True)
    (tree / "bin").mkdir()
    hooks = "\n".join(f"  {hook}:\n    plugs: [network, mk8s]" for hook in HOOKS)
    (tree / "meta" / "snap.yaml").write_text(_SNAP_YAML.format(name=NAME, version=version, hooks=hooks))
    (tree / "tell.py").write_text(_TELL.format(port=port, failing=failing))
    for path, word in [
        (tree / "bin" / "service", "service"),
        *((tree / "meta" / "hooks" / hook, hook) for hook in HOOKS),
    ]:
        path.write_text(f'#!/bin/sh\nexec python3 "$SNAP/tell.py" {word}\n')
        path.chmod(0o755)
    file = folder / f"{NAME}_{version}.snap"
    subprocess.run(
        ["mksquashfs", str(tree), str(file), "-noappend", "-comp", "xz", "-no-fragments", "-no-xattrs", "-all-root"],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return file
