"""The hooks' registry client against docker-registry, with skopeo as a second opinion."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from snapedge_hooks import blobs, upload
from snapedge_hooks.clock import Deadline, SystemClock
from snapedge_hooks.images import ImageLayer, ModelLayer, RuntimeImage, compose
from snapedge_hooks.registry import Registry
from snapedge_hooks.vocabulary import Architecture, Digest, RegistryAddress, RepositoryName, TagName

from . import registries
from .conftest import give_up
from .layers import layer_tar

RUNTIME = RepositoryName("snapedge/runtime-onnx")
MODEL = RepositoryName("wine")


@pytest.fixture(scope="module")
def address(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not registries.is_installed() or shutil.which("skopeo") is None:
        give_up(pytestconfig, "docker-registry or skopeo is not installed")
    with registries.docker_registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture
def registry(address: str) -> Iterator[Registry]:
    found = Registry(RegistryAddress(address))
    yield found
    found.close()


def runtime_and_model(folder: Path) -> tuple[RuntimeImage, ModelLayer]:
    """A runtime of two layers and a model's layer, whose tars are in `folder`."""
    layers = []
    for name, content in (("10-base", {"etc/os-release": b"x" * 300_000}), ("40-app", {"app.py": b"pass"})):
        data = layer_tar(content)
        (folder / f"{name}.tar").write_bytes(data)
        digest = Digest.of(data)
        layers.append(ImageLayer(name=name, file=f"layers/{name}.tar", diff_id=digest, digest=digest, size=len(data)))
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/bin/true"], "User": "65532:65532"},
        "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in layers]},
    }
    runtime = RuntimeImage(
        name="onnx",
        version="1.0.0",
        interface=1,
        architecture=Architecture.AMD64,
        config=config,
        layers=tuple(layers),
    )
    data = layer_tar({"mnt/models/wine/model.onnx": b"weights"})
    (folder / "model.tar").write_bytes(data)
    return runtime, ModelLayer(file="model.tar", diff_id=Digest.of(data), size=len(data))


def push_runtime(registry: Registry, runtime: RuntimeImage, folder: Path, deadline: Deadline) -> None:
    for layer in runtime.layers:
        upload.push(
            registry, RUNTIME, blobs.of_file(folder / Path(layer.file).name, layer.digest, layer.size), deadline
        )
    upload.push(registry, RUNTIME, blobs.of_bytes(runtime.config_bytes(), "config"), deadline)
    registry.put_manifest(RUNTIME, TagName("1.0.0"), runtime.manifest())


def skopeo(*arguments: str) -> str:
    done = subprocess.run(["skopeo", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_composed_image_is_read_by_skopeo_with_the_digest_we_computed(
    registry: Registry, address: str, tmp_path: Path
) -> None:
    deadline = Deadline.after(SystemClock(), 60)
    runtime, model = runtime_and_model(tmp_path)
    push_runtime(registry, runtime, tmp_path, deadline)
    image = compose(runtime, model)
    for layer in runtime.layers:
        upload.mount(registry, MODEL, RUNTIME, layer.digest, layer.size, deadline)
    upload.push(registry, MODEL, blobs.of_file(tmp_path / "model.tar", model.diff_id, model.size), deadline)
    upload.push(registry, MODEL, blobs.of_bytes(image.config, "config"), deadline)
    registry.put_manifest(MODEL, TagName("1.0.0"), image.manifest)

    seen = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{address}/wine:1.0.0"))
    assert seen["Digest"] == image.digest
    assert seen["Layers"] == [str(digest) for digest in image.layer_digests]
    assert seen["RepoTags"] == ["1.0.0"]
    by_digest = f"docker://{address}/wine@{image.digest}"
    skopeo("copy", "--preserve-digests", "--src-tls-verify=false", by_digest, f"oci:{tmp_path}/copy:latest")
    index = json.loads((tmp_path / "copy" / "index.json").read_text())
    assert index["manifests"][0]["digest"] == image.digest
    stored = {path.name for path in (tmp_path / "copy" / "blobs" / "sha256").iterdir()}
    assert stored == {one.hex for one in (image.digest, image.config_digest, *image.layer_digests)}


def test_what_is_there_is_found_and_what_is_not_is_none(registry: Registry, tmp_path: Path) -> None:
    deadline = Deadline.after(SystemClock(), 60)
    runtime, model = runtime_and_model(tmp_path)
    push_runtime(registry, runtime, tmp_path, deadline)
    found = registry.manifest(RUNTIME, TagName("1.0.0"))
    assert found is not None
    assert found.digest == runtime.digest
    assert registry.small_blob(RUNTIME, Digest.of(runtime.config_bytes())) == runtime.config_bytes()
    assert registry.has_blob(RUNTIME, runtime.layers[0].digest)
    assert registry.serves_blob(RUNTIME, runtime.layers[0].digest)
    assert not registry.has_blob(RUNTIME, model.diff_id)
    assert not registry.serves_blob(RUNTIME, model.diff_id)
    assert registry.manifest(RUNTIME, TagName("2.0.0")) is None
    assert registry.manifest(RepositoryName("nothing/here"), TagName("1")) is None
    assert registry.delete_manifest(RUNTIME, runtime.digest)
    assert not registry.delete_manifest(RUNTIME, runtime.digest)
    assert registry.manifest(RUNTIME, TagName("1.0.0")) is None


def test_a_damaged_layer_never_becomes_a_blob(registry: Registry, tmp_path: Path) -> None:
    data = b"x" * 600_000
    (tmp_path / "layer.tar").write_bytes(data[:-1] + b"y")
    wanted = Digest.of(data)
    with pytest.raises(Exception, match="has digest"):
        upload.push(
            registry,
            MODEL,
            blobs.of_file(tmp_path / "layer.tar", wanted, len(data)),
            Deadline.after(SystemClock(), 60),
        )
    assert not registry.has_blob(MODEL, wanted)


def test_a_mount_from_where_it_is_not_is_answered_by_no_runtime(registry: Registry) -> None:
    missing = Digest.of(b"never pushed")
    with pytest.raises(Exception, match="is gone from the registry"):
        upload.mount(registry, MODEL, RUNTIME, missing, 12, Deadline.after(SystemClock(), 60))
    assert not registry.has_blob(MODEL, missing)
