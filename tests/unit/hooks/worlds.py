"""Small worlds to plan in: a wish, what is observed, and what a plan makes of it; words in, domain types out."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from tests.fakes.edge import runtime_image

from snapedge_hooks import sideload
from snapedge_hooks.convergence import ActionKind, ConvergePlan
from snapedge_hooks.goodspec import GoodSpec
from snapedge_hooks.health import Health
from snapedge_hooks.images import ModelLayer, RuntimeImage
from snapedge_hooks.observation import ClusterView, Observed, RegistryView, Wish
from snapedge_hooks.payload import Model, Payload, RuntimeRequirement, Service
from snapedge_hooks.readiness import Phase, Readiness
from snapedge_hooks.room import NodeRoom, Room
from snapedge_hooks.runtimesearch import PassedOver, RuntimeCandidate, runtime_repository
from snapedge_hooks.situations import ShortageError, api_down, registry_down
from snapedge_hooks.state import PushedImage
from snapedge_hooks.vocabulary import (
    Architecture,
    Digest,
    GateMode,
    HealthCode,
    HealthStatus,
    ModelFormat,
    RegistryAddress,
    RepositoryName,
    SnapName,
    SnapVersion,
    Transport,
)

NOW = 2_000_000.0
GIB = 1024**3
RUNTIMES: dict[str, RuntimeImage] = {"old": runtime_image("1.0.0")[0], "new": runtime_image("1.1.0")[0]}
MODELS = {
    name: ModelLayer(file="model.tar", diff_id=Digest.of(name.encode()), size=1000) for name in ("this", "previous")
}
REFUSED = Health(status=HealthStatus.ERROR, code=HealthCode.GATE_FAILED, message="Sample row-3: label differs")


def wish(
    *,
    gate: str = "strict",
    model: str = "this",
    own: bool = False,
    node_port: int | None = None,
    transport: str = "registry",
) -> Wish:
    payload = Payload(
        name=SnapName("wine"),
        version=SnapVersion("1.1.0" if model == "this" else "1.0.0"),
        architecture=Architecture.AMD64,
        model=Model(name=SnapName("wine"), format=ModelFormat.ONNX, digest=Digest.of(b"file"), layer=MODELS[model]),
        runtime=RuntimeRequirement(
            name="onnx", interface=1, minimum="1.0", digests=tuple(item.digest for item in RUNTIMES.values())
        ),
        repository=RepositoryName("wine"),
        predicted_image=Digest.of(b"predicted"),
        image_size=10**8,
        service=Service(node_port=node_port),
        gate=GateMode(gate),
    )
    return Wish(
        payload=payload,
        name="wine",
        owner="wine",
        registry=RegistryAddress("localhost:32000"),
        own_runtime=RUNTIMES["new"] if own else None,
        transport=Transport(transport),
    )


def candidate(name: str, *, own: bool = False) -> RuntimeCandidate:
    runtime = RUNTIMES[name]
    return RuntimeCandidate(
        digest=runtime.digest,
        config=runtime.config,
        layers=tuple(layer.descriptor() for layer in runtime.layers),
        repository=None if own else runtime_repository("onnx"),
        found="snap" if own else f"the {name} one",
    )


def good(model: str, runtime: str, *, like: Wish | None = None) -> GoodSpec:
    """A spec that was proved."""
    asked = (
        replace(like, payload=replace(like.payload, model=wish(model=model).payload.model))
        if like
        else wish(model=model)
    )
    chosen = candidate(runtime)
    return GoodSpec(
        identity=asked.identity_on(chosen),
        image=asked.image_on(chosen).digest,
        version=str(asked.payload.version),
        model="wine",
        manifests=asked.manifests_on(chosen),
        samples=None,
    )


def observed(asked: Wish, case: dict[str, Any]) -> Observed:
    """What a case file says is there."""
    identity = {name: asked.identity_on(candidate(name)) for name in RUNTIMES}
    return Observed(
        registry=_registry(asked, case.get("registry", {})),
        cluster=_cluster(asked, case.get("cluster", {})),
        last_good=_good(asked, case.get("last_good")),
        refused=MappingProxyType({identity[name]: REFUSED for name in case.get("refused", [])}),
        pushed=tuple(
            PushedImage(repository=RepositoryName("wine"), digest=Digest.of(name.encode()), at=NOW - hours * 3600)
            for name, hours in case.get("pushed_hours_ago", {}).items()
        ),
        former_namespace=case.get("former_namespace"),
        now=NOW,
        replay=case.get("replay", False),
        archives=frozenset(_archive(asked, name) for name in case.get("archives", [])),
    )


def _archive(asked: Wish, said: str) -> str:
    """`new`, the archive of the image on that runtime, or any other file's name."""
    return sideload.file_name("wine", asked.image_on(candidate(said)).digest) if said in RUNTIMES else said


