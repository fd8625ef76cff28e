"""Whole runtime images, built from a repository and a folder of wheels: no network, no root."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from snapedge_builder import compose, layout, resolution
from snapedge_builder.bytecode import BytecodeError
from snapedge_builder.cache import Cache
from snapedge_builder.gates import GateError
from snapedge_builder.parts import BuiltRuntime
from snapedge_builder.record import BuildRecord
from snapedge_builder.wheels import WheelMissingError
from snapedge_hooks.images import RuntimeImage
from snapedge_hooks.vocabulary import Architecture, Digest
from tests.fakes.elffile import shared_object
from tests.fakes.offlineruntime import BOTH, MACHINES, OfflineRuntime, Teller

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="needs apt")


@pytest.fixture
def world(tmp_path: Path) -> OfflineRuntime:
    return OfflineRuntime(tmp_path)


def test_both_architectures_come_out_whole(world: OfflineRuntime) -> None:
    built = world.build(Cache(world.root / "cache"))
    for architecture in BOTH:
        image = built[architecture].image
        assert RuntimeImage.parse(image.to_json()) == image
        assert [layer.name for layer in image.layers] == ["10-base", "30-wheels", "40-app"]
        for layer in image.layers:
            assert Digest.of_file(built[architecture].layers[layer.name]) == layer.digest
    config = built[Architecture.ARM64].image.config
    assert config["variant"] == "v8"
    assert config["config"]["User"] == "65532:65532"
    assert config["config"]["Entrypoint"] == ["/usr/bin/python3", "-P", "-m", "server"]
    assert config["config"]["Env"] == [
        "PATH=/usr/bin",
        "PYTHONPATH=/usr/lib/snapedge/app:/usr/lib/snapedge/site-packages",
        "PYTHONDONTWRITEBYTECODE=1",
        "SNAPEDGE_MODEL_DIR=/mnt/models",
        "A=1",
    ]
    assert len(config["history"]) == 3
    with tarfile.open(built[Architecture.ARM64].layers["40-app"]) as archive:
        assert "usr/lib/snapedge/app/server/data.txt" in archive.getnames()


def test_two_caches_give_the_same_image(world: OfflineRuntime) -> None:
    first, second = world.build(Cache(world.root / "one")), world.build(Cache(world.root / "two"))
    assert {key: value.image.to_json() for key, value in first.items()} == {
        key: value.image.to_json() for key, value in second.items()
    }


def test_nothing_is_made_or_asked_twice(world: OfflineRuntime) -> None:
    cache, teller = Cache(world.root / "cache"), Teller()
    first = world.build(cache)
    shutil.rmtree(world.repository.root)
    shutil.rmtree(world.house.root)
    second = world.build(cache, teller)
    assert teller.tasks == []
    assert not second[Architecture.ARM64].is_new
    assert second[Architecture.ARM64].image == first[Architecture.ARM64].image
    assert second[Architecture.ARM64].record == first[Architecture.ARM64].record


def test_a_change_of_the_server_makes_its_layer_alone(world: OfflineRuntime) -> None:
    cache, teller = Cache(world.root / "cache"), Teller()
    before = world.build(cache)
    (world.root / "server" / "src" / "server" / "data.txt").write_text("other")
    after = world.build(cache, teller)
    assert {task.split()[0] for task in teller.tasks} == {"app"}
    changed = [
        (old.name, old.digest == new.digest)
        for old, new in zip(
            before[Architecture.ARM64].image.layers, after[Architecture.ARM64].image.layers, strict=True
        )
    ]
    assert changed == [("10-base", True), ("30-wheels", True), ("40-app", False)]


def test_the_key_changes_with_what_the_image_follows_from_and_with_nothing_else(world: OfflineRuntime) -> None:
    cache = Cache(world.root / "cache")

    def key() -> Digest:
        found = resolution.resolve_all(world.declaration, BOTH, cache=cache, host=world.host)
        return compose.runtime_key(found[Architecture.ARM64])

    first = key()
    assert key() == first
    (world.folder / "README.md").write_text("x")
    assert key() == first
    yaml = (world.folder / "runtime.yaml").read_text()
    (world.folder / "runtime.yaml").write_text(yaml.replace("1.0.0", "1.0.1"))
    assert key() != first


def test_refresh_asks_the_mirrors_again_and_only_refresh_does(world: OfflineRuntime) -> None:
    cache = Cache(world.root / "cache")
    world.build(cache)
    for architecture in BOTH:
        library = shared_object(MACHINES[architecture], soname="libc.so.6", needed=[])
        world.repository.add(
            "libc6", "2.36-10", architecture=str(architecture), files={"lib/libc.so.6": library, "etc/new": b""}
        )
    world.repository.publish()

    def version(built: dict[Architecture, BuiltRuntime]) -> str:
        return next(item.version for item in built[Architecture.ARM64].record.ingredients if item.name == "libc6")

    assert version(world.build(cache)) == "2.36-9"
    assert version(world.build(cache, refresh=True)) == "2.36-10"
    assert version(world.build(cache)) == "2.36-10"


@pytest.mark.parametrize("damage", ["cut", "change", "remove"])
def test_a_damaged_layer_in_the_cache_is_made_anew(world: OfflineRuntime, damage: str) -> None:
    cache, teller = Cache(world.root / "cache"), Teller()
    first = world.build(cache)
    path = first[Architecture.ARM64].layers["10-base"]
    data = path.read_bytes()
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(data[:-1] if damage == "cut" else b"\1" + data[1:])
    second = world.build(cache, teller)
    assert teller.tasks == ["base layers arm64"]
    assert second[Architecture.ARM64].layers["10-base"].read_bytes() == data


def test_an_architecture_without_a_wheel_stops_everything_before_anything_is_built(world: OfflineRuntime) -> None:
    world.add_wheel("oneside", Architecture.AMD64, b"x")
    world.lock()
    cache, teller = Cache(world.root / "cache"), Teller()
    with pytest.raises(WheelMissingError, match=r"oneside 1 has no wheel for arm64"):
        world.build(cache, teller)
    assert not any("layers" in task for task in teller.tasks)
    assert list((cache.root / "blobs/sha256").iterdir()) == []


def test_a_wheel_with_another_machines_code_is_refused(world: OfflineRuntime) -> None:
    world.add_wheel("wrong", Architecture.ARM64, shared_object("EM_X86_64"))
    world.add_wheel("wrong", Architecture.AMD64, shared_object("EM_X86_64"))
    world.lock()
    with pytest.raises(
        GateError, match=r"layer 30-wheels for arm64: .*/wrong/core.so is for EM_X86_64, not EM_AARCH64"
    ):
        world.build(Cache(world.root / "cache"))


def test_a_wheel_that_needs_a_library_the_base_lacks_is_refused(world: OfflineRuntime) -> None:
    for architecture in BOTH:
        world.add_wheel("omp", architecture, shared_object(MACHINES[architecture], needed=["libgomp.so.1"]))
    world.lock()
    with pytest.raises(GateError, match=r"omp/core.so needs libgomp.so.1, which is not in the image"):
        world.build(Cache(world.root / "cache"))


def test_the_record_names_every_file_that_went_in(world: OfflineRuntime) -> None:
    built = world.build(Cache(world.root / "cache"))[Architecture.ARM64]
    assert BuildRecord.parse(built.record.to_json()) == built.record
    assert [(item.kind, item.name, item.version, item.layer) for item in built.record.ingredients] == [
        ("deb", "libc6", "2.36-9", "10-base"),
        ("deb", "python3.11-minimal", "3.11.2", "10-base"),
        ("wheel", "fast", "1", "30-wheels"),
    ]
    wheel = next(world.house.root.glob("*aarch64.whl"))
    assert built.record.ingredients[2].digest == Digest.of_file(wheel)


def test_the_layout_is_one_that_the_specification_describes(world: OfflineRuntime) -> None:
    built = world.build(Cache(world.root / "cache"))[Architecture.ARM64]
    folder = world.root / "layout"
    layout.write(built.image, built.layers, folder)
    assert json.loads((folder / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((folder / "index.json").read_bytes())
    assert index["manifests"][0]["platform"] == {"os": "linux", "architecture": "arm64", "variant": "v8"}
    manifest = json.loads((folder / "blobs/sha256" / Digest(index["manifests"][0]["digest"]).hex).read_bytes())
    blobs = {path.name for path in (folder / "blobs/sha256").iterdir()}
    assert {Digest(item["digest"]).hex for item in [manifest["config"], *manifest["layers"]]} < blobs
    assert all(Digest.of_file(folder / "blobs/sha256" / name).hex == name for name in blobs)


def test_a_python_that_does_not_run_here_is_an_error_and_leaves_no_layer(world: OfflineRuntime) -> None:
    (world.root / "server" / "src" / "server" / "__init__.py").write_text("x = 1\n")
    cache = Cache(world.root / "cache")
    with pytest.raises(BytecodeError, match=r"the base's own Python does not run here: its packages do not hold it"):
        world.build(cache)
    assert list((cache.root / "notes").glob("app/*")) == []
    assert list((cache.root / "scratch").iterdir()) == []
