"""gRPC's messages to arrays and back. The only module, beside `rpc`, that needs protobuf.

Rules:

1. Inputs are all raw or all contents; there are as many raw ones as inputs.
2. FP16 comes raw only. Small integers come in the next wider contents field and must fit their datatype.
3. Outputs leave raw, as Triton's do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import binary
from .control import JsonObject
from .datatypes import BYTES, Array, Datatype
from .errors import RequestError
from .proto import open_inference_pb2 as messages
from .requests import NO_SHARED_MEMORY, InferRequest
from .signature import Signature, TensorSpec

_FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def parse(signature: Signature, message: messages.ModelInferRequest) -> InferRequest:
    """The request in a message.

    Raises:
        RequestError: it breaks a rule above, or does not fit the model.
    """
    for tensor in message.inputs:
        if "shared_memory_region" in tensor.parameters:
            raise RequestError(f"input {tensor.name[:120]!r}: {NO_SHARED_MEMORY}")
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise RequestError(f"there are {len(raw)} raw_input_contents for {len(message.inputs)} inputs")
    arrays: dict[str, Array] = {}
    for position, tensor in enumerate(message.inputs):
        spec = signature.input_named.get(tensor.name)
        if spec is None:
            raise RequestError(f"input {tensor.name[:120]!r}: the model has {_names(signature.input_named)}")
        if spec.name in arrays:
            raise RequestError(f"input '{spec.name}': given twice")
        shape, count = spec.check(tensor.datatype, list(tensor.shape))
        if not raw:
            arrays[spec.name] = _from_contents(spec, tensor.contents, shape, count)
        elif tensor.HasField("contents"):
            raise RequestError(f"input '{spec.name}': has both contents and raw_input_contents")
        else:
            arrays[spec.name] = binary.from_bytes(spec.name, spec.datatype, shape, count, memoryview(raw[position]))
    for spec in signature.inputs:
        if spec.name not in arrays:
            raise RequestError(f"input '{spec.name}': is not in the request")
    specs = _outputs(signature, message)
    return InferRequest(message.id or None, arrays, specs, (True,) * len(specs))


def _outputs(signature: Signature, message: messages.ModelInferRequest) -> tuple[TensorSpec, ...]:
    outputs: dict[str, TensorSpec] = {}
    for wanted in message.outputs:
        output = signature.output_named.get(wanted.name)
        if output is None:
            raise RequestError(f"output {wanted.name[:120]!r}: the model has {_names(signature.output_named)}")
        if output.name in outputs:
            raise RequestError(f"output '{output.name}': asked for twice")
        if "classification" in wanted.parameters:
            raise RequestError(f"output '{output.name}': the classification extension is not served")
        if "shared_memory_region" in wanted.parameters:
            raise RequestError(f"output '{output.name}': {NO_SHARED_MEMORY}")
        outputs[output.name] = output
    return tuple(outputs.values()) or signature.outputs


def answer(name: str, version: str, request: InferRequest, arrays: Sequence[Array]) -> messages.ModelInferResponse:
    """The message with a request's outputs."""
    response = messages.ModelInferResponse(model_name=name, model_version=version, id=request.id or "")
    for spec, values in zip(request.outputs, arrays, strict=True):
        response.outputs.add(name=spec.name, datatype=spec.datatype.name, shape=values.shape)
        response.raw_output_contents.append(bytes(binary.to_bytes(values)))
    return response


def metadata(found: JsonObject) -> messages.ModelMetadataResponse:
    """Model metadata as a message."""
    tensor = messages.ModelMetadataResponse.TensorMetadata
    return messages.ModelMetadataResponse(
        name=found["name"],
        versions=found["versions"],
        platform=found["platform"],
        inputs=[tensor(**fields) for fields in found["inputs"]],
        outputs=[tensor(**fields) for fields in found["outputs"]],
        properties=found["properties"],
    )


def statistics(found: JsonObject) -> messages.ModelStatisticsResponse:
    """Statistics as a message."""
    duration = messages.StatisticDuration
    return messages.ModelStatisticsResponse(
        model_stats=[
            messages.ModelStatistics(
                **fields
                | {
                    "inference_stats": messages.InferStatistics(
                        **{key: duration(**value) for key, value in fields["inference_stats"].items()}
                    ),
                    "batch_stats": [
                        messages.InferBatchStatistics(
                            batch_size=batch["batch_size"], compute_infer=duration(**batch["compute_infer"])
                        )
                        for batch in fields["batch_stats"]
                    ],
                }
            )
            for fields in found["model_stats"]
        ]
    )


def _from_contents(spec: TensorSpec, contents: messages.InferTensorContents, shape: list[int], count: int) -> Array:
    field = _FIELDS.get(spec.datatype.name)
    if field is None:
        raise RequestError(f"input '{spec.name}': {spec.datatype.name} comes in raw_input_contents only")
    given = getattr(contents, field)
    if len(given) != count:
        raise RequestError(f"input '{spec.name}': {field} has {len(given)} elements, shape {shape[:16]} has {count}")
    if spec.datatype is BYTES:
        values = np.empty(count, dtype=object)
        values[:] = list(given)
        return values.reshape(shape)
    return _in_range(spec, spec.datatype, list(given)).reshape(shape)


def _in_range(spec: TensorSpec, datatype: Datatype, given: list[float]) -> Array:
    if datatype.dtype.kind in "iu" and datatype.size < 4 and given:
        bounds = np.iinfo(datatype.dtype)
        if min(given) < bounds.min or max(given) > bounds.max:
            raise RequestError(f"input '{spec.name}': a number is out of range for {datatype.name}")
    return np.array(given, dtype=datatype.dtype)


def _names(specs: dict[str, TensorSpec]) -> str:
    return ", ".join(f"'{name}'" for name in list(specs)[:16])
