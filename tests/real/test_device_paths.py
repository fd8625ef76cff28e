"""What befalls a device that serves, on real parts: whatever it is, the model that its snap says serves in the end.

The tests are chapters of one story and run in this order; each leaves the first model served.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from snapedge_hooks.payload import Payload

from . import snapvariants
from .cluster import REGISTRY, Cluster
from .edgedevice import EdgeDevice
from .kserve_controller import KServeController
from .predictions import Questioner
from .servedmodel import MK8S, assert_right, eventually, image_of, nobody_waits, served_image
from .shippedsnaps import MODEL, RUNTIME, ShippedSnaps

SECOND = f"{MODEL}_two"
"""A parallel instance; its objects are called `-two`."""
SERVED = f"http://{REGISTRY}/v2/{MODEL}"
_KILL = f"""
said="journalctl -o cat -t snap.{MODEL}.hook.post-refresh --since @$1"
until $said | grep -q "do   wait-ready"; do sleep 0.1; done
pkill -9 -f "snapedge_hooks post-refresh$"
"""
"""Kills the hook once the new image is asked for; from within, where nothing comes between seeing and killing."""
MANIFEST = {"Accept": "application/vnd.oci.image.manifest.v1+json"}


@pytest.fixture(scope="module")
def device(
    edge_device: EdgeDevice, cluster: Cluster, kserve: KServeController, shipped_snaps: ShippedSnaps
) -> Iterator[EdgeDevice]:
    snapd = edge_device.snapd
    # Before any snap runs: allowed later, and not booted again, snapd covers the credentials of those that ran before.
    snapd.configure("system", {"experimental.parallel-instances": True})
    edge_device.offer_microk8s(cluster.config)
    for snap in (shipped_snaps.runtime, shipped_snaps.first):
        change = snapd.sideload(snap)
        assert change.status == "Done", change.error
    for name in (RUNTIME, MODEL):
        assert snapd.connect(name, *MK8S).status == "Done"
    snapd.await_health(MODEL, "okay")
    yield edge_device
    edge_device.reset()
    cluster.kubectl("delete", "namespace", "models", "--ignore-not-found", "--wait=false")


@pytest.fixture
def first(shipped_snaps: ShippedSnaps) -> str:
    """The image that serves."""
    return image_of(shipped_snaps.first)


@pytest.fixture
def client(device: EdgeDevice, cluster: Cluster) -> Iterator[Questioner]:
    with nobody_waits(cluster) as found:
        yield found


def look(device: EdgeDevice, snap: str = MODEL) -> None:
    """What the timer does: look, and repair."""
    device.run_service(snap, "drift")


def state(device: EdgeDevice) -> Path:
    return device.common(MODEL) / "state.json"


def test_what_a_hook_did_is_in_the_journal_though_it_succeeded(device: EdgeDevice) -> None:
    told = device.hook_journal(MODEL, "install")
    assert any(line.startswith("do   push-layer") for line in told)
    assert "run: snap connect wine-cultivar:mk8s microk8s:microk8s" in told[-1]


def test_twice_in_a_row_there_is_nothing_to_do(device: EdgeDevice, cluster: Cluster) -> None:
    def versions() -> list[str]:
        kinds = "inferenceservices,deployments,services,configmaps"
        return [one["metadata"]["resourceVersion"] for one in cluster.get(kinds, "-l", "app.kubernetes.io/managed-by")]

    def written() -> list[Path]:
        return sorted(cluster.registry_files.rglob("*"))

    before, logged = (versions(), written()), len(device.journal(f"snap.{MODEL}.converge.service"))
    for service in ("converge", "drift", "converge"):
        device.run_service(MODEL, service)
    assert (versions(), written()) == before
    told = device.journal(f"snap.{MODEL}.converge.service")[logged:]
    assert [line for line in told if "do  " in line] == []


def test_disabled_the_model_goes_on_and_enabled_all_is_well(device: EdgeDevice, client: Questioner) -> None:
    assert device.snapd.act(MODEL, "disable").status == "Done"
    assert device.service_state(MODEL, "converge") == "inactive"
    time.sleep(1)
    assert device.snapd.act(MODEL, "enable").status == "Done"
    device.run_service(MODEL, "converge")
    device.snapd.await_health(MODEL, "okay")


def test_an_inference_service_edited_by_hand_is_put_right(device: EdgeDevice, cluster: Cluster, first: str) -> None:
    edit = {"spec": {"predictor": {"containers": [{"name": "kserve-container", "image": "example.com/other:1"}]}}}
    cluster.kubectl("patch", "inferenceservice", MODEL, "--type=merge", "-p", json.dumps(edit))
    assert served_image(cluster) == "example.com/other:1"
    look(device)
    assert served_image(cluster) == first
    assert device.snapd.health(MODEL)[0] == "okay"
    assert_right(cluster)


def test_an_inference_service_deleted_by_hand_comes_back(device: EdgeDevice, cluster: Cluster, first: str) -> None:
    cluster.kubectl("delete", "inferenceservice", MODEL)
    look(device)
    assert served_image(cluster) == first
    assert device.snapd.health(MODEL)[0] == "okay"
    assert_right(cluster)


def test_a_lost_or_damaged_or_newer_state_costs_nothing(device: EdgeDevice, client: Questioner) -> None:
    for damage in (None, b'{"format":1,"health":', b'{"format":99}'):
        if damage is None:
            state(device).unlink()
        else:
            state(device).write_bytes(damage)
        device.run_service(MODEL, "converge")
        device.snapd.await_health(MODEL, "okay")
        assert json.loads(state(device).read_bytes())["format"] == 1


def test_microk8s_refreshed_with_new_credentials_is_followed(
    device: EdgeDevice, cluster: Cluster, client: Questioner, tmp_path: Path
) -> None:
    """The slot's folder moves with MicroK8s' revision; what was read before is of no use any more."""
    stale = tmp_path / "client.config"
    stale.write_text(cluster.config.read_text().replace(authority(cluster.config), new_authority(tmp_path)))
    device.offer_microk8s(stale)
    look(device)
    assert device.snapd.health(MODEL) == ("waiting", "api-down")
    device.execute("snap", "install", "--dangerous", "/root/microk8s.snap")
    device.offer_microk8s(cluster.config)
    look(device)
    assert device.snapd.health(MODEL)[0] == "okay"


def authority(config: Path) -> str:
    return next(line.split()[1] for line in config.read_text().splitlines() if "certificate-authority-data" in line)


def new_authority(folder: Path) -> str:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt"]
    subprocess.run([*command, "-subj", "/CN=another"], cwd=folder, check=True, capture_output=True, timeout=60)
    encoded = ["base64", "-w0", "ca.crt"]
    return subprocess.run(encoded, cwd=folder, check=True, capture_output=True, text=True, timeout=60).stdout


def out_of_memory(snap: Path, folder: Path) -> Path:
    def change(payload: Payload) -> Payload:
        return replace(payload, service=replace(payload.service, memory="20Mi"))

    return snapvariants.wishing(snap, folder, "1.0.1", change)


def crash_loop(snap: Path, folder: Path) -> Path:
    return snapvariants.crashing(snap, folder, "1.0.2")


@pytest.mark.parametrize(
    ("made", "cause", "remedy"),
    [
        (out_of_memory, "load-failed: Server ran out of memory", "raise service.memory in inference.yaml"),
        (crash_loop, "load-failed: Server ended 2 times, exit code 1", "see the pod's log"),
    ],
)
def test_a_pod_that_cannot_run_is_undone_for_one_clear_reason(
    device: EdgeDevice,
    cluster: Cluster,
    shipped_snaps: ShippedSnaps,
    first: str,
    client: Questioner,
    tmp_path: Path,
    made: Any,
    cause: str,
    remedy: str,
) -> None:
    before = device.snapd.installed()[MODEL]
    change = device.snapd.sideload(made(shipped_snaps.first, tmp_path))
    assert change.status == "Error"
    assert cause in change.error
    assert remedy in change.error
    assert device.hook_journal(MODEL, "post-refresh")[-1] == f"{cause}; {remedy}"
    assert device.snapd.installed()[MODEL] == before
    assert served_image(cluster) == first
    device.snapd.await_health(MODEL, "okay")


def test_a_hook_that_is_killed_midway_leaves_it_to_the_service(
    device: EdgeDevice, cluster: Cluster, shipped_snaps: ShippedSnaps, first: str, client: Questioner
) -> None:
    with ThreadPoolExecutor(1) as beside:
        killed = beside.submit(device.execute, "sh", "-c", _KILL, "kill", str(int(time.time())))
        assert device.snapd.sideload(shipped_snaps.better).status == "Error"
        killed.result()
    assert device.snapd.installed()[MODEL][0] == "1.0.0"
    eventually(lambda: served_image(cluster) == first, "the first image is asked for again")
    device.run_service(MODEL, "converge")
    device.snapd.await_health(MODEL, "okay")


def test_a_parallel_instance_serves_under_its_own_name(
    device: EdgeDevice, cluster: Cluster, shipped_snaps: ShippedSnaps, client: Questioner
) -> None:
    snapd = device.snapd
    assert snapd.sideload(shipped_snaps.better, name=SECOND).status == "Done"
    assert snapd.connect(SECOND, *MK8S).status == "Done"
    snapd.await_health(SECOND, "okay")
    second = MODEL + "-two"
    assert served_image(cluster, second) == image_of(shipped_snaps.better)
    assert_right(cluster, second)
    assert device.hook_journal(SECOND, "install")
    assert snapd.act(SECOND, "remove").status == "Done"
    assert served_image(cluster, second) == ""


def test_without_room_the_newcomer_waits_and_the_other_serves(
    device: EdgeDevice, cluster: Cluster, shipped_snaps: ShippedSnaps, client: Questioner, tmp_path: Path
) -> None:
    def change(payload: Payload) -> Payload:
        return replace(payload, service=replace(payload.service, cpu="64"))

    snapd = device.snapd
    assert (
        snapd.sideload(snapvariants.wishing(shipped_snaps.better, tmp_path, "2", change), name=SECOND).status == "Done"
    )
    assert snapd.connect(SECOND, *MK8S).status == "Done"
    snapd.await_health(SECOND, "waiting", "no-room")
    assert "64 CPU" in snapd.get(f"/v2/snaps/{SECOND}")["health"]["message"]
    assert served_image(cluster, MODEL + "-two") == ""
    assert snapd.act(SECOND, "remove").status == "Done"


def test_a_wiped_registry_is_filled_again_by_those_who_own_the_parts(
    device: EdgeDevice, cluster: Cluster, first: str, client: Questioner
) -> None:
    cluster.wipe_registry()
    look(device)
    assert device.snapd.health(MODEL) == ("waiting", "no-runtime")
    look(device, RUNTIME)
    look(device)
    assert device.snapd.health(MODEL)[0] == "okay"
    assert_whole(first)


def test_garbage_collection_after_pruning_frees_the_old_and_keeps_the_served(
    device: EdgeDevice, cluster: Cluster, shipped_snaps: ShippedSnaps, first: str, client: Questioner
) -> None:
    assert device.snapd.sideload(shipped_snaps.better).status == "Done"
    old = layers_of(first)
    two_days_pass(device)
    look(device)
    assert not is_in_registry(first)
    cluster.collect_garbage()
    better = image_of(shipped_snaps.better)
    assert_whole(better)
    gone = set(old) - set(layers_of(better))
    assert gone
    assert [digest for digest in gone if blob(cluster, digest).exists()] == []
    look(device)
    assert device.snapd.health(MODEL)[0] == "okay"
    assert device.snapd.act(MODEL, "revert").status == "Done"
    eventually(lambda: served_image(cluster) == first, "the first image is asked for again")
    device.run_service(MODEL, "converge")
    device.snapd.await_health(MODEL, "okay")
    assert_whole(first)


def two_days_pass(device: EdgeDevice) -> None:
    """For what was pushed."""
    document = json.loads(state(device).read_bytes())
    for image in document["pushed"]:
        image["at"] -= 2 * 24 * 3600
    state(device).write_text(json.dumps(document))


def is_in_registry(image: str) -> bool:
    """Whether the registry has an image's manifest."""
    url = f"{SERVED}/manifests/{image.partition('@')[2]}"
    return requests.head(url, headers=MANIFEST, timeout=10).status_code == 200


