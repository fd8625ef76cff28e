"""Checks a packed snap against everything it says of itself.

Rules:

1. The file is a whole squashfs; its tree obeys snapd's container rules; its snap.yaml is one snapd takes.
2. It is a model snap (payload/), a runtime snap (runtime/), a full one (both) or one that readies a cluster (cluster/
   and launcher/), and holds nothing else but what every snap of ours carries.
3. Every layer has the digest and size that runtime.json or payload.json says; the model in its layer has the digest
   that payload.json and model.json say, and golden samples that fit its signature.
4. The image's manifest digest, computed again, is the predicted one. A snap on a shared runtime needs that runtime's
   snap for this; without it the check is listed as not made.
"""

from __future__ import annotations

import stat
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from snapedge_hooks import clusterobjects, device, images, runtimetrust
from snapedge_hooks.clusterobjects import ClusterObjects
from snapedge_hooks.document import parse_object
from snapedge_hooks.dsse import Envelope
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.images import RuntimeImage
from snapedge_hooks.payload import Payload
from snapedge_hooks.runtimetrust import RuntimeStatement
from snapedge_hooks.samples import SampleSet
from snapedge_hooks.vocabulary import Architecture, Digest, GateMode

from . import containercheck, contents, sbom, snapyaml
from .errors import BuilderError
from .signature import Signature, check_samples
from .snapfile import SnapFile

_MAX_MEMBER = 64 * 1024 * 1024
_TOPS = frozenset({"meta", "lib", "bin", "payload", "runtime", "cluster", "launcher", contents.SBOM})


class VerificationError(BuilderError):
    """A snap is not what it says it is."""

    exit_code = ExitCode.REFUSED

    def __init__(self, file: str, problem: str) -> None:
        super().__init__(f"{file}: {problem}", resolution="do not ship it; build or fetch it again")
        self.problem = problem


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInLayer:
    """What the model layer of a snap holds.

    Attributes:
        file: the model file's name.
        size: of the model file, in bytes.
        samples: golden samples, or None.
    """

    file: str
    size: int
    signature: Signature
    samples: SampleSet | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedSnap:
    """A snap that is what it says.

    Attributes:
        kind: `model`, `runtime`, `full` or `cluster`.
        checks: what was checked, in words.
        not_checked: what could not be, and why.
    """

    path: Path
    size: int
    name: str
    version: str
    architecture: Architecture
    kind: str
    payload: Payload | None
    runtime: RuntimeImage | None
    model: ModelInLayer | None
    objects: ClusterObjects | None
    checks: tuple[str, ...]
    not_checked: tuple[str, ...]


def verify(paths: Sequence[Path]) -> tuple[VerifiedSnap, ...]:
    """Check snaps; runtime snaps among them are used to check the others' predicted digests.

    Raises:
        SnapFileError: no snap, cut short or damaged.
        ContainerError: snapd would refuse the tree.
        SnapYamlError: snapd would refuse the snap.yaml.
        DocumentError: payload.json, runtime.json or the bill of materials is not what its format says.
        VerificationError: a digest, size or name differs from what the snap says.
    """
    opened = [SnapFile.open(path) for path in paths]
    runtimes = {}
    for snap in opened:
        if contents.RUNTIME in snap.entries:
            runtime = read_runtime(snap)
            runtimes[runtime.digest] = runtime
    return tuple(_verify(snap, runtimes) for snap in opened)


def read_runtime(snap: SnapFile) -> RuntimeImage:
    """The runtime.json of a snap that has one."""
    return RuntimeImage.parse(snap.read(contents.RUNTIME), what=f"{snap.path.name}: {contents.RUNTIME}")


def read_payload(snap: SnapFile) -> Payload:
    """The payload.json of a snap that has one."""
    return Payload.parse(snap.read(contents.PAYLOAD), what=f"{snap.path.name}: {contents.PAYLOAD}")


def read_objects(snap: SnapFile) -> ClusterObjects:
    """The cluster objects of a snap that has some."""
    return ClusterObjects.parse(snap.read(clusterobjects.FILE), what=f"{snap.path.name}: {clusterobjects.FILE}")


def _kind(payload: Payload | None, runtime: RuntimeImage | None) -> str:
    if payload is None:
        return "cluster" if runtime is None else "runtime"
    return "model" if runtime is None else "full"


