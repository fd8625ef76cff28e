"""Writes the models in `models/`: `python tests/images/onnx/make_models.py`. Each is there for one behaviour."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import TensorProto, helper

MODELS = Path(__file__).parent / "models"
OPSET = 17
IR = 8

EVERY = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}


def _tensor(name: str, kind: int, shape: list[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: list[onnx.TensorProto] | None = None,
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "model", inputs, outputs, constants or [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    onnx.checker.check_model(model, full_check=True)
    return model


def simple() -> onnx.ModelProto:
    """Two inputs, their sum and their difference: the model that the Triton clients' examples ask for."""
    pair: list[str | int] = ["batch", 16]
    return _model(
        [
            helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
            helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"]),
        ],
        [_tensor(name, TensorProto.INT32, pair) for name in ("INPUT0", "INPUT1")],
        [_tensor(name, TensorProto.INT32, pair) for name in ("OUTPUT0", "OUTPUT1")],
    )


def identity(kind: str) -> onnx.ModelProto:
    """Gives back one tensor of a datatype."""
    return _model(
        [helper.make_node("Identity", ["INPUT0"], ["OUTPUT0"])],
        [_tensor("INPUT0", EVERY[kind], ["batch", "length"])],
        [_tensor("OUTPUT0", EVERY[kind], ["batch", "length"])],
    )


def logarithm() -> onnx.ModelProto:
    """The logarithm: not finite at 0, not a number below."""
    return _model(
        [helper.make_node("Log", ["x"], ["y"])],
        [_tensor("x", TensorProto.FLOAT, ["n"])],
        [_tensor("y", TensorProto.FLOAT, ["n"])],
    )


def pick() -> onnx.ModelProto:
    """Three numbers by index: fails on an index that is out of range."""
    numbers = helper.make_tensor("numbers", TensorProto.FLOAT, [3], [10.0, 20.0, 30.0])
    return _model(
        [helper.make_node("Gather", ["numbers", "index"], ["picked"])],
        [_tensor("index", TensorProto.INT64, ["n"])],
        [_tensor("picked", TensorProto.FLOAT, ["n"])],
        [numbers],
    )


def slow() -> onnx.ModelProto:
    """As slow as it is asked to be: `rounds` times the sines of 10,000 numbers."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["condition"], ["go_on"]),
            helper.make_node("Sin", ["state"], ["next"]),
        ],
        "round",
        [
            _tensor("round", TensorProto.INT64, []),
            _tensor("condition", TensorProto.BOOL, []),
            _tensor("state", TensorProto.FLOAT, [10_000]),
        ],
        [_tensor("go_on", TensorProto.BOOL, []), _tensor("next", TensorProto.FLOAT, [10_000])],
    )
    start = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    size = helper.make_tensor("size", TensorProto.INT64, [1], [10_000])
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [0])
    return _model(
        [
            helper.make_node("Expand", ["one", "size"], ["start"]),
            helper.make_node("Squeeze", ["rounds", "axes"], ["count"]),
            helper.make_node("Loop", ["count", "", "start"], ["end"], body=body),
            helper.make_node("ReduceMean", ["end"], ["mean"], axes=[0], keepdims=1),
        ],
        [_tensor("rounds", TensorProto.INT64, [1])],
        [_tensor("mean", TensorProto.FLOAT, [1])],
        [start, size, axes],
    )


def sequence() -> onnx.ModelProto:
    """Gives a sequence of tensors, which the protocol cannot carry."""
    return _model(
        [helper.make_node("SequenceConstruct", ["x"], ["y"])],
        [_tensor("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, ["n"])],
    )


def too_new() -> onnx.ModelProto:
    """Asks for an opset that no runtime has."""
    model = identity("FP32")
    model.opset_import[0].version = 999
    return model


def models() -> Iterator[tuple[str, bytes]]:
    """Every model file's name and content."""
    yield "simple.onnx", simple().SerializeToString(deterministic=True)
    for kind in EVERY:
        yield f"identity_{kind.lower()}.onnx", identity(kind).SerializeToString(deterministic=True)
    for make in (logarithm, pick, slow, sequence, too_new):
        yield f"{make.__name__}.onnx", make().SerializeToString(deterministic=True)


if __name__ == "__main__":
    MODELS.mkdir(exist_ok=True)
    for name, content in models():
        (MODELS / name).write_bytes(content)
