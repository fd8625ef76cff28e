"""A stand-in for KServe's controller, made after what a real one was seen to do (RawDeployment mode).

Rules:

- Of an InferenceService NAME it makes the Deployment, Service and HorizontalPodAutoscaler `NAME-predictor`; labels and
  annotations of the InferenceService go to all of them and to the pods.
- PredictorReady follows the Deployment: its Progressing condition once a rollout ended, else Available. So an update
  whose pod never comes up leaves the InferenceService Ready, as the real one does.
- The Service is always a ClusterIP; port 80 leads to the first port, where it may be bound, else 8080 says so.
"""

from __future__ import annotations

import copy
from typing import Any, Final

from . import admission, kinds, workloads
from .apply import Document
from .controllers import Controller, Name
from .deployments import owner_reference
from .kinds import Kind
from .objects import Change, ObjectStore

_FINALIZER = "inferenceservice.finalizers"
_NOT_COPIED: Final = frozenset({"kubectl.kubernetes.io/last-applied-configuration"})
_DOMAIN = "example.com"
_COMPONENT_FIELDS: Final = frozenset(
    {
        "autoScaling",
        "batcher",
        "canaryTrafficPercent",
        "containerConcurrency",
        "deploymentStrategy",
        "logger",
        "maxReplicas",
        "minReplicas",
        "scaleMetric",
        "scaleMetricType",
        "scaleTarget",
        "timeout",
    }
)


class KServeController:
    """Turns InferenceServices into Deployments and Services and tells how they do."""

    def __init__(self, store: ObjectStore, admit: admission.Admission, *, http_port: int) -> None:
        self._store = store
        self._admit = admit
        self._http_port = http_port
        self._controller = Controller(store, affected=self._affected, reconcile=self._reconcile)

    async def start(self) -> None:
        """Begin, with every InferenceService there is."""
        await self._controller.start()
        for service in self._store.all_of(kinds.INFERENCE_SERVICE):
            self._controller.enqueue((service["metadata"]["namespace"], service["metadata"]["name"]))

    async def stop(self) -> None:
        """Stop; what was made stays."""
        await self._controller.stop()

    def _affected(self, change: Change) -> list[Name]:
        metadata = change.document["metadata"]
        if change.kind is kinds.INFERENCE_SERVICE:
            return [(metadata["namespace"], metadata["name"])]
        if change.kind in (kinds.DEPLOYMENT, kinds.SERVICE, kinds.AUTOSCALER, kinds.POD):
            name = metadata.get("labels", {}).get("serving.kserve.io/inferenceservice")
            return [(metadata["namespace"], name)] if name else []
        return []

    def _reconcile(self, namespace: str, name: str) -> None:
        service = self._store.get(kinds.INFERENCE_SERVICE, namespace, name)
        if service is None:
            return
        if "deletionTimestamp" in service["metadata"]:
            finalizers = service["metadata"].get("finalizers", [])
            if _FINALIZER in finalizers:
                service["metadata"]["finalizers"] = [item for item in finalizers if item != _FINALIZER]
                self._store.update(kinds.INFERENCE_SERVICE, service)
            return
        deployment = self._ensure(kinds.DEPLOYMENT, _make_deployment(service), ("replicas", "strategy", "template"))
        self._ensure(kinds.SERVICE, _make_service(service, self._http_port), ("ports", "selector"))
        self._ensure(kinds.AUTOSCALER, _make_autoscaler(service), ("maxReplicas", "minReplicas"))
        pods = [
            pod
            for pod in self._store.all_of(kinds.POD, namespace)
            if pod["metadata"].get("labels", {}).get("app") == f"isvc.{name}-predictor"
        ]
        status = inference_service_status(service, deployment, pods, now=self._store.now())
        self._store.set_status(kinds.INFERENCE_SERVICE, namespace, name, status)

    def _ensure(self, kind: Kind, wanted: Document, compared: tuple[str, ...]) -> Document:
        metadata = wanted["metadata"]
        old = self._store.get(kind, metadata["namespace"], metadata["name"])
        wanted = self._admit.admit(kind, wanted, old)
        if old is None:
            return self._store.create(kind, wanted)
        new = copy.deepcopy(old)
        changed = any(old["spec"].get(field) != wanted["spec"][field] for field in compared if field in wanted["spec"])
        if kind is kinds.SERVICE and not changed:
            # Seen on the real one: labels and annotations of the Service alone are not brought up to date.
            return old
        for field in ("annotations", "labels"):
            # Annotations that other controllers wrote on the child stay.
            kept = {
                key: value
                for key, value in old["metadata"].get(field, {}).items()
                if key.startswith("deployment.kubernetes.io/")
            }
            new["metadata"][field] = kept | metadata.get(field, {})
        for field in compared:
            if field in wanted["spec"]:
                new["spec"][field] = wanted["spec"][field]
        return self._store.update(kind, new)


