"""An ONNX file without its weights."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from snapedge_builder import onnxgraph
from snapedge_builder.modelfile import ModelRefusedError, read_model
from snapedge_builder.onnxmodel import OnnxSession
from snapedge_hooks.samples import Tensor

from ...fakes.buildsite import tripler

WIDE = 300_000


def model_of(weights: list[onnx.TensorProto]) -> onnx.ModelProto:
    """Rows of two, times the last of the weights."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", weights[-1].name], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, None])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def wide() -> numpy.ndarray[Any, Any]:
    return numpy.arange(2 * WIDE, dtype=numpy.float32).reshape(2, WIDE)


def saved(folder: Path, model: onnx.ModelProto) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_large_weights_stay_in_the_file_and_the_graph_is_whole(tmp_path: Path) -> None:
    small = numpy_helper.from_array(numpy.ones(3, dtype=numpy.float32), "small")
    model = model_of([small, numpy_helper.from_array(wide(), "wide")])
    found = onnxgraph.read(saved(tmp_path, model))
    (apart,) = found.apart
    assert len(found.data) < 1000
    assert found.path.read_bytes()[apart.offset :][: apart.size] == wide().tobytes()
    model.graph.initializer[1].ClearField("raw_data")
    assert onnx.ModelProto.FromString(found.data) == model


def test_a_model_with_large_weights_is_checked_and_answers(tmp_path: Path) -> None:
    folder = tmp_path / "wëights of mine"
    folder.mkdir()
    path = saved(folder, model_of([numpy_helper.from_array(wide(), "wide")]))
    link = tmp_path / "linked.onnx"
    link.symlink_to(path)
    for place in (path, link):
        facts = read_model(place)
        session = OnnxSession(place, facts.signature)
        answer = session.answer({"x": Tensor(name="x", shape=(1, 2), datatype="FP32", data=(1.0, 2.0))})["y"]
        session.close()
        assert answer.data[1] == 1.0 + 2.0 * (WIDE + 1)


@pytest.mark.parametrize("change", ["shorter", "outside", "packed twice to a byte"])
def test_weights_that_are_not_what_they_seem_stay_in_the_graph(change: str, tmp_path: Path) -> None:
    tensor = numpy_helper.from_array(wide(), "wide")
    if change == "shorter":
        tensor.raw_data = tensor.raw_data[:-4]
    elif change == "outside":
        tensor.data_location = TensorProto.EXTERNAL
    else:
        tensor.data_type = TensorProto.INT4
    path = saved(tmp_path, model_of([tensor]))
    found = onnxgraph.read(path)
    assert not found.apart
    assert found.data == path.read_bytes()
    if change != "packed twice to a byte":
        with pytest.raises(ModelRefusedError):
            read_model(path)


def test_a_graph_in_two_pieces_is_one(tmp_path: Path) -> None:
    first = onnx.ModelProto()
    first.graph.initializer.append(numpy_helper.from_array(numpy.ones(3, dtype=numpy.float32), "small"))
    second = model_of([numpy_helper.from_array(wide(), "wide")])
    path = tmp_path / "model.onnx"
    path.write_bytes(first.SerializeToString() + second.SerializeToString())
    (apart,) = onnxgraph.read(path).apart
    assert onnx.ModelProto.FromString(onnxgraph.read(path).data).graph.initializer[apart.index].name == "wide"


@given(data=st.binary(max_size=200), cut=st.integers(min_value=0, max_value=200))
def test_a_damaged_file_is_read_or_refused_and_nothing_else(
    data: bytes, cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("damaged", numbered=True) / "model.onnx"
    whole = tripler().SerializeToString()
    path.write_bytes(whole[: min(cut, len(whole))] + data)
    with contextlib.suppress(onnxgraph.NotProtobufError):
        assert onnxgraph.read(path).data == path.read_bytes()