def layers_of(image: str) -> list[str]:
    """The digests of an image's blobs, as the registry holds its manifest."""
    answer = requests.get(f"{SERVED}/manifests/{image.partition('@')[2]}", headers=MANIFEST, timeout=10)
    assert answer.status_code == 200, answer.text
    manifest = answer.json()
    return [manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]


def assert_whole(image: str) -> None:
    """The registry gives every byte of an image."""
    for digest in layers_of(image):
        with requests.get(f"{SERVED}/blobs/{digest}", stream=True, timeout=10) as answer:
            assert answer.status_code == 200, digest
            length = sum(len(piece) for piece in answer.iter_content(1 << 20))
            assert length == int(answer.headers["Content-Length"])


def blob(cluster: Cluster, digest: str) -> Path:
    hexadecimal = digest.partition(":")[2]
    return cluster.registry_files / "docker/registry/v2/blobs/sha256" / hexadecimal[:2] / hexadecimal / "data"


def test_many_settings_in_a_row_are_taken_and_the_last_one_holds(
    device: EdgeDevice, cluster: Cluster, client: Questioner
) -> None:
    """systemd starts a service five times in ten seconds and no more; snapd undoes a setting that asks for a sixth."""
    for port in range(30080, 30090):
        change = device.snapd.configure(MODEL, {"serve.node-port": port})
        assert change.status == "Done", change.error
    eventually(lambda: node_ports(cluster) == [30089], "the last port is open")
    assert device.snapd.configure(MODEL, {"serve.node-port": None}).status == "Done"
    eventually(lambda: node_ports(cluster) == [], "no port is open")
    device.snapd.await_health(MODEL, "okay")


