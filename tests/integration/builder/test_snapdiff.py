"""Two packed snaps compared: mksquashfs, unsquashfs and xdelta3 are real, the runtime is two tiny layers."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from snapedge_builder import building, cli, delta, snapdiff
from snapedge_builder.building import BuildRequest
from snapedge_builder.progress import Silence
from snapedge_builder.snapdiff import NotComparableError
from snapedge_builder.snapfile import SnapFileError
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Architecture

from ...fakes.buildsite import BuildSite, tripler


def built(site: BuildSite, folder: Path, output: str, architecture: Architecture = Architecture.ARM64) -> Path:
    request = BuildRequest(folder=folder, architectures=(architecture,), output=site.top / output)
    return building.build(request, cache=site.cache, source=site.source, progress=Silence()).snaps[0]


def test_a_new_model_is_what_a_device_downloads(tmp_path: Path) -> None:
    site = BuildSite(tmp_path)
    old = built(site, site.model, "old")
    site.say("version: 1.0.0", "version: 1.1.0")
    model = tripler()
    model.doc_string = random.Random(1).randbytes(150_000).hex()
    (site.model / "model.onnx").write_bytes(model.SerializeToString())
    new = built(site, site.model, "new")
    found = snapdiff.compare(old, new)
    assert (found.name, found.architecture, found.old, found.new) == ("tripler", "arm64", "1.0.0", "1.1.0")
    assert [(part.name, part.change) for part in found.parts] == [("model", "changed"), (snapdiff.OTHERS, "changed")]
    assert found.blame == "model"
    assert found.parts[0].files == ("mnt/models/tripler/model.json", "mnt/models/tripler/model.onnx")
    assert 150_000 < found.delta < 200_000 < found.size == new.stat().st_size
    assert abs(found.delta - sum(part.packed for part in found.parts)) < 16_000


def test_a_runtime_inside_a_model_snap_is_blamed(tmp_path: Path) -> None:
    site = BuildSite(tmp_path)
    site.say("samples: samples.json", "samples: samples.json\ndelivery: {image: full}")
    old = built(site, site.model, "old")
    site.source.payload = random.Random(2).randbytes(300_000)
    site.source.ready.clear()
    new = built(site, site.model, "new")
    found = snapdiff.compare(old, new)
    assert [(part.name, part.change) for part in found.parts] == [
        ("10-base", "same"),
        ("40-app", "changed"),
        ("model", "same"),
        (snapdiff.OTHERS, "changed"),
    ]
    assert found.blame == "40-app"
    assert "image: shared" in found.remedy


def test_the_same_snap_costs_nothing(tmp_path: Path) -> None:
    site = BuildSite(tmp_path)
    snap = built(site, site.model, "old")
    found = snapdiff.compare(snap, snap)
    assert found.delta < 1_000
    assert (found.blame, found.remedy) == ("", "nothing of weight changed")


def test_another_architecture_or_snap_is_refused(tmp_path: Path) -> None:
    site = BuildSite(tmp_path)
    arm64 = built(site, site.model, "dist")
    amd64 = built(site, site.model, "dist", Architecture.AMD64)
    runtime = built(site, site.runtime, "dist")
    with pytest.raises(NotComparableError, match="the architecture differs: arm64 and amd64") as raised:
        snapdiff.compare(arm64, amd64)
    assert raised.value.exit_code is ExitCode.USAGE
    with pytest.raises(NotComparableError, match="the name differs: tripler and snapedge-onnx"):
        snapdiff.compare(arm64, runtime)


def test_a_file_that_is_no_snap_or_cut_short_is_refused(tmp_path: Path) -> None:
    site = BuildSite(tmp_path)
    snap = built(site, site.model, "dist")
    cut = tmp_path / "cut.snap"
    cut.write_bytes(snap.read_bytes()[:20_000])
    with pytest.raises(SnapFileError, match="is cut short"):
        snapdiff.compare(snap, cut)
    with pytest.raises(SnapFileError, match="cannot be read"):
        snapdiff.compare(tmp_path / "absent.snap", snap)


def test_a_delta_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_bytes(b"old")
    with pytest.raises(delta.DeltaError, match="no delta from old to absent: xdelta3 ended with 1"):
        delta.delta_size(old, tmp_path / "absent")


def test_the_command_prints_for_people_and_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = BuildSite(tmp_path)
    snap = built(site, site.model, "with spaces ü")
    cli.builder.main(["diff", str(snap), str(snap)], standalone_mode=False)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "tripler arm64: 1.0.0 -> 1.0.0"
    assert said[-1] == "nothing of weight changed"
    cli.builder.main(["diff", str(snap), str(snap), "--format", "json"], standalone_mode=False)
    document = json.loads(capsys.readouterr().out)
    assert document["new"] == {"version": "1.0.0", "size": snap.stat().st_size}
    assert [item["name"] for item in document["parts"]] == ["model", "hooks and documents"]
