"""What this revision of the snap brings: a model, a runtime, or both; read and checked before anything is done."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path

from . import blobs, clusterobjects, runtimetrust
from .blobs import Blob
from .clusterobjects import ClusterObjects
from .document import MAX_DOCUMENT_BYTES, DocumentError
from .dsse import Envelope
from .environment import SnapEnvironment
from .images import RuntimeImage
from .payload import Payload
from .runtimetrust import RuntimeStatement
from .samples import SampleSet
from .situations import PayloadBadError
from .vocabulary import Digest, GateMode, HealthCode

_SAMPLES = "samples.json"
SIGNATURE = "runtime.dsse"
"""Beside runtime.json: the signature that the hooks lay beside the runtime in the registry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The snap's content.

    Attributes:
        folder: the snap's read-only root.
        payload: of a model snap.
        runtime: of a runtime snap, and of a model snap with its whole image.
        objects: of a snap that brings KServe and the like to the whole cluster.
        signature: the envelope over the runtime that a runtime snap brings, where its builder signed it.
    """

    folder: Path
    payload: Payload | None
    runtime: RuntimeImage | None
    objects: ClusterObjects | None = None
    signature: bytes | None = None

    def own_blobs(self) -> dict[Digest, Blob]:
        """The layers in the snap, by digest."""
        found = {}
        if self.payload is not None:
            layer = self.payload.model.layer
            found[layer.diff_id] = blobs.of_file(self.folder / "payload" / layer.file, layer.diff_id, layer.size)
        if self.runtime is not None:
            for part in self.runtime.layers:
                found[part.digest] = blobs.of_file(self.folder / "runtime" / part.file, part.digest, part.size)
        return found

    def samples(self) -> SampleSet | None:
        """The model's golden samples, from its layer; None when it has none.

        Raises:
            PayloadBadError: the layer cannot be read, or holds no samples where the gate needs them.
        """
        payload = self.payload
        if payload is None:
            return None
        path = self.folder / "payload" / payload.model.layer.file
        member = f"mnt/models/{payload.model.name}/{_SAMPLES}"
        try:
            with tarfile.open(path, "r:") as tar:
                data = _read_member(tar, member)
            if data is not None:
                return SampleSet.parse(data)
        except (OSError, tarfile.TarError) as error:
            raise PayloadBadError(f"{path.name} is not a readable layer") from error
        except DocumentError as error:
            raise PayloadBadError(error.brief) from error
        if payload.gate is GateMode.NONE:
            return None
        raise PayloadBadError(f"{path.name} has no {member}, which gate {payload.gate} needs")


def _read_member(tar: tarfile.TarFile, name: str) -> bytes | None:
    for member in tar:
        if member.name.removeprefix("./").lstrip("/") == name and member.isreg():
            if member.size > MAX_DOCUMENT_BYTES:
                raise PayloadBadError(f"{name} is larger than {MAX_DOCUMENT_BYTES} bytes")
            file = tar.extractfile(member)
            return None if file is None else file.read()
    return None


def read(environment: SnapEnvironment) -> Content:
    """The content of the snap that runs.

    Raises:
        PayloadBadError: there is none, it is not what its format says, or it is for another architecture.
    """
    try:
        model_data = _read_file(environment.snap / "payload" / "payload.json")
        runtime_data = _read_file(environment.snap / "runtime" / "runtime.json")
        objects_data = _read_file(environment.snap / clusterobjects.FILE)
        payload = None if model_data is None else Payload.parse(model_data)
        runtime = None if runtime_data is None else RuntimeImage.parse(runtime_data)
        objects = None if objects_data is None else ClusterObjects.parse(objects_data)
    except DocumentError as error:
        raise PayloadBadError(error.brief, resolution=error.resolution) from error
    if payload is None and runtime is None and objects is None:
        raise PayloadBadError(f"Snap holds no payload/payload.json, runtime/runtime.json or {clusterobjects.FILE}")
    if payload is not None and runtime is not None:
        _check_own(payload, runtime)
    for part in (payload, runtime):
        if part is not None and str(part.architecture) != environment.architecture:
            raise PayloadBadError(
                f"Snap is for {part.architecture}, this device is {environment.architecture}",
                code=HealthCode.WRONG_ARCH,
                resolution=f"install the snap built for {environment.architecture}",
            )
    return Content(
        folder=environment.snap,
        payload=payload,
        runtime=runtime,
        objects=objects,
        signature=_signature(environment, runtime),
    )


def _check_own(payload: Payload, runtime: RuntimeImage) -> None:
    if runtime.digest not in payload.runtime.digests:
        raise PayloadBadError(f"Runtime {runtime.digest.short} in the snap is not one that payload.json lists")
    problem = runtimetrust.offer_misfit(payload.runtime, runtime.interface, runtime.version)
    if runtime.name != payload.runtime.name:
        problem = f"is {runtime.name}, this model needs {payload.runtime.name}"
    if problem is not None:
        raise PayloadBadError(f"Runtime in the snap {problem}")


def _signature(environment: SnapEnvironment, runtime: RuntimeImage | None) -> bytes | None:
    """The envelope beside runtime.json. Models judge it; here it must only be one, and about this runtime."""
    data = None if runtime is None else _read_file(environment.snap / "runtime" / SIGNATURE)
    if runtime is None or data is None:
        return None
    try:
        said = RuntimeStatement.parse(Envelope.parse(data, what=SIGNATURE).body, what=SIGNATURE)
    except DocumentError as error:
        raise PayloadBadError(error.brief) from error
    if said != RuntimeStatement.of(runtime):
        raise PayloadBadError(f"{SIGNATURE} is about another runtime than runtime.json")
    return data


def _read_file(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(MAX_DOCUMENT_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PayloadBadError(f"{path.name} cannot be read: {error.strerror}") from error
