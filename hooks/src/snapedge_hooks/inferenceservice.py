"""The InferenceService and NodePort Service that serve a model, and how a live object differs from ours.

Rules (observed on a real KServe, docs/architecture):

1. RawDeployment; the webhook stores the annotation as Standard, which is the same.
2. KServe copies labels and annotations to the pods: only what follows from the content stands there, since a snap
   revision or a time would restart the model.
3. The image is named by digest. Requests equal limits: KServe would add its own (1 CPU, 2 GiB) where one is missing.
4. The pod has no rights: not root, read-only root, no capabilities, no service account token; /tmp is its own.
5. Port 80 of the Service is the first port of the pod; a further one keeps its number, and KServe tells of it what its
   name says: `h2c` is HTTP/2 without TLS, which is gRPC.
6. A live object differs only in fields that we set; fields of others are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import quantities
from .goodspec import Identity, Manifests
from .payload import Payload
from .vocabulary import ImageReference, Transport, UpdateStrategy

CONTAINER = "kserve-container"
HTTP_PORT = 8080
GRPC_PORT = 8081
OWNER = "snapedge.dev/snap"
MODEL_LAYER = "snapedge.dev/model-layer"
RUNTIME = "snapedge.dev/runtime"
_MODE = "serving.kserve.io/deploymentMode"
_SAME_MODES = frozenset({"RawDeployment", "Standard"})
_USER = 65532
_MANAGED = {"app.kubernetes.io/managed-by": "snapedge"}


def manifests(
    payload: Payload,
    *,
    name: str,
    owner: str,
    image: ImageReference,
    identity: Identity,
    transport: Transport = Transport.REGISTRY,
) -> Manifests:
    """The objects that a payload asks for.

    Args:
        payload: with the device's configuration in it.
        name: of the InferenceService.
        owner: the snap instance that it belongs to.
        image: what its pods run.
        identity: of what the image holds.
        transport: how the image comes to containerd.
    """
    service = payload.service
    resources = {"cpu": service.cpu, "memory": service.memory}
    environment = [{"name": "PROTOCOL", "value": "v2"}, {"name": "SNAPEDGE_GATE", "value": str(payload.gate)}]
    ports: list[dict[str, Any]] = [{"name": "http1", "containerPort": HTTP_PORT, "protocol": "TCP"}]
    if service.grpc:
        environment.append({"name": "SNAPEDGE_GRPC_PORT", "value": str(GRPC_PORT)})
        ports.append({"name": "h2c", "containerPort": GRPC_PORT, "protocol": "TCP"})
    container = {
        "name": CONTAINER,
        "image": str(image),
        # Written out in both cases: a field that is left out is not looked at when live objects are compared.
        "imagePullPolicy": "Never" if transport is Transport.SIDELOAD else "IfNotPresent",
        "env": environment,
        "ports": ports,
        "resources": {"requests": resources, "limits": dict(resources)},
        "startupProbe": _probe("live", period=1, failures=300),
        "readinessProbe": _probe("ready", period=1, failures=3),
        "livenessProbe": _probe("live", period=10, failures=3) | {"timeoutSeconds": 5},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsGroup": _USER,
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - the pod's own, an emptyDir
    }
    predictor: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "minReplicas": service.replicas,
        "maxReplicas": service.replicas,
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    if service.update is UpdateStrategy.RECREATE:
        predictor["deploymentStrategy"] = {"type": "Recreate"}
    annotations = {
        _MODE: "RawDeployment",
        OWNER: owner,
        MODEL_LAYER: str(identity.model),
        RUNTIME: str(identity.runtime),
    }
    return Manifests(
        namespace=service.namespace,
        name=name,
        inference_service={
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {
                "name": name,
                "namespace": service.namespace,
                "labels": _MANAGED,
                "annotations": annotations,
            },
            "spec": {"predictor": predictor},
        },
        node_port=None if service.node_port is None else _node_port(service.namespace, name, owner, service.node_port),
    )


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": f"/v2/health/{path}", "port": HTTP_PORT},
        "periodSeconds": period,
        "failureThreshold": failures,
    }


def _node_port(namespace: str, name: str, owner: str, port: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": f"{name}-snapedge",
            "namespace": namespace,
            "labels": _MANAGED,
            "annotations": {OWNER: owner},
        },
        "spec": {
            "type": "NodePort",
            "selector": {"app": pod_app(name)},
            "ports": [{"name": "http1", "port": 80, "targetPort": HTTP_PORT, "nodePort": port, "protocol": "TCP"}],
        },
    }


def pod_app(name: str) -> str:
    """The `app` label that KServe gives an InferenceService's pods."""
    return f"isvc.{name}-predictor"


def container_of(inference_service: dict[str, Any]) -> dict[str, Any]:
    """The container that we asked for."""
    container: dict[str, Any] = inference_service["spec"]["predictor"]["containers"][0]
    return container


def owner_of(live: dict[str, Any]) -> str | None:
    """The snap instance that an object in the cluster says it belongs to."""
    annotations = live.get("metadata", {}).get("annotations")
    owner = annotations.get(OWNER) if isinstance(annotations, dict) else None
    return owner if isinstance(owner, str) else None


def ours(live: dict[str, Any]) -> dict[str, Any]:
    """A live object as we would have applied it: without what the cluster keeps of it."""
    metadata, spec = live["metadata"], dict(live["spec"])
    if live.get("kind") == "Service":
        spec = {key: spec[key] for key in ("type", "selector", "ports") if key in spec}
    return {
        "apiVersion": live["apiVersion"],
        "kind": live["kind"],
        "metadata": {key: metadata[key] for key in ("name", "namespace", "labels", "annotations") if metadata.get(key)},
        "spec": spec,
    }


def differences(desired: Any, live: Any, *, place: str = "") -> tuple[str, ...]:
    """The places where a live object is not what we asked for; what we did not ask for is not looked at."""
    return tuple(_differences(desired, live, place))


def _differences(desired: Any, live: Any, place: str) -> Iterator[str]:
    if isinstance(desired, dict):
        if not isinstance(live, dict):
            # The API server leaves an empty object out.
            if desired:
                yield place
            return
        for key, value in desired.items():
            yield from _differences(value, live.get(key), f"{place}.{key}" if place else key)
    elif isinstance(desired, list):
        yield from _list_differences(desired, live, place)
    elif place.endswith(_MODE):
        if desired != live and not {desired, live} <= _SAME_MODES:
            yield place
    elif (".requests." in place or ".limits." in place) and live is not None:
        if not quantities.are_equal(desired, live):
            yield place
    elif desired != live:
        yield place


def _list_differences(desired: list[Any], live: Any, place: str) -> Iterator[str]:
    if not isinstance(live, list):
        yield place
    elif all(isinstance(item, dict) and "name" in item for item in desired):
        # Lists of named things are maps to Kubernetes: others may add to them.
        named = {item.get("name"): item for item in live if isinstance(item, dict)}
        if place.endswith(".ports") and len(named) > len(desired):
            yield place  # nobody else adds ports: one that is not wanted any more is ours
        for item in desired:
            yield from _differences(item, named.get(item["name"]), f"{place}[{item['name']}]")
    elif len(desired) != len(live):
        yield place
    else:
        for index, (one, other) in enumerate(zip(desired, live, strict=True)):
            yield from _differences(one, other, f"{place}[{index}]")
