"""payload.json: what a model snap asks of the device it is installed on. Written by builder, read by hooks.

The contract with its literal example is in docs/architecture/contracts.md and tests/cases/formats/.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from .document import Fields, canonical_json, parse_object
from .dsse import MAX_KEYS
from .images import ModelLayer
from .vocabulary import (
    Architecture,
    Digest,
    GateMode,
    ModelFormat,
    PublicKey,
    RepositoryName,
    SnapName,
    SnapVersion,
    UpdateStrategy,
)

FORMAT = 1
_QUANTITY = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:m|k|M|G|T|Ki|Mi|Gi|Ti)?")
_NAMESPACE = re.compile(r"(?=.{1,63}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?")
NODE_PORTS = range(30000, 32768)
"""Kubernetes' default service-node-port-range."""


def parse_quantity(text: str) -> str:
    """A Kubernetes resource quantity above zero, such as `500m` or `256Mi`.

    Raises:
        ValueError: it is none.
    """
    if not _QUANTITY.fullmatch(text) or not re.search("[1-9]", text):
        raise ValueError(f"{text!r} is not a Kubernetes quantity such as 500m or 256Mi")
    return text


def parse_namespace(text: str) -> str:
    """A Kubernetes namespace name.

    Raises:
        ValueError: it is none.
    """
    if not _NAMESPACE.fullmatch(text):
        raise ValueError(f"{text!r} is not a namespace: up to 63 lower-case letters, digits and dashes")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The model in the snap.

    Attributes:
        name: what clients ask for in `/v2/models/<name>`.
        format: of the model file.
        digest: of the model file itself.
        layer: the image layer that holds it.
    """

    name: SnapName
    format: ModelFormat
    digest: Digest
    layer: ModelLayer


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeRequirement:
    """Which runtimes the model may be put on.

    Attributes:
        name: such as `onnx`.
        interface: must be equal.
        minimum: the lowest version that will do.
        digests: manifest digests that were proved with this model and are trusted as they are.
        keys: public keys whose signature makes another runtime trusted.
    """

    name: str
    interface: int
    minimum: str
    digests: tuple[Digest, ...]
    keys: tuple[PublicKey, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """How the model is served.

    Attributes:
        namespace: of the InferenceService.
        cpu: Kubernetes quantity, request and limit.
        memory: Kubernetes quantity, request and limit.
        replicas: fixed; at least 1.
        node_port: a port on the device, or None for none.
        update: how the old pod gives way.
        grpc: whether the server also speaks gRPC, which its runtime must be able to.
    """

    namespace: str = "default"
    cpu: str = "500m"
    memory: str = "256Mi"
    replicas: int = 1
    node_port: int | None = None
    update: UpdateStrategy = UpdateStrategy.SURGE
    grpc: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """Everything a model snap brings, but the bytes.

    Attributes:
        name: the snap's name.
        version: the snap's version.
        architecture: of the runtime it was composed with.
        model: what is served.
        runtime: on what.
        repository: in the device's registry.
        predicted_image: the manifest digest with the first of the runtime's digests.
        image_size: the whole image's layers, in bytes.
        service: how.
        gate: what golden samples decide.
        max_latency_ms: slowest answer that still passes the gate, or None.
    """

    name: SnapName
    version: SnapVersion
    architecture: Architecture
    model: Model
    runtime: RuntimeRequirement
    repository: RepositoryName
    predicted_image: Digest
    image_size: int
    service: Service
    gate: GateMode
    max_latency_ms: int | None = None

    def to_json(self) -> bytes:
        """The canonical payload.json."""
        return canonical_json(self._document())

    def _document(self) -> dict[str, Any]:
        layer = self.model.layer
        return {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "architecture": str(self.architecture),
            "model": {
                "name": self.model.name,
                "format": str(self.model.format),
                "digest": self.model.digest,
                "layer": {"file": layer.file, "diff_id": layer.diff_id, "size": layer.size},
            },
            "runtime": {
                "name": self.runtime.name,
                "interface": self.runtime.interface,
                "minimum": self.runtime.minimum,
                "digests": list(self.runtime.digests),
                "keys": list(self.runtime.keys),
            },
            "image": {"repository": self.repository, "predicted": self.predicted_image, "size": self.image_size},
            "service": {
                "namespace": self.service.namespace,
                "cpu": self.service.cpu,
                "memory": self.service.memory,
                "replicas": self.service.replicas,
                "node_port": self.service.node_port,
                "update": str(self.service.update),
                **({"grpc": True} if self.service.grpc else {}),
            },
            "gate": str(self.gate),
            "max_latency_ms": self.max_latency_ms,
        }

    @classmethod
    def parse(cls, data: bytes, *, what: str = "payload.json") -> Payload:
        """The payload of a payload.json.

        Raises:
            DocumentError: not what the format says; the place is named.
        """
        fields = parse_object(data, what=what)
        fields.format(FORMAT)
        image = fields.object("image")
        payload = cls(
            name=fields.parsed("name", SnapName),
            version=fields.parsed("version", SnapVersion),
            architecture=fields.parsed("architecture", Architecture.parse),
            model=_model(fields.object("model")),
            runtime=_runtime(fields.object("runtime")),
            repository=image.parsed("repository", RepositoryName),
            predicted_image=image.parsed("predicted", Digest),
            image_size=image.integer("size"),
            service=_service(fields.object("service")),
            gate=fields.parsed("gate", GateMode),
            max_latency_ms=fields.optional_integer("max_latency_ms", minimum=1),
        )
        image.done()
        fields.done()
        return payload


def _model(fields: Fields) -> Model:
    layer = fields.object("layer")
    file = layer.text("file")
    if "/" in file or file in ("", ".", ".."):
        raise layer.error("file", f"{file!r} is not a file beside payload.json")
    model = Model(
        name=fields.parsed("name", SnapName),
        format=fields.parsed("format", ModelFormat),
        digest=fields.parsed("digest", Digest),
        layer=ModelLayer(file=file, diff_id=layer.parsed("diff_id", Digest), size=layer.integer("size")),
    )
    layer.done()
    fields.done()
    return model


def _runtime(fields: Fields) -> RuntimeRequirement:
    digests = []
    for index, item in enumerate(fields.list("digests")):
        try:
            digests.append(Digest(item if isinstance(item, str) else ""))
        except ValueError as error:
            raise fields.error(f"digests[{index}]", str(error)) from error
    keys = []
    for index, item in enumerate(fields.list("keys")):
        try:
            keys.append(PublicKey(item if isinstance(item, str) else ""))
        except ValueError as error:
            raise fields.error(f"keys[{index}]", str(error)) from error
    if len(keys) > MAX_KEYS:
        raise fields.error("keys", f"are {len(keys)}, more than the {MAX_KEYS} allowed")
    runtime = RuntimeRequirement(
        name=fields.parsed("name", SnapName),
        interface=fields.integer("interface", minimum=1),
        minimum=fields.parsed("minimum", SnapVersion),
        digests=tuple(digests),
        keys=tuple(keys),
    )
    fields.done()
    return runtime


def _service(fields: Fields) -> Service:
    node_port = fields.optional_integer("node_port")
    if node_port is not None and node_port not in NODE_PORTS:
        raise fields.error("node_port", f"{node_port} is not between {NODE_PORTS.start} and {NODE_PORTS.stop - 1}")
    service = Service(
        namespace=fields.parsed("namespace", parse_namespace),
        cpu=fields.parsed("cpu", parse_quantity),
        memory=fields.parsed("memory", parse_quantity),
        replicas=fields.integer("replicas", minimum=1, maximum=100),
        node_port=node_port,
        update=fields.parsed("update", UpdateStrategy),
        grpc=fields.flag("grpc", default=False),
    )
    fields.done()
    return service
