"""Whether a device has room for another pod and its image, from what the API and the file system say.

Rules:

1. A node's free CPU and memory are what it can allocate less the requests of pods that have not ended.
2. An update by surge needs room for one more quarter of the replicas, rounded up; a first start for all; a re-creation
   for all, its old pods' requests given back first.
3. Bytes to push are stored three times: by the registry, by containerd, and unpacked. An archive is stored four times,
   since MicroK8s copies ours. A reserve stays free.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from . import quantities
from .payload import Service
from .vocabulary import UpdateStrategy

COPIES = 3
ARCHIVE_COPIES = 4
RESERVE_BYTES = 64 * 1024 * 1024
_ENDED = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRoom:
    """What one node has left.

    Attributes:
        cpu: in cores.
        memory: in bytes.
        pods: how many more.
        given_back: what our own pods on it hold, as (cpu, memory).
    """

    cpu: Fraction
    memory: Fraction
    pods: int
    given_back: tuple[Fraction, Fraction] = (Fraction(0), Fraction(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a device has left.

    Attributes:
        nodes: those that take pods; None where the API does not say.
        disk: free bytes of the file system that $SNAP_COMMON is on.
        own_pods: how many pods of the model there are.
    """

    nodes: tuple[NodeRoom, ...] | None
    disk: int
    own_pods: int = 0


def measure(common: Path, nodes: Iterable[dict[str, Any]], pods: Iterable[dict[str, Any]], app: str) -> Room:
    """The room there is.

    Args:
        common: a folder on the file system that images end up on.
        nodes: of the cluster.
        pods: of all namespaces.
        app: the `app` label of our own pods.
    """
    running = [pod for pod in pods if pod.get("status", {}).get("phase") not in _ENDED]
    found = []
    for node in nodes:
        allocatable = node.get("status", {}).get("allocatable")
        if node.get("spec", {}).get("unschedulable") or not isinstance(allocatable, dict):
            continue
        name = node.get("metadata", {}).get("name")
        here = [pod for pod in running if pod.get("spec", {}).get("nodeName") == name]
        requests = [(_request(pod, "cpu"), _request(pod, "memory"), _app(pod) == app) for pod in here]
        found.append(
            NodeRoom(
                cpu=_quantity(allocatable.get("cpu", "0")) - sum(cpu for cpu, _, _ in requests),
                memory=_quantity(allocatable.get("memory", "0")) - sum(memory for _, memory, _ in requests),
                pods=int(_quantity(allocatable.get("pods", "110"))) - len(here),
                given_back=(
                    sum((cpu for cpu, _, own in requests if own), Fraction(0)),
                    sum((memory for _, memory, own in requests if own), Fraction(0)),
                ),
            )
        )
    own = sum(1 for pod in running if _app(pod) == app)
    return Room(nodes=tuple(found) or None, disk=free_bytes(common), own_pods=own)


def free_bytes(folder: Path) -> int:
    """What a process without privileges may still write there."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def shortage(service: Service, room: Room, push_bytes: int, *, copies: int = COPIES) -> str | None:
    """What is missing for a service's pods and image, in words, or None when there is room."""
    needed = push_bytes * copies + RESERVE_BYTES if push_bytes else 0
    if room.disk < needed:
        return f"disk has {_mebibytes(room.disk)} free, {_mebibytes(needed)} needed"
    if room.nodes is None:
        return None
    recreated = service.update is UpdateStrategy.RECREATE
    pods = -(-service.replicas // 4) if room.own_pods and not recreated else service.replicas
    cpu, memory = quantities.parse(service.cpu), quantities.parse(service.memory)
    places = 0
    for node in room.nodes:
        back = node.given_back if recreated else (Fraction(0), Fraction(0))
        free_cpu, free_memory = node.cpu + back[0], node.memory + back[1]
        places += max(0, min(int(free_cpu // cpu), int(free_memory // memory), node.pods))
    if places >= pods:
        return None
    most = max(room.nodes, key=lambda node: node.memory)
    return (
        f"{pods} more pod(s) of {service.cpu} CPU, {service.memory}; "
        f"free: {int(most.cpu * 1000)}m, {_mebibytes(int(most.memory))}"
    )


def _mebibytes(count: int) -> str:
    return f"{max(0, count) // (1024 * 1024)}Mi"


def _request(pod: dict[str, Any], resource: str) -> Fraction:
    spec = pod.get("spec", {})
    containers = spec.get("containers") or []
    total = sum((_of_container(container, resource) for container in containers), Fraction(0))
    starting = [_of_container(container, resource) for container in spec.get("initContainers") or []]
    return max([total, *starting])


def _of_container(container: dict[str, Any], resource: str) -> Fraction:
    requests = (container.get("resources") or {}).get("requests") or {}
    return _quantity(requests.get(resource, "0"))


def _quantity(value: object) -> Fraction:
    try:
        return quantities.parse(value)
    except ValueError:
        return Fraction(0)


def _app(pod: dict[str, Any]) -> str | None:
    labels = pod.get("metadata", {}).get("labels") or {}
    app = labels.get("app")
    return app if isinstance(app, str) else None
