"""A device without a registry, on real parts: the image waits for MicroK8s to be connected, and then serves.

The tests are chapters of one story and run in this order. The stand-in for MicroK8s takes archives over as the real
one's hook does; what its containerd does with them afterwards is done here, by a real containerd.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from . import snapvariants
from .cluster import REGISTRY, Cluster
from .edgedevice import EdgeDevice
from .kserve_controller import KServeController
from .predictions import Questioner
from .servedmodel import MK8S, assert_right, image_of, nobody_waits, served_image
from .shippedsnaps import MODEL, ShippedSnaps

WAITING = "Image not imported: reconnect microk8s:configuration to this snap"


@pytest.fixture(scope="module")
def snaps(shipped_snaps: ShippedSnaps, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The shipped ones, each with its runtime inside."""
    folder = tmp_path_factory.mktemp("whole")
    runtime = shipped_snaps.runtime
    named = {"first": shipped_snaps.first, "bad": shipped_snaps.bad, "better": shipped_snaps.better}
    return {name: snapvariants.whole(snap, runtime, folder) for name, snap in named.items()}


@pytest.fixture(scope="module")
def device(edge_device: EdgeDevice, cluster: Cluster, kserve: KServeController) -> Iterator[EdgeDevice]:
    edge_device.offer_microk8s(cluster.config)
    cluster.forget_images()
    yield edge_device
    edge_device.reset()


@pytest.fixture
def client(device: EdgeDevice, cluster: Cluster) -> Iterator[Questioner]:
    with nobody_waits(cluster) as found:
        yield found


def reconnect(device: EdgeDevice, cluster: Cluster) -> None:
    """Connect MicroK8s to the snap again, and have containerd import what it took."""
    if "microk8s:configuration" in device.execute("snap", "connections", MODEL):
        device.execute("snap", "disconnect", "microk8s:configuration")
    change = device.snapd.connect("microk8s", "configuration", MODEL, "configuration")
    assert change.status == "Done", change.error
    for archive in (device.common("microk8s") / "etc" / "sideload").glob("*.tar"):
        cluster.import_images(archive)
        archive.rename(f"{archive}.loaded")


def archives(device: EdgeDevice) -> list[Path]:
    return sorted((device.common(MODEL) / "launcher").rglob("*.tar"))


def test_installed_it_waits_for_microk8s_to_be_connected(
    device: EdgeDevice, cluster: Cluster, snaps: dict[str, Path]
) -> None:
    snapd = device.snapd
    assert snapd.sideload(snaps["first"]).status == "Done"
    assert snapd.configure(MODEL, {"serve.transport": "sideload"}).status == "Done"
    cluster.wipe_registry()  # of what was pushed before that was said
    assert snapd.connect(MODEL, *MK8S).status == "Done"
    snapd.await_health(MODEL, "waiting", "no-image")
    assert snapd.get(f"/v2/snaps/{MODEL}")["health"]["message"] == WAITING
    assert len(archives(device)) == 1


def test_connected_it_serves_and_the_archive_is_gone(
    device: EdgeDevice, cluster: Cluster, shipped_snaps: ShippedSnaps
) -> None:
    reconnect(device, cluster)
    device.snapd.await_health(MODEL, "okay", timeout=120)
    assert served_image(cluster) == image_of(shipped_snaps.first)
    assert_right(cluster)
    assert archives(device) == []


def test_a_refresh_stands_and_the_old_model_serves_until_the_import(
    device: EdgeDevice, cluster: Cluster, snaps: dict[str, Path], shipped_snaps: ShippedSnaps, client: Questioner
) -> None:
    change = device.snapd.sideload(snaps["better"])
    assert change.status == "Done", change.error
    device.snapd.await_health(MODEL, "waiting", "no-image")
    reconnect(device, cluster)
    device.snapd.await_health(MODEL, "okay", timeout=120)
    assert served_image(cluster) == image_of(shipped_snaps.better)


def test_a_bad_model_is_taken_back_after_its_import_and_nobody_sees_it(
    device: EdgeDevice, cluster: Cluster, snaps: dict[str, Path], shipped_snaps: ShippedSnaps, client: Questioner
) -> None:
    assert device.snapd.sideload(snaps["bad"]).status == "Done"
    device.snapd.await_health(MODEL, "waiting", "no-image")
    reconnect(device, cluster)
    device.snapd.await_health(MODEL, "error", "gate-failed", timeout=120)
    assert served_image(cluster) == image_of(shipped_snaps.better)


def test_a_revert_needs_no_import(
    device: EdgeDevice, cluster: Cluster, shipped_snaps: ShippedSnaps, client: Questioner
) -> None:
    assert device.snapd.act(MODEL, "revert").status == "Done"
    device.run_service(MODEL, "converge")
    device.snapd.await_health(MODEL, "okay")
    assert served_image(cluster) == image_of(shipped_snaps.better)
    assert archives(device) == []


def test_removed_it_leaves_nothing_and_no_registry_was_ever_asked(device: EdgeDevice, cluster: Cluster) -> None:
    assert device.snapd.act(MODEL, "remove").status == "Done"
    assert served_image(cluster) == ""
    assert requests.get(f"http://{REGISTRY}/v2/_catalog", timeout=10).json()["repositories"] == []
