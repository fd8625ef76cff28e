"""What this machine's kernel runs programs of another architecture by (binfmt_misc)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from snapedge_hooks.vocabulary import Architecture

from . import processes
from .errors import BuilderError

BINFMT = Path("/proc/sys/fs/binfmt_misc")
GOOD = (10, 0)
"""Older ones crash when Python imports onnxruntime for arm64; seen with 7.2."""
_SECONDS = 10.0
_INTERPRETER = re.compile(r"^interpreter (\S.*)$", re.MULTILINE)
_MAGIC = re.compile(r"^magic ([0-9a-f]+)$", re.MULTILINE)
_FLAGS = re.compile(r"^flags: (\S*)$", re.MULTILINE)
_VERSION = re.compile(r"version (\d+)\.(\d+)")
_MACHINES = {Architecture.AMD64: "3e00", Architecture.ARM64: "b700"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulator:
    """A program that is registered to run those of an architecture.

    Attributes:
        path: where it lies.
        version: of QEMU.
        is_held: whether the kernel holds it open (flag F), so that it runs where its path leads nowhere, in a sandbox.
    """

    path: Path
    version: tuple[int, int]
    is_held: bool = False

    @property
    def runs_images(self) -> bool:
        """Whether the images of this project run under it, in a sandbox."""
        return self.is_held and self.version >= GOOD

    def __str__(self) -> str:
        """For people."""
        return f"QEMU {self.version[0]}.{self.version[1]}"


def registered(architecture: Architecture, *, folder: Path = BINFMT) -> Emulator | None:
    """The newest emulator that is registered for an architecture; None where there is none, or it does not say."""
    found: list[Emulator] = []
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            text = entry.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # `register` cannot be read
        path, magic = _INTERPRETER.search(text), _MAGIC.search(text)
        if not text.startswith("enabled") or path is None or magic is None:
            continue
        # The ELF header's e_machine: two bytes from the nineteenth on, little-endian.
        if magic[1][36:40] == _MACHINES[architecture]:
            version = _version(Path(path[1]))
            if version is not None:
                flags = _FLAGS.search(text)
                held = flags is not None and "F" in flags[1]
                found.append(Emulator(path=Path(path[1]), version=version, is_held=held))
    return max(found, key=lambda emulator: emulator.version, default=None)


def _version(program: Path) -> tuple[int, int] | None:
    try:
        done = processes.run([program, "--version"], package="qemu-user", seconds=_SECONDS)
    except (BuilderError, OSError):
        return None  # registered from within a container: nothing here tells its version
    match = _VERSION.search(done.output)
    return (int(match[1]), int(match[2])) if match else None
