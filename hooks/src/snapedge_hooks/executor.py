"""Carries out a convergence plan. Decides nothing; each step may run twice, be cut off, or find itself done."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from . import blobs, inferenceservice, observation, probe, sideload, upload
from .blobs import Blob
from .clock import Deadline
from .cluster import Cluster
from .content import Content
from .convergence import WATCHED_SAMPLES, ActionKind, ConvergeAction, ConvergePlan, Target
from .doors import Doors
from .goodspec import GoodSpec, Manifests
from .observation import Wish
from .readiness import Phase
from .samples import SampleSet
from .situations import PullFailedError, RefusedError
from .state import Memory, PushedImage
from .vocabulary import Digest, GateMode, HealthCode, TagName

_LOG = logging.getLogger(__name__)
_POLL_SHARE = 0.1
"""Of the seconds waited so far: an end is seen soon after it came, and what takes long is asked about seldom."""
_SHORTEST_POLL = 0.1
_LONGEST_POLL = 1.0
_REMEMBERED_IMAGES = 50


class Executor:
    """Carries out plans for one wish."""

    def __init__(
        self, *, wish: Wish, content: Content, doors: Doors, memory: Memory, deadline: Deadline, archives: Path
    ) -> None:
        self._wish = wish
        self._content = content
        self._doors = doors
        self._memory = memory
        self._deadline = deadline
        self._archives = archives
        self._own = content.own_blobs()

    def execute(self, plan: ConvergePlan) -> None:
        """Do every step that is not a skip, then tell what stands in the way.

        Raises:
            ShortageError: a prerequisite is missing, or went missing.
            RefusedError: what was applied proved bad.
            PayloadBadError: the snap's content is damaged or cannot be used here.
        """
        for action in plan.actions:
            _LOG.log(logging.DEBUG if action.skip else logging.INFO, "%s", action)
            if not action.skip:
                self._do(action, plan)
        if plan.obstacle is not None:
            raise plan.obstacle

    def _do(self, action: ConvergeAction, plan: ConvergePlan) -> None:
        match action.kind:
            case ActionKind.CHECK_ROOM | ActionKind.RESOLVE_RUNTIME | ActionKind.PUSH_SIGNATURE:
                return  # nothing to do: what they are about was seen, or belongs to a runtime's snap
            case ActionKind.MOUNT_LAYER | ActionKind.PUSH_LAYER | ActionKind.PUSH_CONFIG:
                self._bring(action, _target(plan))
            case ActionKind.PUSH_MANIFEST:
                self._push_manifest(_target(plan))
            case ActionKind.WRITE_ARCHIVE:
                self._write_archive(_target(plan))
            case ActionKind.APPLY:
                self._apply(_target(plan).manifests)
            case ActionKind.RESTORE:
                self._restore(plan.restore)
            case ActionKind.WAIT_READY:
                self._wait(plan)
            case ActionKind.REPLAY_SAMPLES:
                self._replay(plan)
            case ActionKind.REMEMBER:
                self._remember(_target(plan))
            case ActionKind.PRUNE:
                self._prune(plan)

    # The image

    def _bring(self, action: ConvergeAction, target: Target) -> None:
        assert action.digest is not None
        repository, source = self._wish.payload.repository, target.runtime.repository
        blob = self._blob(action.digest, target)
        if blob is not None:
            upload.push(self._doors.registry, repository, blob, self._deadline)
        elif source is not None:
            upload.mount(self._doors.registry, repository, source, action.digest, action.size, self._deadline)

    def _blob(self, digest: Digest, target: Target) -> Blob | None:
        if digest == target.image.config_digest:
            return blobs.of_bytes(target.image.config, "image config")
        return self._own.get(digest)

    def _push_manifest(self, target: Target) -> None:
        repository, image = self._wish.payload.repository, target.image
        # Remembered first: a power cut in between leaves a name too many, not a manifest nobody prunes.
        pushed = [item for item in self._memory.state.pushed if item.digest != image.digest]
        pushed.append(PushedImage(repository=repository, digest=image.digest, at=self._deadline.clock.time()))
        self._memory.update(pushed=tuple(pushed[-_REMEMBERED_IMAGES:]))
        tag = TagName.for_version(self._wish.payload.version)
        self._doors.registry.put_manifest(repository, tag, image.manifest)

    def _write_archive(self, target: Target) -> None:
        image = target.image
        parts = [self._blob(digest, target) for digest in (*image.layer_digests, image.config_digest)]
        sideload.write(
            self._archives / sideload.file_name(self._wish.name, image.digest),
            reference=self._wish.reference_on(target.runtime),
            architecture=self._wish.payload.architecture,
            manifest=image.manifest,
            parts=[part for part in parts if part is not None],
        )

    def _push_again(self, target: Target) -> None:
        """Bring every blob whatever the registry claims: after a garbage collection it can claim what is gone."""
        repository, source = self._wish.payload.repository, target.runtime.repository
        sizes = {Digest(layer["digest"]): int(layer["size"]) for layer in target.runtime.layers}
        for digest in [*target.image.layer_digests, target.image.config_digest]:
            blob = self._blob(digest, target)
            if blob is not None:
                upload.push(self._doors.registry, repository, blob, self._deadline)
            elif source is not None:
                upload.copy(self._doors.registry, repository, source, digest, sizes[digest], self._deadline)
        self._push_manifest(target)

    # The cluster

    def _restore(self, good: GoodSpec | None) -> None:
        namespace = self._wish.payload.service.namespace
        if good is None or good.manifests.namespace != namespace:
            cluster = self._doors.cluster(namespace)
            cluster.delete_inference_service()
            cluster.delete_node_port()
        if good is not None:
            self._at(good.manifests).apply(good.manifests)

    def _apply(self, manifests: Manifests) -> None:
        if self._memory.state.namespace is None:
            self._memory.update(namespace=manifests.namespace)
        self._at(manifests).apply(manifests)

    def _at(self, manifests: Manifests) -> Cluster:
        return self._doors.cluster(manifests.namespace)

    def _wait(self, plan: ConvergePlan) -> None:
        manifests = plan.restore.manifests if plan.restore is not None else _target(plan).manifests
        cluster, container = self._at(manifests), inferenceservice.container_of(manifests.inference_service)
        healed: frozenset[str] | None = None
        last, left = "", self._deadline.remaining
        while True:
            verdict = observation.read_readiness(cluster, container)
            if verdict.phase is Phase.READY:
                return
            failure = verdict.failure
            if isinstance(failure, PullFailedError):
                if healed is None and plan.target is not None:
                    _LOG.warning("%s; pushing every layer again", failure)
                    self._push_again(plan.target)
                    healed = failure.pods
                    for pod in failure.pods:
                        cluster.delete_pod(pod)
                elif healed is None or not failure.pods <= healed:
                    raise RefusedError(HealthCode.LOAD_FAILED, failure.brief, resolution=failure.resolution)
            elif failure is not None:
                raise failure
            if verdict.reason != last:
                _LOG.info("waiting: %s", verdict.reason)
                last = verdict.reason
            if self._deadline.has_passed:
                raise RefusedError(
                    HealthCode.LOAD_FAILED,
                    f"Not ready in time: {verdict.reason}",
                    resolution="see the pod's events and log",
                )
            waited = left - self._deadline.remaining
            self._deadline.pause(min(max(waited * _POLL_SHARE, _SHORTEST_POLL), _LONGEST_POLL))

    def _replay(self, plan: ConvergePlan) -> None:
        restoring = plan.restore is not None
        samples = plan.restore.samples if plan.restore is not None else self._content.samples()
        if samples is None:
            _LOG.info("there are no golden samples to replay")
            return
        if plan.restore is not None:
            manifests, slowest_allowed = plan.restore.manifests, None
            model, version = plan.restore.model, plan.restore.version
        else:
            manifests, slowest_allowed = _target(plan).manifests, self._wish.payload.max_latency_ms
            model, version = str(self._wish.payload.model.name), str(self._wish.payload.version)
        if plan.watch_from is not None:
            samples = samples.part(plan.watch_from, WATCHED_SAMPLES)
        try:
            slowest = self._ask(self._at(manifests), (model, version), samples, slowest_allowed)
        except RefusedError as error:
            if restoring or self._wish.payload.gate is GateMode.STRICT:
                raise
            _LOG.warning("gate is report, going on: %s", error)
        else:
            _LOG.info("%d samples answered right, the slowest in %.1f ms", len(samples.samples), slowest)
            if plan.watch_from is not None:
                self._memory.update(watched=plan.watch_from + len(samples.samples))

    def _ask(self, cluster: Cluster, asked: tuple[str, str], samples: SampleSet, slowest_allowed: int | None) -> float:
        model, version = asked
        settled = Deadline.after(self._deadline.clock, min(probe.SETTLING, self._deadline.remaining))
        while True:
            service = cluster.predictor_service()
            where = None if service is None else probe.endpoint(service, model, version)
            if where is not None:
                return probe.Probe(where, self._deadline).replay(samples, max_latency_ms=slowest_allowed)
            if settled.has_passed:
                raise RefusedError(HealthCode.GATE_FAILED, "Model has no Service with an address to ask samples of")
            settled.pause(0.25)

    def _remember(self, target: Target) -> None:
        spec = GoodSpec(
            identity=target.identity,
            image=target.image.digest,
            version=str(self._wish.payload.version),
            model=str(self._wish.payload.model.name),
            manifests=target.manifests,
            samples=None if self._wish.payload.gate is GateMode.NONE else self._content.samples(),
        )
        self._at(target.manifests).remember(spec)
        self._memory.update(last_good=spec, pushed=self._pushed_when_replaced(spec))

    def _pushed_when_replaced(self, spec: GoodSpec) -> tuple[PushedImage, ...]:
        """Our manifests, the grace period of the one that was good until now starting now."""
        before = self._memory.state.last_good
        pushed = self._memory.state.pushed
        if before is None or before.image == spec.image:
            return pushed
        now = self._deadline.clock.time()
        return tuple(replace(item, at=now) if item.digest == before.image else item for item in pushed)

    def _prune(self, plan: ConvergePlan) -> None:
        sideload.delete(self._archives, plan.archives)
        if plan.prunable:
            used = self._at(_target(plan).manifests).used_images()
            gone = set()
            for image in plan.prunable:
                if any(name.endswith(f"/{image.repository}@{image.digest}") for name in used):
                    _LOG.info("image %s is still used by another InferenceService", image.digest.short)
                    continue
                self._doors.registry.delete_manifest(image.repository, image.digest)
                gone.add(image.digest)
            self._memory.update(pushed=tuple(image for image in self._memory.state.pushed if image.digest not in gone))
        if plan.leave_namespace is not None:
            clear(self._doors.cluster(plan.leave_namespace), self._wish.owner)
            self._memory.update(namespace=_target(plan).manifests.namespace)


def clear(cluster: Cluster, owner: str) -> None:
    """Delete our objects from a namespace; those of others that have our name stay."""
    live = cluster.inference_service()
    if live is not None and inferenceservice.owner_of(live) == owner:
        cluster.delete_inference_service()
    port = cluster.node_port()
    if port is not None and inferenceservice.owner_of(port) == owner:
        cluster.delete_node_port()
    cluster.forget()


def _target(plan: ConvergePlan) -> Target:
    assert plan.target is not None
    return plan.target
