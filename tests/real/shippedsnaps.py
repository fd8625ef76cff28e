"""The snaps under test: built as a person builds them, from the folders in snaps/."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
WINE = ROOT / "snaps" / "wine-cultivar"
MODEL = "wine-cultivar"
RUNTIME = "snapedge-onnx"
_BUILDER = str(Path(sys.executable).parent / "builder")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedSnaps:
    """A runtime and three versions of one model.

    Attributes:
        runtime: what models are served by.
        first: version 1.0.0, as it is in snaps/.
        bad: 1.1.0, trained on shuffled labels; its golden samples are those of the first.
        better: 1.2.0, trained anew.
    """

    runtime: Path
    first: Path
    bad: Path
    better: Path


def build_all(folder: Path, architecture: str) -> ShippedSnaps:
    """Build them into a folder; the runtime takes half a minute where nothing of it is cached."""
    runtime = ROOT / "snaps" / "runtime-onnx"
    bad = _version(folder / "bad", "1.1.0", "--shuffle-labels")
    better = _version(folder / "better", "1.2.0", "--strength", "1.0")
    output, beside = folder / "dist", ("--runtime", str(runtime))
    built = ShippedSnaps(
        runtime=_build(runtime, output, architecture),
        first=_build(WINE, output, architecture),
        bad=_build(bad, output, architecture, *beside, "--ship-failing-model"),
        better=_build(better, output, architecture, *beside),
    )
    trusted = {str(_inspect(snap)["model"]["runtime"]["digests"]) for snap in (built.first, built.bad, built.better)}
    assert len(trusted) == 1, "the runtime's sources changed between builds"
    return built


def samples() -> list[dict[str, Any]]:
    """The golden samples of the first version: wines whose cultivar is known."""
    found: list[dict[str, Any]] = json.loads((WINE / "samples.json").read_text())["samples"]
    return found


def image_digest(snap: Path) -> str:
    """The digest of the image that a model's snap makes on a device, as the builder foretold it."""
    found: str = _inspect(snap)["model"]["image"]["digest"]
    return found


def _inspect(snap: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_run(_BUILDER, "inspect", str(snap), "--format", "json"))
    return found


def _version(folder: Path, version: str, *training: str) -> Path:
    shutil.copytree(WINE, folder)
    declaration = folder / "inference.yaml"
    declaration.write_text(re.sub(r"(?m)^version: .*$", f"version: {version}", declaration.read_text()))
    _run(sys.executable, str(WINE / "train.py"), "--output", str(folder), *training)
    return folder


def _build(folder: Path, output: Path, architecture: str, *options: str) -> Path:
    arguments = ["build", str(folder), "--output", str(output), "--architecture", architecture, *options]
    printed = json.loads(_run(_BUILDER, *arguments, "--format", "json"))
    return output / f"{printed['name']}_{printed['version']}_{architecture}.snap"


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout
