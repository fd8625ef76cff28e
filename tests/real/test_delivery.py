"""One model on real parts, from `snap install` to removal: snapd, API, kubelet, containerd, registry, its own server.

The tests are chapters of one story and run in this order; each finds what the one before left.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .cluster import Cluster
from .edgedevice import EdgeDevice
from .kserve_controller import KServeController
from .predictions import Questioner
from .servedmodel import MK8S, assert_right, eventually, image_of, nobody_waits, served_image
from .shippedsnaps import MODEL, RUNTIME, ShippedSnaps


@pytest.fixture(scope="module")
def device(edge_device: EdgeDevice, cluster: Cluster, kserve: KServeController) -> Iterator[EdgeDevice]:
    edge_device.offer_microk8s(cluster.config)
    yield edge_device
    edge_device.reset()


@pytest.fixture
def client(device: EdgeDevice, cluster: Cluster) -> Iterator[Questioner]:
    with nobody_waits(cluster) as found:
        yield found


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
    assert_right(cluster)


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
