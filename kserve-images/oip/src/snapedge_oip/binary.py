"""The binary tensor extension: raw tensors behind the JSON.

All numbers are little-endian, a BOOL is one byte, a BYTES element is its length in four bytes and then itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .datatypes import BOOL, BYTES, Array, Datatype
from .errors import RequestError

LENGTH_BYTES = 4

_COPIED = 16 * 1024


def from_bytes(name: str, datatype: Datatype, shape: list[int], count: int, raw: memoryview) -> Array:
    """The array in raw bytes, without a copy where alignment allows.

    Raises:
        RequestError: the bytes are not what the shape and the datatype say.
    """
    if datatype is BYTES:
        return _strings(name, count, raw).reshape(shape)
    if len(raw) != count * datatype.size:
        raise RequestError(
            f"input '{name}': {len(raw)} bytes of binary data, {datatype.name} of shape {shape[:16]} "
            f"has {count * datatype.size}"
        )
    values: Array = np.frombuffer(raw, dtype=datatype.dtype)
    if datatype is BOOL and values.size and values.view(np.uint8).max() > 1:
        raise RequestError(f"input '{name}': a BOOL byte is neither 0 nor 1")
    if not values.flags.aligned:
        values = values.copy()
    return values.reshape(shape)


def to_bytes(values: Array) -> bytes | memoryview:
    """An array as raw bytes; of numbers that lie as they travel, these themselves."""
    if values.dtype != BYTES.dtype:
        # A view costs more than a copy of a few numbers, and an empty one cannot be cast.
        if values.nbytes > _COPIED and values.flags.c_contiguous:
            return values.reshape(-1).view(np.uint8).data
        return values.tobytes()
    pieces: list[bytes] = []
    for item in values.ravel().tolist():
        element = item if isinstance(item, bytes) else str(item).encode()
        pieces.append(len(element).to_bytes(LENGTH_BYTES, "little"))
        pieces.append(element)
    return b"".join(pieces)


def _strings(name: str, count: int, raw: memoryview) -> Array:
    # Each element takes four bytes at least, so a huge count in the shape is refused before anything is allocated.
    elements: list[Any] = []
    offset, end = 0, len(raw)
    while offset < end:
        start = offset + LENGTH_BYTES
        offset = start + int.from_bytes(raw[offset:start], "little")
        if start > end or offset > end:
            raise RequestError(f"input '{name}': a BYTES element reaches over the end of the binary data")
        elements.append(bytes(raw[start:offset]))
    if len(elements) != count:
        raise RequestError(f"input '{name}': binary data has {len(elements)} elements, the shape has {count}")
    values = np.empty(count, dtype=object)
    values[:] = elements
    return values
