"""What this project replaces, measured beside what it puts there: `make bench-replaced`, with root on Debian 12.

Two habits. An image for another architecture whose Dockerfile runs `pip install` under emulation: the ONNX server's
locked wheels for arm64, by real BuildKit and QEMU 10, on the Debian packages that our image begins with, and pip. And a
snap that holds the whole image as one archive: what the store sends for a model that changed by 1 MB. Nothing is cached
for either side but those Debian packages; downloads from the index count.
"""

from __future__ import annotations

import argparse
import gzip
import io
import itertools
import json
import os
import random
import resource
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from snapedge_builder import compose, delta, hosts, layout, ownimages, pack, resolution, runtimes
from snapedge_builder.buildx import Buildx
from snapedge_builder.cache import Cache, default_root
from snapedge_builder.hosts import Host
from snapedge_builder.parts import BuiltRuntime, Workshop
from snapedge_builder.runtimes import BaseDeclaration, DockerfileRuntime
from snapedge_hooks.images import ImageLayer
from snapedge_hooks.vocabulary import Architecture, Digest

from ..real.buildkit import BuildKit
from .builder import Bench

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "kserve-images" / "onnx" / "requirements.lock"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
ARM64 = Architecture.ARM64
MODEL = "90-model"
CHANGED = 10**6
MODELS = 4
PACKING = 2
PLAIN = 'FROM snapedge-base\nCMD ["python3"]\n'
"""Brings the base to where BuildKit has it, before anything is measured."""
INSTALLING = f"""\
FROM snapedge-base
COPY requirements.lock /
RUN --mount=type=secret,id=certificates,target={CERTIFICATES} \\
    pip3 install --quiet --no-cache-dir --no-deps --require-hashes --only-binary :all: --target /site \\
    --requirement /requirements.lock && times >/times
CMD ["python3"]
"""
DECLARED = f"""\
name: replaced
version: 1.0.0
formats: [onnx]
base:
  suite: bookworm
  packages: [base-files, dash, libpython3-stdlib, libstdc++6, python3-minimal, python3-pip]
build:
  dockerfile: Dockerfile
  secrets: {{certificates: {{file: {CERTIFICATES}}}}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What making an image took.

    Attributes:
        seconds: from the start to the image in a folder.
        processor: seconds of processor; of the step alone where BuildKit runs it.
    """

    seconds: float
    processor: float

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s, {self.processor:.1f} s of processor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What a device is sent for a model that changed.

    Attributes:
        whole: MB of the snap.
        deltas: MB of the store's delta to the next, the smallest first.
    """

    whole: float
    deltas: tuple[float, ...]

    def __str__(self) -> str:
        return f"{self.whole:.2f} MB; delta {' '.join(f'{size:.2f}' for size in self.deltas)} MB"


def install_emulated(top: Path, cache: Cache) -> Taken:
    """`pip install` for arm64, in a step that BuildKit runs under QEMU."""
    shutil.copy(LOCK, top / "requirements.lock")
    (top / "runtime.yaml").write_text(DECLARED)
    declared = runtimes.read_any(_dockerfile(top, PLAIN))
    assert isinstance(declared, DockerfileRuntime)
    buildx = Buildx.of_environment()
    ownimages.build_runtime(declared, ARM64, cache=cache, buildx=buildx)
    _dockerfile(top, INSTALLING)
    start = time.monotonic()
    built = ownimages.build_runtime(declared, ARM64, cache=cache, buildx=buildx)
    return Taken(seconds=time.monotonic() - start, processor=_step_processor(built))


def _dockerfile(folder: Path, text: str) -> Path:
    (folder / "Dockerfile").write_text(text)
    return folder


def _step_processor(built: BuiltRuntime) -> float:
    """What the shell wrote of itself and of what it ran: two lines of minutes and seconds, of user and of system."""
    for path in built.layers.values():
        with tarfile.open(path) as archive:
            member = next((item for item in archive if item.name.lstrip("./") == "times"), None)
            file = archive.extractfile(member) if member else None
            if file is not None:
                pairs = [word.rstrip("s").split("m") for word in file.read().decode().split()]
                return sum(60 * int(minutes) + float(seconds) for minutes, seconds in pairs)
    raise SystemExit("the step left no times")


def compose_image(top: Path) -> Taken:
    """Our image of the same server for arm64, its base there already, in a cache of its own."""
    cache = Cache(top / "cache")
    declared = runtimes.read_runtime(ROOT / "snaps" / "runtime-onnx")
    # uv has a cache of its own, with the wheels of whatever was installed on this host.
    host = replace(hosts.read_host(), environment={"UV_CACHE_DIR": str(top / "uv")})
    base = BaseDeclaration(suite=declared.suite, packages=declared.packages, prune=declared.prune)
    _bring_base(base, host, cache)
    start, before = time.monotonic(), _processor()
    compose.build_runtime(declared, ARM64, cache=cache, host=host)
    return Taken(seconds=time.monotonic() - start, processor=_processor() - before)


def _bring_base(base: BaseDeclaration, host: Host, cache: Cache) -> None:
    plan = resolution.resolve_base(base, ARM64, host, cache=cache)
    with cache.scratch() as scratch:
        compiler = compose.compiler_for(plan, host, scratch=scratch, cache=cache)
        compose.build_base(plan, Workshop(host=host, compiler=compiler, cache=cache))


def _processor() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(item.ru_utime + item.ru_stime for item in used)


def saved_image(runtime: BuiltRuntime, seed: int, top: Path) -> bytes:
    """The image with a model of random bytes as `docker save` writes it: a layout, blobs in the order of digests."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        _add(archive, "mnt/models/model.onnx", random.Random(seed).randbytes(CHANGED))
    (top / "model.tar").write_bytes(buffer.getvalue())
    digest = Digest.of(buffer.getvalue())
    model = ImageLayer(name=MODEL, file=MODEL, diff_id=digest, digest=digest, size=len(buffer.getvalue()))
    layers = (*runtime.image.layers, model)
    rootfs = {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in layers]}
    image = replace(runtime.image, layers=layers, config={**runtime.image.config, "rootfs": rootfs})
    folder = top / "layout"
    layout.write(image, {**runtime.layers, MODEL: top / "model.tar"}, folder)
    names = [f"blobs/sha256/{digest.hex}" for digest in (Digest.of(image.config_bytes()), *(x.digest for x in layers))]
    manifest = [{"Config": names[0], "RepoTags": ["model:latest"], "Layers": names[1:]}]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    saved = io.BytesIO()
    with tarfile.open(fileobj=saved, mode="w") as archive:
        for path in sorted(item for item in folder.rglob("*") if item.is_file()):
            _add(archive, str(path.relative_to(folder)), path.read_bytes())
    shutil.rmtree(folder)
    return saved.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def _gzipped(data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=6, mtime=0)


