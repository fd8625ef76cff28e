"""An edge device with a real systemd and a real snapd."""

from __future__ import annotations

import json
from pathlib import Path

from . import rig
from .snapd import Snapd


class EdgeDevice:
    """One device of the rig `edge-device`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def up(self) -> None:
        """Boot it, with its disk as it was left, or a new one; nothing where it is up."""
        rig.run("edge-device", "up", name=self.name, timeout=600)

    def down(self) -> None:
        """Shut it down; its disk stays."""
        rig.run("edge-device", "down", name=self.name)

    def clean(self) -> None:
        """Shut it down and forget its disk."""
        rig.run("edge-device", "clean", name=self.name)

    def execute(self, *command: str, timeout: float = 120) -> str:
        """What a command in the device prints on stdout."""
        return rig.run("edge-device", "exec", *command, name=self.name, timeout=timeout)

    def offer_microk8s(self, config: Path) -> None:
        """Install the stand-in for MicroK8s, or let it offer other credentials."""
        rig.run("edge-device", "microk8s", str(config), name=self.name)

    def reset(self) -> None:
        """Remove every snap but the bases."""
        rig.run("edge-device", "reset", name=self.name, timeout=300)

    def journal(self, unit: str) -> list[str]:
        """What a unit of systemd has logged, one message each."""
        lines = self.execute("journalctl", "-o", "json", "-u", unit).splitlines()
        return [str(json.loads(line)["MESSAGE"]) for line in lines]

    def hook_journal(self, snap: str, hook: str) -> list[str]:
        """What a snap's hook has logged, one message each."""
        return self.execute("journalctl", "-o", "cat", "-t", f"snap.{snap}.hook.{hook}").splitlines()

    def run_service(self, snap: str, service: str) -> None:
        """Have a snap's service run once, and wait until it ended."""
        unit = f"snap.{snap}.{service}.service"
        # systemd starts a unit five times in ten seconds at most, unless it is told to forget that.
        self.execute("systemctl", "reset-failed", unit)
        self.execute("sh", "-c", f"systemctl restart {unit}; while systemctl -q is-active {unit}; do sleep 0.1; done")

    def common(self, snap: str) -> Path:
        """A snap's $SNAP_COMMON, seen from this machine."""
        return self.root / "var" / "snap" / snap / "common"

    @property
    def root(self) -> Path:
        """Its root file system, seen from this machine."""
        return rig.STATE / "devices" / self.name / "root"

    def service_state(self, snap: str, service: str) -> str:
        """What systemd says of a snap's service: active, inactive, failed."""
        return self.execute("sh", "-c", f"systemctl is-active snap.{snap}.{service}.service || true").strip()

    @property
    def snapd(self) -> Snapd:
        """Its snapd."""
        return Snapd(self._ask_snapd)

    def _ask_snapd(self, method: str, path: str, body: bytes, media_type: str) -> bytes:
        # Asked from inside: snapd trusts no one whose process it cannot see.
        headers = ["-H", f"Content-Type: {media_type}", "-H", "Expect:"] if media_type else []
        content = ["--data-binary", "@-"] if body else []
        curl = ("curl", "-sS", "--unix-socket", "/run/snapd.socket", "-X", method, *headers, *content)
        command = (*curl, f"http://localhost{path}")
        return rig.run("edge-device", "exec", *command, name=self.name, data=body).encode()
