"""`make bench-serving`: our server and its peers, each pinned to one core, asked from the others, in one run.

Rows are (server, request); columns requests a second, CPU for each request, p50 and p99, each the median of the runs
with the spread of the rate. HTTP is asked by wrk, gRPC by `grpcload`. Peers are measured where their environments are
made (`kserve-images/clients.sh`). What misses its bar is said, and ends the command with 1.

    python -m tests.bench.serving [--seconds 5] [--runs 3] [--output FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from snapedge_builder import declaration, modelfile, observation
from snapedge_hooks.samples import SampleSet

from .servers import CORE, IMAGES, NAME, PATH, ROOT, Peer, cpu_seconds, memory_bytes, ours, peers, place, started

SMALL, IMAGE = 13, 3 * 224 * 224
FEW, MANY = 4, 16
_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}
_PATIENCE = "30s"
"""For one answer: a peer takes a quarter of a second for an image, and the others wait behind it."""

_SLOWEST = 8
"""Seconds in which also the slowest peer answers images."""

BARS = {("small JSON", "kserve"): 20.0, ("small JSON", "mlserver"): 15.0, ("image binary", "kserve"): 100.0}
"""How many times the peer's rate ours is to be, on one core."""

STARTS = {"onnx": (0.6, 90.0), "tflite": (0.6, 100.0)}
"""Seconds to the first answer, and megabytes then."""

OVERHEAD = 45.0
"""Microseconds of CPU over `session.run`, in process."""

TAIL = 5.0
"""How many times p50 p99 may be, small JSON on 16 connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One kind of request.

    Attributes:
        body: None for gRPC.
        connections: that ask at a time.
    """

    name: str
    body: bytes | None
    headers: dict[str, str]
    connections: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run; times are microseconds."""

    rate: float
    cpu: float
    p50: float
    p99: float
    errors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What the runs of one load on one server came to: medians, or why there are none."""

    server: str
    load: str
    measured: Measured | None
    spread: float = 0.0
    problem: str = ""

    def __str__(self) -> str:
        """A line of the table."""
        found = self.measured
        if found is None:
            return f"| {self.server} | {self.load} | {self.problem} | | | | |"
        numbers = f"{found.cpu:,.0f} | {found.p50:,.0f} | {found.p99:,.0f}"
        return f"| {self.server} | {self.load} | {found.rate:,.0f} | {self.spread:.0f} % | {numbers} |"


def loads() -> list[Load]:
    """The requests: small and image-sized, as JSON and as binary data, and small over gRPC."""
    found = []
    for size, count, connections in (("small", SMALL, MANY), ("image", IMAGE, FEW)):
        values = array("f", (((index * 7919) % 9973) / 9973 for index in range(count)))
        tensor: dict[str, object] = {"name": "INPUT0", "shape": [1, count], "datatype": "FP32"}
        plain = json.dumps({"inputs": [tensor | {"data": values.tolist()}]}).encode()
        headers = {"Content-Type": "application/json"}
        found.append(Load(name=f"{size} JSON", body=plain, headers=headers, connections=connections))
        raw = values.tobytes()
        document = {
            "inputs": [tensor | {"parameters": {"binary_data_size": len(raw)}}],
            "parameters": {"binary_data_output": True},
        }
        text = json.dumps(document).encode()
        headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(text))}
        found.append(Load(name=f"{size} binary", body=text + raw, headers=headers, connections=connections))
    found.append(Load(name="small gRPC", body=None, headers={}, connections=MANY))
    return found


def measure(peer: Peer, pid: int, load: Load, folder: Path, seconds: int) -> Measured:
    """One run."""
    others = ",".join(str(core) for core in sorted(os.sched_getaffinity(0)) if str(core) != CORE) or CORE
    pinned = ["taskset", "-c", others]
    before = cpu_seconds(pid)
    if load.body is None:
        requests, errors, p50, p99 = _grpc(pinned, peer, load, seconds)
    else:
        requests, errors, p50, p99 = _wrk(pinned, peer, load, folder, seconds)
    used = cpu_seconds(pid) - before
    return Measured(
        rate=(requests - errors) / seconds, cpu=used / max(1, requests) * 1e6, p50=p50, p99=p99, errors=errors
    )


