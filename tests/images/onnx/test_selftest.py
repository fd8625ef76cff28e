"""The self-test: golden samples replayed, the largest error of each output printed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .serving import PYTHONPATH, place

REQUEST = {"inputs": [{"name": "x", "shape": [2], "datatype": "FP32", "data": [1.0, 0.0]}]}


def _samples(*answers: float) -> dict[str, Any]:
    def expect(value: float) -> dict[str, Any]:
        data = [value, "-Infinity"]
        return {"outputs": [{"name": "y", "shape": [2], "datatype": "FP32", "data": data, "atol": 0.5, "rtol": 0}]}

    return {
        "format": 1,
        "samples": [
            {"name": str(index), "request": REQUEST, "expect": expect(value)} for index, value in enumerate(answers)
        ],
    }


def _test(directory: Path) -> tuple[int, str, str]:
    command = [sys.executable, "-P", "-m", "snapedge_onnx", "--model-dir", str(directory), "--self-test"]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=False, env={"PYTHONPATH": PYTHONPATH}
    )
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize(
    ("answers", "code", "line"),
    [
        ((0.25, 0.125), 0, "logarithm 1.0.0 y: 2 samples, largest error 0.25, 0.5 allowed, ok\n"),
        ((0.25, 2.0), 3, "logarithm 1.0.0 y: 2 samples, largest error 2, 0.5 allowed, WRONG in 1\n"),
    ],
)
def test_the_largest_error_of_an_output_is_printed(
    tmp_path: Path, answers: tuple[float, ...], code: int, line: str
) -> None:
    place(tmp_path, "logarithm", samples=_samples(*answers))
    assert _test(tmp_path)[:2] == (code, line)


def test_a_model_without_samples_is_said_and_a_broken_one_fails(tmp_path: Path) -> None:
    place(tmp_path, "simple")
    assert _test(tmp_path)[:2] == (0, "simple 1.0.0: no samples\n")
    (tmp_path / "simple" / "model.onnx").write_bytes(b"")
    code, _, log = _test(tmp_path)
    assert code == 3
    assert "not tested" in log