def archive_snaps(runtime: BuiltRuntime, top: Path, name: str, written: Callable[[bytes], bytes]) -> Sent:
    """Snaps that hold the whole image as one file.

    Where a model's digest puts it among the blobs is chance: so are the deltas, of which there are several.
    """
    snaps = []
    for seed in range(MODELS):
        tree, snap = top / f"tree-{seed}", top / f"{name}-{seed}.snap"
        tree.mkdir()
        (tree / name).write_bytes(written(saved_image(runtime, seed, top)))
        pack.pack(tree, snap, processors=PACKING)
        shutil.rmtree(tree)
        snaps.append(snap)
    deltas = sorted(delta.delta_size(old, new) / 1e6 for old, new in itertools.pairwise(snaps))
    return Sent(whole=snaps[0].stat().st_size / 1e6, deltas=tuple(deltas))


def model_snaps(top: Path, cache: Cache) -> Sent:
    """Model snaps of ours."""
    bench = Bench(top, cache.root)
    folders = [top / str(seed) for seed in range(MODELS)]
    for seed, folder in enumerate(folders):
        bench.grow(CHANGED, seed)
        bench.build(folder, "--architecture", str(ARM64))
    whole = next(folders[0].glob("*.snap")).stat().st_size / 1e6
    return Sent(whole=whole, deltas=tuple(sorted(bench.delta(*pair) / 1e6 for pair in itertools.pairwise(folders))))


@contextmanager
def buildkit() -> Iterator[None]:
    """BuildKit with an empty cache, which `docker buildx` in this process finds."""
    rig = BuildKit()
    rig.clean()
    try:
        rig.up()
        os.environ.update(rig.environment)
        yield
    finally:
        rig.clean()


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=default_root(), help="the build cache, for what is not measured")
    cache = Cache(parser.parse_args().cache)
    with tempfile.TemporaryDirectory(prefix="snapedge-bench-") as name:
        top = Path(name)
        parts = {part: top / part for part in ("emulated", "composed", "archives", "ours")}
        for folder in parts.values():
            folder.mkdir()
        with buildkit():
            print(f"arm64 image, pip under QEMU      {install_emulated(parts['emulated'], cache)}", flush=True)
        print(f"arm64 image, composed            {compose_image(parts['composed'])}", flush=True)
        runtime = compose.build_runtime(runtimes.read_runtime(ROOT / "snaps" / "runtime-onnx"), ARM64, cache=cache)
        for file, written in (("image.tar.gz", _gzipped), ("image.tar", bytes)):
            sent = archive_snaps(runtime, parts["archives"], file, written)
            print(f"snap with {file:<22} {sent}", flush=True)
        print(f"model snap                       {model_snaps(parts['ours'], cache)}", flush=True)


if __name__ == "__main__":
    main()
