"""The runtimes of this repository, built from this host's mirrors and index, and run from their layers."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging import utils

from snapedge_builder import building, compose, layout, presentation, runtimes, runtimesource, sbom, scaffold
from snapedge_builder.apt import MirrorsAwayError
from snapedge_builder.cache import Cache
from snapedge_builder.hosts import read_host
from snapedge_builder.parts import BuiltRuntime
from snapedge_builder.processes import ToolMissingError
from snapedge_builder.progress import Silence
from snapedge_builder.sources import SourcesError
from snapedge_builder.wheels import IndexAwayError
from snapedge_hooks.vocabulary import Architecture, Digest

from ..fakes.buildsite import tripler
from . import imageroot

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]
RUNTIME = Path(__file__).parents[2] / "snaps" / "runtime-onnx"
BOTH = (Architecture.AMD64, Architecture.ARM64)


def build(cache: Cache) -> dict[Architecture, BuiltRuntime]:
    return dict(compose.build_runtimes(runtimes.read_runtime(RUNTIME), BOTH, cache=cache))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def built(cache: Cache) -> dict[Architecture, BuiltRuntime]:
    try:
        return build(cache)
    except (MirrorsAwayError, IndexAwayError, SourcesError, ToolMissingError) as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def root(built: dict[Architecture, BuiltRuntime], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The root file system of this host's architecture."""
    folder = tmp_path_factory.mktemp("root")
    runtime = built[read_host().architecture]
    imageroot.unpack(runtime, folder)
    yield folder
    shutil.rmtree(folder)


needs_bwrap = pytest.mark.skipif(not imageroot.can_run(), reason="bubblewrap does not run here")


def test_both_images_follow_from_their_inputs_alone(built: dict[Architecture, BuiltRuntime], tmp_path: Path) -> None:
    elsewhere = Cache(tmp_path / "other cache")
    again = build(elsewhere)
    assert {key: value.image.digest for key, value in again.items()} == {
        key: value.image.digest for key, value in built.items()
    }


def test_a_build_without_changes_asks_nobody_and_takes_less_than_a_second_of_work(
    built: dict[Architecture, BuiltRuntime], cache: Cache
) -> None:
    before = time.process_time()
    again = build(cache)
    assert time.process_time() - before < 1.0
    assert not any(runtime.is_new for runtime in again.values())


def test_architectures_share_what_is_not_compiled(built: dict[Architecture, BuiltRuntime]) -> None:
    app = {runtime.image.layers[-1].digest for runtime in built.values()}
    assert len(app) == 1


def test_a_build_that_was_killed_leaves_nothing_half_used(
    built: dict[Architecture, BuiltRuntime], tmp_path: Path
) -> None:
    code = (
        "import sys, pathlib\nfrom snapedge_builder import compose, runtimes\n"
        "from snapedge_builder.cache import Cache\n"
        "declaration = runtimes.read_runtime(pathlib.Path(sys.argv[1]))\n"
        "compose.build_runtimes(declaration, declaration.architectures, cache=Cache(pathlib.Path(sys.argv[2])))\n"
    )
    for seconds in (0.6, 2.5, 6.0):
        process = subprocess.Popen([sys.executable, "-c", code, str(RUNTIME), str(tmp_path)], start_new_session=True)
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for blob in (tmp_path / "blobs" / "sha256").glob("*"):
            assert Digest.of_file(blob).hex == blob.name
    for entry in (tmp_path / "scratch").iterdir():
        os.utime(entry, (1, 1))
    cache = Cache(tmp_path)
    assert list((tmp_path / "scratch").iterdir()) == []
    assert build(cache)[Architecture.ARM64].image.digest == built[Architecture.ARM64].image.digest


@needs_bwrap
def test_the_image_imports_what_it_serves_with_from_byte_code(
    root: Path, built: dict[Architecture, BuiltRuntime]
) -> None:
    runtime = built[read_host().architecture]
    module = runtimes.read_runtime(RUNTIME).project.module
    code = (
        f"import sys, {module}.__main__, numpy\n"
        "print(numpy.ones((8, 8), 'f4') @ numpy.ones((8, 1), 'f4') == 8)\n"
        "plain = [name for name, item in sys.modules.items() if item is not None and getattr(item, '__file__', None)"
        " and item.__file__.endswith('.py') and item.__spec__.origin != 'frozen'"
        " and not __import__('os').path.exists(item.__spec__.cached)]\n"
        "print(plain)"
    )
    done = subprocess.run(
        imageroot.inside(root, runtime, "/usr/bin/python3", "-P", "-c", code),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("\n[]\n")


def test_the_bill_lists_every_package_in_the_layers_and_nothing_else(
    root: Path, built: dict[Architecture, BuiltRuntime], cache: Cache
) -> None:
    host = read_host().architecture
    source = runtimesource.ComposedRuntimes(cache)
    components = source.build(runtimes.read_runtime(RUNTIME), host, Silence()).components
    bill = sbom.document(subject=sbom.Component(kind="container", name="onnx", version="1"), components=components)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill.decode()) is None
    status = [path.read_text() for path in (root / "var/lib/dpkg/status.d").iterdir()]
    debs = {tuple(re.search(rf"(?m)^{key}: (.*)$", text)[1] for key in ("Package", "Version")) for text in status}  # type: ignore[index]  # each has both
    wheels = {
        (utils.canonicalize_name(name), version)
        for path in (root / "usr/lib/snapedge/site-packages").glob("*.dist-info")
        for name, _, version in [path.name.removesuffix(".dist-info").rpartition("-")]
    }
    listed = [(component.purl.partition("/")[0], component.name, component.version) for component in components]
    assert sorted(listed) == sorted(
        [*(("pkg:deb", *found) for found in debs), *(("pkg:pypi", *found) for found in wheels)]
    )


