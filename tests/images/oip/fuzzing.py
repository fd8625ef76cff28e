"""A grammar fuzzer of the server without its socket: `python -m tests.images.oip.fuzzing 1000000 [seed]`.

Every case is one connection: requests made of paths, headers, JSON and binary framing, most of them nearly right, then
cut, spliced and torn into reads. What comes back must be whole HTTP answers, none of them a 5xx, and what the server
holds must be given back. Every case goes twice, with and without the ways around the parser (heads known before, large
bodies read to where they stay), and both must answer the same. A failure prints the case's number and bytes; the same
seed makes it again.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from dataclasses import replace
from random import Random
from typing import Any, cast

import uvloop

from snapedge_oip.connection import Connection
from snapedge_oip.front import Front
from snapedge_oip.knownheads import KnownHead, KnownHeads
from snapedge_oip.limits import Limits
from snapedge_oip.pool import Pool

from .fakes import Echo, model, service

LIMITS = Limits(
    max_body=4096,
    max_header=1024,
    max_buffered=8192,
    max_connections=4,
    idle_timeout=10.0,
    request_timeout=10.0,
    large_body=200,
)
PATHS = [
    "/v2/models/echo/infer", "/v2/models/echo/infer", "/v2/models/echo/infer", "/v2/models/echo/versions/1/infer",
    "/v1/models/echo:predict", "/v2", "/v2/", "/v2/health/live", "/v2/health/ready", "/v2/models", "/v2/models/echo",
    "/v2/models/echo/ready", "/v2/models/echo/config", "/v2/models/echo/stats", "/v2/models/nope/infer", "/metrics",
    "/v1/models", "/v1/models/echo", "/v2/models/%65cho/infer", "/v2/models/%ff", "/..//v2", "*", "/v2/models//infer",
]  # fmt: skip
METHODS = ["POST", "POST", "POST", "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "P\x00ST", "CONNECT"]
SCALARS: list[Any] = [
    0,
    1,
    -1,
    1.5,
    2**31,
    2**63,
    2**80,
    1e308,
    True,
    False,
    None,
    "",
    "a",
    "ü",
    "NaN",
    "Infinity",
    {},
    [],
]
KINDS = ["FP32", "BYTES", "BOOL", "INT8", "FP16", "", None, 7]
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_DATE = re.compile(rb"Date: [^\r]*\r\n")
_COUNTED = (b"/stats", b"/metrics")
"""Paths whose answers tell what was asked before, and how long it took."""


class Wire:
    """A transport that keeps what is written."""

    def __init__(self, protocol: Connection) -> None:
        self.written = bytearray()
        self.closed = False
        self.protocol: Any = protocol

    def read(self, data: bytes) -> None:
        """What comes from the client, to whoever reads."""
        while data:
            if isinstance(self.protocol, asyncio.BufferedProtocol):
                place = memoryview(self.protocol.get_buffer(-1))
                size = min(len(place), len(data))
                assert size, "nobody may be asked to read into nothing"
                place[:size] = data[:size]
                self.protocol.buffer_updated(size)
            else:
                size = len(data)
                self.protocol.data_received(data)
            data = data[size:]

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def write(self, data: bytes) -> None:
        self.written += data

    def writelines(self, pieces: tuple[bytes, ...]) -> None:
        self.written += b"".join(pieces)

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    abort = close

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


def _value(random: Random, depth: int = 0) -> Any:
    if depth > 3 or random.random() < 0.6:
        return random.choice(SCALARS)
    if random.random() < 0.5:
        return [_value(random, depth + 1) for _ in range(random.randrange(4))]
    return {
        random.choice(["name", "data", "x", "parameters"]): _value(random, depth + 1)
        for _ in range(random.randrange(3))
    }


def _tensor(random: Random) -> tuple[Any, bytes]:
    """A tensor that is nearly right, and its binary data."""
    plain: list[Any]
    name, kind = random.choice([("x", "FP32"), ("s", "BYTES"), ("b", "BOOL")])
    count = random.randrange(4)
    plain = [{"FP32": 1.5, "BYTES": "ab", "BOOL": True}[kind]] * count
    raw = {"FP32": b"\0\0\x80\x3f", "BYTES": b"\2\0\0\0ab", "BOOL": b"\1"}[kind] * count
    tensor: dict[str, Any] = {"name": name, "datatype": kind, "shape": [count]}
    binary = random.random() < 0.4
    if binary:
        tensor["parameters"] = {"binary_data_size": len(raw)}
    else:
        tensor["data"] = plain
    for _ in range(random.choice([0, 0, 0, 1, 2])):
        key = random.choice(["name", "datatype", "shape", "data", "parameters"])
        if random.random() < 0.3:
            tensor.pop(key, None)
        else:
            tensor[key] = random.choice(KINDS) if key == "datatype" else _value(random)
    return (tensor if random.random() < 0.97 else _value(random)), raw if binary else b""


def _body(random: Random) -> tuple[bytes, list[bytes]]:
    """A body and the headers that go with it."""
    chance = random.random()
    if chance < 0.05:
        return random.randbytes(random.randrange(60)), []
    if chance < 0.1:
        return b"[" * random.randrange(3000), []
    if chance < 0.2:
        return json.dumps({random.choice(["instances", "inputs"]): _value(random)}).encode(), []
    made = [_tensor(random) for _ in range(random.choice([3, 3, 1, 2, 4, 0]))]
    document: dict[str, Any] = {"inputs": [tensor for tensor, _ in made]}
    if random.random() < 0.3:
        document[random.choice(["id", "outputs", "parameters"])] = _value(random)
    if random.random() < 0.3:
        document["parameters"] = {"binary_data_output": random.choice([True, False, 1])}
    text, tail = json.dumps(document).encode(), b"".join(raw for _, raw in made)
    headers = []
    if tail or random.random() < 0.2:
        length = len(text) + random.choice([0, 0, 0, 0, 1, -1, 1000, -len(text)])
        headers.append(b"Inference-Header-Content-Length: %d" % length)
    return text + tail, headers


def case(random: Random) -> list[bytes]:
    """The reads of one connection."""
    stream = b""
    for _ in range(random.choice([1, 1, 2, 3])):
        body, headers = _body(random)
        if random.random() < 0.1:
            headers.append(
                random.choice(
                    [
                        b"Content-Encoding: gzip",
                        b"Expect: 100-continue",
                        b"Upgrade: h2c",
                        b"X: " + b"y" * 1500,
                        b"Connection: close",
                        b"Accept-Encoding: gzip",
                        b"X-Request-Id: \xff",
                        b": ",
                        b"a\0: b",
                    ]
                )
            )
        length = random.choice([len(body)] * 12 + [len(body) + 1, max(0, len(body) - 1), -1, 5000, 2**70])
        if random.random() < 0.1:
            headers.append(b"Transfer-Encoding: chunked")
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body) + random.choice([0, 0, 0, 1]), body)
        else:
            headers.append(b"Content-Length: %d" % length)
        line = f"{random.choice(METHODS)} {random.choice(PATHS)} HTTP/1.1".encode("latin-1")
        stream += b"\r\n".join([line, *headers]) + b"\r\n\r\n" + body
    if random.random() < 0.1:
        at = random.randrange(len(stream))
        stream = stream[:at] + random.randbytes(random.randrange(4)) + stream[at + random.randrange(8) :]
    reads = []
    while stream:
        size = len(stream) if random.random() < 0.6 else random.randrange(1, 200)
        reads.append(stream[:size])
        stream = stream[size:]
    return reads


class _Ignorant(KnownHeads):
    """Learns nothing."""

    __slots__ = ()

    def learn(self, data: bytes, head: KnownHead) -> None:
        pass


def _fronts() -> tuple[Front, Front]:
    """A front as it is, and one whose every byte goes through the parser."""
    loop = asyncio.get_running_loop()
    made = []
    for limits in (LIMITS, replace(LIMITS, large_body=1 << 62)):
        served = service(model(Echo(x="FP32", s="BYTES", b="BOOL")))
        made.append(Front(loop, served, Pool(loop, workers=1, limit=4), limits))
    made[1].known = _Ignorant()
    return made[0], made[1]


async def _answered(front: Front, reads: list[bytes]) -> bytes:
    """What a connection answers to its reads."""
    connection = Connection(front)
    wire = Wire(connection)
    connection.connection_made(cast("asyncio.Transport", wire))
    for read in reads:
        wire.read(read)
    while front.pool.in_flight:
        await asyncio.sleep(0)
    connection.connection_lost(None)
    return _DATE.sub(b"", wire.written)


async def _drive(cases: int, seed: int) -> dict[int, int]:
    fronts = _fronts()
    seen: dict[int, int] = {}
    for number in range(cases):
        reads = case(Random(f"{seed}.{number}"))
        answers = [await _answered(front, reads) for front in fronts]
        written = answers[0]
        statuses = [int(status) for status in _STATUS.findall(written)]
        wrong = any(status >= 500 for status in statuses) or (written and not written.startswith(b"HTTP/1.1 "))
        if not any(path in b"".join(reads) for path in _COUNTED):
            wrong = wrong or answers[0] != answers[1]
        if wrong or any(front.buffered or front.connections for front in fronts):
            raise AssertionError(
                f"seed {seed} case {number}: {reads!r}\nanswered {written[:300]!r}\nand      {answers[1][:300]!r}"
            )
        for status in statuses:
            seen[status] = seen.get(status, 0) + 1
    for front in fronts:
        await front.finish(0)
    return seen


def run(cases: int, seed: int) -> dict[int, int]:
    """Tries so many cases; how often each status was answered.

    Raises:
        AssertionError: a case was answered wrongly.
    """
    return uvloop.run(_drive(cases, seed))


if __name__ == "__main__":
    wanted = int(sys.argv[1])
    chosen = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    start = time.monotonic()
    found = run(wanted, chosen)
    print(f"{wanted} cases in {time.monotonic() - start:.0f} s, no fault")
    print(f"answers by status: {dict(sorted(found.items()))}")
