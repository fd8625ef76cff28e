"""8-bit models: smaller, told by how much they move, refused where that is too much or for nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from snapedge_builder.modelfile import ModelRefusedError
from snapedge_builder.quantization import (
    Quantization,
    QuantizationMode,
    QuantizationRefusedError,
    quantize,
)
from snapedge_hooks.samples import ExpectedTensor, Sample, SampleSet, Tensor

SIZE = 64


def _network(path: Path, *, layers: int = 2) -> Path:
    random = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for index in range(layers):
        weight = random.normal(size=(SIZE, SIZE)).astype(np.float32) / SIZE**0.5
        weights.append(numpy_helper.from_array(weight, f"w{index}"))
        nodes.append(helper.make_node("MatMul", [last, f"w{index}"], [f"m{index}"]))
        nodes.append(helper.make_node("Relu", [f"m{index}"], ["y" if index == layers - 1 else f"r{index}"]))
        last = f"r{index}"
    return _save(path, nodes, weights)


def _save(path: Path, nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto]) -> Path:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, SIZE]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "network", values[:1], values[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def _samples(count: int = 3) -> SampleSet:
    random = np.random.default_rng(1)
    found = []
    for index in range(count):
        data = tuple(float(value) for value in random.normal(size=SIZE).astype(np.float32))
        given = Tensor(name="x", shape=(1, SIZE), datatype="FP32", data=data)
        answer = Tensor(name="y", shape=(1, SIZE), datatype="FP32", data=(0.0,) * SIZE)
        expected = ExpectedTensor(tensor=answer, atol=0, rtol=0)
        found.append(Sample(name=str(index), inputs=(given,), outputs=(expected,)))
    return SampleSet(samples=tuple(found))


@pytest.mark.parametrize("mode", QuantizationMode)
def test_a_network_becomes_smaller_and_says_by_how_much_it_moves(mode: QuantizationMode, tmp_path: Path) -> None:
    path, target = _network(tmp_path / "m.onnx"), tmp_path / "small.onnx"
    report = quantize(path, target, Quantization(mode=mode, tolerance=0.2), _samples(), _samples(8))
    assert report.size == (path.stat().st_size, target.stat().st_size)
    assert target.stat().st_size < path.stat().st_size * 0.5
    assert 0 < report.errors["y"] < 0.2
    assert "largest error of y: " in report.lines()[1]


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    path = _network(tmp_path / "m.onnx")
    asked = Quantization(mode=QuantizationMode.STATIC, tolerance=1.0)
    for name in ("one", "two"):
        quantize(path, tmp_path / name, asked, _samples(), _samples(8))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_more_error_than_its_author_allows_is_refused(tmp_path: Path) -> None:
    asked = Quantization(mode=QuantizationMode.DYNAMIC, tolerance=1e-6)
    with pytest.raises(
        QuantizationRefusedError, match=r"its output 'y' moves by 0\.\d+ on the golden samples; 1e-06 is"
    ):
        quantize(_network(tmp_path / "m.onnx"), tmp_path / "small.onnx", asked, _samples(), _samples())


def test_a_model_that_cannot_be_loaded_any_more_is_refused_in_words(tmp_path: Path) -> None:
    # ONNX Runtime quantizes weights of 16 bits, and then does not take what it wrote.
    weight = np.random.default_rng(0).normal(size=(SIZE, SIZE)).astype(np.float16)
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["half", "w"], ["product"]),
        helper.make_node("Cast", ["product"], ["y"], to=TensorProto.FLOAT),
    ]
    path = _save(tmp_path / "m.onnx", nodes, [numpy_helper.from_array(weight, "w")])
    with pytest.raises(QuantizationRefusedError) as caught:
        quantize(path, tmp_path / "small.onnx", Quantization(mode=QuantizationMode.DYNAMIC), _samples(), _samples())
    told = str(caught.value)
    assert told.startswith("m.onnx: quantized, it cannot be loaded by ONNX Runtime ")
    assert "tensor(float16)" in told
    assert told.endswith("; quantize it with the other mode, or take `quantize` out of `model`")
    assert caught.value.exit_code == 3


def test_a_model_that_its_samples_do_not_fit_is_refused_in_words(tmp_path: Path) -> None:
    other = _samples().samples[0]
    unfit = SampleSet(samples=(Sample(name="0", inputs=(replace(other.inputs[0], name="z"),), outputs=other.outputs),))
    with pytest.raises(ModelRefusedError, match=r"m\.onnx: fails when it is run: .*x"):
        quantize(
            _network(tmp_path / "m.onnx"),
            tmp_path / "small.onnx",
            Quantization(mode=QuantizationMode.DYNAMIC),
            unfit,
            unfit,
        )


def test_a_number_that_becomes_none_moves_infinitely_far(tmp_path: Path) -> None:
    """Of these many roots, some are of numbers so near to zero that they change their sign."""
    weight = np.random.default_rng(0).normal(size=(SIZE, SIZE)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["sum"]), helper.make_node("Sqrt", ["sum"], ["y"])]
    path = _save(tmp_path / "m.onnx", nodes, [numpy_helper.from_array(weight, "w")])
    asked = Quantization(mode=QuantizationMode.DYNAMIC, tolerance=1e6)
    with pytest.raises(QuantizationRefusedError, match="its output 'y' moves by inf on"):
        quantize(path, tmp_path / "small.onnx", asked, _samples(20), _samples())


def test_what_was_no_number_before_does_not_move(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(SIZE, SIZE)).astype(np.float32) / SIZE
    hole = np.array([np.nan] + [0] * (SIZE - 1), dtype=np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["sum"]), helper.make_node("Add", ["sum", "hole"], ["y"])]
    path = _save(
        tmp_path / "m.onnx", nodes, [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(hole, "hole")]
    )
    asked = Quantization(mode=QuantizationMode.DYNAMIC, tolerance=0.2)
    report = quantize(path, tmp_path / "small.onnx", asked, _samples(), _samples())
    assert 0 < report.errors["y"] < 0.2


def test_a_model_without_weights_is_refused(tmp_path: Path) -> None:
    path = _save(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])], [])
    with pytest.raises(QuantizationRefusedError, match="holds nothing that can be quantized"):
        quantize(path, tmp_path / "small.onnx", Quantization(mode=QuantizationMode.DYNAMIC), _samples(), _samples())
