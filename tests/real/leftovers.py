"""What rigs could leave behind on this machine: an inventory to take before and after."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from . import rig

_MARKS = (str(rig.STATE) + "/", str(rig.RUN) + "/")
_CGROUPS = ("kubepods", "rig-", "buildkit")


def inventory() -> frozenset[str]:
    """Everything here that a rig may have made, in words.

    Processes and mounts are told by the rigs' own folders and control groups, so what else runs on the machine does not
    count; links, loop devices, network namespaces, packet filter chains and emulators are all listed.
    """
    return frozenset(
        (*_processes(), *_mounts(), *_links(), *_loops(), *_cgroups(), *_netns(), *_chains(), *_emulators())
    )


def left_since(before: frozenset[str], *, patience: float = 10) -> frozenset[str]:
    """What is there now and was not before; the kernel gets a moment to let go."""
    deadline = time.monotonic() + patience
    while (left := inventory() - before) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def _processes() -> Iterator[str]:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            groups = (entry / "cgroup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        ours = any(mark in command for mark in _MARKS) or any(f":/{group}" in groups for group in _CGROUPS)
        if ours and state != "Z" and entry.name != str(os.getpid()):
            group = groups.splitlines()[0].rpartition(":")[2]
            yield f"process {entry.name} in {group}: {command.strip()[:120] or '?'}"


def _mounts() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place = line.split()[4]
        if place.startswith((*_MARKS, "/run/netns/")):
            yield f"mount {place}"


def _links() -> Iterator[str]:
    for entry in Path("/sys/class/net").iterdir():
        yield f"network link {entry.name}"


def _loops() -> Iterator[str]:
    for entry in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            yield f"loop device {entry.parts[3]}: {entry.read_text().strip()}"
        except (FileNotFoundError, OSError):
            continue  # let go meanwhile


def _cgroups() -> Iterator[str]:
    for pattern in [f"{place}{group}*" for group in _CGROUPS for place in ("", "*/")]:
        for entry in Path("/sys/fs/cgroup").glob(pattern):
            yield f"control group {entry}"


def _netns() -> Iterator[str]:
    folder = Path("/run/netns")
    for entry in folder.iterdir() if folder.is_dir() else ():
        yield f"network namespace {entry.name}"


def _chains() -> Iterator[str]:
    for tool in ("iptables-save", "ip6tables-save"):
        try:
            rules = subprocess.run([tool], capture_output=True, text=True, timeout=30, check=False).stdout
        except FileNotFoundError:
            continue  # no tool, no rules of ours
        for line in rules.splitlines():
            if line.startswith((":KUBE-", ":CNI-")):
                yield f"{tool} chain {line.split()[0][1:]}"


def _emulators() -> Iterator[str]:
    folder = Path("/proc/sys/fs/binfmt_misc")
    for entry in folder.iterdir() if folder.is_dir() else ():
        yield f"binary format {entry.name}"
