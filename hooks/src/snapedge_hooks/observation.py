"""What is there: registry and cluster as the planner sees them. Reads, never changes anything.

A part that is away is observed as a shortage, not raised: the planner decides what can be done without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from . import inferenceservice, readiness, room, runtimesearch
from .cluster import Cluster, is_going
from .goodspec import GoodSpec, Identity, Manifests
from .health import Health
from .images import ComposedImage, RuntimeImage, compose_from_manifest
from .payload import Payload
from .readiness import Readiness
from .registry import Registry
from .room import Room
from .runtimesearch import PassedOver, RuntimeCandidate
from .situations import ShortageError, no_kserve
from .state import PushedImage
from .vocabulary import Digest, HealthCode, ImageReference, RegistryAddress, Transport

NOTHING_SERVED = Readiness(phase=readiness.Phase.ABSENT, reason="nothing is served")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a model snap wants of its device.

    Attributes:
        payload: with the device's configuration in it.
        name: of the InferenceService.
        owner: the snap instance.
        registry: where the image goes.
        own_runtime: the runtime in the snap itself, or None where models share one.
        transport: how the image gets to containerd.
    """

    payload: Payload
    name: str
    owner: str
    registry: RegistryAddress
    own_runtime: RuntimeImage | None = None
    transport: Transport = Transport.REGISTRY

    def image_on(self, runtime: RuntimeCandidate) -> ComposedImage:
        """The model's image on a runtime."""
        return compose_from_manifest(config=runtime.config, layers=list(runtime.layers), model=self.payload.model.layer)

    def identity_on(self, runtime: RuntimeCandidate) -> Identity:
        """What would be served on it."""
        return Identity(model=self.payload.model.layer.diff_id, runtime=runtime.digest)

    def reference_on(self, runtime: RuntimeCandidate) -> ImageReference:
        """What the model's image on a runtime is called, wherever it comes from."""
        return ImageReference(
            registry=self.registry, repository=self.payload.repository, digest=self.image_on(runtime).digest
        )

    def manifests_on(self, runtime: RuntimeCandidate) -> Manifests:
        """The objects that would serve it."""
        return inferenceservice.manifests(
            self.payload,
            name=self.name,
            owner=self.owner,
            image=self.reference_on(runtime),
            identity=self.identity_on(runtime),
            transport=self.transport,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryView:
    """What the registry holds of what matters here.

    Attributes:
        runtimes: trusted runtimes at hand, the preferred one first.
        manifests: digests of composed images that are in the model's repository.
        blobs: digests of blobs that are in the model's repository, where their image is not.
        passed: why the newest runtime at hand is not among them, or why there is none.
    """

    runtimes: tuple[RuntimeCandidate, ...] = ()
    manifests: frozenset[Digest] = frozenset()
    blobs: frozenset[Digest] = frozenset()
    passed: PassedOver | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    """What the cluster holds of ours.

    Attributes:
        live: the InferenceService, or None.
        node_port: our NodePort Service, or None.
        readiness: of what the live InferenceService asks for.
        last_good: what the ConfigMap says.
        room: measured only when new pods would start.
    """

    live: dict[str, Any] | None = None
    node_port: dict[str, Any] | None = None
    readiness: Readiness = NOTHING_SERVED
    last_good: GoodSpec | None = None
    room: Room | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Everything a plan is made from.

    Attributes:
        registry: its view, or the shortage that hides it.
        cluster: its view, or the shortage that hides it.
        last_good: the ConfigMap's, or the state's where the cluster has none.
        refused: what proved bad with this revision and configuration.
        pushed: manifests of ours.
        former_namespace: where our objects were before, when that is another namespace.
        now: seconds since 1970.
        replay: whether samples are to be replayed though they were answered right before.
        watched: how many were replayed so for now.
        archives: names of the image archives that lie ready for MicroK8s.
    """

    registry: RegistryView | ShortageError
    cluster: ClusterView | ShortageError
    last_good: GoodSpec | None = None
    refused: MappingProxyType[Identity, Health] = field(default_factory=lambda: MappingProxyType({}))
    pushed: tuple[PushedImage, ...] = ()
    former_namespace: str | None = None
    now: float = 0.0
    replay: bool = False
    watched: int = 0
    archives: frozenset[str] = frozenset()

    @property
    def serves(self) -> bool:
        """Whether something of ours answers requests, as far as can be known."""
        if isinstance(self.cluster, ShortageError):
            return self.last_good is not None
        return self.cluster.live is not None and self.cluster.readiness.available > 0


def observe_registry(
    registry: Registry, wish: Wish, refused: frozenset[Identity], *, proved: Digest | None = None
) -> RegistryView | ShortageError:
    """The registry's view.

    Args:
        registry: to ask.
        wish: what is looked for.
        refused: runtimes that need an alternative.
        proved: the runtime that the model was last proved on.
    """
    if wish.transport is Transport.SIDELOAD:
        return _without_registry(wish)
    try:
        if wish.own_runtime is not None:
            found = runtimesearch.of_snap(wish.own_runtime)
        else:
            found = runtimesearch.search(
                registry, wish.payload, proved=proved, is_refused=lambda item: wish.identity_on(item) in refused
            )
        repository = wish.payload.repository
        manifests: set[Digest] = set()
        blobs: set[Digest] = set()
        for runtime in found.candidates:
            if wish.identity_on(runtime) in refused:
                continue
            image = wish.image_on(runtime)
            if registry.has_manifest(repository, image.digest):
                manifests.add(image.digest)
            else:
                wanted = {*image.layer_digests, image.config_digest}
                blobs.update(digest for digest in sorted(wanted) if registry.has_blob(repository, digest))
            break
    except ShortageError as error:
        return error
    return RegistryView(
        runtimes=found.candidates, manifests=frozenset(manifests), blobs=frozenset(blobs), passed=found.passed
    )


def _without_registry(wish: Wish) -> RegistryView | ShortageError:
    if wish.own_runtime is None:
        return ShortageError(
            HealthCode.NO_RUNTIME,
            "Sideload needs a snap with its runtime inside",
            resolution="build it with delivery.image: full, or `snap unset` serve.transport",
        )
    return RegistryView(runtimes=runtimesearch.of_snap(wish.own_runtime).candidates)


def observe_cluster(
    connect: Callable[[], Cluster], common: Path, wanted: Manifests | None
) -> ClusterView | ShortageError:
    """The cluster's view.

    Args:
        connect: gives the cluster to ask.
        common: $SNAP_COMMON, for the room on its disk.
        wanted: what will be applied, or None while no runtime is at hand.
    """
    try:
        cluster = connect()
        live = cluster.inference_service()
        if live is not None and is_going(live):
            # What is applied to it now would go with it.
            return no_kserve(f"InferenceService {cluster.name} is still being deleted")
        view = ClusterView(
            live=live,
            node_port=cluster.node_port(),
            readiness=_readiness(cluster, live),
            last_good=cluster.last_good(),
        )
        starts_pods = wanted is not None and bool(inferenceservice.differences(wanted.inference_service, live))
        if starts_pods:
            measured = room.measure(common, cluster.nodes(), cluster.all_pods(), inferenceservice.pod_app(cluster.name))
            view = replace(view, room=measured)
    except ShortageError as error:
        return error
    return view


def served_before(wish: Wish, view: ClusterView) -> GoodSpec | None:
    """What a cluster serves of ours, as a spec to put back, for when every record of the last good one is lost."""
    live = view.live
    if (
        live is None
        or inferenceservice.owner_of(live) != wish.owner
        or view.readiness.phase is not readiness.Phase.READY
    ):
        return None
    try:
        image = ImageReference.parse(inferenceservice.container_of(live)["image"])
        annotations = live["metadata"]["annotations"]
        identity = Identity(
            model=Digest(annotations[inferenceservice.MODEL_LAYER]),
            runtime=Digest(annotations[inferenceservice.RUNTIME]),
        )
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    return GoodSpec(
        identity=identity,
        image=image.digest,
        version="an earlier version",
        model=str(wish.payload.model.name),
        manifests=Manifests(
            namespace=wish.payload.service.namespace,
            name=wish.name,
            inference_service=inferenceservice.ours(live),
            node_port=None if view.node_port is None else inferenceservice.ours(view.node_port),
        ),
        samples=None,
    )


def _readiness(cluster: Cluster, live: dict[str, Any] | None) -> Readiness:
    if live is None:
        return NOTHING_SERVED
    try:
        container = inferenceservice.container_of(live)
    except (KeyError, IndexError, TypeError):
        return Readiness(phase=readiness.Phase.ABSENT, reason="the live InferenceService has no container")
    return read_readiness(cluster, container)


def read_readiness(cluster: Cluster, container: dict[str, Any]) -> Readiness:
    """How far the pods of a container are; pods are asked for only where the Deployment alone does not say ready."""
    deployment = cluster.deployment()
    verdict = readiness.read(container, deployment, [], [])
    if verdict.phase is not readiness.Phase.PROGRESSING or deployment is None:
        return verdict
    return readiness.read(container, deployment, cluster.replica_sets(), cluster.pods())
