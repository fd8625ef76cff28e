"""What a model file is, by its content."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from snapedge_builder.modelfile import ModelRefusedError, read_model
from snapedge_builder.signature import Signature, TensorSpec
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import ModelFormat

from ...fakes.buildsite import tripler


def saved(tmp_path: Path, model: onnx.ModelProto, name: str = "model.onnx") -> Path:
    path = tmp_path / name
    path.write_bytes(model.SerializeToString())
    return path


def graph_of(inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]) -> onnx.ModelProto:
    nodes = [helper.make_node("Identity", [inputs[0].name], [output.name]) for output in outputs] if inputs else []
    if not inputs:
        nodes = [helper.make_node("Constant", [], [outputs[0].name], value_float=1.0)]
    return helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 18)], ir_version=10
    )


def tensor(name: str, kind: int = TensorProto.FLOAT, shape: list[int | str] | None = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, [1] if shape is None else shape)


def test_the_suffix_says_nothing(tmp_path: Path) -> None:
    facts = read_model(saved(tmp_path, tripler(), name="model.bin"))
    assert facts.format is ModelFormat.ONNX
    assert facts.opsets == (("", 18),)
    assert facts.signature == Signature(
        inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 2)),),
        outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1, 2)),),
    )


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "is empty (0 bytes)"),
        (b"hello, world", "is no ONNX model"),
        (bytes(100), "is no ONNX model"),
        (b"\x08\x01", "is no ONNX model"),
        (b"PK\x03\x04....", "is no ONNX model but a zip archive (a PyTorch or Keras file, perhaps)"),
        (b"\x1f\x8b....", "is no ONNX model but a gzip file"),
        (b"\x80\x04\x95....", "is no pickle that can be read: it is cut off"),
        (b"version https://git-lfs.github.com/spec/v1", "is no ONNX model but a Git LFS pointer: run `git lfs pull`"),
    ],
)
def test_what_is_no_onnx_model_is_refused(tmp_path: Path, data: bytes, problem: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelRefusedError) as caught:
        read_model(path)
    assert caught.value.problem == problem
    assert caught.value.exit_code is ExitCode.REFUSED


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelRefusedError, match=r"gone\.onnx: does not exist"):
        read_model(tmp_path / "gone.onnx")
    with pytest.raises(ModelRefusedError, match="is not a file"):
        read_model(tmp_path)


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, tripler())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ModelRefusedError):
        read_model(path)


def test_weights_outside_of_the_file_are_refused_with_the_reason(tmp_path: Path) -> None:
    model = tripler()
    weights = model.graph.initializer[0]
    weights.ClearField("float_data")
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="weights.bin")
    with pytest.raises(ModelRefusedError, match="keeps weights outside of the file \\(tensor 'factor'\\)"):
        read_model(saved(tmp_path, model))


def test_a_sequence_output_is_refused_with_the_remedy(tmp_path: Path) -> None:
    mapping = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    )
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("ZipMap", ["x"], ["z"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])],
            "g",
            [tensor("x", shape=[1, 2])],
            [helper.make_value_info("z", mapping)],
        ),
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 1)],
        ir_version=10,
    )
    with pytest.raises(ModelRefusedError) as caught:
        read_model(saved(tmp_path, model))
    assert caught.value.problem == "output 'z' is a sequence, not a tensor"
    assert "zipmap=False" in caught.value.resolution


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (graph_of([], [tensor("y", shape=[])]), "has no inputs: it would answer the same to everyone"),
        (
            graph_of([tensor("x", TensorProto.BFLOAT16)], [tensor("y", TensorProto.BFLOAT16)]),
            "input 'x' has datatype BFLOAT16, which the inference protocol has no word for",
        ),
        (
            graph_of([helper.make_tensor_value_info("x", TensorProto.FLOAT, None)], [tensor("y")]),
            "does not say how many dimensions input 'x' has",
        ),
    ],
)
def test_what_cannot_be_served_is_refused(tmp_path: Path, model: onnx.ModelProto, problem: str) -> None:
    with pytest.raises(ModelRefusedError) as caught:
        read_model(saved(tmp_path, model))
    assert caught.value.problem == problem


def test_an_unknown_operator_fails_the_checker(tmp_path: Path) -> None:
    model = tripler()
    model.graph.node[0].op_type = "Nope"
    with pytest.raises(ModelRefusedError, match="does not pass onnx's checker: No Op registered for Nope"):
        read_model(saved(tmp_path, model))


def test_initializers_listed_as_inputs_are_none(tmp_path: Path) -> None:
    model = tripler()
    model.graph.input.append(tensor("factor"))
    assert [spec.name for spec in read_model(saved(tmp_path, model)).signature.inputs] == ["x"]
