"""A layer larger than a small box's memory goes into the registry in pieces, and is not sent twice."""

import hashlib
import itertools
import os
import re
from pathlib import Path

from snapedge_hooks.images import ImageLayer, RuntimeImage
from snapedge_hooks.vocabulary import Architecture, Digest
from tests.fakes.edge import RUNTIMES, EdgeDevice, runtime_image

SIZE = 300 * 1024 * 1024
LARGEST_RSS = 40 * 1024 * 1024


def big_runtime() -> RuntimeImage:
    """A runtime whose one layer is all zeros."""
    zeros, hashed = bytes(1024 * 1024), hashlib.sha256()
    for _ in range(SIZE // len(zeros)):
        hashed.update(zeros)
    digest = Digest(f"sha256:{hashed.hexdigest()}")
    layer = ImageLayer(name="20-big", file="layers/20-big.tar", diff_id=digest, digest=digest, size=SIZE)
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest]}}
    return RuntimeImage(
        name="onnx", version="2.0.0", interface=1, architecture=Architecture.AMD64, config=config, layers=(layer,)
    )


def peak(process: int) -> int:
    """The most bytes a process has had in memory."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def test_a_layer_is_pushed_in_bounded_memory(device: EdgeDevice) -> None:
    runtime = big_runtime()
    device.install_runtime(runtime, {"layers/20-big.tar": b""})
    os.truncate(device.snap / "runtime" / "layers" / "20-big.tar", SIZE)
    device.registry.faults.forgets_bytes = True
    process, peaks = device.start("install"), []

    def measure(request: str) -> None:
        if request.startswith("PUT") and "/manifests/" in request:
            peaks.append(peak(process.pid))

    device.registry.on_request = measure
    assert process.wait(timeout=120) == 0
    assert device.registry.tags[RUNTIMES]["2.0.0"] == runtime.digest
    assert device.registry.received > SIZE
    assert peaks
    assert max(peaks) < LARGEST_RSS, f"{max(peaks) / 1e6:.1f} MB"


def test_layers_that_arrived_before_an_interruption_are_not_sent_again(device: EdgeDevice) -> None:
    runtime, files = runtime_image()
    device.install_runtime(runtime, files)
    uploads, process = itertools.count(1), device.start("install")

    def kill_at_the_second(request: str) -> None:
        if request.startswith("PUT") and next(uploads) == 2:
            process.kill()

    device.registry.on_request = kill_at_the_second
    assert process.wait(timeout=60) < 0
    first, second = (layer.digest for layer in runtime.layers)
    assert first in device.registry.blobs[RUNTIMES]
    device.registry.requests.clear()
    device.registry.on_request = lambda request: None
    assert device.run("converge") == 0
    sent = [request for request in device.registry.wrote() if request.startswith("PUT") and "/blobs/" in request]
    assert not [request for request in sent if first.hex in request]
    assert device.registry.tags[RUNTIMES]["1"] == runtime.digest
    assert second in device.registry.blobs[RUNTIMES]


def test_a_claim_that_is_no_blob_is_healed_under_every_model_by_the_runtimes_own_service(device: EdgeDevice) -> None:
    runtime, files = runtime_image()
    device.install_runtime(runtime, files)
    assert device.run("install") == 0
    lost = runtime.layers[1].digest
    device.registry.faults.lost.add(lost)
    device.registry.requests.clear()
    assert device.run("drift") == 0
    assert device.registry.faults.lost == set()
    sent = [request for request in device.registry.wrote() if request.startswith("PUT") and "/blobs/" in request]
    assert len(sent) == 1
    assert lost.hex in sent[0]
    assert device.health() == "okay"
