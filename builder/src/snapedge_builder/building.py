"""A folder becomes snaps: the steps of `builder plan` and `builder build`, in order.

observe -> plan -> execute -> record. A folder with runtime.yaml gives a runtime's snaps, one with inference.yaml a
model's, which need the runtime they are proved on: the folder `../runtime-<name>` unless another is named.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Architecture

from . import buildrecord, declaration, executor, modelfile, observation, plan, preparation, runtimes
from .buildrecord import BuildRecord
from .buildsettings import Backend, DockerfileSettings
from .cache import Cache
from .contents import BuiltLayers
from .declaration import ModelDeclaration
from .errors import BuilderError
from .executor import BuiltSnaps, Doors, LaidOutModel
from .observation import ModelObservation, RuntimeObservation, RuntimeSigner, RuntimeSource
from .packed import PackedSnap, replace_file
from .plan import ActionKind, BuildPlan
from .progress import Progress, Silence
from .runtimes import AnyRuntime, DockerfileRuntime


class NotAProjectError(BuilderError):
    """A folder holds nothing to build."""

    exit_code = ExitCode.USAGE

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"{folder} holds neither {declaration.FILE_NAME} nor {runtimes.FILE_NAME}",
            resolution="name a folder that does, or make one: builder new FOLDER --model FILE",
        )


class NoModelError(BuilderError):
    """A model is wanted, and there is none."""

    exit_code = ExitCode.USAGE

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} holds no model", resolution="name the folder or the snap of a model")


class NoRuntimeError(BuilderError):
    """A runtime is wanted, and there is none."""

    exit_code = ExitCode.USAGE

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} holds no runtime",
            resolution="name the folder or the snaps of a runtime, or make one: builder runtime new FOLDER --kind KIND",
        )


class RuntimeFolderMissingError(BuilderError):
    """There is no runtime to build a model's snap on."""

    exit_code = ExitCode.USAGE

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(
            f"runtime {name}: there is no {folder}/{runtimes.FILE_NAME}",
            resolution="name the runtime's folder with --runtime",
        )


class TwoRuntimesError(BuilderError):
    """A model with an image of its own was to be put on a runtime."""

    exit_code = ExitCode.USAGE

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} has an image of its own (build.dockerfile), and a runtime was named",
            resolution="leave out --runtime, or the Dockerfile",
        )


