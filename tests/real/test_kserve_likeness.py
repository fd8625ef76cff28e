"""The stand-in for KServe's controller does on a real API what the real controller was seen to do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .cluster import Cluster
from .kserve_controller import KServeController
from .rig import RigError

NAME = "likeness"
PRESENT = "snapedge.test/pause:1"
ABSENT = "localhost:32000/absent:1"


def inference_service(image: str, *, protocol: str = "v2") -> dict[str, Any]:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": NAME,
            "namespace": "default",
            "labels": {"app.kubernetes.io/managed-by": "snapedge"},
            "annotations": {"serving.kserve.io/deploymentMode": "RawDeployment", "snapedge.dev/snap": "likeness"},
        },
        "spec": {
            "predictor": {
                "minReplicas": 1,
                "maxReplicas": 1,
                "containers": [
                    {
                        "name": "kserve-container",
                        "image": image,
                        "env": [{"name": "PROTOCOL", "value": protocol}],
                        "ports": [{"name": "http1", "containerPort": 8080, "protocol": "TCP"}],
                        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                    }
                ],
            }
        },
    }


def await_that(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def conditions(cluster: Cluster) -> dict[str, str]:
    found = cluster.get("inferenceservice", NAME).get("status", {}).get("conditions", [])
    return {one["type"]: one["status"] for one in found}


@pytest.fixture
def served(cluster: Cluster, kserve: KServeController) -> Iterator[Cluster]:
    cluster.apply(inference_service(PRESENT))
    await_that(lambda: conditions(cluster).get("Ready") == "True")
    yield cluster
    cluster.kubectl("delete", "inferenceservice", NAME, "--ignore-not-found", "--wait=false")
    kinds = "inferenceservices,deployments,services,pods"
    await_that(lambda: NAME not in cluster.kubectl("get", kinds, "-o", "name"))


def test_raw_deployment_is_stored_as_standard_and_another_apply_changes_nothing(served: Cluster) -> None:
    before = served.get("inferenceservice", NAME)["metadata"]
    assert before["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"
    served.apply(inference_service(PRESENT))
    after = served.get("inferenceservice", NAME)["metadata"]
    assert (after["generation"], after["resourceVersion"]) == (before["generation"], before["resourceVersion"])


def test_labels_and_annotations_reach_the_pods(served: Cluster) -> None:
    template = served.get("deployment", f"{NAME}-predictor")["spec"]["template"]
    assert template["metadata"]["labels"] == {
        "app": "isvc.likeness-predictor",
        "app.kubernetes.io/managed-by": "snapedge",
        "component": "predictor",
        "serving.kserve.io/inferenceservice": NAME,
    }
    assert template["metadata"]["annotations"] == {
        "serving.kserve.io/deploymentMode": "Standard",
        "snapedge.dev/snap": "likeness",
    }
    assert template["spec"]["containers"][0]["env"] == [
        {"name": "PROTOCOL", "value": "v2"},
        {"name": "INFERENCE_SERVICE_NAME", "value": NAME},
    ]
    ports = served.get("service", f"{NAME}-predictor")["spec"]["ports"]
    assert ports == [{"name": "http1", "port": 80, "protocol": "TCP", "targetPort": 8080}]


def test_it_says_ready_while_a_new_pod_never_comes_up(served: Cluster) -> None:
    served.apply(inference_service(ABSENT))

    def stuck() -> bool:
        pods = served.get("pods", "-l", f"app=isvc.{NAME}-predictor")
        waiting = [
            one["state"].get("waiting", {}) for pod in pods for one in pod["status"].get("containerStatuses", [])
        ]
        return any(one.get("reason") in ("ErrImagePull", "ImagePullBackOff") for one in waiting)

    await_that(stuck)
    found = served.get("inferenceservice", NAME)
    assert conditions(served) == {"IngressReady": "True", "PredictorReady": "True", "Ready": "True", "Stopped": "False"}
    assert found["status"]["modelStatus"]["transitionStatus"] == "UpToDate"
    assert found["status"]["observedGeneration"] == found["metadata"]["generation"]
    deployment = served.get("deployment", f"{NAME}-predictor")["status"]
    assert (deployment["availableReplicas"], deployment["updatedReplicas"], deployment["unavailableReplicas"]) == (
        1,
        1,
        1,
    )


def test_an_unknown_protocol_is_refused(cluster: Cluster, kserve: KServeController) -> None:
    with pytest.raises(RigError, match=r"denied the request: Invalid protocol v3"):
        cluster.apply(inference_service(PRESENT, protocol="v3"))
