"""What a cluster lacks of the objects that a snap brings. Pure: the same view gives the same plan.

Rules, in the order they are applied:

1. The order of the objects is the snap's: namespaces, definitions of kinds, what the API knows, then the rest.
2. An object that was applied with this very content is left alone; the timer has all of them applied again, which
   takes back what somebody edited.
3. A definition must be established, and a workload available, before the snap counts as done; nobody waits for one
   before the other, since workloads wait for certificates that are objects themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from .clusterobjects import APPLIED, ClusterObject, ClusterObjects


class ObjectActionKind(Enum):
    """What can be done with an object."""

    APPLY = "apply"
    AWAIT = "await"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectAction:
    """One step.

    Attributes:
        kind: what.
        subject: the object.
        reason: why it is done, or why it is not.
        skip: whether it is left out.
    """

    kind: ObjectActionKind
    subject: ClusterObject
    reason: str
    skip: bool = False

    def __str__(self) -> str:
        """For a log."""
        return f"{'skip' if self.skip else 'do  '} {self.kind.value} {self.subject.title}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectPlan:
    """Steps in order."""

    actions: tuple[ObjectAction, ...]

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do or to wait for."""
        return all(action.skip for action in self.actions)


def plan(wanted: ClusterObjects, live: Mapping[str, dict[str, Any]], *, again: bool = False) -> ObjectPlan:
    """The steps from what is there to what the snap brings.

    Args:
        wanted: the snap's objects.
        live: the objects that are there, by path.
        again: whether what was applied before is applied once more.
    """
    applies = [_apply(one, live.get(one.path), again=again) for one in wanted.objects]
    waits = [_await(one, live.get(one.path)) for one in wanted.objects if one.kind in _READINESS]
    return ObjectPlan(actions=(*applies, *waits))


def _apply(one: ClusterObject, live: dict[str, Any] | None, *, again: bool) -> ObjectAction:
    if live is None:
        return ObjectAction(kind=ObjectActionKind.APPLY, subject=one, reason="it is not there")
    annotations = live.get("metadata", {}).get("annotations") or {}
    if annotations.get(APPLIED) != str(one.digest):
        return ObjectAction(kind=ObjectActionKind.APPLY, subject=one, reason="it was not applied with this content")
    if again:
        return ObjectAction(kind=ObjectActionKind.APPLY, subject=one, reason="the timer takes back what was edited")
    return ObjectAction(kind=ObjectActionKind.APPLY, subject=one, reason="it was applied with this content", skip=True)


def _await(one: ClusterObject, live: dict[str, Any] | None) -> ObjectAction:
    missing = "it is not there" if live is None else _READINESS[one.kind](live)
    return ObjectAction(kind=ObjectActionKind.AWAIT, subject=one, reason=missing or "it is up", skip=not missing)


def _established(live: dict[str, Any]) -> str:
    conditions = live.get("status", {}).get("conditions") or []
    fine = any(item.get("type") == "Established" and item.get("status") == "True" for item in conditions)
    return "" if fine else "it is not established"


def _available(live: dict[str, Any]) -> str:
    status, wanted = live.get("status", {}), live.get("spec", {}).get("replicas", 1)
    if status.get("observedGeneration", 0) < live.get("metadata", {}).get("generation", 0):
        return "its controller has not seen it"
    ready = status.get("availableReplicas", 0)
    return "" if ready >= wanted else f"{ready} of {wanted} pods are available"


def _on_every_node(live: dict[str, Any]) -> str:
    status = live.get("status", {})
    if status.get("observedGeneration", 0) < live.get("metadata", {}).get("generation", 0):
        return "its controller has not seen it"
    ready, wanted = status.get("numberAvailable", 0), status.get("desiredNumberScheduled", 0)
    return "" if ready >= wanted else f"{ready} of {wanted} pods are available"


_READINESS = {
    "CustomResourceDefinition": _established,
    "Deployment": _available,
    "StatefulSet": _available,
    "DaemonSet": _on_every_node,
}
"""By kind: what keeps an object from being up, in words; empty when nothing does."""
