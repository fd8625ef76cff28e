"""The V1 protocol's predict call: `instances` or `inputs` in, `predictions` out.

Rules:

1. `instances` is a list of rows. For a model with one input a row is its value, and an object `{"<input>": value}` says
   the same; for a model with several, rows are objects with every input.
2. `inputs` is columnar where it is an object, `{"<input>": rows}`; else it means what `instances` means, as in KServe.
3. A prediction is a row of the only output, or an object of rows where there are several. Where an output has no batch
   dimension of the same length, its whole value stands under its name once.
4. The shape is what the nesting says; everything else is checked as in V2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from . import tensors
from .datatypes import BYTES, Array
from .errors import RequestError
from .requests import InferRequest
from .signature import Signature, TensorSpec

_DEPTH = 32


def parse(signature: Signature, body: bytes | memoryview) -> InferRequest:
    """The request in a V1 body.

    Raises:
        RequestError: it breaks a rule above, or does not fit the model.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"the body is not JSON: {error}") from None
    if type(document) is not dict:
        raise RequestError("the body must be a JSON object")
    given = [key for key in ("instances", "inputs") if key in document]
    if len(given) != 1:
        raise RequestError("the body must have either instances or inputs")
    columns = _columns(signature, given[0], document[given[0]])
    return InferRequest(
        None,
        {spec.name: _array(spec, columns[spec.name]) for spec in signature.inputs},
        signature.outputs,
        signature.every[False],
    )


def encode(request: InferRequest, arrays: Sequence[Array]) -> bytes:
    """The V1 answer with a request's outputs.

    Raises:
        RequestError: an output cannot travel as JSON.
    """
    values = {spec.name: _nested(array) for spec, array in zip(request.outputs, arrays, strict=True)}
    if len(values) == 1:
        return orjson.dumps({"predictions": next(iter(values.values()))})
    lengths = {len(value) if isinstance(value, list) else None for value in values.values()}
    if len(lengths) > 1 or None in lengths:
        return orjson.dumps({"predictions": values})
    rows = zip(*values.values(), strict=True)
    return orjson.dumps({"predictions": [dict(zip(values, row, strict=True)) for row in rows]})


def _columns(signature: Signature, key: str, given: object) -> dict[str, object]:
    named = signature.input_named
    if key == "inputs" and type(given) is dict:
        columns: dict[str, object] = given
    elif type(given) is not list or not given:
        raise RequestError(f"{key} must be a list that is not empty")
    elif type(given[0]) is dict:
        if any(type(row) is not dict or row.keys() != given[0].keys() for row in given):
            raise RequestError(f"{key}: every row must be an object of the same inputs")
        columns = {name: [row[name] for row in given] for name in given[0]}
    elif len(named) == 1:
        columns = {next(iter(named)): given}
    else:
        names = ", ".join(f"'{name}'" for name in named)
        raise RequestError(f"{key}: the model has several inputs, each row must be an object of {names}")
    for name in columns:
        if name not in named:
            raise RequestError(f"input {name[:120]!r}: the model has {', '.join(map(repr, named))}")
    for name in named:
        if name not in columns:
            raise RequestError(f"input '{name}': is not in the request")
    return columns


def _array(spec: TensorSpec, value: object) -> Array:
    shape: list[int] = []
    inner = value
    while type(inner) is list:
        shape.append(len(inner))
        if len(shape) > _DEPTH:
            raise RequestError(f"input '{spec.name}': data is nested deeper than its shape")
        if not inner:
            break
        inner = inner[0]
    if not shape:
        raise RequestError(f"input '{spec.name}': data must be a list")
    shape, count = spec.check(spec.datatype.name, shape)
    return tensors.from_json(spec.name, spec.datatype, shape, count, value)


def _nested(values: Array) -> Any:
    """An array as nested lists, its numbers in JSON's words."""
    flat = values.ravel()
    plain: Any = tensors.to_json(values) if values.dtype == BYTES.dtype else tensors.to_json(flat)
    if values.ndim == 0:
        return plain[0]
    for size in reversed(values.shape[1:]):
        plain = [plain[start : start + size] for start in range(0, len(plain), size)] if size else plain
    return plain
