"""`builder runtime check`: runtimes and models read from folders and snaps, for `runtimecheck` to judge.

Nothing is decided here.

    MixedRuntimesError    what was named is not one version of one runtime
    RuntimeRefusedError   a version, or a model, refuses the runtime
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Architecture

from . import building, contents, runtimecheck, runtimes, sbom, verification
from .building import NoRuntimeError
from .cache import Cache
from .errors import BuilderError
from .observation import RuntimeSource
from .progress import Progress
from .runtimecheck import ModelSnap, ModelVerdict, Outcome, RuntimeFacts, VersionVerdict
from .snapfile import SnapFile


class MixedRuntimesError(BuilderError):
    """What was named is not one version of one runtime."""

    exit_code = ExitCode.USAGE

    def __init__(self, problem: str) -> None:
        super().__init__(problem, resolution="name one folder, or the snaps of one version of one runtime")


class RuntimeRefusedError(BuilderError):
    """A version may not follow the older one, or models would not be put on the runtime."""

    exit_code = ExitCode.REFUSED

    def __init__(self, report: RuntimeReport) -> None:
        versions = [verdict for verdict in report.versions if verdict.outcome is Outcome.REFUSED]
        if versions:
            brief = f"{report.name} {report.version} may not follow {versions[0].old}: {versions[0].reason}"
            super().__init__(brief, resolution=versions[0].resolution)
        else:
            kept = [verdict for verdict in report.models if verdict.outcome is Outcome.REFUSED]
            brief = f"{len(kept)} of {len(report.models)} models would not be put on {report.name} {report.version}"
            super().__init__(brief, resolution=kept[0].resolution)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeReport:
    """A runtime, and what is to be said of it.

    Attributes:
        name: of the runtime, such as `onnx`.
        version: of the runtime; also the highest `minimum` of models that can be put on it.
        interface: that it offers.
        runtimes: for each architecture.
        notes: what else is known of it, by what it is about: a folder's formats, whether it is pinned.
        versions: next to each older snap that was named.
        models: each one that was named.
    """

    name: str
    version: str
    interface: int
    runtimes: tuple[RuntimeFacts, ...]
    notes: tuple[tuple[str, str], ...]
    versions: tuple[VersionVerdict, ...]
    models: tuple[ModelVerdict, ...]

    @property
    def is_refused(self) -> bool:
        """Whether a version or a model refuses it."""
        outcomes = [verdict.outcome for verdict in self.versions] + [verdict.outcome for verdict in self.models]
        return Outcome.REFUSED in outcomes

    def to_value(self) -> dict[str, Any]:
        """The report as JSON has it."""
        return {
            "name": self.name,
            "version": self.version,
            "interface": self.interface,
            **dict(self.notes),
            "runtimes": [
                {
                    "architecture": str(found.image.architecture),
                    "manifest": found.image.digest,
                    "size": found.image.size,
                    "signatures": len(found.signatures),
                    "from": found.where,
                }
                for found in self.runtimes
            ],
            "against": [
                {
                    "architecture": str(verdict.architecture),
                    "old": verdict.old,
                    "outcome": str(verdict.outcome),
                    "reason": verdict.reason,
                    "resolution": verdict.resolution,
                    "changes": list(verdict.changes),
                }
                for verdict in self.versions
            ],
            "models": [
                {
                    "file": verdict.file,
                    "outcome": str(verdict.outcome),
                    "reason": verdict.reason,
                    "resolution": verdict.resolution,
                }
                for verdict in self.models
            ],
        }


def check(
    paths: Sequence[Path], against: Sequence[Path], *, cache: Cache, source: RuntimeSource, progress: Progress
) -> RuntimeReport:
    """What there is to say of a runtime next to older ones, and to models.

    Args:
        paths: the folder of a runtime or the snaps of its version, and any snaps of models.
        against: snaps of an older version.
        cache: that holds the folder's images, or is to.
        source: of those.
        progress: told what is made.

    Raises:
        NoRuntimeError: there is no runtime among the paths, or no runtime in an older snap.
        MixedRuntimesError: the paths are several runtimes, or the older ones are of another.
        BuilderError: a snap cannot be read, or the folder cannot be built.
    """
    snaps = [SnapFile.open(path) for path in paths if not path.is_dir()]
    folders = [path for path in paths if path.is_dir()]
    older = [_of_snap(SnapFile.open(path)) for path in against]
    found = [_of_snap(snap) for snap in snaps if contents.PAYLOAD not in snap.entries]
    if len(folders) > 1 or (folders and found):
        raise MixedRuntimesError(f"{folders[0]} is not the only runtime")
    notes: tuple[tuple[str, str], ...] = ()
    if folders:
        declared, images = building.lay_out_runtime(folders[0], cache=cache, source=source, progress=progress)
        notes = tuple(_notes(declared))
        found = [
            RuntimeFacts(where=str(folders[0]), image=built.image, packages=_packages(built.components))
            for built in images.values()
        ]
    by_architecture = _one_version(found)
    first = found[0].image
    for old in older:
        if old.image.name != first.name:
            raise MixedRuntimesError(f"{old.where} is runtime {old.image.name}, and not {first.name}")
    return RuntimeReport(
        name=first.name,
        version=first.version,
        interface=first.interface,
        runtimes=tuple(found),
        notes=notes,
        versions=tuple(_version(old, by_architecture) for old in older),
        models=tuple(
            runtimecheck.judge_model(by_architecture, _model(snap))
            for snap in snaps
            if contents.PAYLOAD in snap.entries
        ),
    )


def _one_version(found: Sequence[RuntimeFacts]) -> dict[Architecture, RuntimeFacts]:
    if not found:
        raise NoRuntimeError("what was named")
    by_architecture: dict[Architecture, RuntimeFacts] = {}
    first = found[0].image
    for one in found:
        image = one.image
        if (image.name, image.version, image.interface) != (first.name, first.version, first.interface):
            told = " and ".join(f"{item.name} {item.version}, interface {item.interface}" for item in (first, image))
            raise MixedRuntimesError(f"{one.where} is another runtime than {found[0].where}: {told}")
        if image.architecture in by_architecture:
            raise MixedRuntimesError(f"{one.where} is for {image.architecture}, as another is")
        by_architecture[image.architecture] = one
    return by_architecture


def _version(old: RuntimeFacts, found: dict[Architecture, RuntimeFacts]) -> VersionVerdict:
    architecture = old.image.architecture
    new = found.get(architecture)
    if new is not None:
        return runtimecheck.judge_version(old, new)
    reason = f"is for {architecture}, and no such runtime was named"
    return VersionVerdict(architecture=architecture, old=old.where, outcome=Outcome.UNCONCERNED, reason=reason)


def _of_snap(snap: SnapFile) -> RuntimeFacts:
    if contents.RUNTIME not in snap.entries or contents.PAYLOAD in snap.entries:
        raise NoRuntimeError(snap.path.name)
    return RuntimeFacts(
        where=snap.path.name,
        image=verification.read_runtime(snap),
        packages=_packages(sbom.libraries(snap.read(contents.SBOM), file=snap.path.name)),
        signatures=(snap.read(contents.SIGNATURE),) if contents.SIGNATURE in snap.entries else (),
    )


def _model(snap: SnapFile) -> ModelSnap:
    return ModelSnap(
        file=snap.path.name,
        payload=verification.read_payload(snap),
        brings_runtime=contents.RUNTIME in snap.entries,
    )


def _packages(components: Iterable[sbom.Component]) -> dict[str, str]:
    """The version of each package; several where an image of one's own has it more than once."""
    found: dict[str, set[str]] = {}
    for component in components:
        if component.kind == "library":
            found.setdefault(component.name, set()).add(component.version)
    return {name: ", ".join(sorted(versions)) for name, versions in found.items()}


def _notes(declared: runtimes.AnyRuntime) -> Iterator[tuple[str, str]]:
    yield "formats", ", ".join(str(form) for form in declared.formats)
    if isinstance(declared, runtimes.DockerfileRuntime):
        yield "made of", declared.dockerfile.file.name
    else:
        is_pinned = (declared.folder / runtimes.PINS_NAME).is_file()
        yield "pinned", f"by {runtimes.PINS_NAME}" if is_pinned else "no; see builder lock"
