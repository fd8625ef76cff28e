"""Our objects in the cluster by name: where each lives in the API, and what is asked of it."""

from __future__ import annotations

from typing import Any

from .goodspec import GoodSpec, Manifests, read_or_none
from .inferenceservice import OWNER, RUNTIME, pod_app
from .kubernetes import KubernetesApi, Object

_GOOD_KEY = "last-good.json"
MANAGED = "app.kubernetes.io/managed-by=snapedge"


class Cluster:
    """What is ours in one namespace, under one name."""

    def __init__(self, api: KubernetesApi, *, namespace: str, name: str, owner: str) -> None:
        self._api = api
        self.namespace = namespace
        self.name = name
        self.owner = owner

    def inference_service(self) -> Object | None:
        """The live InferenceService."""
        return self._api.get(self._inference_service())

    def node_port(self) -> Object | None:
        """The NodePort Service of ours."""
        return self._api.get(self._core("services", f"{self.name}-snapedge"))

    def predictor_service(self) -> Object | None:
        """The Service that KServe made."""
        return self._api.get(self._core("services", f"{self.name}-predictor"))

    def deployment(self) -> Object | None:
        """The Deployment that KServe made."""
        return self._api.get(f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{self.name}-predictor")

    def replica_sets(self) -> list[Object]:
        """The Deployment's generations."""
        return self._api.items(f"/apis/apps/v1/namespaces/{self.namespace}/replicasets", selector=self._selector())

    def pods(self) -> list[Object]:
        """The model's pods, old and new."""
        return self._api.items(f"/api/v1/namespaces/{self.namespace}/pods", selector=self._selector())

    def delete_pod(self, name: str) -> None:
        """Have a pod made anew, without its waiting time."""
        self._api.delete(self._core("pods", name))

    def nodes(self) -> list[Object]:
        """Every node."""
        return self._api.items("/api/v1/nodes")

    def all_pods(self) -> list[Object]:
        """Every pod of every namespace."""
        return self._api.items("/api/v1/pods")

    def used_images(self) -> frozenset[str]:
        """The images that any InferenceService of the cluster names."""
        return frozenset(image for service in self._inference_services() for image in _images(service))

    def used_runtimes(self) -> frozenset[str]:
        """The runtimes that any model of ours in the cluster is put on, or would go back to."""
        found = {
            service.get("metadata", {}).get("annotations", {}).get(RUNTIME) for service in self._inference_services()
        }
        for configmap in self._api.items("/api/v1/configmaps", selector=MANAGED):
            good = _good_spec(configmap)
            found.add(None if good is None else str(good.identity.runtime))
        return frozenset(item for item in found if isinstance(item, str))

    def last_good(self) -> GoodSpec | None:
        """The last good spec that the ConfigMap holds, or None when it holds none that can be used."""
        return _good_spec(self._api.get(self._core("configmaps", f"{self.name}-snapedge")))

    def remember(self, spec: GoodSpec) -> None:
        """Keep a spec as the last good one."""
        name = f"{self.name}-snapedge"
        self._api.apply(
            self._core("configmaps", name),
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {
                    "name": name,
                    "namespace": self.namespace,
                    "labels": {"app.kubernetes.io/managed-by": "snapedge"},
                    "annotations": {OWNER: self.owner},
                },
                "data": {_GOOD_KEY: spec.to_json().decode()},
            },
        )

    def apply(self, manifests: Manifests) -> None:
        """Have the cluster hold these objects, and no NodePort Service where there is none among them."""
        if self.namespace != "default" and self._api.get(f"/api/v1/namespaces/{self.namespace}") is None:
            self._api.apply(
                f"/api/v1/namespaces/{self.namespace}",
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}},
            )
        self._api.apply(self._inference_service(), manifests.inference_service)
        if manifests.node_port is not None:
            self._api.apply(self._core("services", f"{self.name}-snapedge"), manifests.node_port)
        else:
            self.delete_node_port()

    def delete_inference_service(self) -> bool:
        """Stop serving; False when nothing was served."""
        return self._api.delete(self._inference_service())

    def delete_node_port(self) -> bool:
        """Close the node's port."""
        return self._api.delete(self._core("services", f"{self.name}-snapedge"))

    def forget(self) -> bool:
        """Drop the last good spec."""
        return self._api.delete(self._core("configmaps", f"{self.name}-snapedge"))

    def _inference_services(self) -> list[Object]:
        """Those of every namespace that stay: KServe's finalizer keeps a deleted one listed for a while."""
        found = self._api.items("/apis/serving.kserve.io/v1beta1/inferenceservices")
        return [item for item in found if not is_going(item)]

    def _selector(self) -> str:
        return f"app={pod_app(self.name)}"

    def _inference_service(self) -> str:
        return f"/apis/serving.kserve.io/v1beta1/namespaces/{self.namespace}/inferenceservices/{self.name}"

    def _core(self, kind: str, name: str) -> str:
        return f"/api/v1/namespaces/{self.namespace}/{kind}/{name}"


def is_going(thing: Object) -> bool:
    """Whether an object was deleted and waits for somebody's finalizer."""
    return "deletionTimestamp" in thing.get("metadata", {})


def _good_spec(configmap: Object | None) -> GoodSpec | None:
    data = (configmap or {}).get("data")
    text = data.get(_GOOD_KEY) if isinstance(data, dict) else None
    return read_or_none(text.encode()) if isinstance(text, str) else None


def _images(service: Object) -> list[str]:
    containers: Any = service.get("spec", {}).get("predictor", {}).get("containers") or []
    return [container["image"] for container in containers if isinstance(container.get("image"), str)]
