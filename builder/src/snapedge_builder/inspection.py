"""What is in a snap or a folder, for people and machines; nothing is checked but what reading needs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from snapedge_hooks import clusterobjects
from snapedge_hooks.images import RuntimeImage
from snapedge_hooks.payload import Payload
from snapedge_hooks.samples import SampleSet

from . import contents, declaration, modelfile, preparation, runtimes, samplesfile, sbom, snapyaml, verification
from .building import NotAProjectError
from .cache import Cache, default_root
from .progress import Silence
from .snapfile import SnapFile

_GROUPS = ("lib", "bin", "meta", "payload", "runtime", "cluster", "launcher", contents.SBOM)


def inspect(path: Path) -> dict[str, Any]:
    """What a .snap file, or a folder with an inference.yaml or runtime.yaml, holds; ready to be written as JSON.

    Raises:
        SnapFileError: the file is no snap.
        NotAProjectError: the folder holds nothing to build.
        BuilderError: something in it cannot be read.
    """
    if not path.is_dir():
        return _snap(path)
    if (path / declaration.FILE_NAME).is_file():
        return _model_folder(path)
    if (path / runtimes.FILE_NAME).is_file():
        return _runtime_folder(path)
    raise NotAProjectError(path)


def _snap(path: Path) -> dict[str, Any]:
    snap = SnapFile.open(path)
    document = snapyaml.parse(snap.read(snapyaml.PATH))
    found: dict[str, Any] = {
        "file": path.name,
        "size": snap.size,
        "name": document["name"],
        "version": document["version"],
        "summary": document["summary"],
        "architecture": document["architectures"][0],
        "content": {group: _weight(snap, group) for group in _GROUPS if _weight(snap, group)},
    }
    if contents.PAYLOAD in snap.entries:
        payload = verification.read_payload(snap)
        with tempfile.TemporaryFile() as layer:
            snap.copy(f"payload/{payload.model.layer.file}", layer)
            layer.seek(0)
            model = verification.read_model_layer(layer, payload, file=path.name)
        found["model"] = _payload(payload) | {
            "file": model.file,
            "size": model.size,
            **model.signature.to_json(),
            "samples": _samples(model.samples),
        }
    if contents.RUNTIME in snap.entries:
        found["runtime"] = _runtime(verification.read_runtime(snap))
    if contents.SBOM in snap.entries:
        packages = sbom.libraries(snap.read(contents.SBOM), file=path.name)
        if packages:
            found["packages"] = [
                {"name": one.name, "version": one.version, "licence": one.licence or "not declared"} for one in packages
            ]
    if clusterobjects.FILE in snap.entries:
        found["objects"] = [one.path for one in verification.read_objects(snap).objects]
        found["launcher"] = [name.removeprefix("launcher/") for name in snap.files_below("launcher")]
    return found


def _model_folder(folder: Path) -> dict[str, Any]:
    said = declaration.read_declaration(folder.absolute())
    said = preparation.prepare(said, cache=Cache(default_root()), progress=Silence())
    model = modelfile.read_model(said.model_path)
    samples = samplesfile.read_samples(said)
    return {
        "folder": folder.name,
        "name": said.name,
        "version": said.version,
        "summary": said.summary,
        "architectures": [str(architecture) for architecture in said.architectures],
        "image": str(said.image),
        "model": {
            "file": said.model_file,
            "prepared": None if said.prepared is None else list(said.prepared.report),
            "size": model.size,
            "format": str(model.format),
            "digest": model.digest,
            "opsets": {domain or "ai.onnx": version for domain, version in model.opsets},
            **model.signature.to_json(),
            "gate": str(said.gate),
            "runtime": {"name": said.runtime.name or str(model.format), "interface": said.runtime.interface},
            "samples": _samples(samples),
        },
    }


def _runtime_folder(folder: Path) -> dict[str, Any]:
    said = runtimes.read_any(folder.absolute())
    if isinstance(said, runtimes.DockerfileRuntime):
        made_of: dict[str, Any] = {"dockerfile": said.dockerfile.file.name}
    else:
        made_of = {"suite": said.suite, "packages": list(said.packages)}
    return {
        "folder": folder.name,
        "name": contents.runtime_snap_name(said.name),
        "version": said.version,
        "architectures": [str(architecture) for architecture in said.architectures],
        "runtime": {
            "name": said.name,
            "version": said.version,
            "interface": said.interface,
            **made_of,
            "formats": [str(item) for item in said.formats],
        },
    }


def _payload(payload: Payload) -> dict[str, Any]:
    return {
        "format": str(payload.model.format),
        "digest": payload.model.digest,
        "layer": {"diff_id": payload.model.layer.diff_id, "size": payload.model.layer.size},
        "gate": str(payload.gate),
        "runtime": {
            "name": payload.runtime.name,
            "interface": payload.runtime.interface,
            "minimum": payload.runtime.minimum,
            "digests": list(payload.runtime.digests),
            "keys": list(payload.runtime.keys),
        },
        "image": {"repository": payload.repository, "digest": payload.predicted_image, "size": payload.image_size},
    }


def _runtime(runtime: RuntimeImage) -> dict[str, Any]:
    return {
        "name": runtime.name,
        "version": runtime.version,
        "interface": runtime.interface,
        "manifest": runtime.digest,
        "size": runtime.size,
        "layers": [{"name": layer.name, "size": layer.size, "diff_id": layer.diff_id} for layer in runtime.layers],
    }


def _samples(samples: SampleSet | None) -> list[str]:
    return [] if samples is None else [sample.name for sample in samples.samples]


def _weight(snap: SnapFile, group: str) -> int:
    below = sum(snap.entries[name].size for name in snap.files_below(group))
    return below + (snap.entries[group].size if group in snap.entries and group == contents.SBOM else 0)
