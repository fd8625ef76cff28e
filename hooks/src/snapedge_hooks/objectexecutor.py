"""Carries out a plan for the objects that a snap brings to the whole cluster. Decides nothing; may run twice."""

from __future__ import annotations

import logging
from typing import Any

from .clusterobjects import ClusterObjects
from .kubernetes import KubernetesApi
from .objectplan import ObjectActionKind, ObjectPlan
from .situations import ShortageError, no_kserve

_LOG = logging.getLogger(__name__)


def observe(api: KubernetesApi, wanted: ClusterObjects) -> dict[str, dict[str, Any]]:
    """Those of the objects that are there, by path.

    Raises:
        ShortageError: the API is away.
    """
    found = ((one.path, api.find(one.path)) for one in wanted.objects)
    return {path: live for path, live in found if live is not None}


def execute(api: KubernetesApi, plan: ObjectPlan) -> None:
    """Apply what is to be applied, then tell what is not up yet.

    An object that the API cannot take yet, since its kind or a webhook is still on its way, holds back no other.

    Raises:
        ShortageError: the API is away, or something is not up yet: another run goes on.
        PayloadBadError: the API refuses an object.
    """
    first: ShortageError | None = None
    for action in plan.actions:
        _LOG.log(logging.DEBUG if action.skip else logging.INFO, "%s", action)
        if action.skip:
            continue
        if action.kind is ObjectActionKind.APPLY:
            problem = api.apply_if_accepted(action.subject.path, action.subject.marked())
        else:
            problem = action.reason
        if problem is not None and first is None:
            first = no_kserve(f"{action.subject.title}: {problem}")
    if first is not None:
        raise first
