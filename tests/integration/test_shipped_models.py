"""The models in snaps/ are what their own scripts write."""

import subprocess
import sys
from pathlib import Path

import pytest

from snapedge_builder.modelprocess import ModelProcess
from snapedge_hooks.samples import SampleSet
from snapedge_hooks.vocabulary import ModelFormat

SNAPS = Path(__file__).parents[2] / "snaps"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.onnx", "samples.json"])
def test_wine_cultivar_is_what_its_script_writes(name: str, tmp_path: Path) -> None:
    folder = SNAPS / "wine-cultivar"
    run(folder, tmp_path)
    assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.slow
def test_digit_reader_is_what_its_script_writes(tmp_path: Path) -> None:
    folder = SNAPS / "digit-reader"
    run(folder, tmp_path)
    # How a perceptron's fit ends differs by processor: what was learnt anew must read the committed images.
    made = tmp_path / "model.tflite"
    assert made.stat().st_size == (folder / "model.tflite").stat().st_size
    shipped = SampleSet.parse((folder / "samples.json").read_bytes(), what="samples")
    with ModelProcess(made, ModelFormat.TFLITE) as model:
        for sample in shipped.samples:
            answer = model.answer({tensor.name: tensor for tensor in sample.inputs})
            assert answer["digit"] == sample.outputs[0].tensor


@pytest.mark.slow
def test_diabetes_progress_is_what_its_script_writes(tmp_path: Path) -> None:
    folder = SNAPS / "diabetes-progress"
    run(folder, tmp_path)
    for name in ("model.joblib", "samples.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def run(folder: Path, output: Path) -> None:
    subprocess.run([sys.executable, str(folder / "train.py"), "--output", str(output)], check=True, timeout=100)
