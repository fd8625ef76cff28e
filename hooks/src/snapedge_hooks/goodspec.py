"""The last good spec: what was proved to answer right on this device, kept so that it can be put back.

It is written to ConfigMap `<name>-snapedge` and to state.json after its samples were answered right, never before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .document import DocumentError, Fields, canonical_json, parse_object
from .samples import SampleSet
from .vocabulary import Digest

FORMAT = 1
MAX_BYTES = 900_000
"""A ConfigMap holds 1 MiB with everything around it."""
MAX_SAMPLES_BYTES = 256 * 1024
"""Golden samples larger than this stay in the image, whose server replays them at each start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What is served: a model on a runtime.

    Attributes:
        model: digest of the model layer.
        runtime: digest of the runtime's manifest.
    """

    model: Digest
    runtime: Digest

    def to_json(self) -> dict[str, Any]:
        """As documents hold it."""
        return {"model": self.model, "runtime": self.runtime}

    @classmethod
    def read(cls, fields: Fields) -> Identity:
        """The identity that `to_json` wrote."""
        identity = cls(model=fields.parsed("model", Digest), runtime=fields.parsed("runtime", Digest))
        fields.done()
        return identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    """The objects of ours that make a model served.

    Attributes:
        namespace: where they are.
        name: of the InferenceService.
        inference_service: as it is applied.
        node_port: the NodePort Service as it is applied, or None.
    """

    namespace: str
    name: str
    inference_service: dict[str, Any]
    node_port: dict[str, Any] | None

    def objects(self) -> list[dict[str, Any]]:
        """The InferenceService, then the NodePort Service where there is one."""
        return [self.inference_service] if self.node_port is None else [self.inference_service, self.node_port]

    @property
    def fingerprint(self) -> Digest:
        """Equal for equal content."""
        return Digest.of(canonical_json(self.objects()))


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodSpec:
    """A spec that was proved, with what is needed to prove it again.

    Attributes:
        identity: of what it serves.
        image: its manifest's digest.
        version: the snap version it came with, for people.
        model: the name clients ask for.
        manifests: the objects.
        samples: its golden samples, or None when there are none or they are large.
    """

    identity: Identity
    image: Digest
    version: str
    model: str
    manifests: Manifests
    samples: SampleSet | None

    def document(self) -> dict[str, Any]:
        """As JSON holds it; samples too large for a ConfigMap are left out."""
        samples = None if self.samples is None else self.samples.to_json().decode()
        if samples is not None and len(samples) > MAX_SAMPLES_BYTES:
            samples = None
        return {
            "format": FORMAT,
            "identity": self.identity.to_json(),
            "image": self.image,
            "version": self.version,
            "model": self.model,
            "namespace": self.manifests.namespace,
            "name": self.manifests.name,
            "objects": self.manifests.objects(),
            "samples": samples,
        }

    def to_json(self) -> bytes:
        """The canonical document."""
        return canonical_json(self.document())

    @classmethod
    def parse(cls, data: bytes, *, what: str = "last good spec") -> GoodSpec:
        """The spec of a document.

        Raises:
            DocumentError: it is not what the format says.
        """
        return cls.read(parse_object(data, what=what, max_bytes=MAX_BYTES))

    @classmethod
    def read(cls, fields: Fields) -> GoodSpec:
        """The spec of a document's fields.

        Raises:
            DocumentError: it is not what the format says.
        """
        fields.format(FORMAT)
        samples = fields.optional_text("samples")
        objects = fields.list("objects")
        if not 1 <= len(objects) <= 2 or not all(isinstance(item, dict) for item in objects):
            raise fields.error("objects", "is not a list of one or two objects")
        spec = cls(
            identity=Identity.read(fields.object("identity")),
            image=fields.parsed("image", Digest),
            version=fields.text("version"),
            model=fields.text("model"),
            manifests=Manifests(
                namespace=fields.text("namespace"),
                name=fields.text("name"),
                inference_service=objects[0],
                node_port=objects[1] if len(objects) == 2 else None,
            ),
            samples=None
            if samples is None
            else SampleSet.parse(samples.encode(), what="samples of the last good spec"),
        )
        fields.done()
        return spec


def read_or_none(data: bytes) -> GoodSpec | None:
    """The spec, or None for anything that cannot be used: what is lost is proved and written again."""
    try:
        return GoodSpec.parse(data)
    except DocumentError:
        return None
