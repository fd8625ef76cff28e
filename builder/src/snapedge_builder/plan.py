"""The build planner: from what is declared and what the cache holds to a list of actions, each with its reason.

Pure: it reads and writes nothing. Rules:

1. A model is checked, and its golden samples replayed, unless that was done before with the same bytes and tools.
2. A runtime is built for each architecture unless the cache holds it.
3. A snap is packed unless the cache holds one packed from the same tree; that is known only where everything the tree
   follows from is there already.
4. A snap is written to the output folder unless the same bytes lie there.
5. What need not be done is in the plan too, and says why.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from snapedge_hooks.vocabulary import Architecture


class ActionKind(Enum):
    """What an action does, in the order they come."""

    CHECK_MODEL = "check-model"
    PROVE_SAMPLES = "prove-samples"
    BUILD_RUNTIME = "build-runtime"
    WRITE_LAYER = "write-layer"
    PACK = "pack"
    DELIVER = "deliver"

    def __str__(self) -> str:
        """The word people and machines read."""
        return self.value


class SamplesState(Enum):
    """What is known of the golden samples."""

    NONE = "none"
    PROVED = "proved"
    UNPROVED = "unproved"


class PackState(Enum):
    """What is known of a packed snap."""

    UNKNOWN = "unknown"
    ABSENT = "absent"
    PACKED = "packed"
    DELIVERED = "delivered"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildAction:
    """One thing to do, or not to do.

    Attributes:
        architecture: None where it concerns all.
        subject: what it is about: a model, a runtime, a snap file.
        reason: why it is done, or why it need not be.
        skip: whether it need not be done.
    """

    kind: ActionKind
    architecture: Architecture | None
    subject: str
    reason: str
    skip: bool = False

    def __str__(self) -> str:
        """One line for people."""
        mark = "skip" if self.skip else "do"
        return f"{mark:<4}  {self.kind.value:<13}  {self.architecture or 'all':<5}  {self.subject}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPlan:
    """All actions for one folder, in the order they are carried out."""

    name: str
    version: str
    actions: tuple[BuildAction, ...]

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return all(action.skip for action in self.actions)

    def only(self, *kinds: ActionKind) -> BuildPlan:
        """The same plan with the actions of these kinds alone."""
        return replace(self, actions=tuple(action for action in self.actions if action.kind in kinds))

    def has(self, kind: ActionKind, architecture: Architecture | None = None) -> bool:
        """Whether an action of that kind, for that architecture, is to be done."""
        return any(
            action.kind is kind and action.architecture is architecture and not action.skip for action in self.actions
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFacts:
    """What is known of one architecture's snap before the build.

    Attributes:
        runtime_ready: whether the cache holds the runtime for it.
        snap: what is known of the packed snap.
    """

    architecture: Architecture
    runtime_ready: bool
    snap: PackState


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFolderFacts:
    """What is known of a model folder before the build.

    Attributes:
        model_file: its name, for people.
        model_checked: whether these very bytes passed before.
        samples: what is known of them.
        layer_ready: whether the cache holds the model layer.
        runtime: the runtime's name and version.
    """

    name: str
    version: str
    model_file: str
    model_checked: bool
    samples: SamplesState
    layer_ready: bool
    runtime: str
    targets: tuple[TargetFacts, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeFolderFacts:
    """What is known of a runtime folder before the build."""

    name: str
    version: str
    runtime: str
    targets: tuple[TargetFacts, ...]


def plan_model(facts: ModelFolderFacts) -> BuildPlan:
    """The plan that turns a model folder into its snaps."""
    return BuildPlan(
        name=facts.name,
        version=facts.version,
        actions=(
            _check(facts),
            _prove(facts),
            *_runtimes(facts.runtime, facts.targets),
            _layer(facts),
            *_snaps(facts.name, facts.version, facts.targets, waits_for="the model layer or the runtime"),
        ),
    )


def plan_runtime(facts: RuntimeFolderFacts) -> BuildPlan:
    """The plan that turns a runtime folder into its snaps."""
    return BuildPlan(
        name=facts.name,
        version=facts.version,
        actions=(
            *_runtimes(facts.runtime, facts.targets),
            *_snaps(facts.name, facts.version, facts.targets, waits_for="the runtime"),
        ),
    )


def _check(facts: ModelFolderFacts) -> BuildAction:
    reason = "the same file passed before" if facts.model_checked else "this file was not checked before"
    return BuildAction(
        kind=ActionKind.CHECK_MODEL,
        architecture=None,
        subject=facts.model_file,
        reason=reason,
        skip=facts.model_checked,
    )


def _prove(facts: ModelFolderFacts) -> BuildAction:
    reason = {
        SamplesState.NONE: "there are no golden samples, and the gate is none",
        SamplesState.PROVED: "the same model answered the same samples right before",
        SamplesState.UNPROVED: "this model was not asked these samples before",
    }[facts.samples]
    return BuildAction(
        kind=ActionKind.PROVE_SAMPLES,
        architecture=None,
        subject=facts.model_file,
        reason=reason,
        skip=facts.samples is not SamplesState.UNPROVED,
    )


def _layer(facts: ModelFolderFacts) -> BuildAction:
    reason = "the cache holds it" if facts.layer_ready else "the model, its samples or its version changed"
    return BuildAction(
        kind=ActionKind.WRITE_LAYER, architecture=None, subject="model layer", reason=reason, skip=facts.layer_ready
    )


def _runtimes(runtime: str, targets: tuple[TargetFacts, ...]) -> Iterator[BuildAction]:
    for target in targets:
        yield BuildAction(
            kind=ActionKind.BUILD_RUNTIME,
            architecture=target.architecture,
            subject=runtime,
            reason="the cache holds it" if target.runtime_ready else "the cache does not hold it",
            skip=target.runtime_ready,
        )


def _snaps(name: str, version: str, targets: tuple[TargetFacts, ...], *, waits_for: str) -> Iterator[BuildAction]:
    pack_reasons = {
        PackState.UNKNOWN: f"{waits_for} changed",
        PackState.ABSENT: "its content was not packed before",
        PackState.PACKED: "the same content was packed before",
        PackState.DELIVERED: "the same content was packed before",
    }
    deliver_reasons = {
        PackState.DELIVERED: "the same file lies in the output folder",
        PackState.PACKED: "it is not in the output folder",
    }
    packed = (PackState.PACKED, PackState.DELIVERED)
    for kind in (ActionKind.PACK, ActionKind.DELIVER):
        for target in targets:
            is_pack = kind is ActionKind.PACK
            yield BuildAction(
                kind=kind,
                architecture=target.architecture,
                subject=f"{name}_{version}_{target.architecture}.snap",
                reason=pack_reasons[target.snap] if is_pack else deliver_reasons.get(target.snap, "it is packed anew"),
                skip=target.snap in packed if is_pack else target.snap is PackState.DELIVERED,
            )