def _grpc(pinned: list[str], peer: Peer, load: Load, seconds: int) -> tuple[int, int, float, float]:
    python = ROOT / ".cache" / "clients" / "bin" / "python"
    script = Path(__file__).with_name("grpcload.py")
    command = [*pinned, str(python), str(script), str(peer.port + 1), NAME, str(SMALL), str(load.connections)]
    ended = subprocess.run([*command, str(seconds)], capture_output=True, text=True, timeout=seconds + 60, check=True)
    found = json.loads(ended.stdout)
    return found["requests"], found["errors"], found["p50"], found["p99"]


def _wrk(pinned: list[str], peer: Peer, load: Load, folder: Path, seconds: int) -> tuple[int, int, float, float]:
    body = folder / "body"
    body.write_bytes(load.body or b"")
    headers = "".join(f'wrk.headers["{name}"] = "{value}"\n' for name, value in load.headers.items())
    script = folder / "wrk.lua"
    script.write_text(
        f'local f = io.open("{body}", "rb")\nwrk.method = "POST"\nwrk.body = f:read("*a")\nf:close()\n{headers}'
    )
    command = [*pinned, "wrk", "-t1", f"-c{load.connections}", f"-d{seconds}s", "--latency", "--timeout", _PATIENCE]
    command += ["-s", str(script), f"http://127.0.0.1:{peer.port}{PATH}"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 90)
    text = ended.stdout
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return (
        int(_found(r"(\d+) requests in", text)),
        int(wrong[1]) if wrong else 0,
        _time(_found(r"(?m)^\s+50%\s+(\S+)", text)),
        _time(_found(r"(?m)^\s+99%\s+(\S+)", text)),
    )


def rows(seconds: int, runs: int, folder: Path) -> Iterator[Row]:
    """Every load on every server."""
    clients = (ROOT / ".cache" / "clients" / "bin" / "python").exists()
    for peer in peers(folder):
        with started(peer, folder / "log") as (pid, _):
            for load in loads():
                if load.body is None and not clients:
                    print("gRPC: not measured, kserve-images/clients.sh clients was not run", file=sys.stderr)
                    continue
                measure(peer, pid, load, folder, 1)
                lasting = max(seconds, _SLOWEST) if load.name.startswith("image") else seconds
                found = [measure(peer, pid, load, folder, lasting) for _ in range(runs)]
                yield _row(peer.name, load.name, found)


def _row(server: str, load: str, found: list[Measured]) -> Row:
    if any(one.errors for one in found):
        return Row(server=server, load=load, measured=None, problem="answers errors")
    if not all(one.rate for one in found):
        return Row(server=server, load=load, measured=None, problem="finishes none in the time")
    rate, cpu, p50, p99 = (
        statistics.median(getattr(one, key) for one in found) for key in ("rate", "cpu", "p50", "p99")
    )
    rates = [one.rate for one in found]
    spread = (max(rates) - min(rates)) / rate * 100
    return Row(
        server=server, load=load, measured=Measured(rate=rate, cpu=cpu, p50=p50, p99=p99, errors=0), spread=spread
    )


def start_lines(folder: Path, runs: int) -> Iterator[tuple[str, float, float]]:
    """What, seconds to the first answer, megabytes then: of our servers with the models that ship, and the peers."""
    for runtime, snap in (("onnx", "wine-cultivar"), ("tflite", "digit-reader"), ("sklearn", "diabetes-progress")):
        models = _shipped(folder / runtime, snap)
        taken, held = [], []
        for _ in range(runs):
            peer = ours(folder, runtime, models, grpc=False)
            with started(peer, folder / "log", f"/v2/models/{snap}/ready") as (pid, seconds):
                taken.append(seconds)
                held.append(memory_bytes(pid) / 1e6)
        yield f"snapedge-{runtime}, {snap}", statistics.median(taken), statistics.median(held)
    for peer in list(peers(folder))[1:]:
        with started(peer, folder / "log") as (pid, seconds):
            yield f"{peer.name}, {NAME}", seconds, memory_bytes(pid) / 1e6


