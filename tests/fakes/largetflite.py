"""TensorFlow Lite files of any size up to a FlatBuffer's limit, written without being held: a constant, an operator."""

from __future__ import annotations

from pathlib import Path

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from . import largemodel

WIDTH = 256
"""Numbers in a row of the constant."""
_FLOAT32, _INT32 = schema.TensorType.FLOAT32, schema.TensorType.INT32
_OPERATORS, _OPTIONS = schema.BuiltinOperator, schema.BuiltinOptions
_ALIGNMENT = 16


class _LastBuffer(schema.BufferT):  # type: ignore[misc]  # generated, without types
    """A buffer whose bytes end the file."""

    place: int

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802  # the schema's word
        """The table that refers to them."""
        schema.BufferStart(builder)
        schema.BufferAddData(builder, self.place)
        return int(schema.BufferEnd(builder))


def write_lookup(path: Path, rows: int, *, sparse: bool = False) -> None:
    """A model that gives the rows of a table that are asked for: `row` in, `vector` out. Row 0 is zeros.

    Args:
        path: the file to write.
        rows: of the table, of 1 KiB each.
        sparse: whether all of it is zeros that take no room on disk; else no block of it is like another.
    """
    tensors = [
        _tensor("row", _INT32, [-1]),
        _tensor("table", _FLOAT32, [rows, WIDTH], 1),
        _tensor("vector", _FLOAT32, [-1, WIDTH]),
    ]
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [1, 0], [2]
    operator.builtinOptionsType, operator.builtinOptions = _OPTIONS.GatherOptions, schema.GatherOptionsT()
    _write(path, tensors, operator, _OPERATORS.GATHER, rows, sparse=sparse)


def write_dense(path: Path, rows: int) -> None:
    """A fully connected layer, sparse: `x` in, one number for each row of weights out as `y`. All are zeros.

    Args:
        path: the file to write.
        rows: of the weights, of 1 KiB each.
    """
    tensors = [
        _tensor("x", _FLOAT32, [-1, WIDTH]),
        _tensor("weights", _FLOAT32, [rows, WIDTH], 1),
        _tensor("y", _FLOAT32, [-1, rows]),
    ]
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [0, 1, -1], [2]
    operator.builtinOptionsType = _OPTIONS.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    _write(path, tensors, operator, _OPERATORS.FULLY_CONNECTED, rows, sparse=True)


def _tensor(name: str, kind: int, shape: list[int], buffer: int = 0) -> schema.TensorT:
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.buffer, tensor.hasRank = name, kind, buffer, True
    tensor.shape = [abs(size) for size in shape]
    tensor.shapeSignature = shape if -1 in shape else None
    return tensor


def _write(
    path: Path, tensors: list[schema.TensorT], operator: schema.OperatorT, code: int, rows: int, *, sparse: bool
) -> None:
    graph = schema.SubGraphT()
    graph.tensors, graph.operators = tensors, [operator]
    graph.inputs, graph.outputs = [0], [2]
    known = schema.OperatorCodeT()
    known.builtinCode = known.deprecatedBuiltinCode = code
    known.version = 1
    weights = _LastBuffer()
    model = schema.ModelT()
    model.version = 3
    model.subgraphs, model.operatorCodes = [graph], [known]
    model.buffers = [schema.BufferT(), weights]  # the first is empty by the format's rules
    # A FlatBuffer is built from its end: what is made first comes last, and can be made longer when all else is there.
    builder = flatbuffers.Builder(1024)
    builder.StartVector(1, _ALIGNMENT, _ALIGNMENT)
    for _ in range(_ALIGNMENT):
        builder.PrependByte(0)
    weights.place = builder.EndVector()
    builder.Finish(model.Pack(builder), b"TFL3")
    head = bytes(builder.Output())[: -_ALIGNMENT - 4]
    size = rows * WIDTH * 4
    with path.open("wb") as file:
        file.write(head + size.to_bytes(4, "little"))
        largemodel.fill(file, size, sparse=sparse)
