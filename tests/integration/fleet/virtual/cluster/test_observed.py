"""The emulator beside what a real Kubernetes with a real KServe was seen to do, object by object.

tests/cases/kserve-observed/ holds the objects as they stood at six stages of one story. The same story is told to a
virtual cluster here, and its objects must be the same, but for names that are made up (hashes, uids, addresses, times)
and for what `LEFT_OUT` lists.
"""

from __future__ import annotations

import difflib
import re
import time
from pathlib import Path
from typing import Any

import yaml

from .device import ISVC, Device, Json
from .image import push, server_image

OBSERVED = Path(__file__).parents[4] / "cases" / "kserve-observed"

# Real, and of no use to a client of the emulator: the token's mount, and the autoscaler's opinion of missing metrics.
LEFT_OUT = {"volumeMounts", "managedFields"}
PATHS = {
    "Deployment": "/apis/apps/v1/namespaces/default/deployments",
    "HorizontalPodAutoscaler": "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
    "InferenceService": ISVC,
    "Pod": "/api/v1/namespaces/default/pods",
    "ReplicaSet": "/apis/apps/v1/namespaces/default/replicasets",
    "Service": "/api/v1/namespaces/default/services",
}


def manifest(image: str, revision: str) -> Json:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": "wine",
            "namespace": "default",
            "labels": {"app.kubernetes.io/managed-by": "snapedge"},
            "annotations": {
                "serving.kserve.io/deploymentMode": "RawDeployment",
                "snapedge.dev/snap-revision": revision,
            },
        },
        "spec": {
            "predictor": {
                "minReplicas": 1,
                "maxReplicas": 1,
                "containers": [
                    {
                        "name": "kserve-container",
                        "image": image,
                        "env": [{"name": "PROTOCOL", "value": "v2"}],
                        "ports": [{"containerPort": 8080, "name": "http1", "protocol": "TCP"}],
                        "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": 8080}, "periodSeconds": 1},
                        "resources": {
                            "limits": {"cpu": "500m", "memory": "64Mi"},
                            "requests": {"cpu": "10m", "memory": "16Mi"},
                        },
                    }
                ],
            }
        },
    }


def plain(value: Any, key: str = "") -> Any:
    """A document with made-up names replaced by what kind of name it is."""
    if isinstance(value, dict):
        return {name: plain(inner, name) for name, inner in sorted(value.items()) if name not in LEFT_OUT}
    if isinstance(value, list):
        return [plain(inner, key) for inner in value]
    if key in {"resourceVersion", "uid"}:
        return key
    if not isinstance(value, str):
        return value
    for pattern, word in (
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}", "UID"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME"),
        (r"\S+@sha256:[0-9a-f]{64}", "IMAGE"),
        (r"(sha256:|containerd://)[0-9a-f]{64}", "ID"),
        (r"\b(10|127|192)\.\d+\.\d+\.\d+\b", "ADDRESS"),
        (r"wine-predictor-[0-9a-z]{8,10}(-[0-9a-z]{5})?", "wine-predictor-HASH"),
    ):
        value = re.sub(pattern, word, value)
    if key == "pod-template-hash":
        return "HASH"
    return value


def comparable(document: Json) -> Json:
    found: Json = plain(document)
    if document["kind"] == "HorizontalPodAutoscaler":
        found.pop("status", None)
    for status in found.get("status", {}).get("containerStatuses", []):
        terminated = status.get("lastState", {}).get("terminated")
        if terminated:
            terminated["message"] = "MESSAGE"
    return found


def order(document: Json) -> tuple[str, str, str]:
    metadata = document["metadata"]
    revision = metadata.get("annotations", {}).get("deployment.kubernetes.io/revision", "")
    return document["kind"], metadata["creationTimestamp"], revision


def observed(stage: str) -> str:
    return text(list(yaml.safe_load_all((OBSERVED / f"{stage}.yaml").read_text())))


def present(device: Device) -> str:
    return text([item for path in PATHS.values() for item in device.get(path)["items"]])


def text(documents: list[Json]) -> str:
    return yaml.safe_dump_all([comparable(item) for item in sorted(documents, key=order)])


def reaches(device: Device, stage: str) -> None:
    """The cluster comes to look as observed at this stage."""
    wanted = observed(stage)
    nearest = ""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        nearest = min(nearest, present(device), key=lambda seen: len(difference(seen, wanted)))
        if nearest == wanted:
            return
        time.sleep(0.03)
    lines = difference(nearest, wanted)
    assert not lines, "\n".join(lines)


def difference(seen: str, wanted: str) -> list[str]:
    lines = difflib.unified_diff(wanted.splitlines(), seen.splitlines(), "observed", "emulated", n=0, lineterm="")
    return list(lines)


def test_story_is_the_observed_one(device: Device) -> None:
    good, bad, better = (
        push(device.registry.host, "obs", server_image(answer), tag=answer) for answer in ("one", "bad", "two")
    )
    device.apply(f"{ISVC}/wine", manifest(good, "1"))
    reaches(device, "2-ready")
    device.apply(f"{ISVC}/wine", manifest(bad, "2"))
    reaches(device, "3-bad-6s")
    device.apply(f"{ISVC}/wine", manifest(good, "1"))
    reaches(device, "5-restored")
    device.apply(f"{ISVC}/wine", manifest(better, "3"))
    reaches(device, "6-updated")
