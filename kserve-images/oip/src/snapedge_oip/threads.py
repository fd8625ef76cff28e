"""How many threads a model may use: what the container's quota and affinity leave, not what the host has."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def available(*, cgroups: Path = _CGROUPS, own: Path = _OWN, affinity: int | None = None) -> int:
    """Whole processors this process may use, at least one.

    Args:
        cgroups: where cgroup file systems are mounted.
        own: which groups this process is in.
        affinity: processors it may run on; asked of the kernel where None.
    """
    cores = len(os.sched_getaffinity(0)) if affinity is None else affinity
    # What is above a whole processor is left for decoding: threads beyond the quota are stopped in the middle of work.
    return max(1, math.floor(min(cores, quota(cgroups, own))))


def quota(cgroups: Path, own: Path) -> float:
    """The smallest processor quota on the way from the process's group to the root; infinite where there is none."""
    smallest = math.inf
    for line in _read(own).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            smallest = min(smallest, *(_v2(folder) for folder in _upwards(cgroups, path)))
        elif "cpu" in controllers.split(","):
            mounts = (cgroups / controllers, cgroups / "cpu")
            smallest = min(smallest, *(_v1(folder) for mount in mounts for folder in _upwards(mount, path)))
    return smallest


def _upwards(root: Path, path: str) -> list[Path]:
    # Within a cgroup namespace the path may be that of the host, and the root is already the group itself.
    folder = root / path.lstrip("/")
    return (
        [folder, *(parent for parent in folder.parents if parent == root or root in parent.parents)] if path else [root]
    )


def _v2(folder: Path) -> float:
    limit, _, period = _read(folder / "cpu.max").strip().partition(" ")
    return _ratio(limit, period or "100000")


def _v1(folder: Path) -> float:
    return _ratio(_read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip())


def _ratio(limit: str, period: str) -> float:
    if not limit.isdigit() or not period.isdigit() or int(period) == 0 or int(limit) == 0:
        return math.inf
    return int(limit) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        # No such group here; that is how both versions of cgroups are told apart.
        return ""
