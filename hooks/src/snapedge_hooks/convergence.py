"""What a device must do to serve what its snap says. Pure: the same observation gives the same plan.

Rules, in the order they are applied:

1. A runtime is used only if the payload lists its manifest digest, or a key that the payload lists has signed it for
   this model's interface and minimum; the one in the snap first, else the one that the interface's tag names, else the
   one that the model was last proved on, else the first listed one at hand. One that proved bad with this model, or
   that is not trusted, is passed over.
2. What is there is not done again: every action that is not needed stands in the plan as a skip, with the reason.
3. Nothing is sent or applied without room for it.
4. What can be done without a missing part is done: an image goes into the registry, or into its archive, while the API
   is away.
5. Another snap's InferenceService is never touched.
6. A spec becomes the last good one only after it was ready and its samples were answered right.
7. If every runtime at hand proved bad, the last good spec is put back; if there is none, nothing is served.
8. Only what is ours is pruned: never what is served or could be put back, and not before a grace period.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from . import room as rooms
from . import sideload
from .goodspec import GoodSpec, Identity, Manifests
from .health import Health
from .images import ComposedImage
from .inferenceservice import differences, owner_of
from .observation import ClusterView, Observed, RegistryView, Wish
from .readiness import Phase
from .runtimesearch import RuntimeCandidate
from .situations import PayloadBadError, ShortageError, SituationError
from .state import PushedImage
from .vocabulary import Digest, GateMode, HealthCode, Transport

PRUNE_AFTER = 24 * 3600.0
"""Seconds that a manifest we no longer need stays, so that a revert within a day finds it."""


WATCHED_SAMPLES = 8
"""How many golden samples one look at what serves asks; the next look asks the next ones."""


class ActionKind(Enum):
    """What can be done; the executor has one method for each."""

    CHECK_ROOM = "check-room"
    RESOLVE_RUNTIME = "resolve-runtime"
    MOUNT_LAYER = "mount-layer"
    PUSH_LAYER = "push-layer"
    PUSH_CONFIG = "push-config"
    PUSH_SIGNATURE = "push-signature"
    PUSH_MANIFEST = "push-manifest"
    WRITE_ARCHIVE = "write-archive"
    APPLY = "apply"
    WAIT_READY = "wait-ready"
    REPLAY_SAMPLES = "replay-samples"
    REMEMBER = "remember"
    PRUNE = "prune"
    RESTORE = "restore"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvergeAction:
    """One step.

    Attributes:
        kind: what.
        reason: why it is done, or why it is not.
        skip: whether it is left out.
        digest: the blob or manifest it is about, for the actions that are about one.
        size: of that blob, in bytes.
    """

    kind: ActionKind
    reason: str
    skip: bool = False
    digest: Digest | None = None
    size: int = 0

    def __str__(self) -> str:
        """For a log and for `--dry-run`."""
        about = "" if self.digest is None else f" {self.digest.short}"
        return f"{'skip' if self.skip else 'do  '} {self.kind.value}{about}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a plan leads to.

    Attributes:
        identity: of what will be served.
        runtime: it is put on.
        image: the pods run.
        manifests: the objects.
    """

    identity: Identity
    runtime: RuntimeCandidate
    image: ComposedImage
    manifests: Manifests


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvergePlan:
    """Steps in order, and what stands between them and the goal.

    Attributes:
        actions: all of them, skips included.
        target: where they lead; None when no runtime is left to serve on.
        obstacle: what is missing or wrong, to be told when the steps are done.
        refused: what proved bad earlier and is still passed over.
        restore: the spec that RESTORE puts back; None there means: serve nothing.
        prunable: manifests of ours that PRUNE deletes.
        leave_namespace: whose objects of ours PRUNE deletes.
        archives: names of image archives that PRUNE deletes.
        watch_from: the position of the first of `WATCHED_SAMPLES` that REPLAY_SAMPLES asks; None for all samples.
    """

    actions: tuple[ConvergeAction, ...]
    target: Target | None = None
    obstacle: SituationError | None = None
    refused: Health | None = None
    restore: GoodSpec | None = None
    prunable: tuple[PushedImage, ...] = ()
    leave_namespace: str | None = None
    archives: tuple[str, ...] = ()
    watch_from: int | None = None

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do and nothing is in the way."""
        return self.obstacle is None and all(action.skip for action in self.actions)


def plan(wish: Wish, observed: Observed) -> ConvergePlan:
    """The steps from what is there to what the snap says."""
    registry = observed.registry
    if isinstance(registry, ShortageError):
        return _nothing(registry, "the registry is not at hand")
    runtime = next((item for item in registry.runtimes if wish.identity_on(item) not in observed.refused), None)
    if runtime is None and registry.runtimes:
        refused = observed.refused[wish.identity_on(registry.runtimes[0])]
        return plan_restore(observed.cluster, observed.last_good, wish.owner, refused=refused)
    if runtime is None:
        assert registry.passed is not None, "a search that finds no runtime says why"
        return _nothing(registry.passed.as_shortage(), "no trusted runtime is at hand")
    preferred = wish.identity_on(registry.runtimes[0])
    target = Target(
        identity=wish.identity_on(runtime),
        runtime=runtime,
        image=wish.image_on(runtime),
        manifests=wish.manifests_on(runtime),
    )
    return _Planner(wish, observed, registry, target, observed.refused.get(preferred)).plan()


def _nothing(obstacle: SituationError, reason: str) -> ConvergePlan:
    kinds = [
        ActionKind.CHECK_ROOM,
        ActionKind.RESOLVE_RUNTIME,
        ActionKind.PUSH_MANIFEST,
        ActionKind.APPLY,
        ActionKind.WAIT_READY,
        ActionKind.REPLAY_SAMPLES,
        ActionKind.REMEMBER,
        ActionKind.PRUNE,
    ]
    return ConvergePlan(
        actions=tuple(ConvergeAction(kind=kind, reason=reason, skip=True) for kind in kinds), obstacle=obstacle
    )


class _Planner:
    """Makes one plan; holds what its steps are decided from."""

    def __init__(
        self, wish: Wish, observed: Observed, registry: RegistryView, target: Target, refused: Health | None
    ) -> None:
        self._wish = wish
        self._observed = observed
        self._registry = registry
        self._target = target
        self._refused = refused
        self._layers = self._plan_image()

    def plan(self) -> ConvergePlan:
        """All steps in order."""
        obstacle, cluster = self._obstacle(), self._observed.cluster
        no_room = isinstance(obstacle, ShortageError) and obstacle.code is HealthCode.NO_ROOM
        before = (self._check_room(no_room=no_room), self._resolve_runtime())
        layers = tuple(_skipped(action, "there is no room") for action in self._layers) if no_room else self._layers
        prunable, leave = self._prunable()
        archives = self._archives()
        if obstacle is not None or isinstance(cluster, ShortageError):
            after = _held_back(obstacle)
        else:
            after = (*self._serve(cluster), _prune(prunable, leave, archives))
        return ConvergePlan(
            actions=(*before, *layers, *after),
            target=self._target,
            obstacle=obstacle,
            refused=self._refused,
            prunable=prunable,
            leave_namespace=leave,
            archives=archives,
            watch_from=self._watch_from(cluster),
        )

    def _watch_from(self, cluster: ClusterView | ShortageError) -> int | None:
        if isinstance(cluster, ShortageError) or not self._observed.replay or self._must_prove(cluster):
            return None
        return self._observed.watched

    def _must_prove(self, cluster: ClusterView) -> bool:
        changed = _changes(self._target.manifests, cluster)
        return bool(changed) or cluster.readiness.phase is not Phase.READY or not self._is_proved(cluster)

    def _obstacle(self) -> SituationError | None:
        cluster = self._observed.cluster
        if isinstance(cluster, ShortageError):
            return cluster
        foreign = _foreign(cluster, self._wish.owner)
        if foreign is not None:
            return foreign
        if cluster.room is None:
            return None
        push = sum(
            action.size for action in self._layers if not action.skip and action.kind is not ActionKind.MOUNT_LAYER
        )
        copies = rooms.ARCHIVE_COPIES if self._wish.transport is Transport.SIDELOAD else rooms.COPIES
        missing = rooms.shortage(self._wish.payload.service, cluster.room, push, copies=copies)
        if missing is None:
            return None
        return ShortageError(
            HealthCode.NO_ROOM,
            f"No room: {missing}",
            resolution="lower service.cpu and service.memory, or use update: recreate",
        )

    def _check_room(self, *, no_room: bool) -> ConvergeAction:
        cluster = self._observed.cluster
        if isinstance(cluster, ShortageError):
            return ConvergeAction(kind=ActionKind.CHECK_ROOM, reason="the cluster is not at hand", skip=True)
        if cluster.room is None:
            return ConvergeAction(kind=ActionKind.CHECK_ROOM, reason="no new pod will start", skip=True)
        service = self._wish.payload.service
        reason = f"{service.cpu} CPU and {service.memory} for a new pod"
        return ConvergeAction(kind=ActionKind.CHECK_ROOM, reason=f"{reason}: too much" if no_room else reason)

    def _resolve_runtime(self) -> ConvergeAction:
        runtime = self._target.runtime
        passed = "" if self._refused is None else ", a newer one was refused"
        if self._registry.passed is not None:
            passed += f"; {self._registry.passed.problem[:1].lower()}{self._registry.passed.problem[1:]}"
        return ConvergeAction(
            kind=ActionKind.RESOLVE_RUNTIME,
            reason=f"{self._wish.payload.runtime.name} by {runtime.found}{passed}",
            skip=True,
            digest=runtime.digest,
        )

    def _plan_image(self) -> tuple[ConvergeAction, ...]:
        if self._wish.transport is Transport.SIDELOAD:
            return (self._plan_archive(),)
        image, model = self._target.image, self._wish.payload.model.layer
        is_there = image.digest in self._registry.manifests
        mounted = self._target.runtime.repository is not None
        steps = [
            (ActionKind.MOUNT_LAYER if mounted else ActionKind.PUSH_LAYER, Digest(layer["digest"]), int(layer["size"]))
            for layer in self._target.runtime.layers
        ]
        steps.append((ActionKind.PUSH_LAYER, model.diff_id, model.size))
        steps.append((ActionKind.PUSH_CONFIG, image.config_digest, len(image.config)))
        actions = [self._blob(kind, digest, size, is_there=is_there) for kind, digest, size in steps]
        actions.append(
            ConvergeAction(
                kind=ActionKind.PUSH_MANIFEST,
                reason="the registry has the image" if is_there else "the registry does not have the image",
                skip=is_there,
                digest=image.digest,
            )
        )
        return tuple(actions)

    def _plan_archive(self) -> ConvergeAction:
        image, cluster = self._target.image, self._observed.cluster
        if sideload.file_name(self._wish.name, image.digest) in self._observed.archives:
            reason, skip = "it lies ready for MicroK8s", True
        elif isinstance(cluster, ClusterView) and not self._must_prove(cluster):
            reason, skip = "containerd has the image", True
        else:
            reason, skip = "MicroK8s takes it when microk8s:configuration is connected", False
        size = sum(int(layer["size"]) for layer in self._target.runtime.layers) + self._wish.payload.model.layer.size
        return ConvergeAction(kind=ActionKind.WRITE_ARCHIVE, reason=reason, skip=skip, digest=image.digest, size=size)

    def _archives(self) -> tuple[str, ...]:
        """Those that nobody needs once the plan is done: containerd has what serves, and took a copy of it."""
        written = {
            sideload.file_name(self._wish.name, self._target.image.digest)
            for action in self._layers
            if action.kind is ActionKind.WRITE_ARCHIVE and not action.skip
        }
        return tuple(sorted(self._observed.archives | written))

    def _blob(self, kind: ActionKind, digest: Digest, size: int, *, is_there: bool) -> ConvergeAction:
        if is_there or digest in self._registry.blobs:
            reason = "the registry has the image" if is_there else "the repository has it"
            return ConvergeAction(kind=kind, reason=reason, skip=True, digest=digest, size=size)
        reason = "the runtime's repository has it" if kind is ActionKind.MOUNT_LAYER else "the repository lacks it"
        return ConvergeAction(kind=kind, reason=reason, digest=digest, size=size)

    def _serve(self, cluster: ClusterView) -> tuple[ConvergeAction, ...]:
        changed = _changes(self._target.manifests, cluster)
        apply = ConvergeAction(
            kind=ActionKind.APPLY, reason=changed or "the live objects are as they should be", skip=not changed
        )
        phase = cluster.readiness.phase
        waits = bool(changed) or phase is not Phase.READY
        wait = ConvergeAction(
            kind=ActionKind.WAIT_READY,
            reason="what was applied must come up" if changed else cluster.readiness.reason,
            skip=not waits,
        )
        return apply, wait, self._replay(cluster), self._remember(cluster)

    def _is_proved(self, cluster: ClusterView) -> bool:
        good = cluster.last_good
        return (
            good is not None
            and good.identity == self._target.identity
            and good.manifests.fingerprint == self._target.manifests.fingerprint
        )

    def _replay(self, cluster: ClusterView) -> ConvergeAction:
        kind, gate = ActionKind.REPLAY_SAMPLES, self._wish.payload.gate
        if gate is GateMode.NONE:
            return ConvergeAction(kind=kind, reason="the gate is none", skip=True)
        if self._must_prove(cluster):
            return ConvergeAction(kind=kind, reason="nothing counts as served before it answered right")
        if self._observed.replay:
            return ConvergeAction(kind=kind, reason="it is time to look again")
        return ConvergeAction(kind=kind, reason="they were answered right with this spec", skip=True)

    def _remember(self, cluster: ClusterView) -> ConvergeAction:
        proved = self._is_proved(cluster)
        reason = "the last good spec is this one" if proved else "the last good spec is another one"
        return ConvergeAction(kind=ActionKind.REMEMBER, reason=reason, skip=proved)

    def _prunable(self) -> tuple[tuple[PushedImage, ...], str | None]:
        observed = self._observed
        needed = {self._target.image.digest}
        # Without a registry nothing can be deleted there; what was pushed once is remembered for when it is back.
        pushed = () if self._wish.transport is Transport.SIDELOAD else observed.pushed
        if observed.last_good is not None:
            needed.add(observed.last_good.image)
        # A time far ahead was told by a clock that was wrong; waiting for it to come would keep the image for years.
        old = tuple(
            image for image in pushed if image.digest not in needed and abs(observed.now - image.at) >= PRUNE_AFTER
        )
        namespace = observed.former_namespace
        return old, None if namespace == self._target.manifests.namespace else namespace


def _skipped(action: ConvergeAction, reason: str) -> ConvergeAction:
    return (
        action
        if action.skip
        else ConvergeAction(kind=action.kind, reason=reason, skip=True, digest=action.digest, size=action.size)
    )


def _held_back(obstacle: SituationError | None) -> tuple[ConvergeAction, ...]:
    reason = "the cluster is not at hand" if obstacle is None else f"held back: {obstacle.code.value}"
    kinds = (
        ActionKind.APPLY,
        ActionKind.WAIT_READY,
        ActionKind.REPLAY_SAMPLES,
        ActionKind.REMEMBER,
        ActionKind.PRUNE,
    )
    return tuple(ConvergeAction(kind=kind, reason=reason, skip=True) for kind in kinds)


def _prune(images: tuple[PushedImage, ...], namespace: str | None, archives: tuple[str, ...]) -> ConvergeAction:
    parts = [f"{len(images)} old image(s)"] if images else []
    if archives:
        parts.append(f"{len(archives)} image archive(s)")
    if namespace is not None:
        parts.append(f"objects in namespace {namespace}")
    return ConvergeAction(
        kind=ActionKind.PRUNE, reason=", ".join(parts) or "nothing of ours is left over", skip=not parts
    )


def _foreign(cluster: ClusterView, owner: str) -> PayloadBadError | None:
    for thing in (cluster.live, cluster.node_port):
        if thing is None:
            continue
        other = owner_of(thing)
        if other != owner:
            name = thing.get("metadata", {}).get("name")
            whose = f"snap {other}" if other else "somebody else"
            return PayloadBadError(
                f"{thing.get('kind', 'object')} {name} belongs to {whose}",
                code=HealthCode.NAME_TAKEN,
                resolution="delete it, or install this snap under another instance name",
            )
    return None


def _changes(manifests: Manifests, cluster: ClusterView) -> str:
    """What differs, in words; empty when nothing does."""
    if cluster.live is None:
        return "there is no InferenceService yet"
    found = list(differences(manifests.inference_service, cluster.live))
    if manifests.node_port is None and cluster.node_port is not None:
        found.append("the node port is to be closed")
    elif manifests.node_port is not None and cluster.node_port is None:
        found.append("the node port is to be opened")
    elif manifests.node_port is not None:
        found.extend(differences(manifests.node_port["spec"], cluster.node_port["spec"] if cluster.node_port else None))
    return "" if not found else f"differs in {', '.join(found[:3])}{' and more' if len(found) > 3 else ''}"


def plan_restore(
    cluster: ClusterView | ShortageError, last_good: GoodSpec | None, owner: str, *, refused: Health
) -> ConvergePlan:
    """The steps back to the last good spec, or to serving nothing where there is none."""
    if isinstance(cluster, ShortageError):
        reason = "the cluster is not at hand"
        return ConvergePlan(
            actions=(ConvergeAction(kind=ActionKind.RESTORE, reason=reason, skip=True),),
            obstacle=cluster,
            refused=refused,
            restore=last_good,
        )
    foreign = _foreign(cluster, owner)
    if last_good is None or foreign is not None:
        needed = cluster.live is not None and foreign is None
        reason = "nothing good was served before" if needed else "nothing of ours is served"
        return ConvergePlan(
            actions=(ConvergeAction(kind=ActionKind.RESTORE, reason=reason, skip=not needed),),
            refused=refused,
        )
    changed = _changes(last_good.manifests, cluster)
    waits = bool(changed) or cluster.readiness.phase is not Phase.READY
    asked = waits and last_good.samples is not None
    return ConvergePlan(
        actions=(
            ConvergeAction(
                kind=ActionKind.RESTORE, reason=changed or f"{last_good.version} is what is served", skip=not changed
            ),
            ConvergeAction(kind=ActionKind.WAIT_READY, reason=cluster.readiness.reason, skip=not waits),
            ConvergeAction(
                kind=ActionKind.REPLAY_SAMPLES,
                reason="what came back must answer right" if asked else "nothing to ask or nothing changed",
                skip=not asked,
            ),
        ),
        refused=refused,
        restore=last_good,
    )
