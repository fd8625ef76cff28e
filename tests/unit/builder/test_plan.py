"""The build planner, by literal plans."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from snapedge_builder.plan import (
    ActionKind,
    BuildAction,
    BuildPlan,
    ModelFolderFacts,
    PackState,
    RuntimeFolderFacts,
    SamplesState,
    TargetFacts,
    plan_model,
    plan_runtime,
)
from snapedge_hooks.vocabulary import Architecture

AMD64, ARM64 = Architecture.AMD64, Architecture.ARM64


def facts(
    *,
    checked: bool = True,
    samples: SamplesState = SamplesState.PROVED,
    layer: bool = True,
    targets: tuple[TargetFacts, ...],
) -> ModelFolderFacts:
    return ModelFolderFacts(
        name="wine",
        version="1.1.0",
        model_file="model.onnx",
        model_checked=checked,
        samples=samples,
        layer_ready=layer,
        runtime="runtime onnx 1.0.0",
        targets=targets,
    )


def action(
    kind: ActionKind, architecture: Architecture | None, subject: str, reason: str, *, skip: bool = False
) -> BuildAction:
    return BuildAction(kind=kind, architecture=architecture, subject=subject, reason=reason, skip=skip)


def test_a_first_build_does_everything() -> None:
    target = TargetFacts(architecture=ARM64, runtime_ready=False, snap=PackState.UNKNOWN)
    plan = plan_model(facts(checked=False, samples=SamplesState.UNPROVED, layer=False, targets=(target,)))
    assert plan == BuildPlan(
        name="wine",
        version="1.1.0",
        actions=(
            action(ActionKind.CHECK_MODEL, None, "model.onnx", "this file was not checked before"),
            action(ActionKind.PROVE_SAMPLES, None, "model.onnx", "this model was not asked these samples before"),
            action(ActionKind.BUILD_RUNTIME, ARM64, "runtime onnx 1.0.0", "the cache does not hold it"),
            action(ActionKind.WRITE_LAYER, None, "model layer", "the model, its samples or its version changed"),
            action(ActionKind.PACK, ARM64, "wine_1.1.0_arm64.snap", "the model layer or the runtime changed"),
            action(ActionKind.DELIVER, ARM64, "wine_1.1.0_arm64.snap", "it is packed anew"),
        ),
    )


def test_a_build_with_nothing_changed_is_all_skips() -> None:
    targets = tuple(
        TargetFacts(architecture=architecture, runtime_ready=True, snap=PackState.DELIVERED)
        for architecture in (AMD64, ARM64)
    )
    plan = plan_model(facts(targets=targets))
    assert plan.is_idle
    assert [str(found) for found in plan.actions] == [
        "skip  check-model    all    model.onnx: the same file passed before",
        "skip  prove-samples  all    model.onnx: the same model answered the same samples right before",
        "skip  build-runtime  amd64  runtime onnx 1.0.0: the cache holds it",
        "skip  build-runtime  arm64  runtime onnx 1.0.0: the cache holds it",
        "skip  write-layer    all    model layer: the cache holds it",
        "skip  pack           amd64  wine_1.1.0_amd64.snap: the same content was packed before",
        "skip  pack           arm64  wine_1.1.0_arm64.snap: the same content was packed before",
        "skip  deliver        amd64  wine_1.1.0_amd64.snap: the same file lies in the output folder",
        "skip  deliver        arm64  wine_1.1.0_arm64.snap: the same file lies in the output folder",
    ]


def test_a_snap_packed_before_is_only_delivered() -> None:
    target = TargetFacts(architecture=AMD64, runtime_ready=True, snap=PackState.PACKED)
    plan = plan_runtime(RuntimeFolderFacts(name="snapedge-onnx", version="1.0.0", runtime="runtime", targets=(target,)))
    assert plan.actions == (
        action(ActionKind.BUILD_RUNTIME, AMD64, "runtime", "the cache holds it", skip=True),
        action(
            ActionKind.PACK, AMD64, "snapedge-onnx_1.0.0_amd64.snap", "the same content was packed before", skip=True
        ),
        action(ActionKind.DELIVER, AMD64, "snapedge-onnx_1.0.0_amd64.snap", "it is not in the output folder"),
    )


def test_without_samples_nothing_is_proved() -> None:
    plan = plan_model(facts(samples=SamplesState.NONE, targets=()))
    assert plan.actions[1] == action(
        ActionKind.PROVE_SAMPLES, None, "model.onnx", "there are no golden samples, and the gate is none", skip=True
    )


targets = st.builds(
    TargetFacts,
    architecture=st.sampled_from(Architecture),
    runtime_ready=st.booleans(),
    snap=st.sampled_from(PackState),
)


@given(st.booleans(), st.sampled_from(SamplesState), st.booleans(), st.lists(targets, max_size=2))
def test_every_action_has_a_reason_and_follows_its_facts(
    checked: bool, samples: SamplesState, layer: bool, found: list[TargetFacts]
) -> None:
    plan = plan_model(facts(checked=checked, samples=samples, layer=layer, targets=tuple(found)))
    assert all(item.reason for item in plan.actions)
    assert plan.has(ActionKind.CHECK_MODEL) is not checked
    assert len([item for item in plan.actions if item.kind is ActionKind.PACK]) == len(found)
    order = [list(ActionKind).index(item.kind) for item in plan.actions]
    assert order == sorted(order)
