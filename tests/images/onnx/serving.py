"""A real server process on a free port, and model folders for it."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MODELS = Path(__file__).parent / "models"
ROOT = Path(__file__).parents[3]
PYTHONPATH = f"{ROOT}/kserve-images/onnx/src:{ROOT}/kserve-images/oip/src"
PYTHON = os.environ.get("SNAPEDGE_SERVER_PYTHON", sys.executable)
"""Whose environment has the runtime; tests of clients run in one that has the clients."""

START = 30.0

FREE = -1
SIGNATURES: dict[str, tuple[list[tuple[str, str, list[int]]], list[tuple[str, str, list[int]]]]] = {
    "simple": (
        [("INPUT0", "INT32", [FREE, 16]), ("INPUT1", "INT32", [FREE, 16])],
        [("OUTPUT0", "INT32", [FREE, 16]), ("OUTPUT1", "INT32", [FREE, 16])],
    ),
    "logarithm": ([("x", "FP32", [FREE])], [("y", "FP32", [FREE])]),
    "pick": ([("index", "INT64", [FREE])], [("picked", "FP32", [FREE])]),
    "slow": ([("rounds", "INT64", [1])], [("mean", "FP32", [1])]),
    "sequence": ([("x", "FP32", [FREE])], [("y", "FP32", [FREE])]),
    "too_new": ([("INPUT0", "FP32", [FREE, FREE])], [("OUTPUT0", "FP32", [FREE, FREE])]),
    **{
        f"identity_{kind.lower()}": ([("INPUT0", kind, [FREE, FREE])], [("OUTPUT0", kind, [FREE, FREE])])
        for kind in (
            ["BOOL", "FP16", "FP32", "FP64", "BYTES"]
            + [f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)]
        )
    },
}


def place(directory: Path, name: str, *, samples: Any = None, **overrides: Any) -> Path:
    """A model's folder as a model layer brings it."""
    folder = directory / name
    folder.mkdir(parents=True)
    content = overrides.pop("content", (MODELS / f"{name}.onnx").read_bytes())
    (folder / "model.onnx").write_bytes(content)
    inputs, outputs = SIGNATURES[name]
    document = {
        "format": 1,
        "name": name,
        "version": "1.0.0",
        "model_format": "onnx",
        "file": "model.onnx",
        "digest": "sha256:" + hashlib.sha256(content).hexdigest(),
        "inputs": [{"name": n, "datatype": d, "shape": s} for n, d, s in inputs],
        "outputs": [{"name": n, "datatype": d, "shape": s} for n, d, s in outputs],
    }
    (folder / "model.json").write_text(json.dumps(document | overrides))
    if samples is not None:
        (folder / "samples.json").write_text(samples if isinstance(samples, str) else json.dumps(samples))
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which must be JSON."""
        return json.loads(self.body)


@dataclass(slots=True, kw_only=True)
class Server:
    """A running server."""

    process: subprocess.Popen[str]
    port: int
    lines: list[str] = field(default_factory=list)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            return Answer(status=response.status, headers=dict(response.getheaders()), body=response.read())
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        """A GET."""
        return self.ask("GET", path)

    def infer(self, model: str, request: Any, **headers: str) -> Answer:
        """An infer request in JSON; a body in bytes is sent as it is."""
        body = request if isinstance(request, bytes) else json.dumps(request).encode()
        return self.ask("POST", f"/v2/models/{model}/infer", body, {k.replace("_", "-"): v for k, v in headers.items()})

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def grpc_port(self) -> int:
        """The port for gRPC, as the log names it."""
        found: int = next(json.loads(line)["grpc_port"] for line in self.lines if '"grpc_port"' in line)
        return found

    def memory(self) -> int:
        """Resident bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024


@contextmanager
def server(
    directory: Path,
    *flags: str,
    wait: bool = True,
    environment: Mapping[str, str] | None = None,
    path: str = PYTHONPATH,
    isolated: bool = False,
    module: str = "snapedge_onnx",
) -> Iterator[Server]:
    """A server of a directory; ready where `wait` is set, else as soon as its port is open."""
    command = [
        PYTHON,
        "-P",
        *(["-S"] if isolated else []),
        "-m",
        module,
        "--model-dir",
        str(directory),
        "--bind",
        "127.0.0.1",
    ]
    command += ["--http-port", "0", "--drain", "0s", "--termination-log", str(directory / "termination"), *flags]
    variables = {"PATH": os.environ["PATH"], "HOME": str(directory), "PYTHONPATH": path, **(environment or {})}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=variables)
    running = Server(process=process, port=0)
    ports: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            running.lines.append(line.rstrip("\n"))
            if '"listening"' in line:
                ports.put(json.loads(line)["port"])
        ports.put(None)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        port = ports.get(timeout=START)
        assert port is not None, running.lines
        running.port = port
        deadline = time.monotonic() + START
        while wait and running.get("/v2/health/ready").status != 200:
            assert time.monotonic() < deadline, running.lines
            time.sleep(0.01)
        yield running
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        reader.join(10)
        assert process.stderr is not None
        process.stderr.close()


def refused(directory: Path, *flags: str) -> tuple[int, dict[str, Any] | None, list[str]]:
    """What a server leaves that does not start: exit code, termination message, log."""
    with server(directory, *flags, wait=False) as running:
        code = running.process.wait(START)
    message = directory / "termination"
    return code, json.loads(message.read_text()) if message.exists() else None, running.lines