def inference_service_status(service: Document, deployment: Document, pods: list[Document], *, now: str) -> Document:
    """The status KServe would write; pure."""
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    before = service.get("status", {})
    old_conditions = {condition["type"]: condition for condition in before.get("conditions", [])}
    predictor = _predictor_condition(deployment)
    is_ready = predictor["status"] == "True"
    ready: Document = {"status": predictor["status"], "type": "Ready"}
    if not is_ready:
        ready |= {key: predictor[key] for key in ("message", "reason") if key in predictor}
    conditions = [
        {"status": "True", "type": "IngressReady"},
        predictor,
        ready,
        {"severity": "Info", "status": "False", "type": "Stopped"},
    ]
    components = dict(before.get("components", {}).get("predictor", {}))
    if is_ready:
        components["url"] = f"http://{name}-predictor-{namespace}.{_DOMAIN}"
    return {
        "address": {"url": f"http://{name}-predictor.{namespace}.svc.cluster.local"},
        "components": {"predictor": components},
        "conditions": [_dated(condition, old_conditions.get(condition["type"]), now) for condition in conditions],
        "deploymentMode": service["metadata"]
        .get("annotations", {})
        .get("serving.kserve.io/deploymentMode", "Standard"),
        "modelStatus": _model_status(pods, is_ready=is_ready),
        "observedGeneration": service["metadata"]["generation"],
        "url": f"http://{name}-{namespace}.{_DOMAIN}",
    }


def _predictor_condition(deployment: Document) -> Document:
    conditions = {condition["type"]: condition for condition in deployment.get("status", {}).get("conditions", [])}
    progressing, available = conditions.get("Progressing"), conditions.get("Available")
    source = available
    if progressing is not None and progressing["reason"] == "NewReplicaSetAvailable":
        source = progressing
    if source is None:
        return {"status": "Unknown", "type": "PredictorReady"}
    return {
        "message": source["message"],
        "reason": source["reason"],
        "status": source["status"],
        "type": "PredictorReady",
    }


def _model_status(pods: list[Document], *, is_ready: bool) -> Document:
    if is_ready:
        return {
            # Pods that never came up were not counted, ending ones were.
            "copies": {"failedCopies": 0, "totalCopies": sum(map(workloads.has_passed_probe, pods))},
            "states": {"activeModelState": "Loaded", "targetModelState": "Loaded"},
            "transitionStatus": "UpToDate",
        }
    failure = next((found for pod in pods if (found := _failure(pod)) is not None), None)
    if failure is None:
        return {
            "copies": {"failedCopies": 0},
            "states": {"activeModelState": "", "targetModelState": "Pending"},
            "transitionStatus": "InProgress",
        }
    return {
        "copies": {"failedCopies": 1, "totalCopies": len(pods)},
        "lastFailureInfo": {"reason": "ModelLoadFailed"}
        | {key: failure[key] for key in ("exitCode", "message") if key in failure},
        "states": {"activeModelState": "", "targetModelState": "FailedToLoad"},
        "transitionStatus": "BlockedByFailedLoad",
    }


