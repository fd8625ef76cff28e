"""`make bench-serving`: our server and its peers, each pinned to one core, asked by wrk from the others, in one run.

Rows are (server, request); columns requests a second, CPU for each request, p50 and p99, each the median of the runs
with the spread of the rate. Peers are measured where their environments are made (`kserve-images/clients.sh`).

    python -m tests.bench.serving [--seconds 5] [--runs 3] [--connections 16] [--output FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "tests" / "images" / "onnx" / "models" / "identity_fp32.onnx"
PEERS = ROOT / "tests" / "conformance" / "peers"
ONNX = ROOT / "kserve-images" / "onnx"
NAME = "identity_fp32"
PATH = f"/v2/models/{NAME}/infer"
SMALL, IMAGE = 13, 3 * 224 * 224
CORE = "0"
_TICKS = os.sysconf("SC_CLK_TCK")
_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One kind of request."""

    name: str
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run; times are microseconds."""

    rate: float
    cpu: float
    p50: float
    p99: float
    errors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A server to measure."""

    name: str
    command: list[str]
    environment: dict[str, str]
    port: int


def loads() -> list[Load]:
    """The requests: small and image-sized, as JSON and as binary data."""
    found = []
    for size, count in (("small", SMALL), ("image", IMAGE)):
        values = array("f", (((index * 7919) % 9973) / 9973 for index in range(count)))
        tensor: dict[str, object] = {"name": "INPUT0", "shape": [1, count], "datatype": "FP32"}
        plain = json.dumps({"inputs": [tensor | {"data": values.tolist()}]}).encode()
        found.append(Load(name=f"{size} JSON", body=plain, headers={"Content-Type": "application/json"}))
        raw = values.tobytes()
        document = {
            "inputs": [tensor | {"parameters": {"binary_data_size": len(raw)}}],
            "parameters": {"binary_data_output": True},
        }
        text = json.dumps(document).encode()
        headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(text))}
        found.append(Load(name=f"{size} binary", body=text + raw, headers=headers))
    return found


def peers(folder: Path) -> Iterator[Peer]:
    """Our server, and those of the peers whose environments are there."""
    model = folder / "models" / NAME
    model.mkdir(parents=True)
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
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    port = _free()
    command = [str(ONNX / ".venv/bin/python"), "-P", "-m", "snapedge_onnx", "--model-dir", str(folder / "models")]
    command += ["--bind", "127.0.0.1", "--http-port", str(port), "--drain", "0s"]
    sources = f"{ONNX / 'src'}:{ROOT / 'kserve-images/oip/src'}"
    yield Peer(name="snapedge-onnx", command=command, environment=environment | {"PYTHONPATH": sources}, port=port)
    for name in ("kserve", "mlserver"):
        python = ROOT / ".cache" / name / "bin" / "python"
        if not python.exists():
            print(f"{name}: not measured, kserve-images/clients.sh {name} was not run", file=sys.stderr)
            continue
        port = _free()
        command = [str(python), "-P", str(PEERS / f"{name}_server.py"), str(port), f"{NAME}={MODEL}"]
        yield Peer(name=name, command=command, environment=environment, port=port)


@contextlib.contextmanager
def started(peer: Peer, log: Path) -> Iterator[tuple[int, float]]:
    """A running peer's process and the seconds to its first answer."""
    start = time.monotonic()
    with log.open("wb") as sink:
        process = subprocess.Popen(
            ["taskset", "-c", CORE, *peer.command], env=peer.environment, stdout=sink, stderr=sink
        )
        try:
            while not _ready(peer.port):
                if process.poll() is not None or time.monotonic() - start > 60:
                    raise SystemExit(f"{peer.name} does not start:\n{log.read_text()[-2000:]}")
                time.sleep(0.01)
            yield process.pid, time.monotonic() - start
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def measure(peer: Peer, pid: int, load: Load, folder: Path, seconds: int, connections: int) -> Measured:
    """One run of wrk."""
    body = folder / "body"
    body.write_bytes(load.body)
    headers = "".join(f'wrk.headers["{name}"] = "{value}"\n' for name, value in load.headers.items())
    script = folder / "wrk.lua"
    script.write_text(
        f'local f = io.open("{body}", "rb")\nwrk.method = "POST"\nwrk.body = f:read("*a")\nf:close()\n{headers}'
    )
    others = ",".join(str(core) for core in sorted(os.sched_getaffinity(0)) if str(core) != CORE) or CORE
    command = [
        "taskset",
        "-c",
        others,
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--latency",
        "-s",
        str(script),
    ]
    before = _cpu(pid)
    ended = subprocess.run(
        [*command, f"http://127.0.0.1:{peer.port}{PATH}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + 60,
    )
    used = _cpu(pid) - before
    text = ended.stdout
    requests = int(_found(r"(\d+) requests in", text))
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return Measured(
        rate=float(_found(r"Requests/sec:\s+([\d.]+)", text)),
        cpu=used / max(1, requests) * 1e6,
        p50=_time(_found(r"(?m)^\s+50%\s+(\S+)", text)),
        p99=_time(_found(r"(?m)^\s+99%\s+(\S+)", text)),
        errors=int(wrong[1]) if wrong else 0,
    )


def table(seconds: int, runs: int, connections: int) -> str:
    """Everything, as a Markdown table."""
    lines = [
        "| Server | Request | requests/s | spread | CPU us/request | p50 us | p99 us |",
        "|---|---|---|---|---|---|---|",
    ]
    starts = ["| Server | start s | memory MB |", "|---|---|---|"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for peer in peers(folder):
            with started(peer, folder / "log") as (pid, took):
                for load in loads():
                    measure(peer, pid, load, folder, 1, connections)
                    found = [measure(peer, pid, load, folder, seconds, connections) for _ in range(runs)]
                    lines.append(_row(peer.name, load.name, found))
                    print(lines[-1], file=sys.stderr, flush=True)
                starts.append(f"| {peer.name} | {took:.2f} | {measure_memory(pid) / 1e6:.0f} |")
    return "\n".join([*lines, "", *starts, ""])


def _row(server: str, load: str, found: list[Measured]) -> str:
    rates = [one.rate for one in found]
    rate, cpu, p50, p99 = (
        statistics.median(getattr(one, key) for one in found) for key in ("rate", "cpu", "p50", "p99")
    )
    if any(one.errors for one in found):
        return f"| {server} | {load} | answers errors | | | | |"
    spread = (max(rates) - min(rates)) / max(rate, 1.0) * 100
    return f"| {server} | {load} | {rate:,.0f} | {spread:.0f} % | {cpu:,.0f} | {p50:,.0f} | {p99:,.0f} |"


def _free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        port: int = opened.getsockname()[1]
        return port


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/models/{NAME}/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def measure_memory(pid: int) -> int:
    """Resident bytes of a process."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0]) * 1024


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise SystemExit(f"wrk said nothing of {pattern}:\n{text}")
    return match[1]


def _time(text: str) -> float:
    match = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text)
    assert match is not None, text
    return float(match[1]) * _UNITS[match[2]]


def main() -> int:
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args()
    for tool in ("wrk", "taskset"):
        if shutil.which(tool) is None:
            print(f"{tool} is not installed", file=sys.stderr)
            return 1
    text = table(chosen.seconds, chosen.runs, chosen.connections)
    print(text)
    if chosen.output is not None:
        chosen.output.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
