"""Answers: the body and what of the head depends on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from . import binary, tensors
from .datatypes import BYTES, Array
from .requests import InferRequest

JSON = b"application/json"
OCTETS = b"application/octet-stream"

_NUMPY = orjson.OPT_SERIALIZE_NUMPY


class Response(NamedTuple):
    """One answer. A NamedTuple, because it is made for every request.

    Attributes:
        status: HTTP's.
        body: whole.
        content_type: of the body.
        headers: further headers, as on the wire.
    """

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


def document(content: object, status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Response:
    """A JSON answer."""
    return Response(status, orjson.dumps(content), JSON, headers)


def failure(message: str, status: int, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Response:
    """The protocol's error object."""
    return Response(status, orjson.dumps({"error": message}), JSON, headers)


class Encoder:
    """Makes a model's infer responses; what is the same in each of them is written once."""

    __slots__ = ("_heads", "_name", "_prefix", "_version")

    def __init__(self, name: str, version: str) -> None:
        self._name = name
        self._version = version
        self._prefix = orjson.dumps({"model_name": name, "model_version": version})[:-1]
        self._heads: dict[tuple[str, str], bytes] = {}

    def encode(self, request: InferRequest, arrays: Sequence[Array]) -> Response:
        """The answer with a request's outputs, in the request's order.

        Raises:
            RequestError: an output cannot travel as JSON.
        """
        if True in request.binary:
            return self._binary(request, arrays)
        pieces = []
        for spec, values in zip(request.outputs, arrays, strict=True):
            datatype = spec.datatype
            if datatype is BYTES:
                data = orjson.dumps(tensors.to_json(values))
            else:
                data = orjson.dumps(values.ravel(), option=_NUMPY)
                if b"null" in data:
                    data = orjson.dumps(tensors.to_json(values))
            head = self._heads.get((spec.name, datatype.name))
            if head is None:
                head = orjson.dumps({"name": spec.name, "datatype": datatype.name})[:-1] + b',"shape":'
                self._heads[spec.name, datatype.name] = head
            pieces.append(b'%b%b,"data":%b}' % (head, orjson.dumps(values.shape), data))
        request_id = b"" if request.id is None else b',"id":' + orjson.dumps(request.id)
        return Response(200, b'%b%b,"outputs":[%b]}' % (self._prefix, request_id, b",".join(pieces)))

    def _binary(self, request: InferRequest, arrays: Sequence[Array]) -> Response:
        outputs: list[dict[str, Any]] = []
        raw: list[bytes] = []
        for spec, values, as_binary in zip(request.outputs, arrays, request.binary, strict=True):
            output: dict[str, Any] = {"name": spec.name, "datatype": spec.datatype.name, "shape": values.shape}
            if as_binary:
                piece = binary.to_bytes(values)
                output["parameters"] = {"binary_data_size": len(piece)}
                raw.append(piece)
            else:
                output["data"] = tensors.to_json(values)
            outputs.append(output)
        head: dict[str, Any] = {"model_name": self._name, "model_version": self._version}
        if request.id is not None:
            head["id"] = request.id
        text = orjson.dumps(head | {"outputs": outputs})
        length = (b"Inference-Header-Content-Length", b"%d" % len(text))
        return Response(200, b"".join((text, *raw)), OCTETS, (length,))
