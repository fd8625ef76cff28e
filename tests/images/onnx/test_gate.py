"""Ready means proved: what the golden samples and the model's folder decide at the start."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from .serving import place, refused, server


def _samples(*answers: list[float | str | None], atol: float = 0.01) -> dict[str, Any]:
    request = {"inputs": [{"name": "x", "shape": [2], "datatype": "FP32", "data": [1.0, 0.0]}]}
    return {
        "format": 1,
        "samples": [
            {
                "name": f"row-{index}",
                "request": request,
                "expect": {
                    "outputs": [{"name": "y", "shape": [2], "datatype": "FP32", "data": data, "atol": atol, "rtol": 0}]
                },
            }
            for index, data in enumerate(answers)
        ],
    }


RIGHT: list[float | str | None] = [0.001, "-Infinity"]
WRONG: list[float | str | None] = [0.5, "-Infinity"]


def test_right_samples_make_the_model_ready_and_show_in_its_metadata(tmp_path: Path) -> None:
    place(tmp_path, "logarithm", samples=_samples(RIGHT, RIGHT))
    with server(tmp_path) as running:
        properties = running.get("/v2/models/logarithm").json["properties"]
        assert (properties["golden_samples"], properties["golden_samples_checked"]) == ("passed", "2")
        assert running.stop() == 0


def test_a_wrong_sample_ends_a_strict_server_with_the_measured_error(tmp_path: Path) -> None:
    folder = place(tmp_path, "logarithm", samples=_samples(RIGHT, WRONG))
    code, message, log = refused(tmp_path)
    assert code == 3
    assert message is not None
    assert message.pop("model").startswith("sha256:")
    assert message == {"gate": "failed", "sample": "row-1", "output": "y", "max_error": 0.5, "tolerance": 0.01}
    assert any("off by 0.5 where 0.01 is allowed" in line for line in log)
    assert folder.is_dir()


def test_report_serves_a_wrong_model_and_says_so(tmp_path: Path) -> None:
    place(tmp_path, "logarithm", samples=_samples(WRONG))
    with server(tmp_path, environment={"SNAPEDGE_GATE": "report"}) as running:
        assert running.get("/v2/models/logarithm").json["properties"]["golden_samples"] == "failed"
    assert not (tmp_path / "termination").exists()


def test_none_asks_nothing(tmp_path: Path) -> None:
    place(tmp_path, "logarithm", samples=_samples(WRONG))
    with server(tmp_path, "--gate", "none") as running:
        assert running.get("/v2/models/logarithm").json["properties"]["golden_samples"] == "skipped"


def test_a_sample_that_the_model_refuses_is_a_wrong_sample(tmp_path: Path) -> None:
    samples = _samples(RIGHT)
    samples["samples"][0]["request"]["inputs"][0]["name"] = "z"
    place(tmp_path, "logarithm", samples=samples)
    code, message, _ = refused(tmp_path)
    assert (code, message and message["gate"], message and message["sample"]) == (3, "failed", "row-0")


def test_a_models_folder_itself_may_be_the_directory(tmp_path: Path) -> None:
    folder = place(tmp_path, "logarithm")
    with server(folder) as running:
        assert running.get("/v2/models").json == {"models": ["logarithm"]}


@pytest.mark.parametrize(
    ("name", "overrides", "reason"),
    [
        ("simple", {"digest": "sha256:" + "0" * 64}, "model.json says sha256:000"),
        ("simple", {"digest": "md5:0"}, "is not sha256:<64 hex>"),
        ("simple", {"format": 2}, "format 2 is not known"),
        ("simple", {"further": 1}, "'further' is no key of this format"),
        ("simple", {"file": "../model.onnx"}, "must be a name in the model's folder"),
        ("simple", {"file": "nope.onnx"}, "cannot be read"),
        ("simple", {"model_format": "tflite"}, "format 'tflite' is not served here"),
        ("simple", {"inputs": []}, "inputs must be a list with at least one tensor"),
        ("simple", {"outputs": [{"name": "OUTPUT0", "datatype": "INT32", "shape": [-1, 16]}]}, "disagree"),
        ("simple", {"content": b"this is no ONNX file"}, "refuses it"),
        ("simple", {"content": b""}, "refuses it"),
        ("too_new", {}, "refuses it"),
        ("sequence", {}, "which the protocol cannot carry"),
        ("logarithm", {"samples": "{"}, "samples.json: is not JSON"),
        ("logarithm", {"samples": {"format": 9, "samples": []}}, "format 9 is not known"),
    ],
)
def test_what_cannot_be_served_is_said_and_ends_the_server(
    tmp_path: Path, name: str, overrides: dict[str, Any], reason: str
) -> None:
    place(tmp_path, name, **overrides)
    code, message, log = refused(tmp_path)
    assert code == 3, log
    assert message is not None
    assert message["gate"] == "load-failed"
    assert reason in message["reason"]
    assert "Traceback" not in "".join(log)


def test_an_empty_or_absent_directory_is_said(tmp_path: Path) -> None:
    code, message, _ = refused(tmp_path)
    assert (code, message) == (3, {"gate": "load-failed", "reason": f"{tmp_path}: holds no folder with a model.json"})
    code, _, log = refused(tmp_path / "nope")
    assert code == 3
    assert any("cannot be read: No such file or directory" in line for line in log)


def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    shutil.copytree(place(tmp_path, "simple"), tmp_path / "again")
    code, message, _ = refused(tmp_path)
    assert code == 3
    assert message is not None
    assert "model 'simple' is in" in message["reason"]


def test_a_termination_log_that_cannot_be_written_changes_nothing_else(tmp_path: Path) -> None:
    place(tmp_path, "logarithm", samples=_samples(WRONG))
    code, message, log = refused(tmp_path, "--termination-log", "/nope/nope")
    assert (code, message) == (3, None)
    assert any("the termination message is not written" in line for line in log)