def _verify(snap: SnapFile, runtimes: dict[Digest, RuntimeImage]) -> VerifiedSnap:
    file = snap.path.name
    document = snapyaml.parse(snap.read(snapyaml.PATH))
    containercheck.check_container(snap.entries.values(), document)
    checks = ["squashfs is whole", "snapd's rules for trees", "snapd's rules for snap.yaml"]
    not_checked: list[str] = []
    _check_layout(snap)
    name, version, architecture = document["name"], document["version"], Architecture(document["architectures"][0])
    runtime = read_runtime(snap) if contents.RUNTIME in snap.entries else None
    payload = read_payload(snap) if contents.PAYLOAD in snap.entries else None
    objects = read_objects(snap) if clusterobjects.FILE in snap.entries else None
    if runtime is not None:
        _check_runtime(snap, runtime)
        checks.append(f"{len(runtime.layers)} runtime layers by digest")
        if contents.SIGNATURE in snap.entries:
            _check_signature(snap, runtime)
            checks.append("what the runtime's signature is about")
        _agree(file, "architecture of runtime.json", str(runtime.architecture), str(architecture))
    model = None
    if payload is not None:
        model = _check_model_layer(snap, payload)
        checks.append("model layer and model by digest")
        for what, said, meant in (
            ("name of payload.json", payload.name, name),
            ("version of payload.json", payload.version, version),
            ("architecture of payload.json", str(payload.architecture), str(architecture)),
        ):
            _agree(file, what, said, meant)
        against = runtime or next((runtimes[item] for item in payload.runtime.digests if item in runtimes), None)
        if against is None:
            not_checked.append(
                f"predicted image digest: needs the snap of runtime {payload.runtime.name}; name it beside this one"
            )
        else:
            _check_prediction(file, payload, against)
            checks.append("predicted image digest")
    elif runtime is not None:
        _agree(file, "name", name, contents.runtime_snap_name(runtime.name))
        _agree(file, "version of runtime.json", runtime.version, version)
    elif objects is not None:
        checks.append(f"{len(objects.objects)} cluster objects")
    else:
        raise VerificationError(
            file, f"holds no {contents.PAYLOAD}, {contents.RUNTIME} or {clusterobjects.FILE}: no snap of ours"
        )
    return VerifiedSnap(
        path=snap.path,
        size=snap.size,
        name=name,
        version=version,
        architecture=architecture,
        kind=_kind(payload, runtime),
        payload=payload,
        runtime=runtime,
        model=model,
        objects=objects,
        checks=tuple(checks),
        not_checked=tuple(not_checked),
    )


def _check_layout(snap: SnapFile) -> None:
    file = snap.path.name
    required = [
        contents.SBOM,
        *(f"meta/hooks/{hook}" for hook in device.HOOKS),
        *(f"bin/{app}" for app in device.APPS),
        *(f"lib/snapedge_hooks/{module}.py" for module in ("__init__", "__main__")),
    ]
    for name in required:
        if name not in snap.entries:
            raise VerificationError(file, f"{name} is missing")
    for name, entry in sorted(snap.entries.items()):
        if name and name.split("/", 1)[0] not in _TOPS:
            raise VerificationError(file, f"{name} does not belong into a snap of ours")
        if stat.S_ISREG(entry.mode) and name.endswith((".pyc", ".so")):
            raise VerificationError(file, f"{name} is compiled; what a snap runs itself is the same everywhere")
    sbom.libraries(snap.read(contents.SBOM), file=file)


def _check_runtime(snap: SnapFile, runtime: RuntimeImage) -> None:
    listed = {f"runtime/{layer.file}" for layer in runtime.layers} | {contents.RUNTIME, contents.SIGNATURE}
    for name in snap.files_below("runtime"):
        if name not in listed:
            raise VerificationError(snap.path.name, f"{name} is not listed in runtime.json")
    for layer in runtime.layers:
        name = f"runtime/{layer.file}"
        _agree(snap.path.name, f"digest of {name}", snap.digest(name), layer.digest)
        _agree(snap.path.name, f"size of {name}", snap.entries[name].size, layer.size)