def _shipped(folder: Path, snap: str) -> Path:
    """The folder of models of a snap's model, as its layer brings it."""
    declared = declaration.read_declaration(ROOT / "snaps" / snap)
    assert declared.samples_path is not None, "the models that ship have golden samples"
    samples = SampleSet.parse(declared.samples_path.read_bytes())
    files = observation.layer_files(declared, modelfile.read_model(declared.model_path), samples)
    target = folder / snap
    target.mkdir(parents=True)
    for name, content in files.items():
        (target / name).write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    return folder


def bars(found: list[Row], starts: list[tuple[str, float, float]], overhead: float) -> Iterator[tuple[str, bool]]:
    """Each bar in words, and whether it holds."""
    measured = {(row.load, row.server): row.measured for row in found}
    for (load, server), times in BARS.items():
        mine, theirs = measured.get((load, "snapedge-onnx")), measured.get((load, server))
        if mine is None or theirs is None:
            yield f"{load}: {server} was not measured", False
            continue
        ratio = mine.rate / theirs.rate
        yield f"{load}: {ratio:.1f} times {server}, bar {times:.0f}", ratio >= times
    small = measured.get(("small JSON", "snapedge-onnx"))
    if small is not None:
        yield f"small JSON: p99 is {small.p99 / small.p50:.1f} times p50, bar {TAIL:.0f}", small.p99 <= TAIL * small.p50
    for what, seconds, megabytes in starts:
        for runtime, (slowest, largest) in STARTS.items():
            if what.startswith(f"snapedge-{runtime},"):
                yield f"{what}: first answer after {seconds:.2f} s, bar {slowest}", seconds < slowest
                yield f"{what}: {megabytes:.0f} MB then, bar {largest:.0f}", megabytes < largest
    yield f"overhead over session.run: {overhead:.1f} us of CPU, bar {OVERHEAD:.0f}", overhead < OVERHEAD


def _overhead(folder: Path) -> float:
    """The median of three, each the best of many rounds."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{IMAGES / 'onnx/src'}:{IMAGES / 'oip/src'}:{ROOT}"}
    command = [str(IMAGES / "onnx/.venv/bin/python"), "-m", "tests.bench.overhead", str(place(folder))]
    found = [
        float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120).stdout)
        for _ in range(3)
    ]
    return statistics.median(found)


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
    """Measures, prints the tables and the bars; 1 where one is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args()
    for tool in ("wrk", "taskset"):
        if shutil.which(tool) is None:
            print(f"{tool} is not installed", file=sys.stderr)
            return 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = ["| server | request | requests/s | spread | CPU us/request | p50 us | p99 us |", "|---" * 7 + "|"]
        found = []
        for row in rows(chosen.seconds, chosen.runs, folder):
            found.append(row)
            print(row, file=sys.stderr, flush=True)
        lines += map(str, found)
        lines += ["", "| server, model | first answer s | memory MB |", "|---" * 3 + "|"]
        starts = list(start_lines(folder, max(chosen.runs, 3)))
        lines += [f"| {what} | {seconds:.2f} | {megabytes:.0f} |" for what, seconds, megabytes in starts]
        verdicts = list(bars(found, starts, _overhead(folder)))
    lines += ["", *(f"- {'met' if holds else '**missed**'}: {words}" for words, holds in verdicts), ""]
    text = "\n".join(lines)
    print(text)
    if chosen.output is not None:
        chosen.output.write_text(text)
    return 0 if all(holds for _, holds in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
