"""An infer request: bytes in, arrays out, checked against the model's signature.

Rules:

1. Every input of the model stands once; nothing else stands. Datatype, rank and dimensions are the model's.
2. Without `Inference-Header-Content-Length` the body is JSON. With it, so many bytes are JSON, and the raw tensors
   follow in the order of the inputs that have `binary_data_size`; no byte is left over.
3. A header length of 0 is a raw binary request: the body is the one input, in a batch of one, and all outputs come
   back binary.
4. Unknown keys are let be, as the protocol's extensions need; known keys must have their type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import orjson

from . import binary, tensors
from .datatypes import BYTES, Array
from .errors import RequestError
from .signature import Signature, TensorSpec

NO_SHARED_MEMORY = "tensors in shared memory are not served"
"""A pod and its clients share none."""

_NOTHING = memoryview(b"")


class InferRequest(NamedTuple):
    """A request that fits the model. A NamedTuple, because it is made for every request.

    Attributes:
        id: to be echoed; None where none was given.
        inputs: by name.
        outputs: the wanted ones, in the order wanted.
        binary: for each of them, whether it goes back as binary data.
    """

    id: str | None
    inputs: dict[str, Array]
    outputs: tuple[TensorSpec, ...]
    binary: tuple[bool, ...]


def parse(signature: Signature, body: bytes | memoryview, header_length: int | None) -> InferRequest:
    """The request in a body.

    Args:
        signature: of the model it is for.
        body: without content encoding.
        header_length: `Inference-Header-Content-Length`, None where the header is absent.

    Raises:
        RequestError: it breaks a rule above.
    """
    if header_length == 0:
        return _raw(signature, body)
    tail = _NOTHING
    if header_length is None:
        text = body if type(body) is bytes else bytes(body)
    else:
        if header_length > len(body):
            raise RequestError(f"Inference-Header-Content-Length is {header_length}, the body has {len(body)} bytes")
        view = memoryview(body)
        text, tail = bytes(view[:header_length]), view[header_length:]
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"the body is not JSON: {error}") from None
    if type(document) is not dict:
        raise RequestError("the body must be a JSON object")
    request_id = document.get("id")
    if request_id is not None and type(request_id) is not str:
        raise RequestError("id must be a string")
    booleans = b"true" in text or b"false" in text
    inputs = _inputs(signature, document.get("inputs"), tail, booleans)
    default = False
    if "parameters" in document:
        default = _flag(_parameters(document, "the request"), "binary_data_output", False)
    wanted = document.get("outputs")
    if not wanted:
        if wanted is not None and type(wanted) is not list:
            raise RequestError("outputs must be a list")
        return InferRequest(request_id, inputs, signature.outputs, signature.every[default])
    specs, flags = _outputs(signature, wanted, default)
    return InferRequest(request_id, inputs, specs, flags)


def _inputs(signature: Signature, given: object, tail: memoryview, booleans: bool) -> dict[str, Array]:
    if type(given) is not list or not given:
        raise RequestError("inputs must be a list with at least one tensor")
    arrays: dict[str, Array] = {}
    named = signature.input_named
    offset = 0
    for tensor in given:
        if type(tensor) is not dict:
            raise RequestError("each of inputs must be an object")
        name = tensor.get("name")
        spec = named.get(name) if type(name) is str else None
        if spec is None:
            raise RequestError(f"input {_shown(name)}: the model has {_names(named)}")
        name = spec.name
        if name in arrays:
            raise RequestError(f"input '{name}': given twice")
        if tail is _NOTHING and "parameters" not in tensor and "data" in tensor:
            # What nearly every request is: plain JSON.
            shape, count = spec.check(tensor.get("datatype"), tensor.get("shape"))
            arrays[name] = tensors.from_json(name, spec.datatype, shape, count, tensor["data"], booleans=booleans)
            continue
        arrays[name], size = _input(spec, tensor, tail[offset:] if offset else tail, booleans)
        offset += size
    if len(arrays) != len(named):
        missing = [spec.name for spec in signature.inputs if spec.name not in arrays]
        raise RequestError(f"input '{missing[0]}': is not in the request")
    if offset != len(tail):
        raise RequestError(f"{len(tail) - offset} bytes of binary data belong to no input")
    return arrays


def _input(spec: TensorSpec, tensor: dict[str, Any], tail: memoryview, booleans: bool) -> tuple[Array, int]:
    """An input's array and how many bytes of binary data it took."""
    name = spec.name
    shape, count = spec.check(tensor.get("datatype"), tensor.get("shape"))
    size = None
    if "parameters" in tensor:
        parameters = _parameters(tensor, f"input '{name}'")
        size = parameters.get("binary_data_size")
        if "shared_memory_region" in parameters:
            raise RequestError(f"input '{name}': {NO_SHARED_MEMORY}")
    if size is None:
        if "data" not in tensor:
            raise RequestError(f"input '{name}': has neither data nor binary_data_size")
        return tensors.from_json(name, spec.datatype, shape, count, tensor["data"], booleans=booleans), 0
    if type(size) is not int or not 0 <= size <= len(tail):
        raise RequestError(f"input '{name}': binary_data_size is {_shown(size)}, {len(tail)} bytes are left")
    if "data" in tensor:
        raise RequestError(f"input '{name}': has both data and binary_data_size")
    return binary.from_bytes(name, spec.datatype, shape, count, tail[:size]), size


