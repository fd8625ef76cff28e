"""The only caller of mksquashfs: a tree becomes a .snap, byte for byte what `snap pack` makes of it.

Options, excludes and padding are snapd's (snap/pack/pack.go, snap/squashfs/squashfs.go). SOURCE_DATE_EPOCH clamps every
time to its value; at zero there is no time it would leave alone. Time flags must not stand beside it.
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

from . import processes
from .errors import BuilderError
from .snaptree import EXCLUDED_ANYWHERE, EXCLUDED_AT_TOP

MINIMUM_SNAP_BYTES = 16384
"""snapd pads smaller files, since some of its readers map that much."""
MEMORY_MEGABYTES = 256
"""What mksquashfs may hold; by itself it takes a quarter of the machine. The bytes do not depend on it."""
SOURCE_DATE_EPOCH = 0
_OPTIONS = ("-noappend", "-comp", "xz", "-no-fragments", "-no-progress", "-wildcards")
_OWNERS = ("-all-root", "-no-xattrs")
_TIMEOUT_SECONDS = 1800.0
_PACKAGE = "squashfs-tools"
_VERSION = re.compile(r"mksquashfs version (\S+)")


class PackError(BuilderError):
    """mksquashfs failed."""

    def __init__(self, problem: str, *, details: str = "", resolution: str = "") -> None:
        super().__init__(f"cannot pack: {problem}", details=details, resolution=resolution)


@cache
def packer() -> str:
    """The packer and everything about it that shapes bytes; asked once, it is the same all along.

    Raises:
        ToolMissingError: there is no mksquashfs.
        PackError: it does not say what it is.
    """
    done = processes.run(["mksquashfs", "-version"], package=_PACKAGE, seconds=10)
    found = _VERSION.search(done.output)
    if found is None:
        raise PackError("mksquashfs does not say its version", details=done.output)
    return f"mksquashfs {found[1]} {' '.join((*_OPTIONS, *_OWNERS))} SOURCE_DATE_EPOCH={SOURCE_DATE_EPOCH}"


def pack(tree: Path, snap: Path, *, processors: int) -> None:
    """Pack a folder, modes as they are, into a file that appears whole or not at all.

    Args:
        tree: the assembled tree.
        snap: the file to write; replaced if it is there.
        processors: how many mksquashfs may use; the bytes do not depend on it.

    Raises:
        ToolMissingError: there is no mksquashfs.
        PackError: it failed; nothing is left behind.
    """
    snap.parent.mkdir(parents=True, exist_ok=True)
    # The names end in neither .snap nor ~: they lie beside what other builds write, never inside a tree.
    partial = snap.with_name(f".{snap.name}.{os.getpid()}.partial")
    excludes = snap.with_name(f".{snap.name}.{os.getpid()}.excludes")
    anywhere = [f"... {pattern}" for pattern in EXCLUDED_ANYWHERE]
    try:
        excludes.write_text("".join(f"{line}\n" for line in (*EXCLUDED_AT_TOP, *anywhere)))
        partial.unlink(missing_ok=True)
        command = ["mksquashfs", ".", str(partial.absolute()), *_OPTIONS, "-ef", str(excludes.absolute()), *_OWNERS]
        done = processes.run(
            [*command, "-processors", str(processors), "-mem", f"{MEMORY_MEGABYTES}M"],
            package=_PACKAGE,
            seconds=_TIMEOUT_SECONDS,
            environment={"SOURCE_DATE_EPOCH": str(SOURCE_DATE_EPOCH)},
            folder=tree,
        )
        if done.status != 0 or not partial.exists():
            problem = "no room left" if done.says_no_room else _last_line(done.errors or done.output)
            raise PackError(
                f"mksquashfs ended with {done.status}: {problem}",
                details=done.errors,
                resolution="make room on the disk of the cache" if done.says_no_room else "",
            )
        size = partial.stat().st_size
        if size < MINIMUM_SNAP_BYTES:
            os.truncate(partial, MINIMUM_SNAP_BYTES)
        partial.chmod(0o644)
        partial.replace(snap)
    except OSError as error:
        raise PackError(f"{error.strerror}: {error.filename}", resolution="see that the disk has room") from error
    finally:
        partial.unlink(missing_ok=True)
        excludes.unlink(missing_ok=True)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no message"
