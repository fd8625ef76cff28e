"""The controller that makes ReplicaSets and pods of Deployments, by the rules in `workloads`."""

from __future__ import annotations

import copy
import secrets
from datetime import UTC, datetime

from . import admission, kinds, objects, workloads
from .apply import Document
from .controllers import Controller, Name
from .objects import Change, ObjectStore

_NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


class DeploymentController:
    """Keeps ReplicaSets, pods and statuses of every Deployment as they should be."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._controller = Controller(store, affected=self._affected, reconcile=self._reconcile)

    async def start(self) -> None:
        """Begin, with every Deployment there is."""
        await self._controller.start()
        for deployment in self._store.all_of(kinds.DEPLOYMENT):
            self._controller.enqueue((deployment["metadata"]["namespace"], deployment["metadata"]["name"]))

    async def stop(self) -> None:
        """Stop; pods go on."""
        await self._controller.stop()

    def _affected(self, change: Change) -> list[Name]:
        metadata = change.document["metadata"]
        if change.kind is kinds.DEPLOYMENT:
            return [(metadata["namespace"], metadata["name"])]
        if change.kind is kinds.REPLICA_SET:
            return [(metadata["namespace"], owner) for owner in _owners(change.document, "Deployment")]
        if change.kind is kinds.POD:
            return [
                (metadata["namespace"], owner)
                for name in _owners(change.document, "ReplicaSet")
                if (replica_set := self._store.get(kinds.REPLICA_SET, metadata["namespace"], name)) is not None
                for owner in _owners(replica_set, "Deployment")
            ]
        return []

    def _reconcile(self, namespace: str, name: str) -> None:
        deployment = self._store.get(kinds.DEPLOYMENT, namespace, name)
        if deployment is None or "deletionTimestamp" in deployment["metadata"]:
            return
        uid = deployment["metadata"]["uid"]
        newest = self._newest(deployment)
        replica_sets = self._store.owned(kinds.REPLICA_SET, namespace, uid)
        pods = {item["metadata"]["name"]: self._pods(item) for item in replica_sets}
        counts = {item["metadata"]["name"]: _count(item, pods[item["metadata"]["name"]]) for item in replica_sets}
        old = sorted(
            (item for item in replica_sets if item["metadata"]["name"] != newest["metadata"]["name"]),
            key=lambda item: int(item["metadata"]["annotations"][workloads.REVISION]),
        )
        for scale in workloads.plan_scales(
            deployment,
            counts[newest["metadata"]["name"]],
            [counts[item["metadata"]["name"]] for item in old],
            old_pods=sum(len(pods[item["metadata"]["name"]]) for item in old),
        ):
            self._scale(namespace, scale)
        self._settle(deployment, newest["metadata"]["name"])
        self._forget_history(deployment, old)

    def _settle(self, deployment: Document, newest: str) -> None:
        """Make pods what their ReplicaSets say and write all statuses."""
        namespace, uid = deployment["metadata"]["namespace"], deployment["metadata"]["uid"]
        for replica_set in self._store.owned(kinds.REPLICA_SET, namespace, uid):
            active = self._active_pods(replica_set)
            self._match_pods(replica_set, active)
            status = workloads.replica_set_status(replica_set, self._active_pods(replica_set))
            self._store.set_status(kinds.REPLICA_SET, namespace, replica_set["metadata"]["name"], status)
        replica_sets = self._store.owned(kinds.REPLICA_SET, namespace, uid)
        newest_set = next(item for item in replica_sets if item["metadata"]["name"] == newest)
        status = workloads.deployment_status(deployment, newest_set, replica_sets, now=self._store.now())
        name = deployment["metadata"]["name"]
        self._store.set_status(kinds.DEPLOYMENT, namespace, name, status)
        left = workloads.seconds_until_deadline(deployment | {"status": status}, datetime.now(UTC))
        if left is not None:
            self._controller.enqueue_after((namespace, name), max(left, 0) + 1)

    def _newest(self, deployment: Document) -> Document:
        """The ReplicaSet of the wanted template, made if there is none, with the highest revision."""
        namespace, name = deployment["metadata"]["namespace"], deployment["metadata"]["name"]
        replica_sets = self._store.owned(kinds.REPLICA_SET, namespace, deployment["metadata"]["uid"])
        highest = max((int(item["metadata"]["annotations"][workloads.REVISION]) for item in replica_sets), default=0)
        replicas: int = deployment["spec"]["replicas"]
        strategy = deployment["spec"].get("strategy", {})
        surge = 0
        if strategy.get("type") != "Recreate":
            share = strategy.get("rollingUpdate", {}).get("maxSurge", "25%")
            surge = workloads.bound(share, replicas, round_up=True)
        annotations = {
            key: value
            for key, value in deployment["metadata"].get("annotations", {}).items()
            if key != workloads.REVISION
        }
        annotations |= {
            "deployment.kubernetes.io/desired-replicas": str(replicas),
            "deployment.kubernetes.io/max-replicas": str(replicas + surge),
        }
        found = next((item for item in replica_sets if _bare_template(item) == deployment["spec"]["template"]), None)
        if found is None:
            made = _make_replica_set(deployment, annotations | {workloads.REVISION: str(highest + 1)})
            made["spec"]["replicas"] = self._first_replicas(deployment, replica_sets)
            found = self._store.create(kinds.REPLICA_SET, made)
            revision = str(highest + 1)
        else:
            revision = found["metadata"]["annotations"][workloads.REVISION]
            if int(revision) < highest:
                history = found["metadata"]["annotations"].get(f"{workloads.REVISION}-history", "")
                annotations[f"{workloads.REVISION}-history"] = f"{history},{revision}" if history else revision
                revision = str(highest + 1)
            found["metadata"]["annotations"] |= annotations | {workloads.REVISION: revision}
            found = self._store.update(kinds.REPLICA_SET, found)
        if deployment["metadata"].get("annotations", {}).get(workloads.REVISION) != revision:
            current = self._store.get(kinds.DEPLOYMENT, namespace, name)
            assert current is not None
            current["metadata"].setdefault("annotations", {})[workloads.REVISION] = revision
            self._store.update(kinds.DEPLOYMENT, current)
        return found

    def _first_replicas(self, deployment: Document, old: list[Document]) -> int:
        """How many pods a ReplicaSet begins with, beside those of the old ones."""
        pods = [self._pods(item) for item in old]
        missing = workloads.ReplicaCount(name="", wanted=0, existing=0, available=0)
        counts = [_count(item, found) for item, found in zip(old, pods, strict=True)]
        scales = workloads.plan_scales(deployment, missing, counts, old_pods=sum(len(found) for found in pods))
        return next((scale.replicas for scale in scales if scale.name == ""), 0)

    def _pods(self, replica_set: Document) -> list[Document]:
        metadata = replica_set["metadata"]
        return self._store.owned(kinds.POD, metadata["namespace"], metadata["uid"])

    def _scale(self, namespace: str, scale: workloads.Scale) -> None:
        replica_set = self._store.get(kinds.REPLICA_SET, namespace, scale.name)
        assert replica_set is not None
        replica_set["spec"]["replicas"] = scale.replicas
        self._store.update(kinds.REPLICA_SET, replica_set)

    def _active_pods(self, replica_set: Document) -> list[Document]:
        return [
            pod
            for pod in self._pods(replica_set)
            if "deletionTimestamp" not in pod["metadata"]
            and pod.get("status", {}).get("phase") not in ("Failed", "Succeeded")
        ]

    def _match_pods(self, replica_set: Document, active: list[Document]) -> None:
        wanted: int = replica_set["spec"]["replicas"]
        for _ in range(wanted - len(active)):
            self._store.create(kinds.POD, _make_pod(replica_set))
        # Pods that are not ready go first, then the youngest.
        surplus = sorted(
            active, key=lambda pod: (workloads.is_ready(pod), [-ord(c) for c in pod["metadata"]["creationTimestamp"]])
        )
        for pod in surplus[: max(len(active) - wanted, 0)]:
            metadata = pod["metadata"]
            grace = objects.grace_period(kinds.POD, pod)
            self._store.delete(kinds.POD, metadata["namespace"], metadata["name"], grace=grace)

    def _forget_history(self, deployment: Document, old: list[Document]) -> None:
        limit: int = deployment["spec"].get("revisionHistoryLimit", 10)
        empty = [item for item in old if not item["spec"]["replicas"] and not item.get("status", {}).get("replicas")]
        for item in empty[: max(len(empty) - limit, 0)]:
            self._store.delete(kinds.REPLICA_SET, item["metadata"]["namespace"], item["metadata"]["name"])


def _owners(document: Document, kind: str) -> list[str]:
    references = document["metadata"].get("ownerReferences", [])
    return [reference["name"] for reference in references if reference["kind"] == kind]


def _count(replica_set: Document, pods: list[Document]) -> workloads.ReplicaCount:
    alive = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    return workloads.ReplicaCount(
        name=replica_set["metadata"]["name"],
        wanted=replica_set["spec"]["replicas"],
        existing=len(alive),
        available=sum(workloads.is_ready(pod) for pod in alive),
    )


def _bare_template(replica_set: Document) -> Document:
    template = copy.deepcopy(replica_set["spec"]["template"])
    template["metadata"]["labels"].pop(workloads.HASH_LABEL, None)
    result: Document = template
    return result


def owner_reference(owner: Document) -> Document:
    """What a child says of the object it belongs to."""
    return {
        "apiVersion": owner["apiVersion"],
        "blockOwnerDeletion": True,
        "controller": True,
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
    }


def _make_replica_set(deployment: Document, annotations: dict[str, str]) -> Document:
    template = copy.deepcopy(deployment["spec"]["template"])
    mark = workloads.template_hash(template)
    template["metadata"]["labels"][workloads.HASH_LABEL] = mark
    selector = copy.deepcopy(deployment["spec"]["selector"])
    selector["matchLabels"][workloads.HASH_LABEL] = mark
    return {
        "metadata": {
            "annotations": annotations,
            "labels": dict(template["metadata"]["labels"]),
            "name": f"{deployment['metadata']['name']}-{mark}",
            "namespace": deployment["metadata"]["namespace"],
            "ownerReferences": [owner_reference(deployment)],
        },
        "spec": {"replicas": 0, "selector": selector, "template": template},
    }


def _make_pod(replica_set: Document) -> Document:
    name = replica_set["metadata"]["name"]
    template = copy.deepcopy(replica_set["spec"]["template"])
    spec = template["spec"]
    admission.complete_pod_spec(spec)
    spec |= {
        "enableServiceLinks": True,
        "preemptionPolicy": "PreemptLowerPriority",
        "priority": 0,
        "serviceAccount": "default",
        "serviceAccountName": "default",
    }
    metadata: Document = {
        "annotations": template["metadata"].get("annotations", {}),
        "generateName": f"{name}-",
        "labels": template["metadata"]["labels"],
        "name": f"{name}-" + "".join(secrets.choice(_NAME_LETTERS) for _ in range(5)),
        "namespace": replica_set["metadata"]["namespace"],
        "ownerReferences": [owner_reference(replica_set)],
    }
    if "serving.kserve.io/inferenceservice" in metadata["labels"]:
        # KServe's pod webhook writes these down on every pod of an InferenceService.
        metadata["annotations"] |= {
            "serving.kserve.io/enable-metric-aggregation": "false",
            "serving.kserve.io/enable-prometheus-scraping": "false",
        }
    return {"metadata": metadata, "spec": spec, "status": {"phase": "Pending", "qosClass": _quality(spec)}}


def _quality(spec: Document) -> str:
    resources = [container.get("resources", {}) for container in spec["containers"]]
    if not any(part.get("requests") or part.get("limits") for part in resources):
        return "BestEffort"
    same = all(part.get("limits") and part.get("requests", part["limits"]) == part["limits"] for part in resources)
    return "Guaranteed" if same else "Burstable"
