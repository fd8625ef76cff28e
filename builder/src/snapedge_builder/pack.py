"""The only caller of mksquashfs: a tree becomes a .snap, byte for byte what `snap pack` makes of it.

Options, excludes and padding are snapd's (snap/pack/pack.go, snap/squashfs/squashfs.go). SOURCE_DATE_EPOCH clamps every
time to its value; at zero there is no time it would leave alone. Time flags must not stand beside it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from .errors import BuilderError
from .snaptree import EXCLUDED_ANYWHERE, EXCLUDED_AT_TOP

MINIMUM_SNAP_BYTES = 16384
"""snapd pads smaller files, since some of its readers map that much."""
SOURCE_DATE_EPOCH = 0
_OPTIONS = ("-noappend", "-comp", "xz", "-no-fragments", "-no-progress", "-wildcards")
_OWNERS = ("-all-root", "-no-xattrs")
_TIMEOUT_SECONDS = 1800.0
_VERSION = re.compile(r"mksquashfs version (\S+)")


class PackError(BuilderError):
    """mksquashfs is missing or failed."""

    def __init__(self, problem: str, *, details: str = "", resolution: str = "") -> None:
        super().__init__(f"cannot pack: {problem}", details=details, resolution=resolution)


@cache
def packer() -> str:
    """The packer and everything about it that shapes bytes; asked once, it is the same all along.

    Raises:
        PackError: there is no mksquashfs.
    """
    done = _run(["mksquashfs", "-version"], cwd=None, timeout=10)
    found = _VERSION.search(done.stdout)
    if found is None:
        raise PackError("mksquashfs does not say its version", details=done.stdout)
    return f"mksquashfs {found[1]} {' '.join((*_OPTIONS, *_OWNERS))} SOURCE_DATE_EPOCH={SOURCE_DATE_EPOCH}"


def pack(tree: Path, snap: Path, *, processors: int) -> None:
    """Pack a folder, modes as they are, into a file that appears whole or not at all.

    Args:
        tree: the assembled tree.
        snap: the file to write; replaced if it is there.
        processors: how many mksquashfs may use; the bytes do not depend on it.

    Raises:
        PackError: mksquashfs is missing or failed; nothing is left behind.
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
        done = _run([*command, "-processors", str(processors)], cwd=tree, timeout=_TIMEOUT_SECONDS)
        if done.returncode != 0 or not partial.exists():
            raise PackError(
                f"mksquashfs ended with {done.returncode}: {_last_line(done.stderr or done.stdout)}",
                details=done.stderr,
                resolution="see that the disk has room",
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


def _run(command: list[str], *, cwd: Path | None, timeout: float) -> subprocess.CompletedProcess[str]:
    if shutil.which(command[0]) is None:
        raise PackError("mksquashfs is not installed", resolution="install squashfs-tools")
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(SOURCE_DATE_EPOCH), "LC_ALL": "C"}
    try:
        return subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PackError(f"mksquashfs took more than {timeout:.0f} s") from error


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no message"
