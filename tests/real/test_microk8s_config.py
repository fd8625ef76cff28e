"""The snap that readies MicroK8s, on real parts: a controller comes up, MicroK8s gets its configuration."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from snapedge_hooks.vocabulary import Architecture

from .cluster import Cluster
from .edgedevice import EdgeDevice

NAME = "snapedge-microk8s"
CASES = Path(__file__).parents[1] / "cases" / "cluster"
BUILDER = str(Path(sys.executable).parent / "builder")
PAUSE = "snapedge.test/pause:1"
"""An image that the rig's containerd holds."""


@pytest.fixture(scope="module")
def snap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as a person builds it, of published files whose controllers are programs that the rig has."""
    folder = tmp_path_factory.mktemp("config")
    for file in ("kserve.yaml", "cert-manager.yaml"):
        text = (CASES / file).read_text()
        for image in ("example/cert-manager-controller", "example/kserve-controller"):
            text = text.replace(image, PAUSE)
        (folder / file).write_text(text)
    words = ["--kserve", "kserve.yaml", "--cert-manager", "cert-manager.yaml", "--version", "1"]
    done = subprocess.run(
        [BUILDER, "microk8s-config", *words], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "dist" / f"{NAME}_1_{Architecture.of_machine(platform.machine())}.snap"


@pytest.fixture(scope="module")
def device(edge_device: EdgeDevice, cluster: Cluster) -> Iterator[EdgeDevice]:
    edge_device.offer_microk8s(cluster.config)
    yield edge_device
    edge_device.reset()
    for what in ("namespace/kserve", "namespace/cert-manager", "validatingwebhookconfiguration/example.kserve.io"):
        cluster.kubectl("delete", what, "--ignore-not-found", "--wait=false")
    definitions = ("certificates.cert-manager.io", "servingruntimes.example.kserve.io")
    cluster.kubectl("delete", "crd", *definitions, "--ignore-not-found")


def test_microk8s_gets_its_launch_configuration_on_connection(device: EdgeDevice, snap: Path) -> None:
    change = device.snapd.sideload(snap)
    assert change.status == "Done", change.error
    device.snapd.await_health(NAME, "waiting", "no-slot")
    assert device.snapd.connect("microk8s", "configuration", NAME, "configuration").status == "Done"
    text = device.execute("cat", "/var/snap/microk8s/common/etc/launcher/snapedge.yaml")
    assert [addon["name"] for addon in yaml.safe_load(text)["addons"]] == ["dns", "hostpath-storage", "registry"]


def test_connected_to_the_api_it_brings_everything_up(device: EdgeDevice, cluster: Cluster) -> None:
    assert device.snapd.connect(NAME, "mk8s", "microk8s", "microk8s").status == "Done"
    device.snapd.await_health(NAME, "okay", timeout=90)
    assert cluster.get("servingruntimes.example.kserve.io", "example")["kind"] == "ServingRuntime"
    data = cluster.get("configmap", "inferenceservice-config", "-n", "kserve")["data"]
    assert '"RawDeployment"' in data["deploy"]
    assert cluster.get("deployment", "kserve-controller-manager", "-n", "kserve")["status"]["availableReplicas"] == 1


def test_what_somebody_edited_the_timer_takes_back(device: EdgeDevice, cluster: Cluster) -> None:
    patch = '{"data":{"deploy":"{}"}}'
    cluster.kubectl("patch", "configmap", "inferenceservice-config", "-n", "kserve", "--type=merge", "-p", patch)
    device.execute("systemctl", "start", f"snap.{NAME}.drift.service")
    data = cluster.get("configmap", "inferenceservice-config", "-n", "kserve")["data"]
    assert '"RawDeployment"' in data["deploy"]


def test_a_second_convergence_writes_nothing(device: EdgeDevice, cluster: Cluster) -> None:
    def version() -> str:
        found = cluster.get("configmap", "inferenceservice-config", "-n", "kserve")["metadata"]["resourceVersion"]
        return str(found)

    before = version()
    device.execute("snap", "restart", f"{NAME}.converge")
    device.snapd.await_health(NAME, "okay")
    assert version() == before


def test_removed_it_leaves_what_models_need(device: EdgeDevice, cluster: Cluster) -> None:
    assert device.snapd.act(NAME, "remove").status == "Done"
    assert cluster.get("deployment", "kserve-controller-manager", "-n", "kserve")["kind"] == "Deployment"
