"""An ONNX file without its weights: the graph is read into memory, large initializers stay where they are on disk.

An ONNX file is one protobuf message, and protobuf's own reader holds all of it at once, weights and all. Here the
message's fields are walked by their lengths (protobuf encoding; onnx.proto3), so that a model of 2 GB costs what its
graph does. Rules:

1. An initializer's `raw_data` stays on disk where it is at least `APART_BYTES` and as long as type and shape say. All
   else is kept as it stands: whoever reads the graph next finds what is wrong with it, in its own words.
2. A graph whose weights stay on disk can be checked (`checkable`), and run by ONNX Runtime, which maps the file
   (`referring`): both are models of their own, made when they are asked for.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import onnx

APART_BYTES = 1 << 20
"""Smaller weights are not worth a second look at the file."""
_GRAPH = 7
_INITIALIZER = 5
_RAW_DATA = 9
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VARINT_BYTES = 10
# Bytes of one element, by onnx.TensorProto.DataType; types packed two to a byte are left out and stay in the graph.
_WIDTHS = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 14: 8, 15: 16, 16: 2}


class NotProtobufError(ValueError):
    """The file's fields do not fit into one another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """Weights that stayed in the file.

    Attributes:
        index: of the initializer in the graph.
        offset: of its bytes in the file.
        size: in bytes.
    """

    index: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphFile:
    """A model's file, read.

    Attributes:
        path: the file.
        data: the model as protobuf, without what stays apart.
        apart: the weights it lacks.
    """

    path: Path
    data: bytes
    apart: tuple[Apart, ...]

    def checkable(self) -> onnx.ModelProto:
        """The model with nothing in place of weights that are elsewhere: the lengths of those are known to be right."""
        model = self._parsed()
        for one in self.apart:
            del model.graph.initializer[one.index].dims[:]
            model.graph.initializer[one.index].dims.append(0)
        return model

    def referring(self) -> bytes:
        """The model as protobuf, which names the file for weights that are elsewhere."""
        model = self._parsed()
        for one in self.apart:
            tensor = model.graph.initializer[one.index]
            tensor.data_location = tensor.EXTERNAL
            for key, value in (("location", self.path.name), ("offset", one.offset), ("length", one.size)):
                tensor.external_data.add(key=key, value=str(value))
        data: bytes = model.SerializeToString()
        return data

    def _parsed(self) -> onnx.ModelProto:
        import onnx

        model: onnx.ModelProto = onnx.ModelProto.FromString(self.data)
        return model


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """A field of a message: its number, where it begins, and where its value is."""

    number: int
    wire: int
    start: int
    value: int
    end: int


def read(path: Path) -> GraphFile:
    """The graph of an ONNX file.

    Raises:
        NotProtobufError: the file is no protobuf message, or is cut off.
        OSError: it cannot be read.
    """
    out, apart = io.BytesIO(), list[Apart]()
    with path.open("rb") as file:
        counted = 0
        for field in _fields(file, 0, path.stat().st_size):
            if field.number == _GRAPH and field.wire == _BYTES:
                graph, counted = _graph(file, field, counted, apart)
                _write(out, field.number, graph)
            else:
                out.write(_copy(file, field))
    return GraphFile(path=path, data=out.getvalue(), apart=tuple(apart))


def _graph(file: BinaryIO, whole: _Field, counted: int, apart: list[Apart]) -> tuple[bytes, int]:
    """A graph without large weights, and how many initializers there were up to its end."""
    out = io.BytesIO()
    for field in _fields(file, whole.value, whole.end):
        if field.number != _INITIALIZER or field.wire != _BYTES:
            out.write(_copy(file, field))
            continue
        found = _weights(file, field) if field.end - field.value >= APART_BYTES else None
        if found is None:
            out.write(_copy(file, field))
        else:
            rest, weights = found
            apart.append(Apart(index=counted, offset=weights.value, size=weights.end - weights.value))
            _write(out, field.number, rest)
        counted += 1
    return out.getvalue(), counted


def _weights(file: BinaryIO, whole: _Field) -> tuple[bytes, _Field] | None:
    """A tensor without its weights, and those; None where it must stay whole."""
    import onnx

    fields = list(_fields(file, whole.value, whole.end))
    weights = [field for field in fields if field.number == _RAW_DATA and field.wire == _BYTES]
    if len(weights) != 1 or weights[0].end - weights[0].value < APART_BYTES:
        return None
    rest = b"".join(_copy(file, field) for field in fields if field is not weights[0])
    tensor = onnx.TensorProto.FromString(rest)
    expected = _WIDTHS.get(tensor.data_type, 0) * math.prod(tensor.dims)
    if expected != weights[0].end - weights[0].value or tensor.data_location != tensor.DEFAULT:
        return None
    return rest, weights[0]


def _fields(file: BinaryIO, start: int, end: int) -> Iterator[_Field]:
    place = start
    while place < end:
        file.seek(place)
        key, value = _varint(file, place)
        wire = key & 7
        if wire == _BYTES:
            size, value = _varint(file, value)
        elif wire == _VARINT:
            size = _varint(file, value)[1] - value
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise NotProtobufError(f"a field of kind {wire} at {place}")
        if value + size > end or not key >> 3:
            raise NotProtobufError(f"a field at {place} leads out of what holds it")
        yield _Field(number=key >> 3, wire=wire, start=place, value=value, end=value + size)
        place = value + size


def _varint(file: BinaryIO, place: int) -> tuple[int, int]:
    """A number at the file's position, which is `place`, and the place after it."""
    found = 0
    for index in range(_VARINT_BYTES):
        byte = file.read(1)
        if not byte:
            break
        found |= (byte[0] & 0x7F) << (7 * index)
        if byte[0] < 0x80:
            return found, place + index + 1
    raise NotProtobufError(f"a number at {place} has no end")


def _copy(file: BinaryIO, field: _Field) -> bytes:
    file.seek(field.start)
    return file.read(field.end - field.start)


def _write(out: io.BytesIO, number: int, value: bytes) -> None:
    for word in (number << 3 | _BYTES, len(value)):
        left = word
        while left >= 0x80:
            out.write(bytes([left & 0x7F | 0x80]))
            left >>= 7
        out.write(bytes([left]))
    out.write(value)
