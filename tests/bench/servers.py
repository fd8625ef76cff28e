"""The servers that are measured: ours, and its peers around the same onnxruntime and the same model."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "tests" / "images" / "onnx" / "models" / "identity_fp32.onnx"
PEERS = ROOT / "tests" / "conformance" / "peers"
IMAGES = ROOT / "kserve-images"
NAME = "identity_fp32"
PATH = f"/v2/models/{NAME}/infer"
CORE = "0"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A server to measure.

    Attributes:
        port: of HTTP; gRPC is on the next one.
    """

    name: str
    command: list[str]
    environment: dict[str, str]
    port: int


def ours(folder: Path, runtime: str = "onnx", models: Path | None = None, *, grpc: bool = True) -> Peer:
    """A server of ours, of the bench's model where no folder of models is named."""
    image = IMAGES / runtime
    port = free_port()
    command = [str(image / ".venv/bin/python"), "-P", "-m", f"snapedge_{runtime}"]
    command += ["--model-dir", str(models or place(folder)), "--bind", "127.0.0.1", "--http-port", str(port)]
    command += ["--drain", "0s", "--termination-log", str(folder / "termination")]
    command += ["--grpc-port", str(port + 1)] if grpc else []
    sources = {"PYTHONPATH": f"{image / 'src'}:{IMAGES / 'oip/src'}"}
    return Peer(name=f"snapedge-{runtime}", command=command, environment=_environment(folder) | sources, port=port)


def peers(folder: Path) -> Iterator[Peer]:
    """Our server, and those of the peers whose environments are there."""
    yield ours(folder)
    for name in ("kserve", "mlserver"):
        python = ROOT / ".cache" / name / "bin" / "python"
        if not python.exists():
            print(f"{name}: not measured, kserve-images/clients.sh {name} was not run", file=sys.stderr)
            continue
        port = free_port()
        command = [str(python), "-P", str(PEERS / f"{name}_server.py"), str(port), f"{NAME}={MODEL}"]
        yield Peer(name=name, command=command, environment=_environment(folder), port=port)


def place(folder: Path) -> Path:
    """The folder of models with the bench's model in it."""
    model = folder / "models" / NAME
    model.mkdir(parents=True, exist_ok=True)
    content = MODEL.read_bytes()
    (model / "model.onnx").write_bytes(content)
    tensor = {"datatype": "FP32", "shape": [-1, -1]}
    declared = {
        "format": 1,
        "name": NAME,
        "version": "1",
        "model_format": "onnx",
        "file": "model.onnx",
        "digest": "sha256:" + hashlib.sha256(content).hexdigest(),
        "inputs": [tensor | {"name": "INPUT0"}],
        "outputs": [tensor | {"name": "OUTPUT0"}],
    }
    (model / "model.json").write_text(json.dumps(declared))
    return folder / "models"


@contextlib.contextmanager
def started(peer: Peer, log: Path, ready: str = f"/v2/models/{NAME}/ready") -> Iterator[tuple[int, float]]:
    """A running server's process, pinned to one core, and the seconds to its first answer."""
    start = time.monotonic()
    with log.open("wb") as sink:
        process = subprocess.Popen(
            ["taskset", "-c", CORE, *peer.command], env=peer.environment, stdout=sink, stderr=sink
        )
        try:
            while not _answers(peer.port, ready):
                if process.poll() is not None or time.monotonic() - start > 60:
                    raise SystemExit(f"{peer.name} does not start:\n{log.read_text()[-2000:]}")
                time.sleep(0.005)
            yield process.pid, time.monotonic() - start
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def cpu_seconds(pid: int) -> float:
    """Processor time of a process, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_bytes(pid: int) -> int:
    """Resident bytes of a process."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0]) * 1024


def free_port() -> int:
    """A port that is free, with the next one free as well."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as opened:
            port: int = opened.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError), socket.create_server(("127.0.0.1", port + 1)):
                return port


def _environment(folder: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(folder)}


def _answers(port: int, path: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
