"""What we pack is what `snap pack` makes of the same tree, where both have the same squashfs-tools."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from snapedge_builder import building, pack
from snapedge_builder.building import BuildRequest
from snapedge_builder.progress import Silence
from snapedge_hooks.vocabulary import Architecture, Digest

from ..fakes.buildsite import BuildSite
from .conftest import give_up
from .edgedevice import EdgeDevice

_VERSION = re.compile(r"mksquashfs version (\S+)")


def test_a_snap_is_what_snap_pack_makes_of_its_tree(
    edge_device: EdgeDevice, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    theirs = _VERSION.search(edge_device.execute("mksquashfs", "-version"))
    assert theirs is not None
    if f"mksquashfs {theirs[1]} " not in pack.packer():
        give_up(pytestconfig, f"snap pack uses mksquashfs {theirs[1]}, we use {pack.packer()}: bytes not compared")
    site = BuildSite(tmp_path)
    request = BuildRequest(folder=site.model, architectures=(Architecture.AMD64,), output=site.output)
    building.build(request, cache=site.cache, source=site.source, progress=Silence())
    (ours,) = site.output.glob("*.snap")
    tree = edge_device.root / "srv" / "snap-pack"
    tree.mkdir(parents=True)
    try:
        # Times and owners of the unpacked tree are those of now and here: neither may show.
        subprocess.run(["unsquashfs", "-q", "-n", "-d", tree / "tree", ours], check=True, capture_output=True)
        (tree / "tree" / "left-out~").write_text("left out by both\n")
        edge_device.execute(
            *("env", "-C", "/srv/snap-pack", "SOURCE_DATE_EPOCH=0", "snap", "pack", "tree", "--filename=theirs.snap")
        )
        assert Digest.of_file(tree / "theirs.snap") == Digest.of_file(ours)
    finally:
        shutil.rmtree(tree)