@needs_bwrap
def test_the_server_in_the_image_says_how_it_is_used(root: Path, built: dict[Architecture, BuiltRuntime]) -> None:
    runtime = built[read_host().architecture]
    command = imageroot.inside(root, runtime, *runtime.image.config["config"]["Entrypoint"], "--help")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "--model-dir" in done.stdout


def served_prediction(command: list[str], port: int, model: str, value: float) -> dict[str, Any]:
    """What a server answers, from its start to its end."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            try:
                connection.request("GET", "/v2/health/ready")
                if connection.getresponse().status == http.HTTPStatus.OK:
                    break
            except ConnectionError:
                assert process.poll() is None, process.communicate()[1]
            finally:
                connection.close()
            assert time.monotonic() < deadline, "it is not ready"
            time.sleep(0.1)
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [value, value]}
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("POST", f"/v2/models/{model}/infer", json.dumps({"inputs": [tensor]}))
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
        connection.close()
        return answer
    finally:
        process.terminate()
        process.communicate(timeout=30)


@needs_bwrap
def test_a_second_model_needs_nothing_but_its_file(
    root: Path, built: dict[Architecture, BuiltRuntime], cache: Cache, tmp_path: Path
) -> None:
    file = tmp_path / "any.onnx"
    file.write_bytes(tripler().SerializeToString())
    scaffold.new_folder(tmp_path / "second-model", model=file, name=None)
    request = building.BuildRequest(folder=tmp_path / "second-model", runtime_folder=RUNTIME, output=tmp_path / "dist")
    with presentation.stderr_progress() as progress:
        done = building.build(request, cache=cache, source=runtimesource.ComposedRuntimes(cache), progress=progress)
    names = sorted(path.name for path, _, _ in done.lines())
    assert names == ["second-model_0.1.0_amd64.snap", "second-model_0.1.0_arm64.snap"]
    host = read_host().architecture
    snap = tmp_path / "dist" / f"second-model_0.1.0_{host}.snap"
    subprocess.run(["unsquashfs", "-q", "-n", "-d", tmp_path / "snap", snap], check=True, capture_output=True)
    with tarfile.open(tmp_path / "snap" / "payload" / "model.tar") as layer:
        layer.extractall(tmp_path / "layer", filter="data")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    runtime = built[host]
    start = [*runtime.image.config["config"]["Entrypoint"], "--bind", "127.0.0.1", "--http-port", str(port)]
    command = imageroot.inside(root, runtime, *start)
    at = command.index("--proc")
    models = ["--ro-bind", str(tmp_path / "layer" / "mnt" / "models"), "/mnt/models"]
    answer = served_prediction([*command[:at], *models, *command[at:]], port, "second-model", 4.0)
    assert answer["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [12.0, 12.0]}]


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_skopeo_reads_the_layout(built: dict[Architecture, BuiltRuntime], tmp_path: Path) -> None:
    runtime = built[Architecture.ARM64]
    layout.write(runtime.image, runtime.layers, tmp_path / "layout")
    done = subprocess.run(
        ["skopeo", "--override-arch", "arm64", "inspect", f"oci:{tmp_path / 'layout'}:{runtime.image.version}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout)["Digest"] == runtime.image.digest


def test_a_large_model_is_never_held_in_memory(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    with model.open("wb") as file:
        file.truncate(1_000_000_000)
    code = (
        "import sys, pathlib\nfrom snapedge_builder import layers\nfrom snapedge_builder.cache import Cache\n"
        "root = pathlib.Path(sys.argv[1])\n"
        "layers.write_model_layer('big', {'model.onnx': root / 'model.onnx'}, cache=Cache(root / 'cache'))\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120, check=True
    )
    assert int(done.stdout) < 100_000
