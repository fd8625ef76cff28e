"""`make soak`: good and bad requests without end against our server, whose memory must not grow.

    python -m tests.bench.soak [--requests 10000000] [--connections 8]

One request in eight is bad, each in another way. They go many at once, then one by one, then with a tensor of 128 KiB,
which are three ways through the server. The memory is taken after a tenth of the requests and at the end: more than
5 MB between them, or one good request answered wrongly, is a failure.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import tempfile
import time
from pathlib import Path

from .servers import NAME, PATH, memory_bytes, ours, started

GROWTH = 5_000_000
_BATCH = 64
_SINGLE = 16
_LARGE = 32 * 1024


def _post(body: bytes, *headers: str) -> bytes:
    lines = [f"POST {PATH} HTTP/1.1", "Host: soak", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def requests() -> tuple[bytes, bytes, list[bytes]]:
    """The good request, a large good one, and the bad ones in their turn."""
    tensor = {"name": "INPUT0", "shape": [1, 13], "datatype": "FP32", "data": [0.5] * 13}
    good = _post(json.dumps({"inputs": [tensor]}).encode())
    bad = [
        _post(b"{bad"),
        _post(b"[" * 2000),
        _post(json.dumps({"inputs": [tensor | {"shape": [2**62, 13]}]}).encode()),
        _post(json.dumps({"inputs": [tensor | {"shape": [-1, 13]}]}).encode()),
        _post(json.dumps({"inputs": [tensor | {"data": ["x"] * 13}]}).encode()),
        _post(b"x", "Inference-Header-Content-Length: 99"),
        _post(b"no gzip", "Content-Encoding: gzip"),
        b"GET /v2/nothing HTTP/1.1\r\n\r\n",
    ]
    raw = b"\0\0\0\x3f" * _LARGE
    large = {"name": "INPUT0", "shape": [1, _LARGE], "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}
    text = json.dumps({"inputs": [large], "parameters": {"binary_data_output": True}}).encode()
    return good, _post(text + raw, f"Inference-Header-Content-Length: {len(text)}"), bad


class Client:
    """A connection that sends batches of requests and counts what comes back."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()

    def ask(self, batch: list[bytes]) -> list[int]:
        """The statuses of a batch, in its order."""
        self._socket.sendall(b"".join(batch))
        statuses: list[int] = []
        held = b""
        while len(statuses) < len(batch):
            head, found, rest = held.partition(b"\r\n\r\n")
            size = int(head.partition(b"\r\nContent-Length: ")[2].split(b"\r\n")[0]) if found else 0
            if found and len(rest) >= size:
                statuses.append(int(head[9:12]))
                held = rest[size:]
                continue
            piece = self._socket.recv(1 << 16)
            if not piece:
                raise SystemExit("the server closed the connection")
            held += piece
        return statuses


def run(port: int, pid: int, wanted: int, connections: int) -> str | None:
    """What went wrong, in words, or None."""
    good, large, bad = requests()
    clients = [Client(port) for _ in range(connections)]
    sent, first = 0, 0
    start = time.monotonic()
    while sent < wanted:
        # The server holds at most so many bytes of bodies as its limits say: a batch is far below.
        batch = [bad[(sent + index) // 8 % len(bad)] if index % 8 == 7 else good for index in range(_BATCH)]
        for client in clients:
            statuses = client.ask(batch)
            for index, status in enumerate(statuses):
                if (status == 200) is (index % 8 == 7) or status >= 500:
                    return f"after {sent} requests: request {index} of a batch was answered {status}"
            for single in (*[good] * _SINGLE, large):
                if client.ask([single]) != [200]:
                    return f"after {sent} requests: a good one by itself was refused"
            sent += len(batch) + _SINGLE + 1
        if not first and sent >= wanted / 10:
            first = memory_bytes(pid)
    last = memory_bytes(pid)
    for client in clients:
        client.close()
    rate = sent / (time.monotonic() - start)
    print(f"{sent} requests, {rate:,.0f}/s, memory {first / 1e6:.1f} MB then {last / 1e6:.1f} MB")
    return None if last - first <= GROWTH else f"memory grew by {(last - first) / 1e6:.1f} MB"


def main() -> int:
    """Runs until the requests are used up."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=10_000_000)
    parser.add_argument("--connections", type=int, default=8)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        peer = ours(Path(name), grpc=False)
        with started(peer, Path(name) / "log") as (pid, _):
            problem = run(peer.port, pid, chosen.requests, chosen.connections)
    if problem is not None:
        print(f"{NAME}: {problem}", file=sys.stderr)
    return 0 if problem is None else 1


if __name__ == "__main__":
    sys.exit(main())
