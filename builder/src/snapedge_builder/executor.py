"""Carries out build plans: does what the plan says, in its order, and decides nothing.

Everything made lands in the cache under what it follows from; the output folder is written last. So a build that ends
anywhere, however it ends, leaves a whole cache and whole files behind, and the next one goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from snapedge_hooks.images import ModelLayer
from snapedge_hooks.vocabulary import Architecture

from . import layers, modelfile, observation, packed, proof
from .cache import Cache
from .contents import BuiltLayers, SnapContent
from .declaration import ImageDelivery
from .modelfile import ModelFacts, ModelRefusedError
from .observation import ModelObservation, RuntimeObservation, RuntimeSource
from .packed import PackedSnap
from .plan import ActionKind, BuildPlan
from .prime import Assembler
from .progress import Progress
from .proof import Proof, SamplesFailedError
from .runtimes import AnyRuntime
from .signature import check_samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """What an executor acts on.

    Attributes:
        output: the folder that snaps are written to, by its absolute path.
    """

    cache: Cache
    runtimes: RuntimeSource
    output: Path
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltSnaps:
    """What a build gave.

    Attributes:
        model: its facts; None for a runtime.
        proof: what replaying showed; None where there are no samples, or for a runtime.
        runtimes: by architecture.
        snaps: one for each architecture, in order.
    """

    model: ModelFacts | None
    proof: Proof | None
    runtimes: dict[Architecture, BuiltLayers]
    snaps: tuple[PackedSnap, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaidOutModel:
    """A model and its runtimes as layers in the cache, before anything is packed.

    Attributes:
        proof: as in `BuiltSnaps`.
        layer: the model's; its tar is a blob of the cache.
    """

    model: ModelFacts
    proof: Proof | None
    layer: ModelLayer
    runtimes: dict[Architecture, BuiltLayers]


def build_model(seen: ModelObservation, plan: BuildPlan, doors: Doors, *, ship_failing: bool) -> BuiltSnaps:
    """Carry out the plan of a model folder.

    Args:
        seen: what the plan was made from.
        plan: what to do.
        doors: what to act on.
        ship_failing: whether a model with wrong answers is built all the same.

    Raises:
        ModelRefusedError: the model cannot be served.
        RuntimeUnfitError: the runtime does not serve models of this format.
        SamplesMismatchError: the samples are not about this model.
        SamplesFailedError: the model answers its samples wrongly, and nobody overruled that.
    """
    with _assembler(plan, has_parts=seen.declaration.image is ImageDelivery.FULL) as assembler:
        laid = lay_out(seen, plan, doors, ship_failing=ship_failing)
        contents = [
            target.content
            or observation.model_content(
                seen.declaration, laid.model, laid.layer, laid.runtimes[target.architecture], doors.cache
            )
            for target in seen.targets
        ]
        found = {target.architecture: target.snap for target in seen.targets}
        snaps = _snaps(contents, found, plan, doors, assembler)
    return BuiltSnaps(model=laid.model, proof=laid.proof, runtimes=laid.runtimes, snaps=snaps)


def lay_out(seen: ModelObservation, plan: BuildPlan, doors: Doors, *, ship_failing: bool) -> LaidOutModel:
    """Carry out the plan of a model folder up to its layers; the arguments and errors are those of `build_model`."""
    path = seen.declaration.model_path
    model = seen.model
    if plan.has(ActionKind.CHECK_MODEL) or model is None:
        model = _checked(seen, doors)
    observation.check_served(seen.declaration, model, seen.runtime)
    shown = None
    if seen.samples is not None:
        check_samples(seen.samples, model.signature)
        shown = Proof(samples=len(seen.samples.samples), deviations=())
    if plan.has(ActionKind.PROVE_SAMPLES):
        shown = _proved(seen, model, doors, ship_failing=ship_failing)
    runtimes = _runtimes(seen.runtime, {target.architecture: target.runtime for target in seen.targets}, plan, doors)
    files = observation.layer_files(seen.declaration, model, seen.samples)
    layer = seen.layer
    if plan.has(ActionKind.WRITE_LAYER) or layer is None:
        doors.progress.start("model layer")
        layer = layers.write_model_layer(seen.declaration.name, files, cache=doors.cache)
        doors.cache.write_note(
            observation.LAYER_NOTE,
            observation.layer_key(files),
            {"file": layer.file, "diff_id": layer.diff_id, "size": layer.size},
        )
        doors.progress.done("model layer", f"{layer.size / 1e6:.2f} MB")
    if modelfile.model_digest(path) != model.digest:
        raise ModelRefusedError(path.name, "changed while it was built", resolution="build again")
    return LaidOutModel(model=model, proof=shown, layer=layer, runtimes=runtimes)


def build_runtime(seen: RuntimeObservation, plan: BuildPlan, doors: Doors) -> BuiltSnaps:
    """Carry out the plan of a runtime folder."""
    runtimes = lay_out_runtime(seen, plan, doors)
    contents = [observation.runtime_content(runtimes[target.architecture], seen.sign) for target in seen.targets]
    packed_before = {target.architecture: target.snap for target in seen.targets}
    with _assembler(plan, has_parts=True) as assembler:
        snaps = _snaps(contents, packed_before, plan, doors, assembler)
    return BuiltSnaps(model=None, proof=None, runtimes=runtimes, snaps=snaps)


def lay_out_runtime(seen: RuntimeObservation, plan: BuildPlan, doors: Doors) -> dict[Architecture, BuiltLayers]:
    """Carry out the plan of a runtime folder up to its layers."""
    return _runtimes(seen.runtime, {target.architecture: target.runtime for target in seen.targets}, plan, doors)


@contextmanager
def _assembler(plan: BuildPlan, *, has_parts: bool) -> Iterator[Assembler | None]:
    """craft-parts on its way, where something of parts is to be packed."""
    if not has_parts or not any(action.kind is ActionKind.PACK and not action.skip for action in plan.actions):
        yield None
        return
    with Assembler() as assembler:
        yield assembler


def _checked(seen: ModelObservation, doors: Doors) -> ModelFacts:
    task = seen.declaration.model_file
    doors.progress.start(task)
    model = modelfile.read_model(seen.declaration.model_path, digest=seen.digest)
    observation.note_model(model, doors.cache)
    doors.progress.done(task, f"{model.format}, {model.size / 1e6:.2f} MB")
    return model


def _proved(seen: ModelObservation, model: ModelFacts, doors: Doors, *, ship_failing: bool) -> Proof:
    assert seen.samples is not None, "there is nothing to prove without samples"
    task = "golden samples"
    doors.progress.start(task)
    with proof.answering(seen.declaration.model_path, model) as loaded:
        shown = proof.prove(loaded, seen.samples)
    if shown.passed:
        key = observation.proof_key(model, seen.samples)
        doors.cache.write_note(observation.PROOF_NOTE, key, {"samples": shown.samples})
        doors.progress.done(task, f"{shown.samples} right")
        return shown
    if not ship_failing:
        raise SamplesFailedError(seen.declaration.model_file, shown)
    wrong = len({deviation.sample for deviation in shown.deviations})
    doors.progress.done(task, f"{wrong} of {shown.samples} WRONG, overruled")
    return shown


def _runtimes(
    declaration: AnyRuntime,
    found: dict[Architecture, BuiltLayers | None],
    plan: BuildPlan,
    doors: Doors,
) -> dict[Architecture, BuiltLayers]:
    wanted = [architecture for architecture in found if plan.has(ActionKind.BUILD_RUNTIME, architecture)]
    ready = {architecture: layers for architecture, layers in found.items() if layers is not None}
    if wanted:
        with ThreadPoolExecutor(max_workers=len(wanted)) as pool:
            built = pool.map(
                lambda architecture: doors.runtimes.build(declaration, architecture, doors.progress), wanted
            )
            ready |= dict(zip(wanted, built, strict=True))
    return {architecture: ready[architecture] for architecture in found}


def _snaps(
    contents: list[SnapContent],
    found: dict[Architecture, PackedSnap | None],
    plan: BuildPlan,
    doors: Doors,
    assembler: Assembler | None,
) -> tuple[PackedSnap, ...]:
    ready = {architecture: snap for architecture, snap in found.items() if snap is not None}
    to_pack = [content for content in contents if plan.has(ActionKind.PACK, content.architecture)]
    # What was unknown when the plan was made may turn out to be packed already: then the cache gives it.
    for content in list(to_pack):
        known = packed.find_packed(content, cache=doors.cache)
        if known is not None:
            ready[content.architecture] = known
            to_pack.remove(content)
    if to_pack:
        for snap in packed.pack_all(to_pack, assembler=assembler, cache=doors.cache, progress=doors.progress):
            ready[snap.content.architecture] = snap
    snaps = tuple(ready[content.architecture] for content in contents)
    for snap in snaps:
        if plan.has(ActionKind.DELIVER, snap.content.architecture):
            packed.deliver(snap, doors.output)
    return snaps
