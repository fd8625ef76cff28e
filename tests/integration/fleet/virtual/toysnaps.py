"""Snaps of shell scripts, small enough to be packed within a test."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_PLUGS = """
plugs:
  mk8s: {interface: content, content: microk8s, target: $SNAP_DATA/microk8s}
  network: {interface: network}
"""


@dataclass(frozen=True, kw_only=True)
class ToySnap:
    """What is in the snap: hooks and commands by name, each the lines of a shell script."""

    name: str = "toy"
    version: str = "1.0"
    hooks: Mapping[str, str] = field(default_factory=dict)
    commands: Mapping[str, str] = field(default_factory=dict)
    yaml: str = ""
    architectures: str = "[all]"
    plugs: bool = True
    bad_modes: bool = False

    def pack(self, folder: Path) -> Path:
        """The packed snap in `folder`."""
        tree = folder / f"{self.name}-{self.version}-tree"
        for where, scripts in (("meta/hooks", self.hooks), ("bin", self.commands)):
            (tree / where).mkdir(parents=True, exist_ok=True)
            for name, script in scripts.items():
                path = tree / where / name
                path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
                path.chmod(0o644 if self.bad_modes else 0o755)
        fixed = [line for line in ("base: core24", "confinement: strict") if line.split()[0] not in self.yaml]
        lines = [
            f"name: {self.name}",
            f'version: "{self.version}"',
            "summary: A toy",
            *fixed,
            f"architectures: {self.architectures}",
            _PLUGS if self.plugs else "",
            self.yaml,
        ]
        (tree / "meta" / "snap.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
        target = folder / f"{self.name}_{self.version}_all.snap"
        command = ["mksquashfs", str(tree), str(target), "-noappend", "-comp", "xz", "-no-fragments", "-no-progress"]
        subprocess.run(
            [*command, "-all-root", "-no-xattrs", "-quiet"], check=True, timeout=60, stdout=subprocess.DEVNULL
        )
        return target
