"""The one node of a virtual cluster: takes pods that fit, gives them addresses, runs them, ends them."""

from __future__ import annotations

import asyncio
import logging
import platform
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from . import kinds, podstatus, quantities
from .addresses import AddressesExhaustedError, DeviceAddresses
from .apply import Document
from .controllers import Name
from .objects import Change, ObjectStore
from .pods import Pod, PodHost

_log = logging.getLogger(__name__)

_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_SHUTDOWN_GRACE: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCapacity:
    """What the node has for pods."""

    cpu: str = "4"
    memory: str = "4Gi"
    pods: int = 110

    def document(self) -> dict[str, str]:
        """As a node's status has it."""
        return {"cpu": self.cpu, "memory": self.memory, "pods": str(self.pods)}


class Node:
    """Scheduler and kubelet in one."""

    def __init__(
        self, store: ObjectStore, host: PodHost, addresses: DeviceAddresses, capacity: NodeCapacity, *, name: str
    ) -> None:
        self._store = store
        self._host = host
        self._addresses = addresses
        self._capacity = capacity
        self._name = name
        self._pods: dict[str, Pod] = {}
        self._deafen: Callable[[], None] | None = None

    def log_of(self, namespace: str, name: str) -> bytes | None:
        """What a pod's container has written last."""
        for pod in self._pods.values():
            if (pod.namespace, pod.name) == (namespace, name) and pod.log.is_file():
                return pod.log.read_bytes()
        return None

    async def start(self) -> None:
        """Announce the node and run every pod there is."""
        self._announce()
        self._deafen = self._store.listen(self._hear)
        for pod in self._store.all_of(kinds.POD):
            if "deletionTimestamp" in pod["metadata"]:
                self._store.remove(kinds.POD, pod["metadata"]["namespace"], pod["metadata"]["name"])
            else:
                self._take(pod)

    async def stop(self) -> None:
        """End every container; the pods are started again by the next `start`."""
        if self._deafen is not None:
            self._deafen()
        await asyncio.gather(*(pod.stop(_SHUTDOWN_GRACE) for pod in self._pods.values()))
        self._pods.clear()

    def _hear(self, change: Change) -> None:
        if change.kind is not kinds.POD:
            return
        metadata = change.document["metadata"]
        pod = self._pods.get(metadata["uid"])
        if change.type == "DELETED":
            if pod is not None:
                pod.end(0)
                del self._pods[metadata["uid"]]
            # Room was made: pods that did not fit may fit now.
            asyncio.get_running_loop().call_soon(self._take_waiting)
        elif "deletionTimestamp" in metadata:
            if pod is not None:
                pod.end(metadata["deletionGracePeriodSeconds"])
            else:
                name: Name = (metadata["namespace"], metadata["name"])
                asyncio.get_running_loop().call_soon(self._drop, *name)
        elif change.type == "ADDED":
            asyncio.get_running_loop().call_soon(self._take_waiting)

    def _drop(self, namespace: str, name: str) -> None:
        if self._store.get(kinds.POD, namespace, name) is not None:
            self._store.remove(kinds.POD, namespace, name)

    def _take_waiting(self) -> None:
        for pod in self._store.all_of(kinds.POD):
            if pod["metadata"]["uid"] not in self._pods and "deletionTimestamp" not in pod["metadata"]:
                self._take(pod)

    def _take(self, pod: Document) -> None:
        problem = self._misfit(pod)
        address = ""
        if not problem:
            try:
                address = self._addresses.next_pod(known.address for known in self._pods.values())
            except AddressesExhaustedError as error:
                problem = error.brief
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        if problem:
            state = podstatus.PodState(unschedulable=f"0/1 nodes are available: 1 {problem}.")
            status = podstatus.pod_status(pod, state, host=self._host.address, now=self._store.now())
            if pod["status"].get("conditions") != status["conditions"]:
                self.record(pod, "Warning", "FailedScheduling", state.unschedulable)
            self._store.set_status(kinds.POD, namespace, name, status)
            return
        pod["spec"]["nodeName"] = self._name
        pod = self._store.update(kinds.POD, pod, keeps_generation=True)
        self.record(pod, "Normal", "Scheduled", f"Successfully assigned {namespace}/{name} to {self._name}")
        running = Pod(self._host, pod, address)
        self._pods[pod["metadata"]["uid"]] = running
        running.start()

    def _misfit(self, pod: Document) -> str:
        """Why a pod does not fit, as the scheduler says it; empty if it fits."""
        if len(self._pods) >= self._capacity.pods:
            return "Too many pods"
        free = {"cpu": quantities.parse(self._capacity.cpu), "memory": quantities.parse(self._capacity.memory)}
        for known in self._store.all_of(kinds.POD):
            if known["metadata"]["uid"] in self._pods:
                for name, amount in podstatus.requests_of(known).items():
                    free[name] = free.get(name, Decimal(0)) - amount
        asked = podstatus.requests_of(pod)
        missing = [name for name in sorted(asked) if asked[name] > free.get(name, Decimal(0))]
        return ", 1 ".join(f"Insufficient {name}" for name in missing)

    def _announce(self) -> None:
        now = self._store.now()
        architecture = _ARCHITECTURES.get(platform.machine(), platform.machine())
        resources = self._capacity.document()
        node: Document = {
            "metadata": {
                "labels": {
                    "kubernetes.io/arch": architecture,
                    "kubernetes.io/hostname": self._name,
                    "kubernetes.io/os": "linux",
                    "microk8s.io/cluster": "true",
                },
                "name": self._name,
            },
            "spec": {},
            "status": {
                "addresses": [
                    {"address": self._host.address, "type": "InternalIP"},
                    {"address": self._name, "type": "Hostname"},
                ],
                "allocatable": resources,
                "capacity": resources,
                "conditions": [
                    {
                        "lastHeartbeatTime": now,
                        "lastTransitionTime": now,
                        "message": "kubelet is posting ready status",
                        "reason": "KubeletReady",
                        "status": "True",
                        "type": "Ready",
                    }
                ],
                "nodeInfo": {
                    "architecture": architecture,
                    "bootID": "",
                    "containerRuntimeVersion": "containerd://1.7.27",
                    "kernelVersion": platform.release(),
                    "kubeProxyVersion": "",
                    "kubeletVersion": "v1.34.4",
                    "machineID": self._name,
                    "operatingSystem": "linux",
                    "osImage": "Ubuntu Core 24",
                    "systemUUID": "",
                },
            },
        }
        old = self._store.get(kinds.NODE, "", self._name)
        if old is None:
            self._store.create(kinds.NODE, node)
        else:
            self._store.update(kinds.NODE, old | {"status": node["status"]})

    def record(self, pod: Document, kind: str, reason: str, message: str) -> None:
        """Write an Event about a pod; the same one again only counts up."""
        record_event(self._store, pod, kind, reason, message, source="kubelet")


