"""The snaps that a virtual device is born with: they have no files, and none of them can be removed."""

from __future__ import annotations

from typing import Final

from . import snapinfo
from .snapinfo import SnapInfo

SNAPD_VERSION: Final = "2.77"

_SNAPS: Final = {
    "snapd": (
        "1",
        f"""
name: snapd
version: "{SNAPD_VERSION}"
summary: Daemon and tooling that enable snap packages
type: snapd
slots:
  network: {{interface: network}}
  network-bind: {{interface: network-bind}}
  hardware-observe: {{interface: hardware-observe}}
  snapd-control: {{interface: snapd-control}}
  system-observe: {{interface: system-observe}}
""",
    ),
    "core22": (
        "1",
        'name: core22\nversion: "20260901"\nsummary: Runtime environment based on Ubuntu 22.04\ntype: base\n',
    ),
    "core24": (
        "1",
        'name: core24\nversion: "20260901"\nsummary: Runtime environment based on Ubuntu 24.04\ntype: base\n',
    ),
    "microk8s": (
        "8000",
        """
name: microk8s
version: v1.34.4
summary: Kubernetes for workstations and appliances
base: core22
slots:
  microk8s:
    interface: content
    content: microk8s
    source: {read: [$SNAP_DATA/credentials]}
""",
    ),
}

SNAPS: Final[dict[str, tuple[str, SnapInfo]]] = {
    name: (revision, snapinfo.parse(text)) for name, (revision, text) in _SNAPS.items()
}
"""Revision and description of each, by name."""

SYSTEM_SNAP: Final = "snapd"
"""Whose slots are the system's own."""

AUTO_CONNECTED: Final = frozenset({"network", "network-bind"})
"""Interfaces whose plugs snapd joins to the system's slots by itself."""
