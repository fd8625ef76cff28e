"""Images as we make them: a runtime and a model, composed by one pure function on the build host and on the device.

Rules:

1. Layers are uncompressed tars, so a layer's digest is its diff_id.
2. A runtime is a runnable image of its own. A model adds exactly one layer, the last.
3. Config and manifest are canonical JSON: the same runtime and model give the same digest everywhere.
4. What is served is told apart by (model layer digest, runtime manifest digest).

Sources: OCI image-spec v1.1 (config.md, manifest.md), docs/architecture/contracts.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .document import Fields, canonical_json, parse_object
from .vocabulary import Architecture, Digest

FORMAT = 1
LAYER_MEDIA_TYPE = "application/vnd.oci.image.layer.v1.tar"
CONFIG_MEDIA_TYPE = "application/vnd.oci.image.config.v1+json"
MANIFEST_MEDIA_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_MEDIA_TYPE = "application/vnd.oci.image.index.v1+json"
EPOCH = "1970-01-01T00:00:00Z"
"""`created` of everything we make: a date would make equal content differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLayer:
    """One layer of a runtime.

    Attributes:
        name: stable and ordered, such as `20-onnxruntime`.
        file: where its tar lies, relative to runtime.json.
        diff_id: digest of the uncompressed tar.
        digest: digest of the file as it is stored and pushed.
        size: of that file, in bytes.
        media_type: the OCI media type.
    """

    name: str
    file: str
    diff_id: Digest
    digest: Digest
    size: int
    media_type: str = LAYER_MEDIA_TYPE

    def descriptor(self) -> dict[str, Any]:
        """The OCI descriptor."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}

    @classmethod
    def read(cls, fields: Fields) -> ImageLayer:
        """The layer of a runtime.json entry; a file outside `layers/` is refused."""
        layer = cls(
            name=fields.text("name"),
            file=fields.text("file"),
            diff_id=fields.parsed("diff_id", Digest),
            digest=fields.parsed("digest", Digest),
            size=fields.integer("size"),
            media_type=fields.text("media_type"),
        )
        folder, _, rest = layer.file.partition("/")
        if folder != "layers" or not rest or "/" in rest or rest in (".", ".."):
            raise fields.error("file", f"{layer.file!r} is not a file in layers/")
        if layer.media_type != LAYER_MEDIA_TYPE:
            raise fields.error("media_type", f"{layer.media_type!r} is not {LAYER_MEDIA_TYPE}")
        fields.done()
        return layer


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeImage:
    """A runtime: what runtime.json says, and a whole image by itself.

    Attributes:
        name: such as `onnx`.
        version: of the runtime, a snap version.
        interface: what models rely on; grows only when they would break.
        architecture: that its layers run on.
        config: the OCI image config, with the runtime's own diff_ids in it.
        layers: in order, the lowest first.
    """

    name: str
    version: str
    interface: int
    architecture: Architecture
    config: dict[str, Any]
    layers: tuple[ImageLayer, ...]

    def manifest(self) -> bytes:
        """The runtime's own manifest."""
        return _manifest(self.config_bytes(), [layer.descriptor() for layer in self.layers])

    def config_bytes(self) -> bytes:
        """The config blob."""
        return canonical_json(self.config)

    @property
    def digest(self) -> Digest:
        """The manifest's digest: the runtime's identity."""
        return Digest.of(self.manifest())

    @property
    def size(self) -> int:
        """What its layers weigh together, in bytes."""
        return sum(layer.size for layer in self.layers)

    def to_json(self) -> bytes:
        """The canonical runtime.json."""
        return canonical_json(
            {
                "format": FORMAT,
                "name": self.name,
                "version": self.version,
                "interface": self.interface,
                "architecture": str(self.architecture),
                "manifest": self.digest,
                "config": self.config,
                "layers": [
                    {
                        "name": layer.name,
                        "file": layer.file,
                        "diff_id": layer.diff_id,
                        "digest": layer.digest,
                        "size": layer.size,
                        "media_type": layer.media_type,
                    }
                    for layer in self.layers
                ],
            }
        )

    @classmethod
    def parse(cls, data: bytes, *, what: str = "runtime.json") -> RuntimeImage:
        """The runtime of a runtime.json.

        Raises:
            DocumentError: not what the format says, a config that does not list its layers, or a manifest digest
                that its content does not have.
        """
        fields = parse_object(data, what=what)
        fields.format(FORMAT)
        runtime = cls(
            name=fields.text("name"),
            version=fields.text("version"),
            interface=fields.integer("interface", minimum=1),
            architecture=fields.parsed("architecture", Architecture.parse),
            config=fields.raw("config", dict, "an object"),
            layers=tuple(ImageLayer.read(item) for item in fields.objects("layers")),
        )
        manifest = fields.parsed("manifest", Digest)
        if not runtime.layers:
            raise fields.error("layers", "is empty")
        if _diff_ids(runtime.config) != [str(layer.diff_id) for layer in runtime.layers]:
            raise fields.error("config", "lists other diff_ids than its layers have")
        if runtime.config.get("architecture") != str(runtime.architecture):
            raise fields.error("config", f"is not for {runtime.architecture}")
        if runtime.digest != manifest:
            raise fields.error("manifest", f"is {manifest} where the content gives {runtime.digest}")
        fields.done()
        return runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLayer:
    """The one layer that a model adds.

    Attributes:
        file: its tar's name, beside payload.json.
        diff_id: digest of that tar, which is uncompressed.
        size: in bytes.
    """

    file: str
    diff_id: Digest
    size: int

    def descriptor(self) -> dict[str, Any]:
        """The OCI descriptor."""
        return {"mediaType": LAYER_MEDIA_TYPE, "digest": self.diff_id, "size": self.size}


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposedImage:
    """What a pod is started from: the two small blobs that name all others.

    Attributes:
        manifest: its bytes, to be pushed last.
        config: its bytes, a blob.
        layer_digests: every layer the manifest names, lowest first, the model's last.
    """

    manifest: bytes
    config: bytes
    layer_digests: tuple[Digest, ...]

    @property
    def digest(self) -> Digest:
        """The manifest's digest: what the InferenceService refers to."""
        return Digest.of(self.manifest)

    @property
    def config_digest(self) -> Digest:
        """The config blob's digest."""
        return Digest.of(self.config)