def _failure(pod: Document) -> Document | None:
    for status in pod.get("status", {}).get("containerStatuses", []):
        terminated: Document | None = status["state"].get("terminated")
        if terminated is None and status["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff":
            terminated = status.get("lastState", {}).get("terminated")
        if terminated is not None:
            return terminated
    return None


def _dated(condition: Document, before: Document | None, now: str) -> Document:
    if before is not None and {key: before[key] for key in before if key != "lastTransitionTime"} == condition:
        return before
    # Ready tells only when it turned: its words come and go with PredictorReady's.
    if before is not None and condition["type"] == "Ready" and before["status"] == condition["status"]:
        return condition | {"lastTransitionTime": before["lastTransitionTime"]}
    return condition | {"lastTransitionTime": now}


def _child_metadata(service: Document) -> Document:
    name = service["metadata"]["name"]
    annotations = service["metadata"].get("annotations", {})
    return {
        "annotations": {key: value for key, value in annotations.items() if key not in _NOT_COPIED},
        "labels": service["metadata"].get("labels", {})
        | {
            "app": f"isvc.{name}-predictor",
            "component": "predictor",
            "serving.kserve.io/inferenceservice": name,
        },
        "name": f"{name}-predictor",
        "namespace": service["metadata"]["namespace"],
    }


def _owned(service: Document, metadata: Document, spec: Document) -> Document:
    return {"metadata": metadata | {"ownerReferences": [owner_reference(service)]}, "spec": spec}


def _make_deployment(service: Document) -> Document:
    predictor: Document = copy.deepcopy(service["spec"]["predictor"])
    replicas: int = predictor.get("minReplicas", 1)
    strategy: Any = predictor.get("deploymentStrategy") or {
        "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
        "type": "RollingUpdate",
    }
    pod_spec = {key: value for key, value in predictor.items() if key not in _COMPONENT_FIELDS}
    for index, container in enumerate(pod_spec.get("containers", [])):
        name = service["metadata"]["name"]
        container.setdefault("env", []).append({"name": "INFERENCE_SERVICE_NAME", "value": name})
        if index == 0 and "readinessProbe" not in container:
            ports = container.get("ports") or [{"containerPort": 8080}]
            container["readinessProbe"] = {"tcpSocket": {"port": ports[0]["containerPort"]}, "timeoutSeconds": 1}
    admission.complete_pod_spec(pod_spec)
    metadata = _child_metadata(service)
    template = {
        "metadata": {key: metadata[key] for key in ("annotations", "labels", "name", "namespace")},
        "spec": pod_spec,
    }
    spec = {
        "progressDeadlineSeconds": 600,
        "replicas": replicas,
        "revisionHistoryLimit": 10,
        "selector": {"matchLabels": {"app": metadata["labels"]["app"]}},
        "strategy": strategy,
        "template": copy.deepcopy(template),
    }
    return _owned(service, metadata, spec)


def _make_service(service: Document, http_port: int) -> Document:
    metadata = _child_metadata(service)
    containers = service["spec"]["predictor"].get("containers", [])
    declared = containers[0].get("ports") if containers else None
    ports: list[Document] = []
    for index, port in enumerate(declared or [{"containerPort": 8080}]):
        number: int = port["containerPort"]
        name = port.get("name", "")
        entry: Document = {
            "name": name or f"{metadata['name']}",
            "port": http_port if index == 0 else number,
            "protocol": port.get("protocol", "TCP"),
            "targetPort": number,
        }
        if "h2c" in name or "grpc" in name:
            entry["appProtocol"] = "kubernetes.io/h2c"
        ports.append(entry)
    spec = {"ports": ports, "selector": {"app": metadata["labels"]["app"]}, "type": "ClusterIP"}
    return _owned(service, metadata, spec)


def _make_autoscaler(service: Document) -> Document:
    predictor = service["spec"]["predictor"]
    least: int = predictor.get("minReplicas", 1)
    metadata = _child_metadata(service)
    quick = {"periodSeconds": 15, "type": "Percent", "value": 100}
    spec = {
        "behavior": {
            "scaleDown": {"policies": [quick], "selectPolicy": "Max"},
            "scaleUp": {
                "policies": [{"periodSeconds": 15, "type": "Pods", "value": 4}, quick],
                "selectPolicy": "Max",
                "stabilizationWindowSeconds": 0,
            },
        },
        "maxReplicas": max(predictor.get("maxReplicas") or least, least, 1),
        "metrics": [
            {
                "resource": {"name": "cpu", "target": {"averageUtilization": 80, "type": "Utilization"}},
                "type": "Resource",
            }
        ],
        "minReplicas": max(least, 1),
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": metadata["name"]},
    }
    return _owned(service, metadata, spec)
