"""What the builder takes, against what it may take: `make bench-builder`.

Each bar runs the real command on a copy of a model of this repository, with a cache of its own. The first fills it from
mirrors and index; `--cache` names one that is filled already, and the cold bars are then left out. Bars of a second are
medians of several runs, of a builder whose byte code is written, as an installed one's is. Large models, ONNX and
TensorFlow Lite, are built for one architecture. `--only` measures what its word names alone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import onnx
from onnx import TensorProto, helper

from snapedge_builder import modelfile, processes, runtimes

from ..fakes import largemodel, largetflite

ROOT = Path(__file__).parents[2]
MODEL = "wine-cultivar"
LOOKUP = """\
name: lookup
version: 1.0.0
summary: Gives the row of a table
model: {file: model.tflite}
architectures: [amd64]
samples: samples.json
"""
LOOKUP_SAMPLES = {
    "format": 1,
    "samples": [
        {
            "name": "row-0",
            "request": {"inputs": [{"name": "row", "shape": [1], "datatype": "INT32", "data": [0]}]},
            "expect": {
                "outputs": [
                    {
                        "name": "vector",
                        "shape": [1, largetflite.WIDTH],
                        "datatype": "FP32",
                        "data": [0.0] * largetflite.WIDTH,
                    }
                ]
            },
        }
    ],
}
RUNTIME = "runtime-onnx"
ROUNDS = 5
DEADLINE = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One line of the table.

    Attributes:
        name: of what was measured.
        value: as measured.
        limit: not to be passed.
        unit: of both.
    """

    name: str
    value: float
    limit: float
    unit: str

    @property
    def holds(self) -> bool:
        """Whether the bar holds."""
        return self.value <= self.limit

    def __str__(self) -> str:
        verdict = "ok" if self.holds else "OVER"
        return f"{self.name:<44} {self.value:>10.2f} {self.unit:<3} of {self.limit:>8.2f}  {verdict}"


