"""What Kubernetes' Deployment and ReplicaSet controllers decide: pure functions over a Deployment and what it owns.

Rules:

- One ReplicaSet for each pod template ever wanted; the newest is the one whose template equals the Deployment's.
- RollingUpdate never has more than replicas + surge pods nor fewer than replicas - unavailable available ones; of the
  old ReplicaSets, those whose pods never came up shrink first. With one replica and 25 %: surge 1, unavailable 0.
- Recreate waits until the old pods are gone before the first new one.
- Whether the newest pods ever come up changes nothing in Available: the old ones count.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from .apply import Document

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
_HASH_ALPHABET = "bcdf2456789"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaCount:
    """One ReplicaSet as the planner sees it."""

    name: str
    wanted: int
    existing: int
    available: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Set the replicas of one ReplicaSet, and why."""

    name: str
    replicas: int
    reason: str


def template_hash(template: Document) -> str:
    """The name of a template: ten letters and digits that no word is made of."""
    digest = hashlib.sha256(orjson.dumps(template, option=orjson.OPT_SORT_KEYS)).digest()
    return "".join(_HASH_ALPHABET[byte % len(_HASH_ALPHABET)] for byte in digest[:10])


def bound(value: Any, replicas: int, *, round_up: bool) -> int:
    """`maxSurge` or `maxUnavailable` as a number of pods."""
    if isinstance(value, str) and value.endswith("%"):
        share = int(value[:-1]) * replicas / 100
        return math.ceil(share) if round_up else math.floor(share)
    return int(value)


