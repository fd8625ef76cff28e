"""One model on real parts, from `snap install` to removal: snapd, API, kubelet, containerd, registry, its own server.

The tests are chapters of one story and run in this order; each finds what the one before left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import shippedsnaps
from .cluster import REGISTRY, Cluster
from .edgedevice import EdgeDevice
from .kserve_controller import KServeController
from .predictions import Questioner, predict
from .shippedsnaps import MODEL, RUNTIME, ShippedSnaps

MK8S = ("mk8s", "microk8s", "microk8s")
PREDICTOR = f"{MODEL}-predictor"


@pytest.fixture(scope="module")
def device(edge_device: EdgeDevice, cluster: Cluster, kserve: KServeController) -> Iterator[EdgeDevice]:
    edge_device.offer_microk8s(cluster.config)
    yield edge_device
    edge_device.reset()


@pytest.fixture
def client(device: EdgeDevice, cluster: Cluster) -> Iterator[Questioner]:
    """A client that asks all through a test; none of its questions may fail, none be answered wrongly."""
    address = cluster.service_address(PREDICTOR)
    with Questioner(address, MODEL, "cultivar", shippedsnaps.samples()) as found:
        yield found
        time.sleep(0.5)  # what a change left behind may still fail
    assert found.complaints == []
    assert found.right > 50


def served_image(cluster: Cluster) -> str:
    """What the InferenceService asks for."""
    spec = cluster.get("inferenceservice", MODEL)["spec"]
    image: str = spec["predictor"]["containers"][0]["image"]
    return image


def image_of(snap: Path) -> str:
    return f"{REGISTRY}/{MODEL}@{shippedsnaps.image_digest(snap)}"


def eventually(is_so: Callable[[], bool], what: str, timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not is_so():
        assert time.monotonic() < deadline, f"{what}: not within {timeout:g} s"
        time.sleep(0.2)


def test_installed_without_credentials_it_waits(device: EdgeDevice, shipped_snaps: ShippedSnaps) -> None:
    snapd = device.snapd
    for snap in (shipped_snaps.runtime, shipped_snaps.first):
        change = snapd.sideload(snap)
        assert change.status == "Done", change.error
    snapd.await_health(MODEL, "waiting", "no-slot")


def test_connected_it_serves_what_its_samples_say(
    device: EdgeDevice, cluster: Cluster, shipped_snaps: ShippedSnaps
) -> None:
    snapd = device.snapd
    for name in (RUNTIME, MODEL):
        assert snapd.connect(name, *MK8S).status == "Done"
    snapd.await_health(RUNTIME, "okay")
    snapd.await_health(MODEL, "okay")
    assert served_image(cluster) == image_of(shipped_snaps.first)
    address = cluster.service_address(PREDICTOR)
    for sample in shippedsnaps.samples():
        expected = next(one["data"] for one in sample["expect"]["outputs"] if one["name"] == "cultivar")
        assert predict(address, MODEL, sample["request"])["cultivar"] == expected


def test_a_bad_model_is_undone_and_nobody_sees_it(
    device: EdgeDevice, cluster: Cluster, shipped_snaps: ShippedSnaps, client: Questioner
) -> None:
    before = device.snapd.installed()[MODEL]
    change = device.snapd.sideload(shipped_snaps.bad)
    assert change.status == "Error"
    assert "cultivar" in change.error
    assert device.snapd.installed()[MODEL] == before
    assert served_image(cluster) == image_of(shipped_snaps.first)
    device.snapd.await_health(MODEL, "okay")


def test_a_better_model_takes_over_and_nobody_waits(
    device: EdgeDevice, cluster: Cluster, shipped_snaps: ShippedSnaps, client: Questioner
) -> None:
    change = device.snapd.sideload(shipped_snaps.better)
    assert change.status == "Done", change.error
    assert device.snapd.installed()[MODEL][0] == "1.2.0"
    assert served_image(cluster) == image_of(shipped_snaps.better)
    device.snapd.await_health(MODEL, "okay")


def test_a_revert_brings_the_first_model_back(
    device: EdgeDevice, cluster: Cluster, shipped_snaps: ShippedSnaps, client: Questioner
) -> None:
    assert device.snapd.act(MODEL, "revert").status == "Done"
    eventually(lambda: served_image(cluster) == image_of(shipped_snaps.first), "the first image is asked for")
    device.snapd.await_health(MODEL, "okay")


def test_what_somebody_changed_by_hand_is_put_back_when_the_service_runs(
    device: EdgeDevice, cluster: Cluster, shipped_snaps: ShippedSnaps, client: Questioner
) -> None:
    patch = '{"spec":{"predictor":{"containers":[{"name":"kserve-container","image":"localhost:32000/other:1"}]}}}'
    cluster.kubectl("patch", "isvc", MODEL, "--type=merge", "-p", patch)
    device.execute("snap", "restart", f"{MODEL}.converge")
    eventually(lambda: served_image(cluster) == image_of(shipped_snaps.first), "the first image is asked for")


def test_a_device_that_boots_again_goes_on_serving(
    device: EdgeDevice, cluster: Cluster, shipped_snaps: ShippedSnaps, client: Questioner
) -> None:
    device.down()
    device.up()
    device.snapd.await_health(MODEL, "okay")
    assert served_image(cluster) == image_of(shipped_snaps.first)


def test_disconnected_it_waits_and_connected_again_it_is_well(device: EdgeDevice, client: Questioner) -> None:
    snapd = device.snapd
    assert snapd.disconnect(MODEL, *MK8S).status == "Done"
    device.execute("snap", "restart", f"{MODEL}.converge")
    snapd.await_health(MODEL, "waiting", "no-slot")
    assert snapd.connect(MODEL, *MK8S).status == "Done"
    snapd.await_health(MODEL, "okay")


def test_settings_are_judged_before_they_are_kept(device: EdgeDevice) -> None:
    refused = device.snapd.configure(MODEL, {"serve.gate": "perhaps"})
    assert refused.status == "Error"
    assert "perhaps" in refused.error


def test_removed_it_leaves_nothing_in_the_cluster(device: EdgeDevice, cluster: Cluster) -> None:
    assert device.snapd.act(MODEL, "remove").status == "Done"
    kinds = "inferenceservices,deployments,services,configmaps,pods"
    eventually(lambda: MODEL not in cluster.kubectl("get", kinds, "-o", "name"), "nothing is left")