class Bench:
    """Folders to build in, and the command."""

    def __init__(self, top: Path, cache: Path) -> None:
        self.snaps = top / "snaps"
        self.cache = cache
        for folder in (MODEL, RUNTIME, "runtime-tflite"):
            shutil.copytree(ROOT / "snaps" / folder, self.snaps / folder)
        for folder in ("onnx", "tflite", "oip"):
            image = top / "kserve-images" / folder
            shutil.copytree(ROOT / "kserve-images" / folder, image, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        self.lock = top / "kserve-images" / "onnx" / runtimes.LOCK_NAME
        self.model = self.snaps / MODEL / "model.onnx"
        self.declaration = self.snaps / MODEL / "inference.yaml"
        self.lookup = self.snaps / "lookup"
        self.lookup.mkdir()
        (self.lookup / "inference.yaml").write_text(LOOKUP)
        (self.lookup / "samples.json").write_text(json.dumps(LOOKUP_SAMPLES))

    def builder(self, *words: str | Path) -> tuple[str, float]:
        """What the command prints, and the seconds it took."""
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", "from snapedge_builder.cli import main; main()", *map(str, words)],
            check=False,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            env={name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        )
        if done.returncode != 0:
            raise SystemExit(f"builder {words[0]} ended with {done.returncode}\n{done.stderr}")
        return done.stdout, time.monotonic() - start

    def build(self, output: Path, *more: str) -> float:
        """Seconds to build both architectures, or as `more` says."""
        return self.builder("build", self.snaps / MODEL, "--cache", self.cache, "--output", output, *more)[1]

    def build_runtime(self, output: Path, *more: str) -> float:
        """Seconds to build the runtime's snaps, or as `more` says."""
        return self.builder("build", self.snaps / RUNTIME, "--cache", self.cache, "--output", output, *more)[1]

    def grow(self, size: int, seed: int) -> None:
        """Make the model that large, and other than before."""
        model = onnx.load(self.model)
        kept = [item for item in model.graph.initializer if item.name != "snapedge_weight"]
        del model.graph.initializer[:]
        noise = random.Random(seed).randbytes(size)
        weight = helper.make_tensor("snapedge_weight", TensorProto.UINT8, [size], noise, raw=True)
        model.graph.initializer.extend([*kept, weight])
        self.model.write_bytes(model.SerializeToString())

    def age_numpy(self) -> None:
        """Lock numpy's patch release before the one that the runtime has, and nothing else."""
        text = self.lock.read_text()
        found = re.search(r"^numpy==(\d+\.\d+)\.(\d+)(?: .*\n(?: .*\n)*)", text, re.MULTILINE)
        if found is None or found[2] == "0":
            raise SystemExit(f"no patch release of numpy before that of {self.lock.name}")
        wanted = self.lock.with_name("numpy.in")
        wanted.write_text(f"numpy=={found[1]}.{int(found[2]) - 1}\n")
        done = processes.run(
            [
                processes.find("uv", package="uv", folders=[ROOT / ".tools" / "bin"]),
                *("pip", "compile", "--quiet", "--universal", "--no-deps", "--generate-hashes", "--no-header"),
                *("--no-emit-index-url", "--no-annotate", "--python-version", "3.11", wanted),
            ],
            package="uv",
            seconds=60,
        )
        if done.status != 0:
            raise SystemExit(f"cannot lock {wanted.read_text().strip()}\n{done.errors}")
        self.lock.write_text(text.replace(found[0], done.output))

    def delta(self, old: Path, new: Path) -> int:
        """Bytes of the store's delta between the arm64 snaps of two folders."""
        snaps = [next(folder.glob("*_arm64.snap")) for folder in (old, new)]
        return int(json.loads(self.builder("diff", *snaps, "--format", "json")[0])["delta"])


def measure_models(bench: Bench, top: Path, cold: bool) -> Iterator[Measured]:
    """What a model of 1 MB takes, cold, unchanged and changed, alone and with its runtime."""
    one, two = top / "one", top / "two"
    bench.grow(10**6, 0)
    seconds = bench.build(one)
    if cold:
        yield Measured(name="both architectures cold, images", value=seconds, limit=20, unit="s")
    unchanged = median(bench.build(one) for _ in range(ROUNDS))
    yield Measured(name="nothing changed", value=unchanged, limit=1, unit="s")
    yield Measured(name="model change, both snaps packed", value=_change(bench, two), limit=1, unit="s")
    weight = bench.model.stat().st_size
    snap = next(two.glob(f"{MODEL}_*_arm64.snap")).stat().st_size
    yield Measured(name="model snap over its model", value=(snap - weight) / 1e3, limit=700, unit="kB")
    allowed = (weight * 1.02 + 16_000) / 1e3
    yield Measured(name="delta of a model change, shared", value=bench.delta(one, two) / 1e3, limit=allowed, unit="kB")
    bench.declaration.write_text(bench.declaration.read_text().replace("image: shared", "image: full"))
    three, four = top / "three", top / "four"
    bench.build(three)
    bench.grow(10**6, 0)
    bench.build(four)
    full = next(four.glob(f"{MODEL}_*_arm64.snap")).stat().st_size
    yield Measured(name="arm64 snap with its runtime", value=full / 1e6, limit=60, unit="MB")
    yield Measured(name="delta of a model change, full", value=bench.delta(three, four) / 1e3, limit=allowed, unit="kB")
    yield Measured(name="peak memory of any command so far", value=peak(), limit=400, unit="MB")
    bench.declaration.write_text(bench.declaration.read_text().replace("image: full", "image: shared"))


def _change(bench: Bench, output: Path) -> float:
    """Seconds to build a model that changed, the median."""
    found = []
    for seed in range(1, ROUNDS + 1):
        bench.grow(10**6, seed)
        found.append(bench.build(output))
    return median(found)


def measure_runtime(bench: Bench, top: Path, cold: bool) -> Iterator[Measured]:
    """The runtime's snaps, and what devices download when numpy gets a patch release."""
    new, old = top / "runtime", top / "runtime-before"
    if cold:
        # The images alone, by way of a model that needs them.
        bench.build(top / "images")
        seconds = bench.build_runtime(new)
        yield Measured(name="both runtime snaps packed, of cached images", value=seconds, limit=60, unit="s")
    else:
        bench.build_runtime(new, "--architecture", "arm64")
    bench.age_numpy()
    bench.build_runtime(old, "--architecture", "arm64")
    yield Measured(name="delta of a numpy patch release", value=bench.delta(old, new) / 1e6, limit=12, unit="MB")


def measure_large(bench: Bench, top: Path) -> Iterator[Measured]:
    """Models of 1 GB, of both formats, and of what a protobuf message can hold: built, read and checked."""
    small = (ROOT / "snaps" / MODEL / "model.onnx").read_bytes()
    largetflite.write_lookup(bench.lookup / "model.tflite", 10**9 // 1024)
    handle_large(bench, "1 GB, TensorFlow Lite", bench.lookup, top / "large")
    (bench.lookup / "model.tflite").unlink()
    for name, size in (("1 GB", 10**9), ("2 GB", modelfile.MAX_BYTES - 4096 - len(small))):
        largemodel.write(small, bench.model, size)
        handle_large(bench, name, bench.snaps / MODEL, top / "large")
        yield Measured(name=f"peak memory with a model of {name}", value=peak(), limit=400, unit="MB")


def handle_large(bench: Bench, name: str, folder: Path, output: Path) -> None:
    """Build a model, read and check its snap, and say what it took."""
    start = time.monotonic()
    bench.builder("build", folder, "--cache", bench.cache, "--output", output, "--architecture", "amd64")
    built = time.monotonic() - start
    snap = next(output.glob("*.snap"))
    bench.builder("inspect", snap)
    bench.builder("verify", snap)
    print(f"model of {name}: built in {built:.1f} s; peak memory so far {peak():.0f} MB", flush=True)
    shutil.rmtree(output)


def peak() -> float:
    """Most memory that any process of any command so far has held, in MB."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6


MEASURES: dict[str, Callable[[Bench, Path, bool], Iterator[Measured]]] = {
    "models": measure_models,
    "runtime": measure_runtime,
    "large": lambda bench, top, _cold: measure_large(bench, top),
}


def main() -> None:
    """Print the table; leave with 1 where a bar does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, help="a filled build cache; the cold bars are left out")
    parser.add_argument("--only", choices=MEASURES, help="these bars alone")
    given = parser.parse_args()
    cache: Path | None = given.cache
    with tempfile.TemporaryDirectory(prefix="snapedge-bench-") as folder:
        top = Path(folder)
        if cache is None:
            # uv has a cache of its own, with the wheels of whatever was installed on this host.
            os.environ["UV_CACHE_DIR"] = str(top / "uv")
        bench = Bench(top, cache or top / "cache")
        over = 0
        for name, measured in MEASURES.items():
            for line in measured(bench, top, cache is None) if given.only in (None, name) else ():
                print(line, flush=True)
                over += not line.holds
    sys.exit(1 if over else 0)


if __name__ == "__main__":
    main()
