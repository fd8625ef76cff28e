"""What the builder takes, against what it may take: `make bench-builder`.

Each bar runs the real command on a copy of a model of this repository, with a cache of its own. The first fills it from
mirrors and index; `--cache` names one that is filled already, and the cold bar is then left out. Large models, ONNX and
TensorFlow Lite, are built for one architecture. Of the bars, those on images alone and a runtime bump are not measured
here.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from snapedge_builder import modelfile

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
        for folder in (MODEL, "runtime-onnx", "runtime-tflite"):
            shutil.copytree(ROOT / "snaps" / folder, self.snaps / folder)
        for runtime in self.snaps.glob("runtime-*/runtime.yaml"):
            runtime.write_text(runtime.read_text().replace("../../kserve-images", str(ROOT / "kserve-images")))
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
        )
        if done.returncode != 0:
            raise SystemExit(f"builder {words[0]} ended with {done.returncode}\n{done.stderr}")
        return done.stdout, time.monotonic() - start

    def build(self, output: Path, *more: str) -> float:
        """Seconds to build both architectures, or as `more` says."""
        return self.builder("build", self.snaps / MODEL, "--cache", self.cache, "--output", output, *more)[1]

    def grow(self, size: int, seed: int) -> None:
        """Make the model that large, and other than before."""
        model = onnx.load(self.model)
        kept = [item for item in model.graph.initializer if item.name != "snapedge_weight"]
        del model.graph.initializer[:]
        noise = random.Random(seed).randbytes(size)
        weight = helper.make_tensor("snapedge_weight", TensorProto.UINT8, [size], noise, raw=True)
        model.graph.initializer.extend([*kept, weight])
        self.model.write_bytes(model.SerializeToString())

    def delta(self, old: Path, new: Path) -> int:
        """Bytes of the store's delta between the arm64 snaps of two folders."""
        snaps = [next(folder.glob(f"{MODEL}_*_arm64.snap")) for folder in (old, new)]
        return int(json.loads(self.builder("diff", *snaps, "--format", "json")[0])["delta"])


def measure(bench: Bench, top: Path, *, cold: bool) -> Iterator[Measured]:
    """Every bar, one after another."""
    one, two = top / "one", top / "two"
    bench.grow(10**6, 1)
    seconds = bench.build(one)
    if cold:
        yield Measured(name="both architectures cold, packed", value=seconds, limit=60, unit="s")
    yield Measured(name="nothing changed", value=bench.build(one), limit=1, unit="s")
    bench.grow(10**6, 2)
    yield Measured(name="model change, both snaps packed", value=bench.build(two), limit=1, unit="s")
    weight = bench.model.stat().st_size
    snap = next(two.glob(f"{MODEL}_*_arm64.snap")).stat().st_size
    yield Measured(name="model snap over its model", value=(snap - weight) / 1e3, limit=700, unit="kB")
    allowed = (weight * 1.02 + 16_000) / 1e3
    yield Measured(name="delta of a model change, shared", value=bench.delta(one, two) / 1e3, limit=allowed, unit="kB")
    bench.declaration.write_text(bench.declaration.read_text().replace("image: shared", "image: full"))
    three, four = top / "three", top / "four"
    bench.build(three)
    bench.grow(10**6, 3)
    bench.build(four)
    full = next(four.glob(f"{MODEL}_*_arm64.snap")).stat().st_size
    yield Measured(name="arm64 snap with its runtime", value=full / 1e6, limit=60, unit="MB")
    yield Measured(name="delta of a model change, full", value=bench.delta(three, four) / 1e3, limit=allowed, unit="kB")
    yield Measured(name="peak memory of any command above", value=peak(), limit=400, unit="MB")
    bench.declaration.write_text(bench.declaration.read_text().replace("image: full", "image: shared"))
    yield from measure_large(bench, top)


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


def main() -> None:
    """Print the table; leave with 1 where a bar does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, help="a filled build cache; the cold bar is left out")
    cache = parser.parse_args().cache
    with tempfile.TemporaryDirectory(prefix="snapedge-bench-") as folder:
        top = Path(folder)
        bench = Bench(top, cache or top / "cache")
        over = 0
        for line in measure(bench, top, cold=cache is None):
            print(line, flush=True)
            over += not line.holds
    sys.exit(1 if over else 0)


if __name__ == "__main__":
    main()