def plan_scales(
    deployment: Document, newest: ReplicaCount, old: Sequence[ReplicaCount], *, old_pods: int
) -> list[Scale]:
    """The next steps of a rollout; empty when nothing is to be done now.

    Args:
        deployment: its spec says replicas and strategy.
        newest: the ReplicaSet of the wanted template.
        old: all others, oldest first.
        old_pods: how many pods of the others exist, ending ones included.
    """
    spec = deployment["spec"]
    replicas: int = spec["replicas"]
    if spec.get("strategy", {}).get("type") == "Recreate":
        down = [Scale(name=item.name, replicas=0, reason="recreate") for item in old if item.wanted]
        if down or (old_pods and newest.wanted == 0):
            return down
        return _to(newest, replicas, "recreate")
    rolling = spec.get("strategy", {}).get("rollingUpdate", {})
    surge = bound(rolling.get("maxSurge", "25%"), replicas, round_up=True)
    unavailable = bound(rolling.get("maxUnavailable", "25%"), replicas, round_up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return _plan_up(newest, old, replicas, surge) + _plan_down(newest, old, replicas - unavailable)


def _plan_up(newest: ReplicaCount, old: Sequence[ReplicaCount], replicas: int, surge: int) -> list[Scale]:
    if newest.wanted >= replicas:
        return _to(newest, replicas, "fewer replicas wanted")
    room = replicas + surge - newest.wanted - sum(item.wanted for item in old)
    if room <= 0:
        return []
    return _to(newest, newest.wanted + min(room, replicas - newest.wanted), "new template")


def _plan_down(newest: ReplicaCount, old: Sequence[ReplicaCount], least: int) -> list[Scale]:
    total = newest.wanted + sum(item.wanted for item in old)
    budget = total - least - (newest.wanted - newest.available)
    available = newest.available + sum(item.available for item in old)
    spare = available - least
    scales: list[Scale] = []
    for item in old:
        unhealthy = min(max(budget, 0), item.wanted - item.available)
        budget -= unhealthy
        healthy = min(max(spare, 0), max(budget, 0), item.wanted - unhealthy)
        budget -= healthy
        spare -= healthy
        if unhealthy or healthy:
            reason = "never came up" if not healthy else "replaced"
            scales.append(Scale(name=item.name, replicas=item.wanted - unhealthy - healthy, reason=reason))
    return scales


def _to(item: ReplicaCount, replicas: int, reason: str) -> list[Scale]:
    return [] if item.wanted == replicas else [Scale(name=item.name, replicas=replicas, reason=reason)]


def is_ready(pod: Document) -> bool:
    """Whether a pod may get traffic: ready and not ending."""
    return "deletionTimestamp" not in pod["metadata"] and has_passed_probe(pod)


def has_passed_probe(pod: Document) -> bool:
    """Whether a pod's readiness probe succeeds, be it ending or not."""
    conditions = pod.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def replica_set_status(replica_set: Document, pods: Sequence[Document]) -> Document:
    """A ReplicaSet's status; counters that are zero are left out, as the API server does."""
    ready = sum(is_ready(pod) for pod in pods)
    status: Document = {"observedGeneration": replica_set["metadata"]["generation"], "replicas": len(pods)}
    if pods:
        status["fullyLabeledReplicas"] = len(pods)
    if ready:
        status |= {"availableReplicas": ready, "readyReplicas": ready}
    return status


def deployment_status(
    deployment: Document, newest: Document, replica_sets: Sequence[Document], *, now: str
) -> Document:
    """A Deployment's status from the statuses of its ReplicaSets, the newest among them."""
    replicas: int = deployment["spec"]["replicas"]
    total = sum(_count(item, "replicas") for item in replica_sets)
    ready = sum(_count(item, "readyReplicas") for item in replica_sets)
    updated = _count(newest, "replicas")
    updated_ready = _count(newest, "availableReplicas")
    status: Document = {"observedGeneration": deployment["metadata"]["generation"]}
    counters = {
        "availableReplicas": ready,
        "readyReplicas": ready,
        "replicas": total,
        "unavailableReplicas": max(max(total, replicas) - ready, 0),
        "updatedReplicas": updated,
    }
    status |= {name: value for name, value in counters.items() if value}
    before = {condition["type"]: condition for condition in deployment.get("status", {}).get("conditions", [])}
    strategy = deployment["spec"].get("strategy", {})
    missing = 0
    if strategy.get("type") != "Recreate":
        rolling = strategy.get("rollingUpdate", {})
        missing = bound(rolling.get("maxUnavailable", "25%"), replicas, round_up=False)
    enough = ready >= replicas - missing
    available = _condition(
        "Available",
        status="True" if enough else "False",
        reason="MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
        message=f"Deployment {'has' if enough else 'does not have'} minimum availability.",
    )
    complete = updated == replicas and total == replicas and updated_ready == replicas
    progressing = _progress(deployment, newest, before.get("Progressing"), complete=complete, now=now)
    status["conditions"] = [
        _dated(available, before.get("Available"), now),
        _dated(progressing, before.get("Progressing"), now),
    ]
    return status


def seconds_until_deadline(deployment: Document, now: datetime) -> float | None:
    """When a rollout under way will have taken too long; None if none is under way."""
    for condition in deployment.get("status", {}).get("conditions", []):
        if condition["type"] == "Progressing" and condition["reason"] == "ReplicaSetUpdated":
            deadline: int = deployment["spec"].get("progressDeadlineSeconds", 600)
            return deadline - (now - _parse_time(condition["lastUpdateTime"])).total_seconds()
    return None


def _progress(deployment: Document, newest: Document, before: Document | None, *, complete: bool, now: str) -> Document:
    name = newest["metadata"]["name"]
    if complete:
        message = f'ReplicaSet "{name}" has successfully progressed.'
        return _condition("Progressing", status="True", reason="NewReplicaSetAvailable", message=message)
    message = f'ReplicaSet "{name}" is progressing.'
    same = before is not None and before["message"] in (message, f'ReplicaSet "{name}" has timed out progressing.')
    if same and before is not None:
        left = seconds_until_deadline(deployment, _parse_time(now))
        if before["reason"] == "ProgressDeadlineExceeded" or (left is not None and left <= 0):
            message = f'ReplicaSet "{name}" has timed out progressing.'
            return _condition("Progressing", status="False", reason="ProgressDeadlineExceeded", message=message)
    return _condition("Progressing", status="True", reason="ReplicaSetUpdated", message=message)


def _condition(kind: str, *, status: str, reason: str, message: str) -> Document:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def _dated(condition: Document, before: Document | None, now: str) -> Document:
    if before is None:
        return condition | {"lastTransitionTime": now, "lastUpdateTime": now}
    changed = before["status"] != condition["status"]
    told = changed or before["reason"] != condition["reason"] or before["message"] != condition["message"]
    return condition | {
        "lastTransitionTime": now if changed else before["lastTransitionTime"],
        "lastUpdateTime": now if told else before["lastUpdateTime"],
    }


def _count(replica_set: Document, field: str) -> int:
    value: int = replica_set.get("status", {}).get(field, 0)
    return value


def _parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text)
