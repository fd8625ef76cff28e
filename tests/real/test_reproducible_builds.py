"""The ONNX runtime, locked freshly from this host's mirrors and index, and that lock built twice."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from snapedge_builder import locking, runtimelock
from snapedge_builder.apt import MirrorsAwayError
from snapedge_builder.cache import Cache
from snapedge_builder.locking import LockResult
from snapedge_builder.processes import ToolMissingError
from snapedge_builder.sources import SourcesError
from snapedge_builder.wheels import IndexAwayError
from snapedge_hooks.vocabulary import Architecture, Digest

from ..fakes.otherhosts import ELSEWHERE, HERE, Circumstances

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
BUILDER = Path(sys.executable).parent / "builder"
RUNTIME = Path("snaps") / "runtime-onnx"


def check_out(top: Path) -> Path:
    """What the runtime is built from, as somebody has it who has cloned this repository."""
    for part in (RUNTIME, Path("kserve-images") / "onnx", Path("kserve-images") / "oip"):
        shutil.copytree(ROOT / part, top / part, ignore=shutil.ignore_patterns(".venv", "__pycache__", "*.egg-info"))
    return top / RUNTIME


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> LockResult:
    top = tmp_path_factory.mktemp("locked")
    try:
        return locking.lock(check_out(top), cache=Cache(top / "cache"))
    except (MirrorsAwayError, IndexAwayError, SourcesError, ToolMissingError) as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user of this host can enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def build(locked: LockResult, top: Path, circumstances: Circumstances) -> dict[str, Digest]:
    """The snap for arm64, by the command, with a cache and an index cache of its own."""
    folder = check_out(top / "checkout")
    shutil.copy(locked.path, folder)
    circumstances.age(top / "checkout")
    home = top / "home"
    circumstances.run([BUILDER, "build", folder, "-a", "arm64", "-o", home / "dist"], home=home)
    return {path.name: Digest.of_file(path) for path in sorted((home / "dist").iterdir())}


def test_the_lock_has_one_version_for_both_architectures_and_no_address(locked: LockResult) -> None:
    assert locked.lock.packages.keys() == locked.lock.wheels.keys() == set(Architecture)
    found = {**runtimelock.versions(locked.lock.packages), **runtimelock.versions(locked.lock.wheels)}
    differing = {
        name for name, versions in found.items() if len(versions) < len(Architecture) or len(set(versions.values())) > 1
    }
    assert differing == set(locked.lock.reasons)
    assert "://" not in locked.path.read_text()


def test_the_lock_built_twice_gives_the_same_bytes(locked: LockResult, open_folder: Path) -> None:
    here = build(locked, open_folder / "here", HERE)
    assert list(here) == ["snapedge-onnx_1.0.0.build.json", "snapedge-onnx_1.0.0_arm64.snap"]
    assert build(locked, open_folder / "elsewhere" / "deep", ELSEWHERE) == here
