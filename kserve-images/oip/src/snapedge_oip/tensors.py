"""Tensors as JSON carries them.

Rules:

1. Data may be flat or nested, row-major. Nested lists are even, and not deeper than the shape.
2. Numbers are numbers: no strings, no booleans, no fractions for integers, nothing out of an integer's range.
3. JSON has no NaN and no infinities. `null` stands for NaN, "Infinity" and "-Infinity" for the infinities, both ways.
4. BOOL is true or false; BYTES are strings in UTF-8; FP16 does not travel as JSON.
"""

from __future__ import annotations

from array import array
from itertools import chain
from typing import Any

import numpy as np
import orjson

from .datatypes import BOOL, BYTES, FP16, Array, Datatype
from .errors import RequestError

_NOT_FINITE = {None: float("nan"), "NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def from_json(
    name: str, datatype: Datatype, shape: list[int], count: int, data: object, *, booleans: bool = True
) -> Array:
    """The array of a tensor's `data`.

    Args:
        name: of the input, for the message.
        datatype: what it must hold.
        shape: what it must fill; already checked.
        count: the product of `shape`.
        data: what JSON held.
        booleans: False where the document is known to hold none, which saves looking at each element.

    Raises:
        RequestError: the data breaks a rule above.
    """
    if type(data) is not list:
        raise RequestError(f"input '{name}': data must be a list")
    if data and type(data[0]) is list:
        data = _flattened(name, len(shape), data)
    if len(data) != count:
        raise RequestError(f"input '{name}': data has {len(data)} elements, shape {shape[:16]} has {count}")
    if datatype.typecode is not None:
        if not booleans:
            try:
                return np.ndarray(shape, datatype.dtype, array(datatype.typecode, data))
            except (TypeError, OverflowError, ValueError):
                pass  # Rare, and said properly below.
        return _numbers(name, datatype, data, booleans).reshape(shape)
    if datatype is FP16:
        raise RequestError(f"input '{name}': FP16 does not travel as JSON; send it as binary data")
    wanted = bool if datatype is BOOL else str
    if any(type(item) is not wanted for item in data):
        raise RequestError(f"input '{name}': data must hold {'true and false' if datatype is BOOL else 'strings'} only")
    return np.array(data, dtype=datatype.dtype).reshape(shape)


def to_json(values: Array) -> list[Any]:
    """The flat `data` of an array whose numbers need the words of rule 3, or that holds strings.

    Raises:
        RequestError: a string is not UTF-8, which only binary data can carry.
    """
    if values.dtype == BYTES.dtype:
        try:
            return [item.decode() if isinstance(item, bytes) else str(item) for item in values.ravel().tolist()]
        except UnicodeDecodeError:
            raise RequestError("an output is not UTF-8 and cannot travel as JSON; ask for binary data") from None
    flat: list[Any] = orjson.loads(orjson.dumps(values.ravel(), option=orjson.OPT_SERIALIZE_NUMPY))
    for index in np.flatnonzero(np.isinf(values.ravel())).tolist():
        flat[index] = "Infinity" if values.flat[index] > 0 else "-Infinity"
    return flat


def _numbers(name: str, datatype: Datatype, data: list[Any], booleans: bool) -> Array:
    if booleans and bool in set(map(type, data)):
        raise RequestError(f"input '{name}': data must hold numbers only")
    try:
        return np.frombuffer(array(datatype.typecode or "", data), dtype=datatype.dtype)
    except OverflowError:
        raise RequestError(f"input '{name}': a number is out of range for {datatype.name}") from None
    except TypeError:
        return _numbers_in_words(name, datatype, data)


def _numbers_in_words(name: str, datatype: Datatype, data: list[Any]) -> Array:
    """Numbers among which the words of rule 3 may stand."""
    what = "numbers" if datatype.is_float else "whole numbers"
    if not datatype.is_float or any(type(item) in (list, dict) for item in data):
        raise RequestError(f"input '{name}': data must hold {what} only")
    try:
        plain = [item if isinstance(item, float | int) else _NOT_FINITE[item] for item in data]
        return np.frombuffer(array(datatype.typecode or "", plain), dtype=datatype.dtype)
    except (KeyError, OverflowError):
        raise RequestError(f"input '{name}': data must hold {what} only") from None


def _flattened(name: str, rank: int, data: list[Any]) -> list[Any]:
    while data and type(data[0]) is list:
        rank -= 1
        if rank < 1:
            raise RequestError(f"input '{name}': data is nested deeper than its shape")
        width = len(data[0])
        if any(type(row) is not list or len(row) != width for row in data):
            raise RequestError(f"input '{name}': data is nested unevenly")
        data = list(chain.from_iterable(data))
    return data
