"""The objects we apply, and what counts as drift of a live one."""
# ruff: noqa: E501 - a table reads better with each case on one line

import copy
from dataclasses import replace
from typing import Any

import pytest

from snapedge_hooks.inferenceservice import differences
from snapedge_hooks.payload import Service
from snapedge_hooks.vocabulary import UpdateStrategy

from . import worlds


def applied(**service: Any) -> dict[str, Any]:
    asked = worlds.wish()
    asked = replace(asked, payload=replace(asked.payload, service=Service(**service)))
    return asked.manifests_on(worlds.candidate("new")).inference_service


def test_the_pod_is_pinned_by_digest_and_has_no_rights() -> None:
    asked = worlds.wish()
    container = applied()["spec"]["predictor"]["containers"][0]
    assert container["image"] == f"localhost:32000/wine@{asked.image_on(worlds.candidate('new')).digest}"
    assert container["env"] == [{"name": "PROTOCOL", "value": "v2"}, {"name": "SNAPEDGE_GATE", "value": "strict"}]
    assert container["resources"] == {
        "requests": {"cpu": "500m", "memory": "256Mi"},
        "limits": {"cpu": "500m", "memory": "256Mi"},
    }
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["runAsUser"] == 65532
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_labels_and_annotations_follow_from_the_content() -> None:
    metadata = applied()["metadata"]
    identity = worlds.wish().identity_on(worlds.candidate("new"))
    assert metadata["annotations"] == {
        "serving.kserve.io/deploymentMode": "RawDeployment",
        "snapedge.dev/snap": "wine",
        "snapedge.dev/model-layer": identity.model,
        "snapedge.dev/runtime": identity.runtime,
    }


def test_recreate_is_said_to_the_deployment() -> None:
    assert "deploymentStrategy" not in applied()["spec"]["predictor"]
    recreated = applied(update=UpdateStrategy.RECREATE)["spec"]["predictor"]
    assert recreated["deploymentStrategy"] == {"type": "Recreate"}


def test_grpc_is_a_port_of_its_own_and_said_to_the_server() -> None:
    container = applied(grpc=True)["spec"]["predictor"]["containers"][0]
    assert container["ports"] == [
        {"name": "http1", "containerPort": 8080, "protocol": "TCP"},
        {"name": "h2c", "containerPort": 8081, "protocol": "TCP"},
    ]
    assert container["env"][2:] == [{"name": "SNAPEDGE_GRPC_PORT", "value": "8081"}]


def test_a_port_that_is_not_wanted_any_more_is_drift() -> None:
    place = "spec.predictor.containers[kserve-container].ports"
    assert place in differences(applied(), applied(grpc=True))


def live() -> dict[str, Any]:
    """As KServe's webhook and the API server store it."""
    found = copy.deepcopy(applied())
    found["metadata"] |= {"uid": "x", "resourceVersion": "1", "generation": 3, "finalizers": ["inferenceservice"]}
    found["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] = "Standard"
    found["spec"]["predictor"]["scaleMetric"] = "cpu"
    found["status"] = {"conditions": []}
    return found


def test_what_the_webhook_and_others_add_is_no_drift() -> None:
    found = live()
    container = found["spec"]["predictor"]["containers"][0]
    container["env"].insert(0, {"name": "INFERENCE_SERVICE_NAME", "value": "wine"})
    container["resources"]["limits"]["cpu"] = "0.5"
    assert differences(applied(), found) == ()


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        (("containers", 0, "image"), "other", "spec.predictor.containers[kserve-container].image"),
        (("containers", 0, "env", 1, "value"), "none", "spec.predictor.containers[kserve-container].env[SNAPEDGE_GATE].value"),
        (("containers", 0, "resources", "limits", "memory"), "1Gi", "spec.predictor.containers[kserve-container].resources.limits.memory"),
        (("minReplicas",), 3, "spec.predictor.minReplicas"),
        (("containers", 0, "securityContext", "capabilities", "drop"), [], "spec.predictor.containers[kserve-container].securityContext.capabilities.drop"),
    ],
)  # fmt: skip
def test_a_changed_field_of_ours_is_drift(path: tuple[Any, ...], value: Any, place: str) -> None:
    found = live()
    target = found["spec"]["predictor"]
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    assert differences(applied(), found) == (place,)


def test_junk_is_drift_and_no_crash() -> None:
    assert differences(applied(), None) == ("",)
    assert differences(applied(), {"metadata": [], "spec": "x"}) != ()