def _registry(asked: Wish, said: dict[str, Any] | str) -> RegistryView | ShortageError:
    if isinstance(said, str):
        return registry_down("localhost:32000 refuses the connection")
    own = asked.own_runtime is not None
    runtimes = tuple(candidate(name, own=own) for name in said.get("runtimes", ["new"]))
    layers = {layer.name: layer.digest for runtime in RUNTIMES.values() for layer in runtime.layers}
    return RegistryView(
        runtimes=runtimes,
        manifests=frozenset(asked.image_on(candidate(name)).digest for name in said.get("images", [])),
        blobs=frozenset(
            asked.payload.model.layer.diff_id if name == "model" else layers[name] for name in said.get("blobs", [])
        ),
        passed=_passed(said, has_runtimes=bool(runtimes)),
    )


def _passed(said: dict[str, Any], *, has_runtimes: bool) -> PassedOver | None:
    """Why the newest runtime is not used; a search that finds none always says why."""
    problem = said.get("passed", None if has_runtimes else "Runtime onnx interface 1 is not in the registry")
    return None if problem is None else PassedOver(problem=problem, resolution="install it")


def _cluster(asked: Wish, said: dict[str, Any] | str) -> ClusterView | ShortageError:
    if isinstance(said, str):
        return api_down("https://127.0.0.1:16443 refuses the connection")
    live = _good(asked, said.get("live"))
    if said.get("live") == "somebody else's":
        return ClusterView(live={"kind": "InferenceService", "metadata": {"name": "wine"}, "spec": {}})
    phase = Phase(said.get("phase", "absent" if live is None else "ready"))
    free = said.get("free_memory_gib")
    room = None
    if free is not None:
        node = NodeRoom(cpu=Fraction(4), memory=Fraction(free) * GIB, pods=50)
        room = Room(nodes=(node,), disk=10 * GIB, own_pods=0 if live is None else 1)
    return ClusterView(
        live=None if live is None else live.manifests.inference_service,
        readiness=Readiness(phase=phase, reason=f"it is {phase.value}", available=0 if live is None else 1),
        last_good=_good(asked, said.get("last_good")),
        room=room,
    )


def _good(asked: Wish, said: str | None) -> GoodSpec | None:
    """`this on new`, `previous on old` and the like."""
    if said is None or said == "somebody else's":
        return None
    model, _, runtime = said.partition(" on ")
    return good(model, runtime, like=asked if model == "this" else None)


def words(plan: ConvergePlan) -> list[str]:
    """A plan as case files hold it."""
    return [f"{'skip' if action.skip else 'do'} {action.kind.value}: {action.reason}" for action in plan.actions]


def after(asked: Wish, seen: Observed, plan: ConvergePlan) -> Observed:
    """What would be observed when every step of a plan had been done: a small model of the world."""
    done = {action.kind for action in plan.actions if not action.skip}
    registry, cluster, last_good = seen.registry, seen.cluster, seen.last_good
    if isinstance(registry, RegistryView) and plan.target is not None and ActionKind.PUSH_MANIFEST in done:
        registry = replace(registry, manifests=registry.manifests | {plan.target.image.digest}, blobs=frozenset())
    if isinstance(cluster, ClusterView):
        manifests = None
        if ActionKind.APPLY in done and plan.target is not None:
            manifests = plan.target.manifests
        if ActionKind.RESTORE in done:
            manifests = None if plan.restore is None else plan.restore.manifests
            cluster = replace(cluster, live=None, node_port=None)
        if manifests is not None:
            cluster = replace(cluster, live=manifests.inference_service, node_port=manifests.node_port, room=None)
        if ActionKind.WAIT_READY in done:
            cluster = replace(cluster, readiness=Readiness(phase=Phase.READY, reason="it is ready", available=1))
        if ActionKind.REMEMBER in done and plan.target is not None:
            last_good = GoodSpec(
                identity=plan.target.identity,
                image=plan.target.image.digest,
                version=str(asked.payload.version),
                model="wine",
                manifests=plan.target.manifests,
                samples=None,
            )
            cluster = replace(cluster, last_good=last_good)
    pruned = ActionKind.PRUNE in done
    archives = seen.archives - set(plan.archives) if pruned else seen.archives
    return replace(
        seen,
        registry=registry,
        cluster=cluster,
        last_good=last_good,
        pushed=tuple(item for item in seen.pushed if not pruned or item not in plan.prunable),
        former_namespace=None if pruned else seen.former_namespace,
        replay=False,
        archives=archives,
    )
