"""ONNX files of any size up to protobuf's limit, written without being held: with weights that no node reads."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from onnx import TensorProto

_NAME = b"large"
_BLOCK = 1 << 17


def write(model: bytes, path: Path, size: int, *, sparse: bool = False) -> None:
    """A model with weights of so many bytes added.

    Args:
        model: the ONNX file they are added to.
        path: the file to write.
        size: of the weights.
        sparse: whether they are zeros that take no room on disk; else no block of them is like another.
    """
    tensor = b"\x08" + _varint(size) + b"\x10" + _varint(TensorProto.UINT8) + _field(8, len(_NAME)) + _NAME
    tensor += _field(9, size)
    initializer = _field(5, len(tensor) + size)
    # A field that stands twice in a protobuf message is one, put together: the model's graph gets one more initializer.
    graph = _field(7, len(initializer) + len(tensor) + size)
    with path.open("wb") as file:
        file.write(model + graph + initializer + tensor)
        fill(file, size, sparse=sparse)


def fill(file: BinaryIO, size: int, *, sparse: bool) -> None:
    """End a file with so many bytes: zeros that take no room on disk, or blocks of which none is like another."""
    if sparse:
        file.truncate(file.tell() + size)
        return
    for number in range(0, size, _BLOCK):
        file.write((struct.pack("<Q", number) * (_BLOCK // 8))[: size - number])


def _field(number: int, size: int) -> bytes:
    return _varint(number << 3 | 2) + _varint(size)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