def node_ports(cluster: Cluster) -> list[int]:
    services = [one["spec"] for one in cluster.get("services")]
    return [port["nodePort"] for spec in services if spec["type"] == "NodePort" for port in spec["ports"]]


def test_another_namespace_is_moved_to_and_back(device: EdgeDevice, cluster: Cluster, first: str) -> None:
    assert device.snapd.configure(MODEL, {"serve.namespace": "models"}).status == "Done"
    assert_moved(device, cluster, first, "models", left="default")
    assert device.snapd.configure(MODEL, {"serve.namespace": None}).status == "Done"
    assert_moved(device, cluster, first, "default", left="models")


def assert_moved(device: EdgeDevice, cluster: Cluster, image: str, namespace: str, *, left: str) -> None:
    eventually(lambda: served_image(cluster, namespace=namespace) == image, f"it serves in {namespace}")
    eventually(lambda: not served_image(cluster, namespace=left), f"it is gone from {left}")
    device.snapd.await_health(MODEL, "okay")
    assert_right(cluster, namespace=namespace)


def test_an_image_that_cannot_be_pulled_is_told_and_the_old_one_serves(
    device: EdgeDevice, cluster: Cluster, client: Questioner
) -> None:
    """The device knows a name of the registry that containerd does not know."""
    device.execute("sh", "-c", "echo 127.0.0.1 registry.invalid >>/etc/hosts")
    assert device.snapd.configure(MODEL, {"serve.registry": "registry.invalid:32000"}).status == "Done"
    device.snapd.await_health(MODEL, "error", "load-failed")
    message = device.snapd.get(f"/v2/snaps/{MODEL}")["health"]["message"]
    assert message.startswith("Image not pulled: dial tcp: lookup registry.invalid")
    assert device.snapd.configure(MODEL, {"serve.registry": None}).status == "Done"
    device.snapd.await_health(MODEL, "okay")


def test_removed_and_installed_again_it_serves(
    device: EdgeDevice, cluster: Cluster, shipped_snaps: ShippedSnaps, first: str
) -> None:
    snapd = device.snapd
    assert snapd.act(MODEL, "remove").status == "Done"
    assert served_image(cluster) == ""
    assert not is_in_registry(first)
    assert snapd.sideload(shipped_snaps.first).status == "Done"
    assert snapd.connect(MODEL, *MK8S).status == "Done"
    snapd.await_health(MODEL, "okay")
    assert served_image(cluster) == first
    assert_right(cluster)
