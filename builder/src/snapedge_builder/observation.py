"""What is there before a build: the declaration, the model, and what the cache holds of them.

Reads only. The planner gets facts without contents (`facts`), the executor the things themselves.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from snapedge_hooks.document import Fields, canonical_json
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.images import ModelLayer, RuntimeImage
from snapedge_hooks.runtimeterms import RuntimeTerms
from snapedge_hooks.samples import SampleSet
from snapedge_hooks.vocabulary import Architecture, Digest, ModelFormat

from . import contents, devicelib, modelfile, packed, proof, runtimes
from .cache import Cache
from .contents import BuiltLayers, SnapContent
from .declaration import ModelDeclaration
from .errors import BuilderError
from .modelfile import ModelFacts
from .packed import PackedSnap
from .plan import ModelFolderFacts, PackState, RuntimeFolderFacts, SamplesState, TargetFacts
from .progress import Progress
from .runtimes import AnyRuntime, DockerfileRuntime
from .samplesfile import read_samples
from .signature import Signature

MODEL_NOTE = "model-facts"
PROOF_NOTE = "proof"
LAYER_NOTE = "model-layer"


RuntimeSigner: TypeAlias = Callable[[RuntimeImage], bytes | None]
"""Gives the envelope over what is said of a runtime; None where there is to be none."""


class RuntimeSource(Protocol):
    """Where built runtimes come from."""

    def recall(self, declaration: AnyRuntime, architecture: Architecture) -> BuiltLayers | None:
        """The runtime as it was built before; its layers are not looked at."""

    def is_whole(self, runtime: BuiltLayers) -> bool:
        """Whether the layers of a recalled runtime are all there, to the byte."""

    def build(self, declaration: AnyRuntime, architecture: Architecture, progress: Progress) -> BuiltLayers:
        """The runtime, built where it is not in the cache."""


class RuntimeUnfitError(BuilderError):
    """The runtime at hand is not one the model may be put on."""

    exit_code = ExitCode.REFUSED

    def __init__(self, model: str, problem: str, *, resolution: str = "") -> None:
        super().__init__(f"{model}: {problem}", resolution=resolution)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One architecture of a build, as it is found.

    Attributes:
        runtime: from the cache, or None.
        content: what the snap will hold, where all it follows from is there.
        snap: the packed snap, where the cache has it.
        delivered: whether it lies in the output folder already.
    """

    architecture: Architecture
    runtime: BuiltLayers | None = None
    content: SnapContent | None = None
    snap: PackedSnap | None = None
    delivered: bool = False

    def facts(self) -> TargetFacts:
        """What the planner needs of it."""
        if self.content is None:
            state = PackState.UNKNOWN
        elif self.snap is None:
            state = PackState.ABSENT
        else:
            state = PackState.DELIVERED if self.delivered else PackState.PACKED
        return TargetFacts(architecture=self.architecture, runtime_ready=self.runtime is not None, snap=state)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelObservation:
    """A model folder, as it is found.

    Attributes:
        digest: of the model file.
        model: its facts, where these bytes were checked before.
        samples: as the folder has them, or None.
        is_proved: whether this model answered these samples right before.
        layer: the model layer, where the cache holds it.
    """

    declaration: ModelDeclaration
    runtime: AnyRuntime
    digest: Digest
    model: ModelFacts | None
    samples: SampleSet | None
    is_proved: bool
    layer: ModelLayer | None
    targets: tuple[Target, ...]

    def facts(self) -> ModelFolderFacts:
        """What the planner needs of it."""
        if self.samples is None:
            state = SamplesState.NONE
        else:
            state = SamplesState.PROVED if self.is_proved else SamplesState.UNPROVED
        return ModelFolderFacts(
            name=self.declaration.name,
            version=self.declaration.version,
            model_file=self.declaration.model_file,
            model_checked=self.model is not None,
            samples=state,
            layer_ready=self.layer is not None,
            runtime=f"runtime {self.runtime.name} {self.runtime.version}",
            targets=tuple(target.facts() for target in self.targets),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeObservation:
    """A runtime folder, as it is found.

    Attributes:
        sign: makes the signature that its snaps bring; None where they bring none.
    """

    runtime: AnyRuntime
    targets: tuple[Target, ...]
    sign: RuntimeSigner | None = None

    def facts(self) -> RuntimeFolderFacts:
        """What the planner needs of it."""
        return RuntimeFolderFacts(
            name=contents.runtime_snap_name(self.runtime.name),
            version=self.runtime.version,
            runtime=f"runtime {self.runtime.name} {self.runtime.version}",
            targets=tuple(target.facts() for target in self.targets),
        )


def observe_model(
    declaration: ModelDeclaration,
    runtime: AnyRuntime,
    architectures: tuple[Architecture, ...],
    *,
    cache: Cache,
    source: RuntimeSource,
    output: Path,
    will_build: bool,
) -> ModelObservation:
    """What is there of a model folder and its build.

    Args:
        declaration: of the model.
        runtime: that it is to be put on.
        architectures: to build for.
        cache: that may hold what is to be made.
        source: of built runtimes.
        output: the folder for the snaps.
        will_build: whether a model that was not checked before will be: then what reads it is loaded meanwhile.

    Raises:
        RuntimeUnfitError: the runtime is not one the model may be put on.
        ModelRefusedError: the model file is missing or empty.
        SamplesUnreadableError: the golden samples are missing.
        DocumentError: they are no golden samples.
    """
    _check_fit(declaration, runtime, architectures)
    digest = modelfile.model_digest(declaration.model_path)
    samples = read_samples(declaration)
    model = find_model(digest, cache)
    layer = find_layer(layer_files(declaration, model, samples), cache) if model else None
    is_proved = (
        samples is not None and model is not None and cache.find_note(PROOF_NOTE, proof_key(model, samples)) is not None
    )
    recalled = [source.recall(runtime, architecture) for architecture in architectures]
    with ThreadPoolExecutor(max_workers=len(architectures)) as pool:
        # Hashing their layers takes as long as loading what reads models, and needs no interpreter.
        whole = pool.map(lambda found: _whole(found, source), recalled)
        if will_build and model is None:
            modelfile.load_reader(declaration.model_path)
    targets = []
    for architecture, found in zip(architectures, whole, strict=True):
        content = None
        if model is not None and layer is not None and found is not None:
            content = model_content(declaration, model, layer, found, cache)
        targets.append(_target(architecture, found, content, cache, output))
    return ModelObservation(
        declaration=declaration,
        runtime=runtime,
        digest=digest,
        model=model,
        samples=samples,
        is_proved=is_proved,
        layer=layer,
        targets=tuple(targets),
    )


def observe_runtime(
    runtime: AnyRuntime,
    architectures: tuple[Architecture, ...],
    *,
    cache: Cache,
    source: RuntimeSource,
    output: Path,
    sign: RuntimeSigner | None = None,
) -> RuntimeObservation:
    """What is there of a runtime folder's build."""
    targets = []
    for architecture in architectures:
        found = find_runtime(runtime, architecture, source)
        content = None if found is None else runtime_content(found, sign)
        targets.append(_target(architecture, found, content, cache, output))
    return RuntimeObservation(runtime=runtime, targets=tuple(targets), sign=sign)


def find_runtime(declaration: AnyRuntime, architecture: Architecture, source: RuntimeSource) -> BuiltLayers | None:
    """The runtime, if it was built before and is still there."""
    return _whole(source.recall(declaration, architecture), source)


def _whole(found: BuiltLayers | None, source: RuntimeSource) -> BuiltLayers | None:
    return found if found is not None and source.is_whole(found) else None


def model_content(
    declaration: ModelDeclaration, model: ModelFacts, layer: ModelLayer, runtime: BuiltLayers, cache: Cache
) -> SnapContent:
    """What the model's snap holds for one architecture."""
    return contents.model_snap(
        declaration,
        model=model,
        layer=layer,
        layer_file=cache.blob_path(layer.diff_id),
        runtime=runtime,
        device=devicelib.device_files(),
    )


def runtime_content(runtime: BuiltLayers, sign: RuntimeSigner | None) -> SnapContent:
    """What the runtime's snap holds for one architecture."""
    signature = None if sign is None else sign(runtime.image)
    return contents.runtime_snap(runtime, device=devicelib.device_files(), signature=signature)


def layer_files(
    declaration: ModelDeclaration, model: ModelFacts, samples: SampleSet | None
) -> Mapping[str, Path | bytes]:
    """The files of the model layer by name, for one way or the other of writing it."""
    file = f"model.{model.format}"
    document = {
        "format": 1,
        "name": declaration.name,
        "version": declaration.version,
        "model_format": str(model.format),
        "file": file,
        "digest": model.digest,
        **model.signature.to_json(),
    }
    files: dict[str, Path | bytes] = {"model.json": canonical_json(document), file: declaration.model_path}
    if samples is not None:
        files["samples.json"] = samples.to_json()
    return files


def layer_key(files: Mapping[str, Path | bytes]) -> Digest:
    """What a model layer follows from; model.json holds the model's digest, so the file is not read again."""
    return Digest.of(canonical_json({name: Digest.of(data) for name, data in files.items() if isinstance(data, bytes)}))


def find_layer(files: Mapping[str, Path | bytes], cache: Cache) -> ModelLayer | None:
    """The layer of these files, if the cache holds it whole."""
    note = cache.find_note(LAYER_NOTE, layer_key(files))
    if note is None:
        return None
    layer = ModelLayer(file=note["file"], diff_id=Digest(note["diff_id"]), size=note["size"])
    return layer if cache.find_blob(layer.diff_id) else None


def model_key(digest: Digest) -> Digest:
    """What the facts of a model follow from: its bytes, and the checker."""
    return Digest.of(canonical_json({"model": digest, "onnx": importlib.metadata.version("onnx"), "facts": 2}))


def find_model(digest: Digest, cache: Cache) -> ModelFacts | None:
    """The facts of a model, if these bytes were checked before."""
    note = cache.find_note(MODEL_NOTE, model_key(digest))
    if note is None:
        return None
    fields = Fields(note, what="note of a model")
    return ModelFacts(
        format=fields.parsed("format", ModelFormat),
        digest=digest,
        size=fields.integer("size"),
        opsets=tuple((domain, version) for domain, version in fields.list("opsets")),
        signature=Signature.read(fields),
        trained_with=fields.text("trained_with") or None,
    )


def note_model(model: ModelFacts, cache: Cache) -> None:
    """Note the facts of a model that passed."""
    cache.write_note(
        MODEL_NOTE,
        model_key(model.digest),
        {
            "format": str(model.format),
            "size": model.size,
            "opsets": [list(item) for item in model.opsets],
            "trained_with": model.trained_with or "",
        }
        | model.signature.to_json(),
    )


def proof_key(model: ModelFacts, samples: SampleSet) -> Digest:
    """What a proof follows from: the model, the samples, and what ran it."""
    return Digest.of(
        canonical_json(
            {
                "model": model.digest,
                "samples": Digest.of(samples.to_json()),
                proof.ENGINES[model.format]: proof.engine_version(model.format),
            }
        )
    )


def check_served(declaration: ModelDeclaration, model: ModelFacts, runtime: AnyRuntime) -> None:
    """Refuse a model that the runtime would not load.

    Raises:
        RuntimeUnfitError: the runtime serves other formats, or a pickle is of another scikit-learn than it has.
    """
    if model.format not in runtime.formats:
        served = ", ".join(str(known) for known in runtime.formats)
        raise RuntimeUnfitError(declaration.name, f"is {model.format}, runtime {runtime.name} serves {served}")
    if model.trained_with is None or isinstance(runtime, DockerfileRuntime):
        return  # what is in an image of one's own is its author's to know; the samples tell
    locked = runtimes.locked_version(runtime.project, modelfile.SKLEARN_PACKAGE)
    if locked != model.trained_with:
        raise RuntimeUnfitError(
            declaration.name,
            f"was trained with scikit-learn {model.trained_with}, runtime {runtime.name} {runtime.version} "
            f"has {locked or 'none'}",
            resolution="train it again with that version, or build it on a runtime of its own version (--runtime)",
        )


def _target(
    architecture: Architecture, found: BuiltLayers | None, content: SnapContent | None, cache: Cache, output: Path
) -> Target:
    snap = None if content is None else packed.find_packed(content, cache=cache)
    return Target(
        architecture=architecture,
        runtime=found,
        content=content,
        snap=snap,
        delivered=snap is not None and packed.is_delivered(snap, output),
    )


def _check_fit(declaration: ModelDeclaration, runtime: AnyRuntime, architectures: tuple[Architecture, ...]) -> None:
    choice = declaration.runtime
    if choice.name is not None and choice.name != runtime.name:
        raise RuntimeUnfitError(
            declaration.name, f"wants runtime {choice.name}, {runtime.folder.name} is {runtime.name}"
        )
    wanted = RuntimeTerms(name=runtime.name, interface=choice.interface, minimum=choice.minimum or runtime.version)
    offer = RuntimeTerms(name=runtime.name, interface=runtime.interface, minimum=runtime.version)
    if not wanted.are_met_by(offer):
        raise RuntimeUnfitError(
            declaration.name,
            f"wants runtime {wanted}; {runtime.folder.name} is interface {runtime.interface}, {runtime.version}",
            resolution="change `runtime` in inference.yaml, or name another runtime folder with --runtime",
        )
    # Whether an image of one's own speaks it is its author's to know.
    lacks_grpc = not isinstance(runtime, DockerfileRuntime) and runtimes.GRPC not in runtime.extras
    if declaration.service.grpc and lacks_grpc:
        raise RuntimeUnfitError(
            declaration.name,
            f"wants gRPC, which {runtime.folder.name} is built without",
            resolution=f"write extras: [{runtimes.GRPC}] in its {runtimes.FILE_NAME}, or take `grpc` out of `service`",
        )
    for architecture in architectures:
        if architecture not in runtime.architectures:
            raise RuntimeUnfitError(
                declaration.name,
                f"runtime {runtime.name} is not built for {architecture}",
                resolution="take it out of `architectures`",
            )
