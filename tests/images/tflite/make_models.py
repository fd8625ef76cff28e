"""Small TensorFlow Lite models, each there for one behaviour; the format's schema comes with ai-edge-litert."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

TYPES = schema.TensorType
OPERATORS = schema.BuiltinOperator


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorOf:
    """One tensor of a model, of which it has nothing but these."""

    name: str
    kind: int
    shape: tuple[int, ...]
    scale: float | None = None
    zero_point: int = 0


def model(
    operator: int,
    inputs: list[TensorOf],
    outputs: list[TensorOf],
    *,
    signatures: tuple[str, ...] = ("serving_default",),
    options: tuple[int, Any] = (0, None),
    custom: str | None = None,
) -> bytes:
    """A model of one operator; its signature gives the inputs the names `in_0`, `in_1`, … and the outputs `out_0`, …"""
    graph = schema.SubGraphT()
    graph.tensors = [_tensor(item) for item in (*inputs, *outputs)]
    graph.inputs = list(range(len(inputs)))
    graph.outputs = list(range(len(inputs), len(graph.tensors)))
    node = schema.OperatorT()
    node.opcodeIndex = 0
    node.inputs, node.outputs = graph.inputs, graph.outputs
    node.builtinOptionsType, node.builtinOptions = options
    graph.operators = [node]
    code = schema.OperatorCodeT()
    code.builtinCode = operator
    code.deprecatedBuiltinCode = min(operator, 127)
    code.customCode = custom
    code.version = 1
    whole = schema.ModelT()
    whole.version = 3
    whole.operatorCodes = [code]
    whole.subgraphs = [graph]
    whole.buffers = [schema.BufferT()]
    whole.signatureDefs = [_signature(key, graph) for key in signatures]
    builder = flatbuffers.Builder(1024)
    builder.Finish(whole.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def adder(kind: int = TYPES.FLOAT32, *, signatures: tuple[str, ...] = ("serving_default",), rows: int = -1) -> bytes:
    """Adds two tensors of two columns."""
    pair = [TensorOf(name=f"tensor_{letter}", kind=kind, shape=(rows, 2)) for letter in "ab"]
    total = TensorOf(name="total", kind=kind, shape=(rows, 2))
    options = (schema.BuiltinOptions.AddOptions, schema.AddOptionsT())
    return model(OPERATORS.ADD, pair, [total], signatures=signatures, options=options)


def quantized() -> bytes:
    """Adds int8 numbers that stand for steps of a half from zero point 1."""
    pair = [
        TensorOf(name=f"tensor_{letter}", kind=TYPES.INT8, shape=(-1, 2), scale=0.5, zero_point=1) for letter in "ab"
    ]
    total = TensorOf(name="total", kind=TYPES.INT8, shape=(-1, 2), scale=0.5, zero_point=1)
    options = (schema.BuiltinOptions.AddOptions, schema.AddOptionsT())
    return model(OPERATORS.ADD, pair, [total], options=options)


def unknown_operator() -> bytes:
    """Asks for an operator of somebody's own."""
    one = TensorOf(name="x", kind=TYPES.FLOAT32, shape=(1,))
    return model(OPERATORS.CUSTOM, [one], [TensorOf(name="y", kind=TYPES.FLOAT32, shape=(1,))], custom="TheirOwn")


def complex_numbers() -> bytes:
    """Takes what the protocol has no word for."""
    return model(
        OPERATORS.REAL,
        [TensorOf(name="x", kind=TYPES.COMPLEX64, shape=(2,))],
        [TensorOf(name="y", kind=TYPES.FLOAT32, shape=(2,))],
    )


def _tensor(item: TensorOf) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.buffer, tensor.hasRank = item.name, item.kind, 0, True
    tensor.shape = [abs(size) for size in item.shape]
    tensor.shapeSignature = list(item.shape) if -1 in item.shape else None
    if item.scale is not None:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [item.scale], [item.zero_point]
    return tensor


def _signature(key: str, graph: Any) -> Any:
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = key, 0
    signature.inputs = [_entry(f"in_{place}", index) for place, index in enumerate(graph.inputs)]
    signature.outputs = [_entry(f"out_{place}", index) for place, index in enumerate(graph.outputs)]
    return signature


def _entry(name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry
