"""Where things are in a virtual device's folder, which mirrors a real device's file system as a snap sees it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePaths:
    """The folder of one device, and the folder of trees that all devices of its root share."""

    root: Path
    trees: Path

    @property
    def socket(self) -> Path:
        """The socket that snapd listens on."""
        return self.root / "snapd.socket"

    @property
    def state(self) -> Path:
        """What snapd remembers."""
        return self.root / "state.json"

    @property
    def logs(self) -> Path:
        """Logs of hooks, services and the parts of the device."""
        return self.root / "log"

    @property
    def programs(self) -> Path:
        """First on the PATH of everything that runs on the device: snapctl, snap, python3."""
        return self.root / "bin"

    @property
    def sessions(self) -> Path:
        """Which sessions run."""
        return self.root / "run" / "sessions"

    @property
    def uploads(self) -> Path:
        """Snap files on their way in."""
        return self.root / "uploads"

    @property
    def home(self) -> Path:
        """The home of root."""
        return self.root / "root"

    def snap(self, name: str, revision: str) -> Path:
        """$SNAP."""
        return self.root / "snap" / name / revision

    def data(self, name: str, revision: str) -> Path:
        """$SNAP_DATA."""
        return self.root / "var" / "snap" / name / revision

    def common(self, name: str) -> Path:
        """$SNAP_COMMON."""
        return self.root / "var" / "snap" / name / "common"

    def user_data(self, name: str, revision: str) -> Path:
        """$SNAP_USER_DATA of root."""
        return self.home / "snap" / name / revision

    def scratch(self, name: str) -> Path:
        """The snap's own /tmp."""
        return self.root / "tmp" / f"snap.{name}" / "tmp"
