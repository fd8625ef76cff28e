"""What a Deployment and its pods say of a model: ready, on its way, or failed and why.

Rules (observed on a real KServe: an InferenceService stays Ready while its new pod never comes up):

1. Only the Deployment and the pods of its newest ReplicaSet are believed, and only once the Deployment has our
   container and its controller has seen that.
2. Ready: every replica is updated and available, and no older pod is left behind the Service.
3. Failed, at once: the image cannot be pulled; the server left with exit code 3 and its verdict; memory ran out; the
   program is for another machine; the pod cannot be placed. Any other end: at the second.
4. An image that is not to be pulled and is not there is a shortage: it may be imported yet.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

from . import inferenceservice
from .errors import SnapedgeError
from .situations import PullFailedError, RefusedError, ShortageError, no_image
from .vocabulary import HealthCode

_PULL = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "RegistryUnavailable"})
_LINK = re.compile(r'": |@sha256:[0-9a-f]{64}: ')
_NOT_IMPORTED = "ErrImageNeverPull"
_BROKEN = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
GATE_EXIT = 3
_MACHINE = ("exec format error", "no match for platform", "exec user process")


class Phase(Enum):
    """How far a rollout is."""

    ABSENT = "absent"
    PROGRESSING = "progressing"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """A verdict on one snapshot.

    Attributes:
        phase: how far.
        reason: in words, for logs and for the error when time runs out.
        failure: what to raise when failed.
        available: how many pods answer, of whatever spec.
    """

    phase: Phase
    reason: str
    failure: SnapedgeError | None = None
    available: int = 0


def read(
    desired: dict[str, Any],
    deployment: dict[str, Any] | None,
    replica_sets: list[dict[str, Any]],
    pods: list[dict[str, Any]],
) -> Readiness:
    """The verdict on a model.

    Args:
        desired: the container that was asked for.
        deployment: the predictor's, or None.
        replica_sets: those with the predictor's label.
        pods: those with the predictor's label.
    """
    if deployment is None:
        return Readiness(phase=Phase.ABSENT, reason="KServe has made no Deployment yet")
    status = _mapping(deployment, "status")
    available = _count(status, "availableReplicas")
    if not carries(desired, deployment):
        return Readiness(
            phase=Phase.PROGRESSING, reason="KServe has not updated the Deployment yet", available=available
        )
    if _count(status, "observedGeneration") < _count(_mapping(deployment, "metadata"), "generation"):
        return Readiness(
            phase=Phase.PROGRESSING, reason="the Deployment's controller has not seen it yet", available=available
        )
    wanted = _mapping(deployment, "spec").get("replicas", 1)
    updated, total = _count(status, "updatedReplicas"), _count(status, "replicas")
    if updated == total == wanted and available >= wanted and not _count(status, "unavailableReplicas"):
        return Readiness(phase=Phase.READY, reason=f"{available} of {wanted} available", available=available)
    for pod in _newest_pods(deployment, replica_sets, pods):
        failure = _pod_failure(pod)
        if failure is not None:
            return Readiness(phase=Phase.FAILED, reason=str(failure), failure=failure, available=available)
    failure = _deployment_failure(status)
    if failure is not None:
        return Readiness(phase=Phase.FAILED, reason=str(failure), failure=failure, available=available)
    return Readiness(
        phase=Phase.PROGRESSING,
        reason=f"{updated} of {wanted} updated, {available} available, {total - updated} old",
        available=available,
    )


def carries(desired: dict[str, Any], deployment: dict[str, Any]) -> bool:
    """Whether a Deployment's pods are to run the container that was asked for."""
    template = _mapping(_mapping(_mapping(deployment, "spec"), "template"), "spec")
    found = [item for item in _list(template, "containers") if item.get("name") == desired["name"]]
    return bool(found) and not inferenceservice.differences(desired, found[0])


