"""What a pod's status says, from what its kubelet knows; pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from . import quantities
from .apply import Document
from .imagepull import Image

MESSAGE_LIMIT: Final = 4096
_FIRST_BACKOFF: Final = 10
_LAST_BACKOFF: Final = 300


@dataclass(slots=True, kw_only=True)
class ContainerState:
    """A container between its starts and ends."""

    state: Document = field(default_factory=lambda: {"waiting": {"reason": "ContainerCreating"}})
    last_state: Document = field(default_factory=dict)
    identifier: str = ""
    image: Image | None = None
    restarts: int = 0
    started: bool = False
    ready: bool = False


@dataclass(slots=True, kw_only=True)
class PodState:
    """A pod as its kubelet sees it."""

    address: str = ""
    sandbox_up: bool = False
    scheduled: bool = False
    unschedulable: str = ""
    start_time: str = ""
    container: ContainerState = field(default_factory=ContainerState)


def pod_status(pod: Document, state: PodState, *, host: str, now: str) -> Document:
    """The whole status; conditions keep the time of their last turn."""
    before = {condition["type"]: condition for condition in pod.get("status", {}).get("conditions", [])}
    generation = pod["metadata"]["generation"]
    status: Document = {"phase": "Pending", "qosClass": pod.get("status", {}).get("qosClass", "Burstable")}
    if not state.scheduled:
        unscheduled: Document = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        unscheduled["message"] = state.unschedulable
        status["conditions"] = [_dated(unscheduled, before, generation, now)]
        return status
    container = pod["spec"]["containers"][0]
    ready: Document = {"status": "True"}
    if not state.container.ready:
        ready = {
            "message": f"containers with unready status: [{container['name']}]",
            "reason": "ContainersNotReady",
            "status": "False",
        }
    conditions: list[Document] = [
        {"type": "PodReadyToStartContainers", "status": "True" if state.sandbox_up else "False"},
        {"type": "Initialized", "status": "True"},
        ready | {"type": "Ready"},
        ready | {"type": "ContainersReady"},
        {"type": "PodScheduled", "status": "True"},
    ]
    status |= {
        "conditions": [_dated(condition, before, generation, now) for condition in conditions],
        "containerStatuses": [container_status(container, state.container)],
        "hostIP": host,
        "hostIPs": [{"ip": host}],
        "observedGeneration": generation,
        "startTime": state.start_time,
    }
    if state.sandbox_up:
        status |= {"podIP": state.address, "podIPs": [{"ip": state.address}]}
    if state.container.identifier:
        status["phase"] = "Running"
    return status


def container_status(container: Document, state: ContainerState) -> Document:
    """One entry of `containerStatuses`."""
    status: Document = {
        "image": state.image.identifier if state.image is not None else container["image"],
        "imageID": "",
        "lastState": state.last_state,
        "name": container["name"],
        "ready": state.ready,
        "restartCount": state.restarts,
        "started": state.started,
        "state": state.state,
    }
    if state.image is not None:
        repository = state.image.reference.partition("@")[0].rsplit(":", 1)[0]
        if "@" in state.image.reference:
            repository = state.image.reference.partition("@")[0]
        status["imageID"] = f"{repository}@{state.image.manifest_digest}"
    if state.identifier:
        status["containerID"] = state.identifier
        resources = container.get("resources", {})
        status["allocatedResources"] = resources.get("requests", {})
        status["resources"] = resources
    return status


def terminated(*, code: int, reason: str, message: str, identifier: str, started: str, finished: str) -> Document:
    """`state.terminated`."""
    ended: Document = {
        "containerID": identifier,
        "exitCode": code,
        "finishedAt": finished,
        "reason": reason,
        "startedAt": started,
    }
    if message:
        ended["message"] = message[:MESSAGE_LIMIT]
    return {"terminated": ended}


def backoff(failures: int) -> int:
    """Seconds to wait after so many failures in a row: 10, 20, 40, at most 300."""
    return int(min(_FIRST_BACKOFF * 2 ** max(failures - 1, 0), _LAST_BACKOFF))


def duration(seconds: int) -> str:
    """Seconds as Go writes them: `10s`, `1m20s`."""
    minutes, rest = divmod(seconds, 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def crash_loop(pod: Document, container: str, seconds: int) -> Document:
    """`state.waiting` between two starts."""
    metadata = pod["metadata"]
    message = (
        f"back-off {duration(seconds)} restarting failed container={container} "
        f"pod={metadata['name']}_{metadata['namespace']}({metadata['uid']})"
    )
    return {"waiting": {"message": message, "reason": "CrashLoopBackOff"}}


def requests_of(pod: Document) -> dict[str, Decimal]:
    """What a pod asks of its node: cores and bytes."""
    total: dict[str, Decimal] = {}
    for container in pod["spec"]["containers"]:
        resources = container.get("resources", {})
        for name, amount in (resources.get("limits", {}) | resources.get("requests", {})).items():
            total[name] = total.get(name, Decimal(0)) + quantities.parse(amount)
    return total


def _dated(condition: Document, before: dict[str, Document], generation: int, now: str) -> Document:
    old = before.get(condition["type"])
    turned = old is None or old["status"] != condition["status"]
    assert turned or old is not None
    return condition | {
        "lastProbeTime": None,
        "lastTransitionTime": now if turned or old is None else old["lastTransitionTime"],
        "observedGeneration": generation,
    }