class NoArchitectureError(BuilderError):
    """An architecture was asked for that the folder does not declare."""

    exit_code = ExitCode.USAGE

    def __init__(self, architecture: Architecture, declared: tuple[Architecture, ...]) -> None:
        super().__init__(
            f"{architecture} is not declared here",
            resolution=f"declared: {', '.join(str(known) for known in declared)}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """What somebody asks to be built.

    Attributes:
        folder: with inference.yaml or runtime.yaml.
        runtime_folder: of the runtime for a model, or None for the sibling folder.
        architectures: to build for; empty for all declared.
        output: the folder for the snaps.
        ship_failing: whether wrong answers to golden samples are overruled.
        sign: makes the signature that a runtime's snaps bring; None for none.
    """

    folder: Path
    runtime_folder: Path | None = None
    architectures: tuple[Architecture, ...] = ()
    output: Path = Path("dist")
    ship_failing: bool = False
    sign: RuntimeSigner | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """A build that ended well.

    Attributes:
        plan: what was done, and what need not be.
        snaps: the files in the output folder.
        record: what went in.
        record_path: where the record lies.
        warnings: what a person should know.
    """

    plan: BuildPlan
    built: BuiltSnaps
    snaps: tuple[Path, ...]
    record: BuildRecord
    record_path: Path
    warnings: tuple[str, ...]

    def lines(self) -> list[tuple[Path, PackedSnap, bool]]:
        """Each snap with its packed file, and whether it was packed before."""
        architectures = [snap.content.architecture for snap in self.built.snaps]
        old = [not self.plan.has(ActionKind.PACK, architecture) for architecture in architectures]
        return list(zip(self.snaps, self.built.snaps, old, strict=True))


def plan_build(
    request: BuildRequest, *, cache: Cache, source: RuntimeSource, progress: Progress | None = None
) -> BuildPlan:
    """What a build would do now. What is served for a model is made if it must be: all that follows depends on it.

    Raises:
        BuilderError: the folder cannot be built as it is.
    """
    return _plan(_observe(request, cache, source, progress or Silence(), will_build=False))


def build(request: BuildRequest, *, cache: Cache, source: RuntimeSource, progress: Progress) -> Build:
    """Build a folder's snaps into the output folder, with a record beside them.

    Raises:
        BuilderError: the folder cannot be built, or a step failed; the output folder holds whole files only.
    """
    seen = _observe(request, cache, source, progress, will_build=True)
    made = _plan(seen)
    doors = Doors(cache=cache, runtimes=source, output=request.output.absolute(), progress=progress)
    if isinstance(seen, ModelObservation):
        built = executor.build_model(seen, made, doors, ship_failing=request.ship_failing)
        record = buildrecord.of_model(seen, built)
    else:
        built = executor.build_runtime(seen, made, doors)
        record = buildrecord.of_runtime(seen, built)
    record_path = doors.output / record.file_name
    data = record.to_json()
    if not (record_path.is_file() and record_path.read_bytes() == data):
        replace_file(record_path, data)
    return Build(
        plan=made,
        built=built,
        snaps=tuple(doors.output / snap.content.file_name for snap in built.snaps),
        record=record,
        record_path=record_path,
        warnings=tuple(_warnings(seen, built)),
    )


def lay_out(
    request: BuildRequest, *, cache: Cache, source: RuntimeSource, progress: Progress
) -> tuple[ModelObservation, LaidOutModel]:
    """Bring a model folder as far as its layers: nothing is proved, packed or written to the output folder.

    Raises:
        BuilderError: the folder holds no model that can be built.
    """
    seen = _observe(request, cache, source, progress, will_build=True)
    if not isinstance(seen, ModelObservation):
        raise NoModelError(request.folder.name)
    plan = _plan(seen).only(ActionKind.CHECK_MODEL, ActionKind.BUILD_RUNTIME, ActionKind.WRITE_LAYER)
    doors = Doors(cache=cache, runtimes=source, output=request.output.absolute(), progress=progress)
    return seen, executor.lay_out(seen, plan, doors, ship_failing=False)


def lay_out_runtime(
    folder: Path, *, cache: Cache, source: RuntimeSource, progress: Progress
) -> tuple[AnyRuntime, dict[Architecture, BuiltLayers]]:
    """A runtime's folder and its images; those that the cache does not hold are made. Nothing is packed.

    Raises:
        NoRuntimeError: it is a model's, or holds nothing to build.
        BuilderError: an image cannot be made.
    """
    check_runtime(folder)
    runtime = runtimes.read_any(folder.absolute())
    output = cache.root
    seen = observation.observe_runtime(runtime, runtime.architectures, cache=cache, source=source, output=output)
    plan = _plan(seen).only(ActionKind.BUILD_RUNTIME)
    doors = Doors(cache=cache, runtimes=source, output=output, progress=progress)
    return runtime, executor.lay_out_runtime(seen, plan, doors)


def check_runtime(folder: Path) -> None:
    """Refuse a folder that is not a runtime's.

    Raises:
        NoRuntimeError: it is a model's, or holds nothing to build.
    """
    if (folder / declaration.FILE_NAME).is_file() or not (folder / runtimes.FILE_NAME).is_file():
        raise NoRuntimeError(str(folder))


def _observe(
    request: BuildRequest, cache: Cache, source: RuntimeSource, progress: Progress, *, will_build: bool
) -> ModelObservation | RuntimeObservation:
    output = request.output.absolute()
    folder = request.folder.absolute()
    if (folder / declaration.FILE_NAME).is_file():
        model = preparation.prepare(declaration.read_declaration(folder), cache=cache, progress=progress)
        runtime = runtime_for(model, request.runtime_folder)
        architectures = _selected(request.architectures, model.architectures)
        return observation.observe_model(
            model, runtime, architectures, cache=cache, source=source, output=output, will_build=will_build
        )
    if (folder / runtimes.FILE_NAME).is_file():
        runtime = runtimes.read_any(folder)
        architectures = _selected(request.architectures, runtime.architectures)
        return observation.observe_runtime(
            runtime, architectures, cache=cache, source=source, output=output, sign=request.sign
        )
    raise NotAProjectError(request.folder)


def runtime_for(model: ModelDeclaration, folder: Path | None) -> AnyRuntime:
    """The runtime that a model is to be built on.

    Raises:
        RuntimeFolderMissingError: it is not where it should be.
        TwoRuntimesError: the model has an image of its own, and a runtime was named all the same.
        DeclarationError: its declaration is wrong.
    """
    if model.build.dockerfile is not None:
        if folder is not None:
            raise TwoRuntimesError(model.name)
        return _own_runtime(model, model.build.dockerfile)
    # A runtime is named as the model format that it serves, unless somebody makes another.
    name = model.runtime.name or str(modelfile.format_of(model.model_path))
    found = folder.absolute() if folder is not None else model.folder.parent / f"runtime-{name}"
    if not (found / runtimes.FILE_NAME).is_file():
        raise RuntimeFolderMissingError(name, found)
    runtime = runtimes.read_any(found)
    if model.build.backend is Backend.AUTO or isinstance(runtime, DockerfileRuntime):
        return runtime
    return replace(runtime, build=model.build)


def _own_runtime(model: ModelDeclaration, dockerfile: DockerfileSettings) -> DockerfileRuntime:
    """The runtime of a model that brings its own image: called as the model, and as old."""
    return DockerfileRuntime(
        folder=model.folder,
        name=str(model.name),
        version=model.version,
        interface=model.runtime.interface,
        formats=(modelfile.format_of(model.model_path),),
        architectures=model.architectures,
        build=model.build,
        dockerfile=dockerfile,
    )


def _plan(seen: ModelObservation | RuntimeObservation) -> BuildPlan:
    if isinstance(seen, ModelObservation):
        return plan.plan_model(seen.facts())
    return plan.plan_runtime(seen.facts())


def _selected(asked: tuple[Architecture, ...], declared: tuple[Architecture, ...]) -> tuple[Architecture, ...]:
    for architecture in asked:
        if architecture not in declared:
            raise NoArchitectureError(architecture, declared)
    return tuple(architecture for architecture in declared if not asked or architecture in asked)


def _warnings(seen: ModelObservation | RuntimeObservation, built: BuiltSnaps) -> list[str]:
    found = []
    if built.proof is not None and not built.proof.passed:
        wrong = len({deviation.sample for deviation in built.proof.deviations})
        found.append(
            f"this model answers {wrong} of {built.proof.samples} golden samples WRONGLY and was built all the same; "
            "with gate strict, devices will refuse it"
        )
    found.extend(dict.fromkeys(warning for runtime in built.runtimes.values() for warning in runtime.warnings))
    if isinstance(seen, ModelObservation):
        if seen.samples is None:
            found.append("there are no golden samples and the gate is none: nothing will prove this model anywhere")
        if seen.declaration.service.update.value == "recreate":
            found.append("update: recreate stops the old model before the new one is ready: expect a short gap")
        if built.model is not None:
            found.extend(buildrecord.runtime_differences(seen.runtime, built.model.format))
            if built.model.trained_with is not None:
                found.append("the model is a pickle: whoever can change the file can run code where it is served")
    return found
