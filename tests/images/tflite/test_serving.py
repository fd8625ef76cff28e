"""TensorFlow Lite models, asked of a real server."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ..onnx.serving import Server
from ..starting import RuntimeUnderTest, Tensors
from . import make_models
from .make_models import TYPES

TFLITE = RuntimeUnderTest(name="tflite", suffix="tflite")
DIGITS_IN: Tensors = [("image", "FP32", [-1, 8, 8])]
DIGITS_OUT: Tensors = [("digit", "INT64", [-1]), ("probabilities", "FP32", [-1, 10])]


def _pair(kind: str, rows: int = -1) -> Tensors:
    return [("in_0", kind, [rows, 2]), ("in_1", kind, [rows, 2])]


def _sum(kind: str, rows: int = -1) -> Tensors:
    return [("out_0", kind, [rows, 2])]


def _ask(running: Server, kind: str, *values: list[float]) -> object:
    inputs = [
        {"name": f"in_{place}", "shape": [len(data) // 2, 2], "datatype": kind, "data": data}
        for place, data in enumerate(values)
    ]
    answer = running.infer("adder", {"inputs": inputs})
    return answer.json["outputs"][0]["data"] if answer.status == 200 else (answer.status, answer.json["error"])


def test_the_shipped_model_is_proved_and_answers_batches(tmp_path: Path) -> None:
    TFLITE.place_shipped(tmp_path, "digit-reader", DIGITS_IN, DIGITS_OUT)
    with TFLITE.serve(tmp_path) as running:
        metadata = running.get("/v2/models/digit-reader").json
        assert metadata["platform"] == "tflite_flatbuffer"
        assert metadata["properties"]["golden_samples"] == "passed"
        assert metadata["properties"]["engine"] == "tflite-runtime 2.14.0"
        known = json.loads((tmp_path / "digit-reader" / "samples.json").read_text())["samples"]
        pixels = [number for sample in known for number in sample["request"]["inputs"][0]["data"]]
        image = {"name": "image", "shape": [len(known), 8, 8], "datatype": "FP32", "data": pixels}
        answer = running.infer("digit-reader", {"inputs": [image], "outputs": [{"name": "digit"}]}).json
        assert answer["outputs"][0]["data"] == [number for number in range(10) for _ in range(2)]
        assert running.memory() < 100e6
        assert running.stop() == 0


def test_requests_of_many_shapes_at_once_get_their_own_answers(tmp_path: Path) -> None:
    TFLITE.place(tmp_path, "adder", make_models.adder(), _pair("FP32"), _sum("FP32"))
    with TFLITE.serve(tmp_path, "--threads", "2") as running, ThreadPoolExecutor(8) as pool:
        rows = [1, 7, 2, 30] * 10
        answers = pool.map(lambda n: _ask(running, "FP32", [float(n)] * 2 * n, [0.5] * 2 * n), rows)
        assert list(answers) == [[n + 0.5] * 2 * n for n in rows]


def test_a_quantized_model_takes_and_gives_its_int8(tmp_path: Path) -> None:
    TFLITE.place(tmp_path, "adder", make_models.quantized(), _pair("INT8"), _sum("INT8"))
    with TFLITE.serve(tmp_path) as running:
        # (5 - 1) / 2 + (3 - 1) / 2 = 3, which is step 7.
        assert _ask(running, "INT8", [5, 1], [3, 1]) == [7, 1]


def test_a_model_without_signatures_is_asked_by_its_tensors_names(tmp_path: Path) -> None:
    inputs: Tensors = [("tensor_a", "INT32", [-1, 2]), ("tensor_b", "INT32", [-1, 2])]
    content = make_models.adder(TYPES.INT32, signatures=())
    TFLITE.place(tmp_path, "adder", content, inputs, [("total", "INT32", [-1, 2])])
    with TFLITE.serve(tmp_path) as running:
        request = [{"name": name, "shape": [2, 2], "datatype": "INT32", "data": [1, 2, 3, 4]} for name, _, _ in inputs]
        assert running.infer("adder", {"inputs": request}).json["outputs"][0]["data"] == [2, 4, 6, 8]


def test_of_several_signatures_the_default_is_served(tmp_path: Path) -> None:
    content = make_models.adder(signatures=("other", "serving_default"))
    TFLITE.place(tmp_path, "adder", content, _pair("FP32"), _sum("FP32"))
    with TFLITE.serve(tmp_path) as running:
        assert _ask(running, "FP32", [1, 2], [3, 4]) == [4, 6]


def test_what_does_not_fit_is_the_clients_error_and_the_server_goes_on(tmp_path: Path) -> None:
    TFLITE.place(tmp_path, "adder", make_models.adder(), _pair("FP32"), _sum("FP32"))
    with TFLITE.serve(tmp_path) as running:
        assert _ask(running, "FP32", [], []) == (400, "input 'in_0': TensorFlow Lite takes no empty tensor")
        status, words = _ask(running, "FP32", [1.0] * 4, [1.0] * 6)  # type: ignore[misc]
        assert (status, "the model cannot compute this input" in words) == (400, True)
        assert _ask(running, "FP32", [1, 2], [3, 4]) == [4, 6]


def test_a_fixed_batch_stays_fixed(tmp_path: Path) -> None:
    TFLITE.place(tmp_path, "adder", make_models.adder(rows=1), _pair("FP32", 1), _sum("FP32", 1))
    with TFLITE.serve(tmp_path) as running:
        assert _ask(running, "FP32", [1, 2], [3, 4]) == [4, 6]
        assert _ask(running, "FP32", [1] * 4, [3] * 4) == (400, "input 'in_0': shape is [2, 2], the model takes [1, 2]")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"this is no model", "refuses it"),
        (b"", "refuses it"),
        (make_models.adder()[:200], "refuses it"),
        (make_models.unknown_operator(), "TheirOwn"),
        (make_models.complex_numbers(), "'in_0' is complex64, which this server does not carry"),
        (
            make_models.adder(signatures=("one", "two")),
            "has the signatures one, two; one must be named serving_default",
        ),
        (make_models.adder(TYPES.INT32), "disagree"),
    ],
)
def test_what_cannot_be_served_is_said_and_ends_the_server(tmp_path: Path, content: bytes, reason: str) -> None:
    TFLITE.place(tmp_path, "adder", content, _pair("FP32"), _sum("FP32"))
    assert reason in TFLITE.refusal(tmp_path)


def test_the_newer_interpreter_serves_the_same(tmp_path: Path) -> None:
    TFLITE.place_shipped(tmp_path / "models", "digit-reader", DIGITS_IN, DIGITS_OUT)
    # An empty package of that name: the adapter does not find the older interpreter in it.
    (tmp_path / "shadow" / "tflite_runtime").mkdir(parents=True)
    (tmp_path / "shadow" / "tflite_runtime" / "__init__.py").write_text("")
    with TFLITE.serve(tmp_path / "models", path=str(tmp_path / "shadow")) as running:
        properties = running.get("/v2/models/digit-reader").json["properties"]
        assert (properties["engine"].split()[0], properties["golden_samples"]) == ("ai-edge-litert", "passed")


def test_the_server_runs_on_what_is_left_after_pruning(tmp_path: Path) -> None:
    TFLITE.place_shipped(tmp_path / "models", "digit-reader", DIGITS_IN, DIGITS_OUT)
    # Isolated from the environment's own site-packages, as the image's interpreter is.
    site = str(TFLITE.pruned(tmp_path / "site"))
    with TFLITE.serve(tmp_path / "models", path=site, isolated=True) as running:
        assert running.get("/v2/models/digit-reader").json["properties"]["golden_samples"] == "passed"
        assert running.stop() == 0
