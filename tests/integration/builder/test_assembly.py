"""What a snap holds becomes a folder to be packed: by craft-parts where it has parts, laid out directly where not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from snapedge_builder import building, pack, prime
from snapedge_builder.building import BuildRequest
from snapedge_builder.contents import SnapContent
from snapedge_builder.prime import Assembler, AssemblyError
from snapedge_builder.progress import Silence
from snapedge_builder.snaptree import snap_tree, text_file
from snapedge_hooks.vocabulary import Architecture, Digest

from ...fakes.buildsite import BuildSite

ARM64 = Architecture.ARM64


def content(site: BuildSite, folder: Path | None = None) -> SnapContent:
    """What is in the snap that a folder becomes; the model's where none is named."""
    request = BuildRequest(folder=folder or site.model, architectures=(ARM64,), output=site.output)
    built = building.build(request, cache=site.cache, source=site.source, progress=Silence())
    return built.built.snaps[0].content


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_craft_parts_and_laying_out_give_the_same_bytes(umask: int, site: BuildSite) -> None:
    made = content(site)
    before = os.umask(umask)
    try:
        with Assembler() as assembler, site.cache.scratch() as work:
            parts = assembler.assembled(made.tree, architecture=ARM64, document=made.document, work=work / "parts")
            alone = prime.laid_out(made.tree, document=made.document, work=work / "alone")
            with parts as one, alone as other:
                pack.pack(one, work / "one", processors=1)
                pack.pack(other, work / "other", processors=1)
            assert Digest.of_file(work / "one") == Digest.of_file(work / "other")
            assert [path.name for path in work.iterdir() if path.is_dir()] == []
    finally:
        os.umask(before)


def test_only_what_brings_a_runtime_has_parts(site: BuildSite) -> None:
    assert not content(site).has_parts
    assert content(site, site.runtime).has_parts
    with (site.model / "inference.yaml").open("a") as file:
        file.write("delivery: {image: full}\n")
    assert content(site).has_parts


def test_a_killed_assembler_is_told(site: BuildSite) -> None:
    with Assembler() as assembler, site.cache.scratch() as work:
        assembler._process.kill()
        tree = snap_tree([text_file("meta/snap.yaml", "")])
        with (
            pytest.raises(AssemblyError, match="craft-parts ended unasked"),
            assembler.assembled(tree, architecture=ARM64, document={}, work=work / "arm64"),
        ):
            pass
    assert assembler._process.returncode == -9
