"""The protocol's datatypes and how each is held in memory and on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Datatype:
    """One datatype.

    Attributes:
        name: the protocol's word.
        dtype: NumPy's, little-endian as the binary extension asks; strings are objects.
        size: bytes for each element on the wire; 0 for BYTES, whose elements carry their length.
        typecode: of the `array` module, whose constructor checks type and range as it packs; None where it has none.
        is_float: whether its values are floating point.
    """

    name: str
    dtype: np.dtype[Any]
    size: int
    typecode: str | None = None
    is_float: bool = False


def _numeric(name: str, dtype: str, typecode: str | None = None) -> Datatype:
    kind = np.dtype(dtype)
    return Datatype(name=name, dtype=kind, size=kind.itemsize, typecode=typecode, is_float=kind.kind == "f")


DATATYPES = {
    datatype.name: datatype
    for datatype in (
        _numeric("BOOL", "|b1"),
        _numeric("UINT8", "|u1", "B"),
        _numeric("UINT16", "<u2", "H"),
        _numeric("UINT32", "<u4", "I"),
        _numeric("UINT64", "<u8", "Q"),
        _numeric("INT8", "|i1", "b"),
        _numeric("INT16", "<i2", "h"),
        _numeric("INT32", "<i4", "i"),
        _numeric("INT64", "<i8", "q"),
        _numeric("FP16", "<f2"),
        _numeric("FP32", "<f4", "f"),
        _numeric("FP64", "<f8", "d"),
        Datatype(name="BYTES", dtype=np.dtype(object), size=0),
    )
}
"""By the protocol's name."""

BYTES = DATATYPES["BYTES"]
BOOL = DATATYPES["BOOL"]
FP16 = DATATYPES["FP16"]
