"""What is there: registry and cluster as the planner sees them. Reads, never changes anything.

A part that is away is observed as a shortage, not raised: the planner decides what can be done without it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from . import inferenceservice, readiness, room
from .cluster import Cluster
from .goodspec import GoodSpec, Identity, Manifests
from .health import Health
from .images import ComposedImage, RuntimeImage, compose_from_manifest
from .payload import Payload
from .readiness import Readiness
from .registry import Registry
from .room import Room
from .situations import ShortageError
from .state import PushedImage
from .vocabulary import Digest, ImageReference, RegistryAddress, RepositoryName, TagName

_MANY = 16
"""How many listed runtimes are looked for: a payload that lists more names history, not choices."""


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
    """

    payload: Payload
    name: str
    owner: str
    registry: RegistryAddress
    own_runtime: RuntimeImage | None = None

    @property
    def runtime_repository(self) -> RepositoryName:
        """Where the shared runtime is kept."""
        return runtime_repository(self.payload.runtime.name)

    def image_on(self, runtime: RuntimeCandidate) -> ComposedImage:
        """The model's image on a runtime."""
        return compose_from_manifest(config=runtime.config, layers=list(runtime.layers), model=self.payload.model.layer)

    def identity_on(self, runtime: RuntimeCandidate) -> Identity:
        """What would be served on it."""
        return Identity(model=self.payload.model.layer.diff_id, runtime=runtime.digest)

    def manifests_on(self, runtime: RuntimeCandidate) -> Manifests:
        """The objects that would serve it."""
        return inferenceservice.manifests(
            self.payload,
            name=self.name,
            owner=self.owner,
            image=ImageReference(
                registry=self.registry, repository=self.payload.repository, digest=self.image_on(runtime).digest
            ),
            identity=self.identity_on(runtime),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeCandidate:
    """A trusted runtime that is at hand.

    Attributes:
        digest: of its manifest.
        config: its OCI config.
        layers: its layer descriptors, lowest first.
        repository: whose blobs can be mounted, or None for the runtime in the snap.
        found: how it was found, for people.
    """

    digest: Digest
    config: dict[str, Any]
    layers: tuple[dict[str, Any], ...]
    repository: RepositoryName | None
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryView:
    """What the registry holds of what matters here.

    Attributes:
        runtimes: trusted runtimes at hand, the preferred one first.
        manifests: digests of composed images that are in the model's repository.
        blobs: digests of blobs that are in the model's repository, where their image is not.
        unlisted: the runtime that the interface's tag names, where the payload does not list it.
    """

    runtimes: tuple[RuntimeCandidate, ...] = ()
    manifests: frozenset[Digest] = frozenset()
    blobs: frozenset[Digest] = frozenset()
    unlisted: Digest | None = None


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

    @property
    def serves(self) -> bool:
        """Whether something of ours answers requests, as far as can be known."""
        if isinstance(self.cluster, ShortageError):
            return self.last_good is not None
        return self.cluster.live is not None and self.cluster.readiness.available > 0


def runtime_repository(name: str) -> RepositoryName:
    """Where a runtime is kept in the device's registry."""
    return RepositoryName(f"snapedge/runtime-{name}")


def observe_registry(registry: Registry, wish: Wish, refused: frozenset[Identity]) -> RegistryView | ShortageError:
    """The registry's view.

    Args:
        registry: to ask.
        wish: what is looked for.
        refused: runtimes that need an alternative.
    """
    try:
        runtimes = _runtimes(registry, wish, refused)
        repository = wish.payload.repository
        manifests: set[Digest] = set()
        blobs: set[Digest] = set()
        for runtime in runtimes:
            if wish.identity_on(runtime) in refused:
                continue
            image = wish.image_on(runtime)
            if registry.has_manifest(repository, image.digest):
                manifests.add(image.digest)
            else:
                wanted = {*image.layer_digests, image.config_digest}
                blobs.update(digest for digest in sorted(wanted) if registry.has_blob(repository, digest))
            break
        unlisted = None if runtimes else _unlisted(registry, wish)
    except ShortageError as error:
        return error
    return RegistryView(runtimes=runtimes, manifests=frozenset(manifests), blobs=frozenset(blobs), unlisted=unlisted)


def _runtimes(registry: Registry, wish: Wish, refused: frozenset[Identity]) -> tuple[RuntimeCandidate, ...]:
    """Trusted runtimes, the preferred one first, up to the first that was not refused."""
    listed = wish.payload.runtime.digests
    own = wish.own_runtime
    if own is not None:
        layers = tuple(layer.descriptor() for layer in own.layers)
        return (RuntimeCandidate(digest=own.digest, config=own.config, layers=layers, repository=None, found="snap"),)
    found: list[RuntimeCandidate] = []
    references: list[Digest | TagName] = [TagName(str(wish.payload.runtime.interface)), *listed[:_MANY]]
    for reference in references:
        if any(candidate.digest == reference for candidate in found):
            continue
        candidate = _candidate(registry, wish.runtime_repository, reference, listed)
        if candidate is None or any(candidate.digest == other.digest for other in found):
            continue
        found.append(candidate)
        if wish.identity_on(candidate) not in refused:
            break
    return tuple(found)


def _candidate(
    registry: Registry, repository: RepositoryName, reference: Digest | TagName, listed: tuple[Digest, ...]
) -> RuntimeCandidate | None:
    stored = registry.manifest(repository, reference)
    if stored is None or stored.digest not in listed:
        return None
    # Its digest is listed, so what it says was written by our builder; what is missing then is only bytes.
    config = registry.small_blob(repository, Digest(stored.document["config"]["digest"]))
    if config is None:
        return None
    return RuntimeCandidate(
        digest=stored.digest,
        config=json.loads(config),
        layers=tuple(stored.document["layers"]),
        repository=repository,
        found=f"interface {reference}" if isinstance(reference, TagName) else f"digest {reference.short}",
    )


def _unlisted(registry: Registry, wish: Wish) -> Digest | None:
    """The runtime that is there and may not be used: what to tell a person who installed one and still has none."""
    requirement = wish.payload.runtime
    stored = registry.manifest(wish.runtime_repository, TagName(str(requirement.interface)))
    return None if stored is None or stored.digest in requirement.digests else stored.digest


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeObserved:
    """What the registry holds of a runtime that a runtime snap brings.

    Attributes:
        blobs: which of its blobs are there.
        tags: what its tags name.
    """

    blobs: frozenset[Digest]
    tags: MappingProxyType[TagName, Digest | None]


def observe_runtime(registry: Registry, runtime: RuntimeImage, *, thorough: bool) -> RuntimeObserved | ShortageError:
    """The registry's view of a runtime.

    Args:
        registry: to ask.
        runtime: what is looked for.
        thorough: read a byte of each blob: a registry can claim what it has lost.
    """
    repository = runtime_repository(runtime.name)
    digests = [*(layer.digest for layer in runtime.layers), Digest.of(runtime.config_bytes())]
    try:
        tags = {tag: _tagged(registry, repository, tag) for tag in runtime_tags(runtime)}
        complete = set(tags.values()) == {runtime.digest}
        if complete and not thorough:
            return RuntimeObserved(blobs=frozenset(digests), tags=MappingProxyType(tags))
        held = frozenset(
            digest
            for digest in digests
            if registry.has_blob(repository, digest) and (not thorough or registry.serves_blob(repository, digest))
        )
    except ShortageError as error:
        return error
    return RuntimeObserved(blobs=held, tags=MappingProxyType(tags))


def runtime_tags(runtime: RuntimeImage) -> tuple[TagName, ...]:
    """The tags a runtime is found by: its version and its interface."""
    return TagName.for_version(runtime.version), TagName(str(runtime.interface))


def _tagged(registry: Registry, repository: RepositoryName, tag: TagName) -> Digest | None:
    stored = registry.manifest(repository, tag)
    return None if stored is None else stored.digest
