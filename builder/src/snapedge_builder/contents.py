"""What each kind of snap holds: pure functions from facts to a tree and its meta/snap.yaml.

The layout is in docs/architecture/contracts.md, "Snaps".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snapedge_hooks import content
from snapedge_hooks.images import ModelLayer, RuntimeImage, compose
from snapedge_hooks.payload import Model, Payload, RuntimeRequirement
from snapedge_hooks.vocabulary import Architecture, RepositoryName

from . import sbom, snapyaml
from .declaration import ImageDelivery, ModelDeclaration
from .modelfile import ModelFacts
from .snaptree import SnapTree, TreeFile, snap_tree, text_file

PAYLOAD = "payload/payload.json"
RUNTIME = "runtime/runtime.json"
SIGNATURE = f"runtime/{content.SIGNATURE}"
SBOM = "sbom.cdx.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapContent:
    """One snap before it is assembled.

    Attributes:
        name: of the snap.
        version: of the snap.
        architecture: of the snap.
        document: its meta/snap.yaml.
        tree: all its files.
        has_parts: whether craft-parts puts it together; a model alone is files whose bytes are known.
    """

    name: str
    version: str
    architecture: Architecture
    document: dict[str, Any]
    tree: SnapTree
    has_parts: bool

    @property
    def file_name(self) -> str:
        """What `snap pack` would call it."""
        return f"{self.name}_{self.version}_{self.architecture}.snap"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltLayers:
    """A runtime and where its layers lie.

    Attributes:
        image: what runtime.json says.
        files: each layer's tar, by the layer's name.
        components: what is in it, for the bill of materials.
        warnings: what a person should know of it.
    """

    image: RuntimeImage
    files: Mapping[str, Path]
    components: tuple[sbom.Component, ...] = ()
    warnings: tuple[str, ...] = ()


def runtime_snap_name(runtime: str) -> str:
    """The snap that brings a runtime."""
    return f"snapedge-{runtime}"


def runtime_snap(runtime: BuiltLayers, *, device: Iterable[TreeFile], signature: bytes | None = None) -> SnapContent:
    """The snap of a runtime, with the signature that its models are to find beside it.

    Raises:
        SnapYamlError: its name or version is one snapd refuses.
    """
    image = runtime.image
    name = runtime_snap_name(image.name)
    document = snapyaml.snap_yaml(
        name=name,
        version=image.version,
        summary=f"Runtime {image.name} for snapedge models",
        description=(
            f"Keeps the {image.name} runtime (interface {image.interface}) in the MicroK8s registry of this device, "
            "where snapedge model snaps find it."
        ),
        architecture=image.architecture,
    )
    bill = sbom.document(
        subject=sbom.Component(kind="container", name=name, version=image.version, digest=image.digest),
        components=runtime.components,
    )
    signed = [] if signature is None else [text_file(SIGNATURE, signature)]
    files = [*_runtime_files(runtime), *signed, text_file(SBOM, bill), *device]
    return _content(document, image.architecture, files, has_parts=True)


def model_payload(
    declaration: ModelDeclaration, *, model: ModelFacts, layer: ModelLayer, runtime: RuntimeImage
) -> Payload:
    """What the model snap asks of the device."""
    return Payload(
        name=declaration.name,
        version=declaration.version,
        architecture=runtime.architecture,
        model=Model(name=declaration.name, format=model.format, digest=model.digest, layer=layer),
        runtime=RuntimeRequirement(
            name=runtime.name,
            interface=runtime.interface,
            minimum=declaration.runtime.minimum or runtime.version,
            digests=(runtime.digest,),
            keys=declaration.runtime.keys,
        ),
        repository=RepositoryName(declaration.name),
        predicted_image=compose(runtime, layer).digest,
        image_size=runtime.size + layer.size,
        service=declaration.service,
        gate=declaration.gate,
        max_latency_ms=declaration.max_latency_ms,
    )


def model_snap(
    declaration: ModelDeclaration,
    *,
    model: ModelFacts,
    layer: ModelLayer,
    layer_file: Path,
    runtime: BuiltLayers,
    device: Iterable[TreeFile],
) -> SnapContent:
    """The snap of a model, with its runtime inside where the declaration says so.

    Raises:
        SnapYamlError: snapd would refuse what the declaration says.
    """
    payload = model_payload(declaration, model=model, layer=layer, runtime=runtime.image)
    document = snapyaml.snap_yaml(
        name=declaration.name,
        version=declaration.version,
        summary=declaration.summary,
        description=(
            f"Serves the model {declaration.name} with KServe on the MicroK8s of this device, "
            f"on the {runtime.image.name} runtime."
        ),
        architecture=runtime.image.architecture,
    )
    components = [
        sbom.Component(
            kind="machine-learning-model",
            name=declaration.name,
            version=declaration.version,
            digest=model.digest,
        ),
    ]
    files = [
        text_file(PAYLOAD, payload.to_json()),
        TreeFile(path=f"payload/{layer.file}", source=layer_file, digest=layer.diff_id, size=layer.size),
    ]
    if declaration.image is ImageDelivery.FULL:
        components += runtime.components
        files += _runtime_files(runtime)
        # For `serve.transport=sideload`: the hooks put the whole image's archive there.
        document["slots"] = snapyaml.configuration_slot("$SNAP_COMMON/launcher")
    bill = sbom.document(
        subject=sbom.Component(
            kind="container", name=declaration.name, version=declaration.version, digest=payload.predicted_image
        ),
        components=components,
    )
    files += [text_file(SBOM, bill), *device]
    has_parts = declaration.image is ImageDelivery.FULL
    return _content(document, runtime.image.architecture, files, has_parts=has_parts)


def _content(
    document: dict[str, Any], architecture: Architecture, files: list[TreeFile], *, has_parts: bool
) -> SnapContent:
    snapyaml.check(document)
    return SnapContent(
        name=document["name"],
        version=document["version"],
        architecture=architecture,
        document=document,
        tree=snap_tree([*files, text_file(snapyaml.PATH, snapyaml.dump(document))]),
        has_parts=has_parts,
    )


def _runtime_files(runtime: BuiltLayers) -> list[TreeFile]:
    layers = [
        TreeFile(path=f"runtime/{layer.file}", source=runtime.files[layer.name], digest=layer.digest, size=layer.size)
        for layer in runtime.image.layers
    ]
    return [text_file(RUNTIME, runtime.image.to_json()), *layers]
