"""The snapd of a virtual device alone, without cluster and agent."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from snapedge_fleet.virtual import deviceprograms
from snapedge_fleet.virtual.devicepaths import DevicePaths
from snapedge_fleet.virtual.machine import DeviceSetup
from snapedge_fleet.virtual.snapd import Snapd as VirtualSnapd
from snapedge_fleet.virtual.snapdapi import SnapdApi

from .loopthread import LoopThread
from .snapd import Snapd, UnixSocket


@contextlib.contextmanager
def started(folder: Path, *, kubeconfig: str = "") -> Iterator[Snapd]:
    """A client of a virtual snapd that lives in `folder`.

    Classic systems keep two revisions of a snap and Ubuntu Core three; this one keeps two, as Debian's snapd does.
    """
    paths = DevicePaths(root=folder / "device", trees=folder / "trees")
    paths.root.mkdir(parents=True)
    deviceprograms.install(paths.programs, paths.socket)
    snapd = VirtualSnapd(paths, DeviceSetup(architecture="amd64", retain=2))
    api = SnapdApi(snapd, paths.socket)
    with LoopThread() as loop:
        snapd.seed(kubeconfig)
        loop.run(api.start())
        loop.run(snapd.start())
        try:
            yield Snapd(UnixSocket(paths.socket))
        finally:
            loop.run(snapd.stop())
            loop.run(api.stop())
