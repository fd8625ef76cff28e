"""A real BuildKit with the real buildx plugin."""

from __future__ import annotations

import os
import shlex

from . import rig


class BuildKit:
    """The rig `buildx`; there is one on a machine."""

    def up(self) -> None:
        """Start it, with the cache it was left with; nothing where it is up."""
        rig.run("buildx", "up", timeout=1500)

    def clean(self) -> None:
        """Stop it and forget its cache."""
        rig.run("buildx", "clean")

    def emulate(self, *, on: bool) -> None:
        """Have the kernel run programs for arm64 by QEMU, or not."""
        rig.run("buildx", "emulation", "on" if on else "off")

    @property
    def made_docker(self) -> bool:
        """Whether this machine has no `docker` command but the one that the rig made."""
        return (rig.STATE / "buildx" / "bin" / "docker").exists()

    @property
    def environment(self) -> dict[str, str]:
        """What makes `docker buildx` find the plugin and the builder."""
        words = shlex.split(rig.run("buildx", "env"))
        pairs = dict(word.split("=", 1) for word in words if "=" in word)
        return {name: value.replace("$PATH", os.environ["PATH"]) for name, value in pairs.items()}
