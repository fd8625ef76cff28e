"""Whatever comes in: an answer that is no fault of the server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, cast

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from snapedge_oip import binary, compression, tensors
from snapedge_oip.connection import Connection
from snapedge_oip.datatypes import DATATYPES
from snapedge_oip.errors import RequestError
from snapedge_oip.front import Front
from snapedge_oip.limits import Limits
from snapedge_oip.pool import Pool
from snapedge_oip.responses import Response
from snapedge_oip.service import Request
from snapedge_oip.settings import Settings

from .fakes import Echo, model, service
from .fuzzing import Wire

SERVED = service(model(Echo(x="FP32", s="BYTES", b="BOOL")))
MANY = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner), max_leaves=8
)
near_tensor = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["x", "s", "b", "z"]) | anything,
        "shape": st.lists(st.integers(-1, 3), max_size=2) | anything,
        "datatype": st.sampled_from(["FP32", "BYTES", "BOOL", "INT8", "FP31"]) | anything,
    },
    optional={
        "data": st.lists(scalars, max_size=4) | anything,
        "parameters": st.fixed_dictionaries({"binary_data_size": st.integers(-1, 20) | anything}) | anything,
    },
)
near_request = st.fixed_dictionaries(
    {"inputs": st.lists(near_tensor, max_size=4) | anything},
    optional={
        "id": anything,
        "outputs": st.lists(st.fixed_dictionaries({"name": st.sampled_from(["x", "s", "z"]) | anything}), max_size=3)
        | anything,
        "parameters": st.fixed_dictionaries({"binary_data_output": st.booleans() | anything}) | anything,
    },
)


def _status(body: bytes, headers: dict[bytes, bytes]) -> int:
    answer = SERVED.answer(Request(b"POST", b"/v2/models/echo/infer", headers, body))
    response = answer if isinstance(answer, Response) else answer()
    if response.status != 200:
        assert list(json.loads(response.body)) == ["error"]
    return response.status


@MANY
@given(near_request, st.binary(max_size=40), st.none() | st.integers(-5, 5))
def test_any_document_is_answered_200_or_400(document: Any, tail: bytes, shift: int | None) -> None:
    text = json.dumps(document).encode()
    headers = {} if shift is None else {b"inference-header-content-length": b"%d" % (len(text) + shift)}
    assert _status(text + (b"" if shift is None else tail), headers) in (200, 400)


@MANY
@given(st.binary(max_size=60), st.binary(max_size=8) | st.integers(0, 80).map(lambda number: b"%d" % number))
def test_any_bytes_are_answered_200_or_400(body: bytes, length: bytes) -> None:
    assert _status(body, {b"inference-header-content-length": length}) in (200, 400)


@MANY
@given(st.sampled_from([b"gzip", b"deflate"]), st.binary(max_size=60))
def test_any_compressed_bytes_are_refused_or_decoded(encoding: bytes, body: bytes) -> None:
    assert _status(body, {b"content-encoding": encoding}) in (200, 400, 413)
    assert compression.decode(encoding, compression.encode(encoding, body), 100) == body


@MANY
@given(st.sampled_from([name for name, kind in DATATYPES.items() if kind.typecode]), st.lists(scalars, max_size=6))
def test_numbers_are_taken_exactly_or_refused(name: str, data: list[Any]) -> None:
    kind = DATATYPES[name]
    try:
        values = tensors.from_json("x", kind, [len(data)], len(data), data)
    except RequestError:
        return
    for given_, held in zip(data, values.tolist(), strict=True):
        if kind.is_float:
            wanted = float("nan") if given_ in (None, "NaN") else float(given_)
            with np.errstate(over="ignore"):
                rounded = float(np.array(wanted).astype(kind.dtype))
            assert held == rounded or held != held
        else:
            assert held == given_
            assert type(given_) is int


@MANY
@given(st.lists(st.binary(max_size=8), max_size=6))
def test_strings_as_binary_data_come_back(items: list[bytes]) -> None:
    values = np.empty(len(items), dtype=object)
    values[:] = items
    raw = binary.to_bytes(values)
    back = binary.from_bytes("x", DATATYPES["BYTES"], [len(items)], len(items), memoryview(raw))
    assert back.tolist() == items


pieces = st.sampled_from(
    [
        b"GET /v2 HTTP/1.1\r\n\r\n",
        b"GET /v2/health/ready HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"POST /v2/models/echo/infer HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /v2/models/echo/infer HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"Host: x\r\n",
        b"\r\n\r\n",
    ]
) | st.binary(max_size=20)


@MANY
@given(st.lists(pieces, max_size=6), st.lists(st.integers(1, 40), max_size=8))
def test_any_stream_is_answered_in_http_or_awaited(parts: list[bytes], cuts: list[int]) -> None:
    async def feed() -> Wire:
        loop = asyncio.get_running_loop()
        limits = Limits.of(Settings(model_dir=Path("/")))
        front = Front(loop, SERVED, Pool(loop, workers=1, limit=4), limits)
        connection = Connection(front)
        wire = Wire(connection)
        connection.connection_made(cast("asyncio.Transport", wire))
        stream = b"".join(parts)
        for size in [*cuts, len(stream)]:
            piece, stream = stream[:size], stream[size:]
            if piece:
                connection.data_received(piece)
        connection.check_time(loop.time() + 1000)
        connection.connection_lost(None)
        await front.finish(0)
        assert front.buffered == 0
        return wire

    wire = asyncio.run(feed())
    assert not wire.written or wire.written.startswith(b"HTTP/1.1 ")
    assert b"HTTP/1.1 500" not in wire.written
    assert wire.closed