def record_event(store: ObjectStore, about: Document, kind: str, reason: str, message: str, *, source: str) -> None:
    """An Event for each (object, reason), with a count: what happens often takes no room."""
    metadata = about["metadata"]
    name = f"{metadata['name']}.{reason.lower()}"
    now = store.now()
    old = store.get(kinds.EVENT, metadata["namespace"], name)
    if old is not None and old["involvedObject"]["uid"] == metadata["uid"]:
        store.update(
            kinds.EVENT, old | {"count": old["count"] + 1, "lastTimestamp": now, "message": message, "type": kind}
        )
        return
    event: Document = {
        "count": 1,
        "firstTimestamp": now,
        "involvedObject": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
        },
        "lastTimestamp": now,
        "message": message,
        "metadata": {
            "name": name,
            "namespace": metadata["namespace"],
            # Real Events expire after an hour; here they go with what they are about.
            "ownerReferences": [
                {
                    "apiVersion": about["apiVersion"],
                    "kind": about["kind"],
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                }
            ],
        },
        "reason": reason,
        "source": {"component": source},
        "type": kind,
    }
    if old is not None:
        store.delete(kinds.EVENT, metadata["namespace"], name)
    store.create(kinds.EVENT, event)
    _log.debug("%s %s: %s", metadata["name"], reason, message)
