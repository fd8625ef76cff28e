"""What KServe's controller makes of an InferenceService, as pure functions.

The objects are those that a real controller made (Standard mode, custom container). Left out: the
HorizontalPodAutoscaler, which has nothing to measure here, and ingress.
"""

from __future__ import annotations

from typing import Any

_OF_THE_PREDICTOR = ("minReplicas", "maxReplicas", "deploymentStrategy", "timeout", "labels", "annotations")
_ROLLING = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}


def children(service: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The Deployment and the Service of an InferenceService."""
    predictor, name = service["spec"]["predictor"], service["metadata"]["name"]
    metadata = _child_metadata(service)
    selector = {"app": f"isvc.{name}-predictor"}
    pod = {key: value for key, value in predictor.items() if key not in _OF_THE_PREDICTOR}
    pod["containers"] = [_container(one, name) for one in predictor["containers"]]
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": predictor.get("minReplicas", 1),
            "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": selector},
            "strategy": predictor.get("deploymentStrategy", _ROLLING),
            "template": {
                "metadata": {"labels": metadata["labels"], "annotations": metadata["annotations"]},
                "spec": pod,
            },
        },
    }
    network = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"type": "ClusterIP", "selector": selector, "ports": _ports(predictor["containers"][0])},
    }
    return deployment, network


def status(service: dict[str, Any], deployment: dict[str, Any], now: str) -> dict[str, Any]:
    """What the controller says of an InferenceService whose Deployment stands so.

    It believes `Available`: while a new pod never comes up beside an old one that serves, it goes on saying Ready.
    """
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    found = {one["type"]: one for one in deployment.get("status", {}).get("conditions", [])}
    available, progressing = found.get("Available"), found.get("Progressing", {})
    serves = available is not None and available["status"] == "True"
    shown = progressing if serves and progressing.get("reason") == "NewReplicaSetAvailable" else (available or {})
    told = {key: shown[key] for key in ("reason", "message") if key in shown}
    yes_or_no = {True: "True", False: "False"}[serves]
    conditions = [
        {"type": "IngressReady", "status": "True"},
        {"type": "PredictorReady", "status": yes_or_no, **told},
        {"type": "Ready", "status": yes_or_no, **({} if serves else told)},
        {"type": "Stopped", "status": "False", "severity": "Info"},
    ]
    before = {one["type"]: one for one in service.get("status", {}).get("conditions", [])}
    for one in conditions:
        old = before.get(one["type"], {})
        one["lastTransitionTime"] = old["lastTransitionTime"] if old.get("status") == one["status"] else now
    copies = {"failedCopies": 0, **({"totalCopies": 1} if serves else {})}
    return {
        "observedGeneration": service["metadata"]["generation"],
        "deploymentMode": "Standard",
        "url": f"http://{name}-{namespace}.example.com",
        "address": {"url": f"http://{name}-predictor.{namespace}.svc.cluster.local"},
        "components": {"predictor": {"url": f"http://{name}-predictor-{namespace}.example.com"} if serves else {}},
        "conditions": conditions,
        "modelStatus": {
            "copies": copies,
            "states": {
                "activeModelState": "Loaded" if serves else "",
                "targetModelState": "Loaded" if serves else "Pending",
            },
            "transitionStatus": "UpToDate" if serves else "InProgress",
        },
    }


def _child_metadata(service: dict[str, Any]) -> dict[str, Any]:
    of, name = service["metadata"], service["metadata"]["name"]
    return {
        "name": f"{name}-predictor",
        "namespace": of["namespace"],
        "labels": {
            **of.get("labels", {}),
            "app": f"isvc.{name}-predictor",
            "component": "predictor",
            "serving.kserve.io/inferenceservice": name,
        },
        "annotations": {
            key: value
            for key, value in of.get("annotations", {}).items()
            if not key.startswith("kubectl.kubernetes.io/")
        },
        "ownerReferences": [
            {
                "apiVersion": service["apiVersion"],
                "kind": "InferenceService",
                "name": name,
                "uid": of["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


def _container(container: dict[str, Any], name: str) -> dict[str, Any]:
    environment = [*container.get("env", []), {"name": "INFERENCE_SERVICE_NAME", "value": name}]
    return container | {"env": environment, "imagePullPolicy": container.get("imagePullPolicy", "IfNotPresent")}


def _ports(container: dict[str, Any]) -> list[dict[str, Any]]:
    given = container.get("ports") or [{"name": "http1", "containerPort": 8080}]
    found = []
    for index, port in enumerate(given):
        target = port["containerPort"]
        kind = {"appProtocol": "kubernetes.io/h2c"} if port.get("name") == "h2c" else {}
        found.append({"name": port.get("name", "http1"), "protocol": "TCP", "targetPort": target, **kind})
        found[-1]["port"] = 80 if index == 0 else target
    return found
