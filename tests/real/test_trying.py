"""`builder try` on the models of this repository: the layers that ship, this host's mirrors and index."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from snapedge_hooks.errors import ExitCode

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]
SNAPS = Path(__file__).parents[2] / "snaps"


@pytest.mark.parametrize("name", ["wine-cultivar", "digit-reader", "diabetes-progress"])
def test_a_shipped_model_answers_its_samples_from_its_layers(name: str, tmp_path: Path) -> None:
    builder = Path(sys.executable).with_name("builder")
    done = subprocess.run(
        [builder, "try", SNAPS / name, "--format", "json"], capture_output=True, text=True, check=False
    )
    if done.returncode == ExitCode.REMOTE_AWAY and os.environ.get("CI") != "true":
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["passed"] is True
    assert all(output["answers"] == found["samples"] for output in found["outputs"])
    assert found["ready_seconds"] < 10