def _check_signature(snap: SnapFile, runtime: RuntimeImage) -> None:
    what = f"{snap.path.name}: {contents.SIGNATURE}"
    envelope = Envelope.parse(snap.read(contents.SIGNATURE), what=what)
    if envelope.kind != runtimetrust.KIND or RuntimeStatement.parse(envelope.body, what=what) != RuntimeStatement.of(
        runtime
    ):
        raise VerificationError(snap.path.name, f"{contents.SIGNATURE} is about another runtime than runtime.json")


def _check_model_layer(snap: SnapFile, payload: Payload) -> ModelInLayer:
    file = snap.path.name
    layer = payload.model.layer
    name = f"payload/{layer.file}"
    for found in snap.files_below("payload"):
        if found not in (name, contents.PAYLOAD):
            raise VerificationError(file, f"{found} is not named in payload.json")
    _agree(file, f"size of {name}", snap.entries[name].size if name in snap.entries else None, layer.size)
    with tempfile.TemporaryFile() as copy:
        snap.copy(name, copy)
        copy.seek(0)
        _agree(file, f"digest of {name}", _digest_of(copy), layer.diff_id)
        copy.seek(0)
        return read_model_layer(copy, payload, file=file)


def read_model_layer(layer: IO[bytes], payload: Payload, *, file: str) -> ModelInLayer:
    """What is in a model layer, checked against its payload.

    Raises:
        VerificationError: a file is missing, foreign, or other than payload.json and model.json say.
    """
    try:
        with tarfile.open(fileobj=layer, mode="r:") as archive:
            return _read_archive(archive, payload, file)
    except tarfile.TarError as error:
        raise VerificationError(file, f"the model layer is no tar: {error}") from error


def _read_archive(archive: tarfile.TarFile, payload: Payload, file: str) -> ModelInLayer:
    folder = f"mnt/models/{payload.model.name}/"
    members = {}
    for member in archive:
        if member.isdir() and folder.startswith(f"{member.name}/"):
            continue
        if not member.isreg() or not member.name.startswith(folder) or member.name in members:
            raise VerificationError(file, f"the model layer holds {member.name!r}, which does not belong there")
        members[member.name.removeprefix(folder)] = member

    def opened(name: str) -> IO[bytes]:
        if name not in members:
            raise VerificationError(file, f"the model layer lacks {name}")
        found = archive.extractfile(members[name])
        assert found is not None, "only plain files are kept"
        return found

    def read(name: str) -> bytes:
        data = opened(name).read(_MAX_MEMBER + 1)
        if len(data) > _MAX_MEMBER:
            raise VerificationError(file, f"{name} in the model layer is larger than {_MAX_MEMBER} bytes")
        return data

    fields = parse_object(read("model.json"), what=f"{file}: model.json")
    fields.format(1)
    model_file = fields.text("file")
    for what, said, meant in (
        ("name of model.json", fields.text("name"), payload.model.name),
        ("version of model.json", fields.text("version"), payload.version),
        ("format of model.json", fields.text("model_format"), str(payload.model.format)),
        ("digest of model.json", fields.text("digest"), payload.model.digest),
        ("digest of the model", _digest_of(opened(model_file)), payload.model.digest),
    ):
        _agree(file, what, said, meant)
    signature = Signature.read(fields)
    fields.done()
    samples = None
    if "samples.json" in members:
        samples = SampleSet.parse(read("samples.json"), what=f"{file}: samples.json")
        check_samples(samples, signature)
    elif payload.gate is not GateMode.NONE:
        raise VerificationError(file, f"gate is {payload.gate} and the model layer has no samples.json")
    return ModelInLayer(file=model_file, size=members[model_file].size, signature=signature, samples=samples)


def _check_prediction(file: str, payload: Payload, runtime: RuntimeImage) -> None:
    if runtime.digest not in payload.runtime.digests:
        raise VerificationError(file, f"payload.json does not list the runtime inside, {runtime.digest}")
    composed = images.compose(runtime, payload.model.layer)
    _agree(file, "image digest", composed.digest, payload.predicted_image)
    _agree(file, "image size", runtime.size + payload.model.layer.size, payload.image_size)


def _agree(file: str, what: str, found: object, said: object) -> None:
    if found != said:
        raise VerificationError(file, f"{what} is {found}, not {said}")


def _digest_of(file: IO[bytes]) -> Digest:
    import hashlib

    seen = hashlib.sha256()
    for chunk in iter(lambda: file.read(1 << 20), b""):
        seen.update(chunk)
    return Digest(f"sha256:{seen.hexdigest()}")
