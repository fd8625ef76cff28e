"""The build record: what a set of snaps was made from, by hash, as JSON beside them.

Equal builds give equal records: it holds no time, no host name and no path of the build host.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from snapedge_hooks.document import canonical_json
from snapedge_hooks.storeindex import Sha3
from snapedge_hooks.vocabulary import Architecture, Digest, ModelFormat

from . import declaration, pack, proof, runtimes
from .declaration import ModelDeclaration
from .executor import BuiltSnaps
from .observation import ModelObservation, RuntimeObservation
from .packed import PackedSnap
from .proof import Proof
from .runtimes import AnyRuntime, DockerfileRuntime

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRecord:
    """A build record.

    Attributes:
        name: of the snaps.
        version: of the snaps.
        document: the whole record.
    """

    name: str
    version: str
    document: dict[str, Any]

    @property
    def file_name(self) -> str:
        """What it is called, beside the snaps."""
        return record_name(self.name, self.version)

    def to_json(self) -> bytes:
        """Its bytes."""
        return canonical_json(self.document) + b"\n"


def record_name(name: str, version: str) -> str:
    """What the record of a snap's version is called."""
    return f"{name}_{version}.build.json"


def of_model(seen: ModelObservation, built: BuiltSnaps) -> BuildRecord:
    """The record of a model's snaps."""
    assert built.model is not None, "a model build has a model"
    said = seen.declaration
    body = {
        "kind": "model",
        "inputs": {
            "declaration": Digest.of_file(said.folder / declaration.FILE_NAME),
            "model": built.model.digest,
            "samples": None if seen.samples is None else Digest.of(seen.samples.to_json()),
        },
        "model": {
            "format": str(built.model.format),
            "size": built.model.size,
            "opsets": {domain or "ai.onnx": version for domain, version in built.model.opsets},
            **built.model.signature.to_json(),
        },
        "prepared": _prepared(said),
        "gate": str(said.gate),
        "proof": _proof(built.proof, built.model.format),
        "image": str(said.image),
    }
    return _record(said.name, said.version, body, built)


def _prepared(said: ModelDeclaration) -> dict[str, Any] | None:
    """How the served model was made of another file; None where it is the file itself."""
    prepared = said.prepared
    if prepared is None:
        return None
    return {
        "file": said.model_file,
        "digest": prepared.source,
        "tools": list(prepared.tools),
        "report": list(prepared.report),
    }


def of_runtime(seen: RuntimeObservation, built: BuiltSnaps) -> BuildRecord:
    """The record of a runtime's snaps."""
    said = seen.runtime
    body = {
        "kind": "runtime",
        "inputs": {
            "declaration": Digest.of_file(said.folder / runtimes.FILE_NAME),
            **_recipe(said),
        },
    }
    return _record(built.snaps[0].content.name, said.version, body, built)


def _recipe(runtime: AnyRuntime) -> dict[str, Any]:
    if isinstance(runtime, DockerfileRuntime):
        return {"dockerfile": Digest.of_file(runtime.dockerfile.file)}
    pins = runtime.folder / runtimes.PINS_NAME
    return {
        "lock": Digest.of_file(runtime.project.lock),
        "pins": Digest.of_file(pins) if pins.is_file() else None,
    }


def runtime_differences(runtime: AnyRuntime, form: ModelFormat) -> Iterable[str]:
    """What makes a proof on this host say less than it seems: another version of the library than the image's."""
    if isinstance(runtime, DockerfileRuntime):
        return
    package = proof.ENGINES[form]
    locked = runtimes.locked_version(runtime.project, package)
    if locked is not None and locked != proof.engine_version(form):
        yield (
            f"golden samples were replayed here with {package} {proof.engine_version(form)}, "
            f"the runtime image holds {locked}: the device's own replay decides"
        )


def _record(name: str, version: str, body: dict[str, Any], built: BuiltSnaps) -> BuildRecord:
    document = body | {
        "format": FORMAT,
        "name": name,
        "version": version,
        "runtimes": {str(architecture): _runtime(built, architecture) for architecture in built.runtimes},
        "snaps": {str(snap.content.architecture): _snap(snap) for snap in built.snaps},
        "tools": _tools(),
    }
    return BuildRecord(name=name, version=version, document=document)


def _runtime(built: BuiltSnaps, architecture: Architecture) -> dict[str, Any]:
    runtime = built.runtimes[architecture]
    return {
        "name": runtime.image.name,
        "version": runtime.image.version,
        "interface": runtime.image.interface,
        "manifest": runtime.image.digest,
        "layers": [
            {"name": layer.name, "diff_id": layer.diff_id, "size": layer.size} for layer in runtime.image.layers
        ],
        "components": [
            {
                "name": component.name,
                "version": component.version,
                "purl": component.purl,
                "digest": component.digest,
            }
            for component in runtime.components
        ],
    }


def _snap(snap: PackedSnap) -> dict[str, Any]:
    return {
        "file": snap.content.file_name,
        "size": snap.size,
        "sha256": snap.digest.hex,
        "sha3_384": Sha3.of_file(snap.path),
        "content": snap.content.tree.size,
    }


def _proof(found: Proof | None, form: ModelFormat) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "samples": found.samples,
        "passed": found.passed,
        "overruled": not found.passed,
        "engine": f"{proof.ENGINES[form]} {proof.engine_version(form)}",
        "deviations": [
            {
                "sample": deviation.sample,
                "output": deviation.output,
                "max_error": deviation.max_error,
                "tolerance": deviation.tolerance,
                "problem": deviation.problem,
            }
            for deviation in found.deviations
        ],
    }


def _tools() -> dict[str, str]:
    tools = ("snapedge-builder", "snapedge-hooks", "craft-parts", "onnx", "onnxruntime")
    return {
        **{tool: importlib.metadata.version(tool) for tool in tools},
        "python": platform.python_version(),
        "packer": pack.packer(),
    }
