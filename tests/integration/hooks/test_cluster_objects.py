"""The snap that readies a cluster: its hooks bring KServe up through an API that cannot take everything at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from snapedge_builder import clustermanifests, rawdeployment
from snapedge_hooks.clusterobjects import ClusterObjects

from ...fakes.edge import EdgeDevice

CASES = Path(__file__).parents[2] / "cases" / "cluster"
CONTROLLER = "/apis/apps/v1/namespaces/kserve/deployments/kserve-controller-manager"
UP = {"observedGeneration": 1, "availableReplicas": 1}


@pytest.fixture
def objects() -> ClusterObjects:
    kserve, _ = rawdeployment.in_raw_mode(clustermanifests.read([CASES / "kserve.yaml"]))
    return clustermanifests.objects((*clustermanifests.read([CASES / "cert-manager.yaml"]), *kserve))


@pytest.fixture
def device(tmp_path: Path, objects: ClusterObjects) -> Iterator[EdgeDevice]:
    with EdgeDevice(tmp_path) as found:
        found.install_objects(objects)
        yield found


def come_up(device: EdgeDevice, objects: ClusterObjects) -> None:
    """What controllers make of what was applied."""
    for one in objects.objects:
        live = device.kube.objects[one.path]
        live["metadata"]["generation"] = 1
        live["status"] = UP | {"conditions": [{"type": "Established", "status": "True"}]}


def test_an_install_without_credentials_waits(device: EdgeDevice) -> None:
    assert device.run("install") == 0
    assert "--code=no-slot waiting" in device.health()


def test_what_is_given_is_applied_and_waited_for_by_the_service(device: EdgeDevice, objects: ClusterObjects) -> None:
    device.connect()
    assert device.run("install") == 0
    assert "--code=no-kserve waiting" in device.health()
    assert all(one.path in device.kube.objects for one in objects.objects)
    device.clock.on_sleep = lambda: come_up(device, objects)
    assert device.run("converge") == 0
    assert device.health() == "okay"


def test_a_second_run_changes_nothing(device: EdgeDevice, objects: ClusterObjects) -> None:
    device.connect()
    device.run("install")
    come_up(device, objects)
    device.kube.requests.clear()
    assert device.run("converge") == 0
    assert device.kube.wrote() == []


def test_a_kind_that_is_not_known_yet_holds_nothing_else_back(device: EdgeDevice, objects: ClusterObjects) -> None:
    device.connect()
    device.kube.faults.status["servingruntimes/"] = (404, b"404 page not found")
    assert device.run("install") == 0
    assert "ServingRuntime example" in device.health()
    assert CONTROLLER in device.kube.objects
    del device.kube.faults.status["servingruntimes/"]
    device.clock.on_sleep = lambda: come_up(device, objects)
    assert device.run("converge") == 0
    assert device.health() == "okay"


def test_a_webhook_that_does_not_answer_yet_is_waited_for(device: EdgeDevice) -> None:
    device.connect()
    message = 'Internal error occurred: failed calling webhook "example": connection refused'
    device.kube.faults.status["PATCH .*/certificates/"] = (500, {"kind": "Status", "message": message})
    assert device.run("install") == 0
    assert "--code=no-kserve waiting KServe: Certificate serving-cert" in device.health()


def test_an_object_that_the_api_refuses_is_told(device: EdgeDevice) -> None:
    device.connect()
    device.kube.faults.status["PATCH .*deployments/cert-manager"] = (422, {"kind": "Status", "message": "is invalid"})
    assert device.run("install") == 1
    assert "--code=payload-bad error" in device.health()


def test_the_timer_takes_back_what_was_edited(device: EdgeDevice, objects: ClusterObjects) -> None:
    device.connect()
    device.run("install")
    come_up(device, objects)
    device.kube.objects[CONTROLLER]["spec"]["replicas"] = 0
    assert device.run("drift") == 0
    assert device.kube.objects[CONTROLLER]["spec"]["replicas"] == 1


def test_an_api_that_is_away_is_waited_for(device: EdgeDevice) -> None:
    device.connect()
    device.kube.faults.status["."] = (503, b"starting")
    assert device.run("install") == 0
    assert "--code=api-down waiting" in device.health()


def test_removal_leaves_what_others_need(device: EdgeDevice, objects: ClusterObjects) -> None:
    device.connect()
    device.run("install")
    assert device.run("remove") == 0
    assert all(one.path in device.kube.objects for one in objects.objects)


def test_damaged_objects_are_refused(device: EdgeDevice) -> None:
    (device.snap / "cluster" / "objects.json").write_bytes(b'{"format":1,"objects":[{"path":"/etc/passwd"}]}')
    device.connect()
    assert device.run("install") == 1
    assert "--code=payload-bad error" in device.health()