def compose(runtime: RuntimeImage, model: ModelLayer) -> ComposedImage:
    """The image of a model on a runtime. Pure: equal arguments give equal bytes.

    The model layer goes on top of the runtime's; entrypoint, user and environment stay the runtime's, whose server
    finds the model below `/mnt/models`.
    """
    return compose_from_manifest(
        config=runtime.config, layers=[layer.descriptor() for layer in runtime.layers], model=model
    )


def compose_from_manifest(*, config: dict[str, Any], layers: list[dict[str, Any]], model: ModelLayer) -> ComposedImage:
    """The same, from a runtime's config and layer descriptors as a registry holds them."""
    history = [*config.get("history", []), {"created": EPOCH, "created_by": "snapedge model"}]
    composed = config | {
        "rootfs": {"type": "layers", "diff_ids": [*_diff_ids(config), str(model.diff_id)]},
        "history": history,
    }
    blob = canonical_json(composed)
    descriptors = [*layers, model.descriptor()]
    return ComposedImage(
        manifest=_manifest(blob, descriptors),
        config=blob,
        layer_digests=tuple(Digest(descriptor["digest"]) for descriptor in descriptors),
    )


def _diff_ids(config: dict[str, Any]) -> list[str]:
    rootfs = config.get("rootfs")
    found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    return [str(item) for item in found] if isinstance(found, list) else []


def _manifest(config: bytes, layers: list[dict[str, Any]]) -> bytes:
    return canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_MEDIA_TYPE,
            "config": {"mediaType": CONFIG_MEDIA_TYPE, "digest": Digest.of(config), "size": len(config)},
            "layers": layers,
        }
    )