def _outputs(signature: Signature, wanted: object, default: bool) -> tuple[tuple[TensorSpec, ...], tuple[bool, ...]]:
    if type(wanted) is not list:
        raise RequestError("outputs must be a list")
    specs: dict[str, TensorSpec] = {}
    flags: list[bool] = []
    for output in wanted:
        if type(output) is not dict:
            raise RequestError("each of outputs must be an object")
        name = output.get("name")
        spec = signature.output_named.get(name) if type(name) is str else None
        if spec is None:
            raise RequestError(f"output {_shown(name)}: the model has {_names(signature.output_named)}")
        if name in specs:
            raise RequestError(f"output '{name}': asked for twice")
        parameters = _parameters(output, f"output '{name}'")
        if parameters.get("classification"):
            raise RequestError(f"output '{name}': the classification extension is not served")
        if "shared_memory_region" in parameters:
            raise RequestError(f"output '{name}': {NO_SHARED_MEMORY}")
        specs[spec.name] = spec
        flags.append(_flag(parameters, "binary_data", default))
    return tuple(specs.values()), tuple(flags)


def _raw(signature: Signature, body: bytes | memoryview) -> InferRequest:
    if len(signature.inputs) != 1:
        raise RequestError(f"a raw binary request has one input, the model takes {len(signature.inputs)}")
    spec = signature.inputs[0]
    shape = list(spec.shape)
    if shape and shape[0] == -1:
        shape[0] = 1
    outputs = signature.outputs
    flags = (True,) * len(outputs)
    if spec.datatype is BYTES:
        shape = [1 if size == -1 else size for size in shape]
        if any(size != 1 for size in shape):
            raise RequestError(f"input '{spec.name}': a raw binary request carries one string, the model takes {shape}")
        element = np.empty(1, dtype=object)
        element[0] = bytes(body)
        return InferRequest(None, {spec.name: element.reshape(shape)}, outputs, flags)
    if len(shape) == 1 and spec.shape[0] == -1:
        # The only dimension is free, so there is no batch to be one of: the body says how many.
        shape[0] = -1
    if shape.count(-1) > 1:
        raise RequestError(f"input '{spec.name}': shape {shape} does not follow from the size of a raw binary request")
    fixed = spec.datatype.size
    for size in shape:
        fixed *= 1 if size == -1 else size
    if -1 in shape:
        if not fixed or len(body) % fixed:
            raise RequestError(f"input '{spec.name}': {len(body)} bytes are no multiple of {fixed}")
        shape[shape.index(-1)] = len(body) // fixed
    count = 1
    for size in shape:
        count *= size
    values = binary.from_bytes(spec.name, spec.datatype, shape, count, memoryview(body))
    return InferRequest(None, {spec.name: values}, outputs, flags)


def _parameters(owner: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    parameters = owner.get("parameters")
    if parameters is None:
        return {}
    if type(parameters) is not dict:
        raise RequestError(f"{what}: parameters must be an object")
    return parameters


def _flag(parameters: Mapping[str, Any], key: str, default: bool) -> bool:
    value = parameters.get(key, default)
    if type(value) is not bool:
        raise RequestError(f"parameter {key} must be true or false")
    return value


def _shown(value: object) -> str:
    """A foreign value, short enough for a message."""
    return repr(value)[:120]


def _names(specs: Mapping[str, TensorSpec]) -> str:
    return ", ".join(f"'{name}'" for name in list(specs)[:16])
