"""A device without a registry: the image lies ready, MicroK8s imports it, and what serves goes on until then."""

from pathlib import Path

import pytest

from snapedge_builder import imagearchive
from snapedge_hooks.images import RuntimeImage
from snapedge_hooks.vocabulary import Architecture
from tests.fakes.edge import NAME, EdgeDevice, runtime_image
from tests.fakes.kube import Program
from tests.fakes.model import labels

NOT_IMPORTED = ("ErrImageNeverPull", "Container image is not present with pull policy of Never")
WAITING = "--code=no-image waiting Image not imported: reconnect microk8s:configuration to this snap"


def archives(device: EdgeDevice) -> list[Path]:
    return sorted((device.common / "launcher").rglob("*"))


def imported(device: EdgeDevice, image: str, label: int = 2) -> None:
    """Somebody connected microk8s:configuration."""
    device.kube.programs[image] = Program(answer=labels(label))


@pytest.fixture
def runtime(device: EdgeDevice) -> tuple[RuntimeImage, dict[str, bytes]]:
    device.set(transport="sideload")
    return runtime_image()


@pytest.fixture
def first(device: EdgeDevice, runtime: tuple[RuntimeImage, dict[str, bytes]]) -> str:
    """The image of revision 1, which serves."""
    payload = device.install("1.0.0", runtime[0], files=runtime[1])
    image = device.serves(payload, runtime[0])
    assert device.run("install") == 0
    return image


def test_an_image_waits_in_its_archive_until_it_is_imported_and_is_gone_then(
    device: EdgeDevice, runtime: tuple[RuntimeImage, dict[str, bytes]]
) -> None:
    payload = device.install("1.0.0", runtime[0], files=runtime[1])
    image = device.serves(payload, runtime[0], waiting=NOT_IMPORTED)
    assert device.run("install") == 0
    assert device.health() == WAITING
    folder, archive = archives(device)
    assert archive.parent == folder
    assert imagearchive.read(archive).architectures == {Architecture.AMD64}
    written = archive.stat().st_mtime_ns
    assert device.run("drift") == 0
    assert device.health() == WAITING
    assert archive.stat().st_mtime_ns == written
    imported(device, image)
    assert device.run("converge") == 0
    assert device.health() == "okay"
    assert archives(device) == []
    assert device.registry.requests == []
    device.kube.requests.clear()
    assert device.run("converge") == 0
    assert device.kube.wrote() == []
    assert archives(device) == []


def test_the_service_tries_until_somebody_connects(
    device: EdgeDevice, runtime: tuple[RuntimeImage, dict[str, bytes]]
) -> None:
    payload = device.install("1.0.0", runtime[0], files=runtime[1])
    image = device.serves(payload, runtime[0], waiting=NOT_IMPORTED)
    device.clock.on_sleep = lambda: imported(device, image)
    assert device.run("converge") == 0
    assert device.health() == "okay"


def test_while_the_api_is_away_the_archive_is_written(
    device: EdgeDevice, runtime: tuple[RuntimeImage, dict[str, bytes]]
) -> None:
    device.install("1.0.0", runtime[0], files=runtime[1], connected=False)
    assert device.run("install") == 0
    assert device.health().startswith("--code=no-slot waiting")
    assert len(archives(device)) == 2


def test_a_refresh_stands_and_the_old_model_serves_until_the_import(
    device: EdgeDevice, first: str, runtime: tuple[RuntimeImage, dict[str, bytes]]
) -> None:
    """snapd connects nothing while the refresh is under way, so waiting for it would be in vain."""
    payload = device.install("1.1.0", runtime[0], files=runtime[1])
    image = device.serves(payload, runtime[0], waiting=NOT_IMPORTED)
    assert device.run("post-refresh") == 0
    assert device.health() == WAITING
    assert device.clock.slept == []
    imported(device, image, label=2)
    assert device.run("converge") == 0
    assert device.health() == "okay"
    assert str(device.kube.service_image(NAME)).endswith(image)


def test_a_model_that_proves_bad_after_the_import_is_taken_back_by_the_service(
    device: EdgeDevice, first: str, runtime: tuple[RuntimeImage, dict[str, bytes]]
) -> None:
    payload = device.install("1.1.0", runtime[0], files=runtime[1])
    image = device.serves(payload, runtime[0], waiting=NOT_IMPORTED)
    assert device.run("post-refresh") == 0
    imported(device, image, label=7)
    assert device.run("converge") == 0
    assert device.health().startswith("--code=gate-failed error")
    assert str(device.kube.service_image(NAME)).endswith(first)


def test_a_revert_finds_the_old_image_in_containerd(
    device: EdgeDevice, first: str, runtime: tuple[RuntimeImage, dict[str, bytes]]
) -> None:
    payload = device.install("1.1.0", runtime[0], files=runtime[1])
    device.serves(payload, runtime[0])
    assert device.run("post-refresh") == 0
    device.revision -= 1
    assert device.run("converge") == 0
    assert device.health() == "okay"
    assert str(device.kube.service_image(NAME)).endswith(first)
    assert archives(device) == []


def test_an_image_that_containerd_lost_lies_ready_again(
    device: EdgeDevice, first: str, runtime: tuple[RuntimeImage, dict[str, bytes]]
) -> None:
    device.kube.programs[first] = Program(waiting=NOT_IMPORTED)
    assert device.run("drift") == 0
    assert device.health() == WAITING
    assert len(archives(device)) == 2


def test_a_snap_without_its_runtime_is_told_so(device: EdgeDevice) -> None:
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    device.set(transport="sideload")
    device.install("1.0.0", runtime)
    assert device.run("install") == 0
    assert device.health() == "--code=no-runtime waiting Sideload needs a snap with its runtime inside"


def test_a_damaged_layer_never_lies_ready(device: EdgeDevice, runtime: tuple[RuntimeImage, dict[str, bytes]]) -> None:
    device.install("1.0.0", runtime[0], files=runtime[1])
    layer = device.snap / "payload" / "model.tar"
    layer.write_bytes(layer.read_bytes()[:-1] + b"x")
    assert device.run("install") == 1
    assert device.health().startswith("--code=payload-bad error model.tar")
    assert archives(device) == []


def test_the_transport_can_be_changed_either_way(device: EdgeDevice) -> None:
    runtime, files = runtime_image()
    payload = device.install("1.0.0", runtime, files=files)
    image = device.serves(payload, runtime)
    assert device.run("install") == 0
    for transport, policy in (("sideload", "Never"), ("registry", "IfNotPresent")):
        device.set(transport=transport)
        assert device.run("configure") == 0
        assert device.run("converge") == 0
        assert device.health() == "okay"
        path = f"/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/{NAME}"
        container = device.kube.objects[path]["spec"]["predictor"]["containers"][0]
        assert container["imagePullPolicy"] == policy
        assert container["image"].endswith(image)
        assert archives(device) == []


def test_removed_without_a_registry_nothing_of_ours_stays(device: EdgeDevice, first: str) -> None:
    device.registry.faults.status["."] = (500, b"no registry")
    assert device.run("remove") == 0
    assert device.kube.service_image(NAME) is None
    assert device.registry.requests == []
