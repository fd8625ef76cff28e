"""What a runtime's snap does with the registry, from what is observed."""

from __future__ import annotations

from types import MappingProxyType

import pytest
from tests.fakes.edge import runtime_image

from snapedge_hooks import runtimeplan
from snapedge_hooks.convergence import PRUNE_AFTER, ActionKind, ConvergePlan
from snapedge_hooks.images import RuntimeImage
from snapedge_hooks.runtimeobservation import RuntimeObserved
from snapedge_hooks.situations import ShortageError
from snapedge_hooks.state import PushedImage
from snapedge_hooks.vocabulary import Digest, HealthCode, RepositoryName, TagName

RUNTIME, _ = runtime_image("1.1.0")
OLD = Digest.of(b"old")
NOW = 1_000_000.0
AWAY = ShortageError(HealthCode.API_DOWN, "The API is away")
DIGESTS = frozenset({*(layer.digest for layer in RUNTIME.layers), Digest.of(RUNTIME.config_bytes())})
TAGS = MappingProxyType(dict.fromkeys((TagName.for_version(RUNTIME.version), TagName("1")), RUNTIME.digest))


def pushed(digest: Digest, *, age: float = 0.0) -> PushedImage:
    return PushedImage(repository=RepositoryName("snapedge/runtime-onnx"), digest=digest, at=NOW - age)


def observed(
    *,
    blobs: frozenset[Digest] = DIGESTS,
    tags: MappingProxyType[TagName, Digest | None] = TAGS,
    signed: bool | None = None,
    old: float | None = None,
    used: frozenset[Digest] | ShortageError | None = frozenset(),
) -> RuntimeObserved:
    brought = () if old is None else (pushed(OLD, age=old),)
    return RuntimeObserved(
        blobs=blobs, tags=tags, signed=signed, pushed=(*brought, pushed(RUNTIME.digest)), used=used, now=NOW
    )


def planned(
    seen: RuntimeObserved | ShortageError, *, runtime: RuntimeImage = RUNTIME, signature: bytes | None = None
) -> ConvergePlan:
    return runtimeplan.plan_runtime(runtime, signature, seen)


def done(plan: ConvergePlan) -> list[ActionKind]:
    return [action.kind for action in plan.actions if not action.skip]


def test_what_is_there_is_all_skips() -> None:
    assert done(planned(observed())) == []


def test_an_empty_registry_gets_everything_the_manifest_last() -> None:
    nothing = MappingProxyType(dict.fromkeys(TAGS))
    plan = planned(observed(blobs=frozenset(), tags=nothing, signed=False), signature=b"{}")
    assert done(plan) == [
        ActionKind.PUSH_LAYER,
        ActionKind.PUSH_LAYER,
        ActionKind.PUSH_CONFIG,
        ActionKind.PUSH_SIGNATURE,
        ActionKind.PUSH_MANIFEST,
    ]


def test_a_lost_layer_is_sent_again_and_its_manifest_too() -> None:
    lost = RUNTIME.layers[0].digest
    assert done(planned(observed(blobs=DIGESTS - {lost}))) == [ActionKind.PUSH_LAYER, ActionKind.PUSH_MANIFEST]


def test_a_tag_that_somebody_moved_is_put_back() -> None:
    moved = MappingProxyType({**TAGS, TagName("1"): OLD})
    assert done(planned(observed(tags=moved))) == [ActionKind.PUSH_MANIFEST]


@pytest.mark.parametrize(
    ("age", "used", "goes", "reason"),
    [
        (PRUNE_AFTER, frozenset(), True, "1 old runtime(s) that no model uses"),
        (PRUNE_AFTER - 1, frozenset(), False, "no runtime of ours is old enough"),
        (PRUNE_AFTER, frozenset({OLD}), False, "models use the old ones"),
        (PRUNE_AFTER, AWAY, False, "the cluster is not at hand"),
        (PRUNE_AFTER, None, False, "models use the old ones"),
        (-PRUNE_AFTER, frozenset(), True, "1 old runtime(s) that no model uses"),
        (None, None, False, "no runtime of ours is old enough"),
    ],
    ids=["over", "in its grace period", "used", "nobody to ask", "nobody asked", "clock was ahead", "none"],
)
def test_an_old_runtime_goes_only_when_nobody_needs_it(
    age: float | None, used: frozenset[Digest] | ShortageError | None, goes: bool, reason: str
) -> None:
    plan = planned(observed(old=age, used=used))
    assert [item.digest for item in plan.prunable] == ([OLD] if goes else [])
    assert (plan.actions[-1].kind, plan.actions[-1].reason) == (ActionKind.PRUNE, reason)


def test_the_runtime_of_this_revision_never_goes_however_old() -> None:
    seen = RuntimeObserved(
        blobs=DIGESTS, tags=TAGS, pushed=(pushed(RUNTIME.digest, age=99 * PRUNE_AFTER),), used=frozenset(), now=NOW
    )
    assert planned(seen).prunable == ()


def test_a_runtime_in_use_has_its_grace_period_from_now() -> None:
    items = (pushed(OLD, age=PRUNE_AFTER), pushed(RUNTIME.digest, age=5.0))
    seen = runtimeplan.seen_in_use(items, frozenset({OLD}), NOW)
    assert [item.at for item in seen] == [NOW, NOW - 5.0]


def test_a_registry_that_is_away_is_the_plans_obstacle() -> None:
    plan = planned(AWAY)
    assert (done(plan), plan.obstacle) == ([], AWAY)
