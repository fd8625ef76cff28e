"""Answers: the body and what of the head depends on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from . import binary, tensors
from .datatypes import BYTES, Array
from .requests import InferRequest
from .signature import TensorSpec

JSON = b"application/json"
OCTETS = b"application/octet-stream"

_NUMPY = orjson.OPT_SERIALIZE_NUMPY
_SHAPES = 256
_TOGETHER = 64 * 1024
"""Bytes of tensors up to which copying them behind their JSON is cheaper than a write of several pieces."""


class Response(NamedTuple):
    """One answer. A NamedTuple, because it is made for every request.

    Attributes:
        status: HTTP's.
        body: whole, but for `tail`.
        content_type: of the body.
        headers: further headers, as on the wire.
        tail: large tensors behind the body, where the runtime wrote them; nobody writes there any more.
    """

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()
    tail: tuple[memoryview, ...] = ()

    @property
    def whole(self) -> bytes:
        """Body and tail in one piece."""
        return b"".join((self.body, *self.tail)) if self.tail else self.body


def document(content: object, status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Response:
    """A JSON answer."""
    return Response(status, orjson.dumps(content), JSON, headers)


def failure(message: str, status: int, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Response:
    """The protocol's error object."""
    return Response(status, orjson.dumps({"error": message}), JSON, headers)


class Encoder:
    """Makes a model's infer responses.

    What does not change from one answer to the next is kept as bytes, and only the numbers are written each time.
    """

    __slots__ = ("_head", "_shapes", "_start")

    def __init__(self, name: str, version: str) -> None:
        self._head: dict[str, Any] = {"model_name": name, "model_version": version}
        self._start = orjson.dumps(self._head)[:-1]
        self._shapes: dict[tuple[str, tuple[int, ...]], bytes] = {}

    def encode(self, request: InferRequest, arrays: Sequence[Array]) -> Response:
        """The answer with a request's outputs, in the request's order.

        Raises:
            RequestError: an output cannot travel as JSON.
        """
        if True in request.binary:
            return self._binary(request, arrays)
        pieces = [self._start]
        if request.id is not None:
            pieces.append(b',"id":' + orjson.dumps(request.id))
        lead = b',"outputs":[{'
        for spec, values in zip(request.outputs, arrays, strict=True):
            shape = values.shape
            head = self._shapes.get((spec.name, shape)) or self._described(spec, shape)
            if spec.datatype is BYTES:
                data = orjson.dumps(tensors.to_json(values))
            else:
                data = orjson.dumps(values if len(shape) == 1 else values.ravel(), option=_NUMPY)
                if b"null" in data:
                    # A number that is not finite, which has to be written in words.
                    data = orjson.dumps(tensors.to_json(values))
            pieces += (lead, head, data)
            lead = b"},{"
        pieces.append(b"}]}")
        return Response(200, b"".join(pieces))

    def _described(self, spec: TensorSpec, shape: tuple[int, ...]) -> bytes:
        """An output up to its numbers; remembered for the few shapes that come again and again."""
        fields = {"name": spec.name, "datatype": spec.datatype.name, "shape": shape}
        head = orjson.dumps(fields)[1:-1] + b',"data":'
        if len(self._shapes) < _SHAPES:
            self._shapes[spec.name, shape] = head
        return head

    def _binary(self, request: InferRequest, arrays: Sequence[Array]) -> Response:
        outputs: list[dict[str, Any]] = []
        raw: list[bytes | memoryview] = []
        size = 0
        for spec, values, as_binary in zip(request.outputs, arrays, request.binary, strict=True):
            output: dict[str, Any] = {"name": spec.name, "datatype": spec.datatype.name, "shape": values.shape}
            if as_binary:
                piece = binary.to_bytes(values)
                output["parameters"] = {"binary_data_size": len(piece)}
                size += len(piece)
                raw.append(piece)
            else:
                output["data"] = tensors.to_json(values)
            outputs.append(output)
        head = self._head if request.id is None else self._head | {"id": request.id}
        text = orjson.dumps(head | {"outputs": outputs})
        length = (b"Inference-Header-Content-Length", b"%d" % len(text))
        if size <= _TOGETHER:
            return Response(200, b"".join((text, *raw)), OCTETS, (length,))
        return Response(200, text, OCTETS, (length,), tuple(memoryview(piece) for piece in raw))
