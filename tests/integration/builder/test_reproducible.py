"""The same folder gives the same snaps, to the byte: elsewhere, later, as somebody else, on more processors."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from snapedge_builder import locking
from snapedge_builder.cache import Cache
from snapedge_hooks.vocabulary import Digest

from ...fakes.buildsite import INFERENCE, SAMPLES, tripler
from ...fakes.offlineruntime import OfflineRuntime
from ...fakes.otherhosts import ELSEWHERE, HERE, Circumstances

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="needs apt")


@pytest.fixture
def parts(tmp_path: Path) -> OfflineRuntime:
    """A runtime that is pinned, and what it is built from."""
    found = OfflineRuntime(tmp_path / "parts")
    locking.lock(found.folder, cache=Cache(tmp_path / "locker"), host=found.host)
    return found


def built(parts: OfflineRuntime, snaps: Path, home: Path, circumstances: Circumstances) -> dict[str, Digest]:
    """What a checkout in `snaps` gives: a model with its runtime inside, and the runtime."""
    model = snaps / "tripler"
    model.mkdir(parents=True)
    (model / "inference.yaml").write_text(INFERENCE + "delivery: {image: full}\n")
    (model / "samples.json").write_text(SAMPLES)
    (model / "model.onnx").write_bytes(tripler().SerializeToString())
    shutil.copytree(parts.folder, snaps / "runtime-onnx")
    shutil.copytree(parts.root / "server", snaps / "server")
    circumstances.age(snaps)
    for folder in (model, snaps / "runtime-onnx"):
        words = [parts.root, folder, home / "cache", home / "dist"]
        circumstances.run([sys.executable, "-m", "tests.fakes.offlinebuild", *words], home=home)
    return {path.name: Digest.of_file(path) for path in sorted((home / "dist").iterdir())}


def test_two_builds_have_nothing_in_common_but_their_bytes(parts: OfflineRuntime, tmp_path: Path) -> None:
    here = built(parts, tmp_path / "snaps", tmp_path / "home", HERE)
    elsewhere = built(parts, tmp_path / "b c" / "ä" / "snaps", tmp_path / "another" / "deep" / "home", ELSEWHERE)
    assert sorted(here) == [
        "snapedge-onnx_1.0.0.build.json",
        "snapedge-onnx_1.0.0_amd64.snap",
        "snapedge-onnx_1.0.0_arm64.snap",
        "tripler_1.0.0.build.json",
        "tripler_1.0.0_amd64.snap",
        "tripler_1.0.0_arm64.snap",
    ]
    assert elsewhere == here
