"""The models in snaps/ are what their own scripts write."""

import subprocess
import sys
from pathlib import Path

import pytest

SNAPS = Path(__file__).parents[2] / "snaps"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.onnx", "samples.json"])
def test_wine_cultivar_is_what_its_script_writes(name: str, tmp_path: Path) -> None:
    folder = SNAPS / "wine-cultivar"
    subprocess.run([sys.executable, str(folder / "train.py"), "--output", str(tmp_path)], check=True, timeout=100)
    assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