def _newest_pods(
    deployment: dict[str, Any], replica_sets: list[dict[str, Any]], pods: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    name = _mapping(deployment, "metadata").get("name")
    ours = [item for item in replica_sets if _owner(item) == name]
    if not ours:
        return []
    newest = max(ours, key=_revision)
    digest = _mapping(_mapping(newest, "metadata"), "labels").get("pod-template-hash")
    return [
        pod
        for pod in pods
        if _mapping(_mapping(pod, "metadata"), "labels").get("pod-template-hash") == digest
        and "deletionTimestamp" not in _mapping(pod, "metadata")
    ]


def _revision(replica_set: dict[str, Any]) -> int:
    text = _mapping(_mapping(replica_set, "metadata"), "annotations").get("deployment.kubernetes.io/revision", "0")
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() else 0


def _owner(thing: dict[str, Any]) -> str | None:
    owners = _list(_mapping(thing, "metadata"), "ownerReferences")
    return owners[0].get("name") if owners else None


def _pod_failure(pod: dict[str, Any]) -> SnapedgeError | None:
    status = _mapping(pod, "status")
    for condition in _list(status, "conditions"):
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return _unschedulable(str(condition.get("message", "")))
    name = str(_mapping(pod, "metadata").get("name", ""))
    for container in _list(status, "containerStatuses"):
        failure = _container_failure(container, name)
        if failure is not None:
            return failure
    return None


def _container_failure(container: dict[str, Any], pod: str) -> SnapedgeError | None:
    state = _mapping(container, "state")
    waiting = _mapping(state, "waiting")
    reason, message = str(waiting.get("reason", "")), _line(waiting.get("message"))
    if reason in _PULL:
        if _is_foreign(message):
            return _wrong_machine()
        return PullFailedError(_pull_cause(waiting.get("message")) or reason, frozenset({pod}))
    if reason == _NOT_IMPORTED:
        return no_image()
    if reason in _BROKEN:
        return _wrong_machine() if _is_foreign(message) else _refused(f"Pod cannot start: {message or reason}")
    ended = _mapping(state, "terminated") or _mapping(_mapping(container, "lastState"), "terminated")
    ends = _count(container, "restartCount") + (0 if "running" in state else 1)
    return _end(ended, ends) if ended else None


def _end(ended: dict[str, Any], ends: int) -> SnapedgeError | None:
    code, message = _count(ended, "exitCode"), ended.get("message")
    text = message if isinstance(message, str) else ""
    if ended.get("reason") == "OOMKilled":
        return _refused("Server ran out of memory", resolution="raise service.memory in inference.yaml")
    if _is_foreign(text):
        return _wrong_machine()
    if code == GATE_EXIT:
        return _verdict(text)
    if ends >= 2:
        told = f": {_line(text)}" if text else ""
        return _refused(f"Server ended {ends} times, exit code {code}{told}", resolution="see the pod's log")
    return None


def _verdict(message: str) -> RefusedError:
    """What the server wrote to its termination log before it left with `GATE_EXIT`."""
    try:
        found = json.loads(message)
    except (ValueError, RecursionError):
        found = None
    verdict = found if isinstance(found, dict) else {}
    if verdict.get("gate") == "failed":
        sample, output = _line(verdict.get("sample")), _line(verdict.get("output"))
        error, tolerance = verdict.get("max_error"), verdict.get("tolerance")
        return RefusedError(
            HealthCode.GATE_FAILED,
            f"Sample {sample}: {output} is off by {_number(error)}, {_number(tolerance)} allowed",
            resolution="train or convert the model again; the last good one goes on serving",
        )
    return _refused(f"Model does not load: {_line(verdict.get('reason')) or _line(message) or 'no reason given'}")


def _deployment_failure(status: dict[str, Any]) -> SnapedgeError | None:
    for condition in _list(status, "conditions"):
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            message = _line(condition.get("message"))
            if "exceeded quota" in message:
                return ShortageError(HealthCode.NO_ROOM, f"Quota: {message}", resolution="raise the namespace's quota")
            return _refused(f"No pod can be made: {message}")
        if condition.get("type") == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            return _refused("Pod did not become ready in Kubernetes' own time limit")
    return None


def _unschedulable(message: str) -> SnapedgeError | None:
    if "Insufficient" in message or "Too many pods" in message:
        return ShortageError(
            HealthCode.NO_ROOM, f"No room: {_line(message)}", resolution="lower service.cpu and service.memory"
        )
    # Taints of a node that is still starting go away; the time limit decides about others.
    return None


def _refused(brief: str, *, resolution: str = "") -> RefusedError:
    return RefusedError(HealthCode.LOAD_FAILED, brief, resolution=resolution)


def _wrong_machine() -> RefusedError:
    return RefusedError(
        HealthCode.WRONG_ARCH, "Image is for another architecture", resolution="publish the snap for this device's"
    )


def _pull_cause(message: Any) -> str:
    """What went wrong with a pull: the end of containerd's chain, which names the image anew at each link."""
    text = message if isinstance(message, str) else ""
    return _line(_LINK.split(text)[-1])


def _is_foreign(message: str) -> bool:
    return any(words in message for words in _MACHINE)


def _mapping(thing: dict[str, Any], key: str) -> dict[str, Any]:
    value = thing.get(key)
    return value if isinstance(value, dict) else {}


def _list(thing: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = thing.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _count(thing: dict[str, Any], key: str) -> int:
    value = thing.get(key)
    return value if isinstance(value, int) else 0


def _line(value: Any) -> str:
    return " ".join(value.split())[:200] if isinstance(value, str) else ""


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, int | float) else "something"
