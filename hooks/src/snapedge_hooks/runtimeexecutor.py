"""Carries out the plan of a runtime snap. Decides nothing; each step may run twice, be cut off, or find itself done."""

from __future__ import annotations

import logging
from dataclasses import replace

from . import blobs, referrers, runtimeobservation, upload
from .clock import Deadline
from .content import Content
from .convergence import ActionKind, ConvergeAction, ConvergePlan
from .images import INDEX_MEDIA_TYPE, RuntimeImage
from .registry import Registry
from .runtimesearch import runtime_repository
from .state import Memory, PushedImage
from .vocabulary import Digest

_LOG = logging.getLogger(__name__)
_REMEMBERED_RUNTIMES = 20


class RuntimeExecutor:
    """Carries out plans that bring a runtime into the registry and take old ones away."""

    def __init__(self, *, content: Content, registry: Registry, memory: Memory, deadline: Deadline) -> None:
        assert content.runtime is not None, "a runtime snap has a runtime"
        self._runtime: RuntimeImage = content.runtime
        self._signature = content.signature
        self._registry = registry
        self._memory = memory
        self._deadline = deadline
        self._repository = runtime_repository(self._runtime.name)
        config = blobs.of_bytes(self._runtime.config_bytes(), "runtime config")
        self._blobs = content.own_blobs() | {config.digest: config}

    def execute(self, plan: ConvergePlan) -> None:
        """Do every step that is not a skip, then tell what stands in the way.

        Raises:
            ShortageError: the registry is down or full.
            PayloadBadError: a layer is damaged.
        """
        for action in plan.actions:
            _LOG.log(logging.DEBUG if action.skip else logging.INFO, "%s", action)
            if not action.skip:
                self._do(action, plan)
        if plan.obstacle is not None:
            raise plan.obstacle

    def _do(self, action: ConvergeAction, plan: ConvergePlan) -> None:
        if action.kind is ActionKind.PUSH_MANIFEST:
            self._push_manifest()
        elif action.kind is ActionKind.PUSH_SIGNATURE:
            self._push_signature()
        elif action.kind is ActionKind.PRUNE:
            for old in plan.prunable:
                self._take_away(old)
        else:
            assert action.digest is not None, "a blob has a digest"
            upload.push(self._registry, self._repository, self._blobs[action.digest], self._deadline)

    def _push_manifest(self) -> None:
        # Remembered first: a power cut in between leaves a name too many, not a runtime that nobody takes away.
        digest, now = self._runtime.digest, self._deadline.clock.time()
        before = [item for item in self._memory.state.pushed if item.digest != digest]
        if before and before[-1] == self._memory.state.pushed[-1]:
            before[-1] = replace(before[-1], at=now)  # the newest until now: its grace period starts
        newest = PushedImage(repository=self._repository, digest=digest, at=now)
        self._memory.update(pushed=(*before[1 - _REMEMBERED_RUNTIMES :], newest))
        for tag in runtimeobservation.runtime_tags(self._runtime):
            self._registry.put_manifest(self._repository, tag, self._runtime.manifest())

    def _push_signature(self) -> None:
        assert self._signature is not None, "there is a signature to push"
        for blob in referrers.signature_blobs(self._signature):
            upload.push(self._registry, self._repository, blob, self._deadline)
        manifest = referrers.signature_manifest(self._runtime.manifest(), self._signature)
        self._registry.put_manifest(self._repository, Digest.of(manifest), manifest)
        tag = referrers.tag_of(self._runtime.digest)
        index = referrers.index_with(self._registry.index(self._repository, tag), manifest)
        self._registry.put_manifest(self._repository, tag, index, media_type=INDEX_MEDIA_TYPE)

    def _take_away(self, old: PushedImage) -> None:
        take_away(self._registry, old)
        _LOG.info("runtime %s is gone from the registry", old.digest.short)
        self._memory.update(pushed=tuple(item for item in self._memory.state.pushed if item.digest != old.digest))


def take_away(registry: Registry, old: PushedImage) -> None:
    """Delete a runtime's manifest, and its signatures with it.

    Raises:
        ShortageError: the registry is down.
    """
    index = registry.index(old.repository, referrers.tag_of(old.digest))
    if index is not None:
        registry.delete_manifest(old.repository, index.digest)
        for signature in referrers.signatures(index):
            registry.delete_manifest(old.repository, signature)
    registry.delete_manifest(old.repository, old.digest)
