"""What byte code in an image is worth: how soon each server is ready with it and without, and what it weighs.

`python -m tests.bench.bytecode`. The images are composed as they ship, unpacked, and run in bubblewrap with a shipped
model, read-only as on a device. The kernel has read the files once before anything is measured. With `--emulator` it is
arm64's images that run, under a QEMU 10 that nothing needs to be registered for: the one that `tests/real/rigs/buildx
build` leaves in the rigs' cache.
"""

from __future__ import annotations

import argparse
import http.client
import os
import socket
import statistics
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

from snapedge_builder import building, compose, runtimes
from snapedge_builder.building import BuildRequest
from snapedge_builder.cache import Cache, default_root
from snapedge_builder.hosts import read_host
from snapedge_builder.parts import BuiltRuntime
from snapedge_builder.progress import Silence
from snapedge_builder.runtimesource import ComposedRuntimes
from snapedge_hooks.vocabulary import Architecture

ROOT = Path(__file__).parents[2]
MODELS = {"onnx": "wine-cultivar", "tflite": "digit-reader", "sklearn": "diabetes-progress"}
ROUNDS = 5
DEADLINE = 300.0
PAUSE = 0.02
EMULATOR = "/tmp/qemu"  # in the sandbox, whose root is read-only


def unpack(runtime: BuiltRuntime, folder: Path, *, bytecode: bool) -> None:
    """Lay out an image's files."""
    for layer in runtime.image.layers:
        with tarfile.open(runtime.layers[layer.name]) as archive:
            kept = [item for item in archive if bytecode or not item.name.endswith(".pyc")]
            archive.extractall(folder, kept, filter="fully_trusted")


def start(root: Path, models: Path, runtime: BuiltRuntime, emulator: Path | None) -> tuple[float, float]:
    """Seconds until the server says that it is ready, and seconds of processor that it took until then."""
    bound = ("--ro-bind", str(emulator), EMULATOR) if emulator else ()
    settings = runtime.image.config["config"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    began = time.monotonic()
    process = subprocess.Popen(
        [
            *("bwrap", "--unshare-user", "--die-with-parent", "--clearenv", "--uid", "65532", "--gid", "65532"),
            *("--ro-bind", str(root), "/", "--ro-bind", str(models), "/mnt/models"),
            *("--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", *bound),
            *(part for pair in settings["Env"] for part in ("--setenv", *pair.split("=", 1))),
            *([EMULATOR] if emulator else []),
            *settings["Entrypoint"],
            *("--bind", "127.0.0.1", "--http-port", str(port)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not is_ready(port):
            if process.poll() is not None or time.monotonic() - began > DEADLINE:
                raise SystemExit(f"{runtime.image.name} does not start")
            time.sleep(PAUSE)
        return time.monotonic() - began, processor_seconds(process.pid)
    finally:
        process.terminate()
        process.wait(DEADLINE)


def processor_seconds(process: int) -> float:
    """What a process and those below it have taken."""
    folder = Path("/proc") / str(process)
    user, system = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
    below = (folder / "task" / str(process) / "children").read_text().split()
    own = (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return own + sum(processor_seconds(int(child)) for child in below)


def is_ready(port: int) -> bool:
    """Whether a server answers that it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def bytecode_size(runtime: BuiltRuntime) -> int:
    """Bytes of byte code in an image."""
    total = 0
    for layer in runtime.image.layers:
        with tarfile.open(runtime.layers[layer.name]) as archive:
            total += sum(item.size for item in archive if item.name.endswith(".pyc"))
    return total


def model_layer(model: str, host: Architecture, cache: Cache, top: Path) -> Path:
    """A folder with a shipped model's layer, as it is mounted."""
    request = BuildRequest(folder=ROOT / "snaps" / model, architectures=(host,), output=top / "dist")
    done = building.build(request, cache=cache, source=ComposedRuntimes(cache), progress=Silence())
    subprocess.run(["unsquashfs", "-q", "-n", "-d", top / "snap", *done.snaps], check=True, stdout=subprocess.DEVNULL)
    with tarfile.open(top / "snap" / "payload" / "model.tar") as archive:
        archive.extractall(top / "layer", filter="data")
    return top / "layer" / "mnt" / "models"


def compressed(folder: Path, top: Path) -> int:
    """What a folder weighs in a snap."""
    snap = top / "weighed"
    options = ["-noappend", "-comp", "xz", "-no-fragments", "-no-progress", "-quiet", "-all-root", "-no-xattrs"]
    subprocess.run(["mksquashfs", folder, snap, *options], check=True, stdout=subprocess.DEVNULL)
    size = snap.stat().st_size
    snap.unlink()
    return size


def main() -> None:
    """Print a line for each server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=default_root(), help="the build cache")
    parser.add_argument("--emulator", type=Path, help="a static qemu-aarch64: measure arm64 under it")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="starts of each server")
    arguments = parser.parse_args()
    host = read_host().architecture
    architecture = Architecture.ARM64 if arguments.emulator else host
    cache = Cache(arguments.cache)
    for form, model in MODELS.items():
        said = runtimes.read_runtime(ROOT / "snaps" / f"runtime-{form}")
        runtime = compose.build_runtimes(said, (architecture,), cache=cache)[architecture]
        with tempfile.TemporaryDirectory(prefix="snapedge-bench-") as name:
            top = Path(name)
            models, with_it, without = model_layer(model, host, cache, top), top / "with", top / "without"
            found = {}
            for folder, bytecode in ((with_it, True), (without, False)):
                unpack(runtime, folder, bytecode=bytecode)
                start(folder, models, runtime, arguments.emulator)
                taken = [start(folder, models, runtime, arguments.emulator) for _ in range(arguments.rounds)]
                found[bytecode] = [statistics.median(values) for values in zip(*taken, strict=True)]
            grown = (compressed(with_it, top) - compressed(without, top)) / 1e6
        weight = bytecode_size(runtime) / 1e6
        print(
            f"{form:<8} {architecture} ready {found[True][0]:.2f} s, without {found[False][0]:.2f} s; "
            f"processor {found[True][1]:.2f} s, without {found[False][1]:.2f} s; "
            f"{weight:.1f} MB, {grown:.1f} MB in a snap",
            flush=True,
        )


if __name__ == "__main__":
    main()
