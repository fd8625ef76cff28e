"""What is tried before anything ships: a model on its runtime, as the layers of one image.

A folder is built as far as its layers; a snap is verified and read as it is. A snap on a shared runtime finds the
runtime in the folder or snap that is named, or in a runtime snap beside it that its payload lists.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from snapedge_hooks import blobs, images, runtimetrust
from snapedge_hooks.blobs import Blob, Readable
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.images import ComposedImage, RuntimeImage
from snapedge_hooks.payload import Payload
from snapedge_hooks.samples import SampleSet
from snapedge_hooks.vocabulary import Architecture, Digest

from . import building, contents, emulation, runtimes, verification
from .building import BuildRequest, NoModelError
from .cache import Cache
from .contents import BuiltLayers
from .emulation import Emulator
from .errors import BuilderError
from .observation import RuntimeSource, RuntimeUnfitError, find_runtime
from .progress import Progress
from .snapfile import SnapFile


class RuntimeSnapMissingError(BuilderError):
    """A model snap alone is no image: its runtime is in another snap."""

    exit_code = ExitCode.USAGE

    def __init__(self, file: str, payload: Payload) -> None:
        snap = contents.runtime_snap_name(payload.runtime.name)
        super().__init__(
            f"{file} needs runtime {payload.runtime.name}, and no {snap}_*_{payload.architecture}.snap beside it is "
            "the one it was built on",
            resolution="name the runtime's snap or its folder with --runtime",
        )


class ForeignArchitectureError(BuilderError):
    """This host cannot run the image."""

    exit_code = ExitCode.USAGE

    def __init__(self, file: str, architecture: Architecture, host: str, emulator: Emulator | None) -> None:
        there = ""
        if emulator is not None:
            wrong = "is too old" if emulator.is_held else "is registered without flag F, so that no sandbox reaches it"
            there = f"; {emulator} {wrong}"
        super().__init__(
            f"{file} is for {architecture}, this host is {host}{there}",
            resolution="try the snap of the same version for this host, or register QEMU "
            f"{emulation.GOOD[0]} or newer for {architecture} (binfmt_misc, flag F)",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialImage:
    """A model on a runtime, not yet run.

    Attributes:
        payload: what the model's snap asks of a device.
        runtime: what it is put on.
        samples: golden samples, or None.
        layers: every layer by digest, the model's too.
        notes: what a person should know of this pairing.
    """

    payload: Payload
    runtime: RuntimeImage
    samples: SampleSet | None
    layers: Mapping[Digest, Blob]
    notes: tuple[str, ...] = ()

    @property
    def composed(self) -> ComposedImage:
        """The image that a device makes of both."""
        return images.compose(self.runtime, self.payload.model.layer)


def host_architecture() -> Architecture | None:
    """The architecture this host runs, or None for one that no snap of ours is for."""
    try:
        return Architecture.of_machine(platform.machine())
    except ValueError:
        return None


def check_runs_here(file: str, architecture: Architecture, *, binfmt: Path = emulation.BINFMT) -> tuple[str, ...]:
    """Nothing where this host runs the architecture itself; what to know of the emulator where that does.

    Raises:
        ForeignArchitectureError: neither does.
    """
    if architecture is host_architecture():
        return ()
    emulator = emulation.registered(architecture, folder=binfmt)
    if emulator is None or not emulator.runs_images:
        raise ForeignArchitectureError(file, architecture, platform.machine(), emulator)
    return (f"{architecture} runs under {emulator} here: the answers are a device's, the times are not",)


def read(
    path: Path,
    *,
    architecture: Architecture | None,
    runtime: Path | None,
    cache: Cache,
    source: RuntimeSource,
    progress: Progress,
) -> TrialImage:
    """The image that a model's folder or snap gives.

    Args:
        path: the folder, or the snap.
        architecture: to build a folder for; a snap is for one already.
        runtime: folder or snap of the runtime, or None for the one it was built on.
        cache: of the builder.
        source: where built runtimes come from.
        progress: is told what takes time.

    Raises:
        BuilderError: there is no model, it cannot be built, or the runtime is missing or not one it may be put on.
        SnapFileError: the snap cannot be read.
        VerificationError: the snap is not what it says it is.
    """
    if path.is_dir():
        return _of_folder(path, architecture, runtime, cache, source, progress)
    return _of_snap(path, runtime, source, progress)


def _of_folder(
    folder: Path,
    architecture: Architecture | None,
    runtime: Path | None,
    cache: Cache,
    source: RuntimeSource,
    progress: Progress,
) -> TrialImage:
    if architecture is None:
        raise ForeignArchitectureError(folder.name, Architecture.AMD64, platform.machine(), None)
    request = BuildRequest(folder=folder, runtime_folder=runtime, architectures=(architecture,))
    seen, laid = building.lay_out(request, cache=cache, source=source, progress=progress)
    built = laid.runtimes[architecture]
    payload = contents.model_payload(seen.declaration, model=laid.model, layer=laid.layer, runtime=built.image)
    layer = laid.layer
    model = blobs.of_file(cache.blob_path(layer.diff_id), layer.diff_id, layer.size)
    return TrialImage(
        payload=payload,
        runtime=built.image,
        samples=seen.samples,
        layers={**_built_layers(built), layer.diff_id: replace(model, name="model layer")},
    )


def _of_snap(path: Path, runtime: Path | None, source: RuntimeSource, progress: Progress) -> TrialImage:
    progress.start(path.name)
    (verified,) = verification.verify([path])
    progress.done(path.name, "verified")
    payload, model = verified.payload, verified.model
    if payload is None or model is None:
        raise NoModelError(path.name)
    snap = SnapFile.open(path)
    if runtime is not None:
        image, layers = _named_runtime(runtime, payload, source, progress)
    elif verified.runtime is not None:
        image, layers = verified.runtime, _packed_layers(snap, verified.runtime)
    else:
        image, layers = _runtime_beside(path, payload)
    notes = _judge(path.name, payload, image)
    layer = payload.model.layer
    return TrialImage(
        payload=payload,
        runtime=image,
        samples=model.samples,
        layers={**layers, layer.diff_id: _packed(snap, f"payload/{layer.file}", layer.diff_id, layer.size)},
        notes=notes,
    )


def _named_runtime(
    path: Path, payload: Payload, source: RuntimeSource, progress: Progress
) -> tuple[RuntimeImage, dict[Digest, Blob]]:
    if path.is_dir():
        declared = runtimes.read_runtime(path)
        found = find_runtime(declared, payload.architecture, source)
        built = found or source.build(declared, payload.architecture, progress)
        return built.image, _built_layers(built)
    progress.start(path.name)
    (verified,) = verification.verify([path])
    progress.done(path.name, "verified")
    if verified.runtime is None:
        raise RuntimeUnfitError(path.name, "is no snap of a runtime", resolution="name another with --runtime")
    return verified.runtime, _packed_layers(SnapFile.open(path), verified.runtime)


def _runtime_beside(path: Path, payload: Payload) -> tuple[RuntimeImage, dict[Digest, Blob]]:
    pattern = f"{contents.runtime_snap_name(payload.runtime.name)}_*_{payload.architecture}.snap"
    for candidate in sorted(path.absolute().parent.glob(pattern)):
        snap = SnapFile.open(candidate)
        if contents.RUNTIME not in snap.entries:
            continue
        image = verification.read_runtime(snap)
        if image.digest in payload.runtime.digests:
            verification.verify([candidate])
            return image, _packed_layers(snap, image)
    raise RuntimeSnapMissingError(path.name, payload)


def _judge(file: str, payload: Payload, image: RuntimeImage) -> tuple[str, ...]:
    """Refuse a runtime that no device would put the model on; say where a device may not."""
    wanted = payload.runtime
    misfit = runtimetrust.offer_misfit(wanted, image.interface, image.version)
    if image.name != wanted.name:
        misfit = f"is {image.name}, this model needs {wanted.name}"
    if image.architecture is not payload.architecture:
        misfit = f"is for {image.architecture}, this model's snap is for {payload.architecture}"
    if misfit is not None:
        raise RuntimeUnfitError(file, f"the runtime {misfit}", resolution="name another with --runtime")
    if image.digest in wanted.digests:
        return ()
    return (
        f"runtime {image.name} {image.version} is not the build that this snap lists; "
        "devices take it only where a key of the snap's has signed it",
    )


def _built_layers(built: BuiltLayers) -> dict[Digest, Blob]:
    return {
        layer.digest: replace(blobs.of_file(built.files[layer.name], layer.digest, layer.size), name=layer.name)
        for layer in built.image.layers
    }


def _packed_layers(snap: SnapFile, image: RuntimeImage) -> dict[Digest, Blob]:
    return {layer.digest: _packed(snap, f"runtime/{layer.file}", layer.digest, layer.size) for layer in image.layers}


def _packed(snap: SnapFile, name: str, digest: Digest, size: int) -> Blob:
    def opened() -> AbstractContextManager[Readable]:
        return snap.opened(name)

    return Blob(digest=digest, size=size, name=name, open=opened)
