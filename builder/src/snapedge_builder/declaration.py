"""inference.yaml: what a person says about a model that is to become snaps.

Every key, with its default, is in docs/architecture/contracts.md. What is written here is checked here; what the model
file itself says is checked in `modelfile`, what the golden samples say in `proof`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from snapedge_hooks import ed25519
from snapedge_hooks.dsse import MAX_KEYS
from snapedge_hooks.payload import NODE_PORTS, Service, parse_namespace, parse_quantity
from snapedge_hooks.vocabulary import (
    Architecture,
    Digest,
    GateMode,
    PublicKey,
    SnapName,
    SnapVersion,
    UpdateStrategy,
)

from . import buildsettings
from .buildsettings import BuildSettings
from .quantization import DEFAULT_TOLERANCE, Quantization, QuantizationMode
from .yamldocument import DeclarationError, Section, parse_yaml, read_yaml

FILE_NAME = "inference.yaml"
MAX_SUMMARY = 128
"""snapd's limit, in characters (snap/validate.go)."""
_AS_THE_RUNTIME_SAYS = BuildSettings()


class Conversion(Enum):
    """Whether a model may become ONNX before it is served."""

    AUTO = "auto"
    NONE = "none"

    def __str__(self) -> str:
        """The word used in files."""
        return self.value


class ImageDelivery(Enum):
    """Whether the runtime comes from the device's registry or travels inside the snap."""

    SHARED = "shared"
    FULL = "full"

    def __str__(self) -> str:
        """The word used in files."""
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeChoice:
    """Which runtime the model is to run on, as far as its author says; None leaves it to the model's format.

    Attributes:
        name: such as `onnx`.
        interface: that the model relies on.
        minimum: the lowest runtime version that will do; None means the one it is proved with.
        keys: whoever signs a runtime with one of them is trusted to patch it under the model.
    """

    name: str | None = None
    interface: int = 1
    minimum: str | None = None
    keys: tuple[PublicKey, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedModel:
    """What is served for a model that is converted or quantized.

    Attributes:
        path: the ONNX file.
        digest: of it.
        source: the digest of the file it was made from.
        tools: that made it, with their versions.
        report: how it compares with the original, in words.
    """

    path: Path
    digest: Digest
    source: Digest
    tools: tuple[str, ...]
    report: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDeclaration:
    """One inference.yaml, checked.

    Attributes:
        folder: where it lies; `model_file` and `samples_file` are below it.
        model_file: the model, relative to the folder.
        conversion: whether the model may become ONNX; `none` serves it as it is.
        quantization: in 8-bit integers, as asked; None for none.
        samples_file: golden samples, relative to the folder; None only with `gate: none`.
        max_latency_ms: slowest answer that passes the gate, or None.
        build: how the runtime's image is built; `auto` leaves it to runtime.yaml.
        prepared: what is served in place of `model_file`, once it was made; None where that is served itself.
    """

    folder: Path
    name: SnapName
    version: SnapVersion
    summary: str
    model_file: str
    conversion: Conversion
    runtime: RuntimeChoice
    architectures: tuple[Architecture, ...]
    samples_file: str | None
    service: Service
    image: ImageDelivery
    gate: GateMode
    max_latency_ms: int | None
    build: BuildSettings = _AS_THE_RUNTIME_SAYS
    quantization: Quantization | None = None
    prepared: PreparedModel | None = None

    @property
    def model_path(self) -> Path:
        """The model file that is served."""
        return self.folder / self.model_file if self.prepared is None else self.prepared.path

    @property
    def samples_path(self) -> Path | None:
        """The golden samples, where there are any."""
        return None if self.samples_file is None else self.folder / self.samples_file


def read_declaration(folder: Path) -> ModelDeclaration:
    """The declaration of a folder.

    Raises:
        DeclarationError: it is missing, no YAML, or something in it cannot be built; the line is named.
    """
    return _declaration(read_yaml(folder / FILE_NAME), folder)


def parse_declaration(data: bytes, *, folder: Path, file: str = FILE_NAME) -> ModelDeclaration:
    """The declaration of some bytes, as if they lay in that folder."""
    return _declaration(parse_yaml(data, file=file), folder)


def _declaration(top: Section, folder: Path) -> ModelDeclaration:
    name = top.parsed("name", SnapName)
    version = top.parsed("version", SnapVersion)
    summary = _summary(top)
    model_file, conversion, quantized = _model(top.section("model"))
    runtime = _runtime(top.section("runtime"))
    architectures = _architectures(top)
    samples_file = _relative(top, "samples", top.text("samples")) if _has_optional(top, "samples") else None
    service = _service(top.section("service"))
    image, gate, max_latency_ms = _delivery(top.section("delivery"))
    build = buildsettings.read(top.section("build"), folder)
    top.done()
    if build.dockerfile is not None and image is not ImageDelivery.FULL:
        raise DeclarationError(
            top.file,
            None,
            "build.dockerfile: the image of one model travels inside its snap",
            resolution="write delivery: {image: full}, or make a runtime folder with the Dockerfile",
        )
    if build.dockerfile is not None and runtime.name is not None:
        raise DeclarationError(
            top.file,
            None,
            f"runtime.name: an image of one's own is called as its model, {name}",
            resolution="leave runtime.name out",
        )
    if samples_file is None and gate is not GateMode.NONE:
        raise DeclarationError(
            top.file,
            None,
            "samples is missing: without golden samples nothing proves that the model answers right",
            resolution="name a samples.json (builder new writes one), or write delivery: {gate: none}",
        )
    return ModelDeclaration(
        folder=folder,
        name=name,
        version=version,
        summary=summary,
        model_file=model_file,
        conversion=conversion,
        quantization=quantized,
        runtime=runtime,
        architectures=architectures,
        samples_file=samples_file,
        service=service,
        image=image,
        gate=gate,
        max_latency_ms=max_latency_ms,
        build=build,
    )


def _summary(top: Section) -> str:
    summary = top.text("summary")
    if not summary.strip() or len(summary) > MAX_SUMMARY:
        raise top.error("summary", f"has {len(summary)} characters, snapd takes 1 to {MAX_SUMMARY}")
    if any(ord(character) < 32 for character in summary):
        raise top.error("summary", "must be a single line")
    return summary


def _model(section: Section) -> tuple[str, Conversion, Quantization | None]:
    file = _relative(section, "file", section.text("file"))
    word = section.text("convert", default=str(Conversion.AUTO))
    try:
        conversion = Conversion(word)
    except ValueError as error:
        known = " or ".join(str(item) for item in Conversion)
        raise section.error("convert", f"{word!r} is not supported", resolution=f"use {known}") from error
    asked = _quantization(section.section("quantize")) if _has_optional(section, "quantize") else None
    section.done()
    return file, conversion, asked


def _quantization(section: Section) -> Quantization:
    mode = section.choice("mode", [str(word) for word in QuantizationMode], default=str(QuantizationMode.DYNAMIC))
    tolerance = section.parsed("tolerance", _tolerance, default=DEFAULT_TOLERANCE)
    calibration = None
    if _has_optional(section, "calibration"):
        calibration = _relative(section, "calibration", section.text("calibration"))
        if mode != str(QuantizationMode.STATIC):
            raise section.error("calibration", "is for static quantization", resolution="write mode: static")
    section.done()
    return Quantization(mode=QuantizationMode(mode), tolerance=tolerance, calibration=calibration)


def _tolerance(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ValueError(f"{text!r} is not a number from 0")
    return value


def _runtime(section: Section) -> RuntimeChoice:
    choice = RuntimeChoice(
        name=str(section.parsed("name", SnapName)) if _has_optional(section, "name") else None,
        interface=section.integer("interface", minimum=1, maximum=1_000_000, default=1),
        minimum=str(section.parsed("minimum", SnapVersion)) if _has_optional(section, "minimum") else None,
        keys=_keys(section),
    )
    section.done()
    return choice


def _keys(section: Section) -> tuple[PublicKey, ...]:
    words = section.texts("keys", default=[])
    remedy = "write what stands in the .pub file of a key"
    try:
        keys = tuple(PublicKey(word) for word in words)
    except ValueError as error:
        raise section.error("keys", str(error), resolution=remedy) from error
    for key in keys:
        if not ed25519.is_key(key.raw):
            raise section.error("keys", f"{key.short}… is the public half of no key", resolution=remedy)
    if len(set(keys)) != len(keys) or len(keys) > MAX_KEYS:
        raise section.error("keys", f"names a key twice, or more than {MAX_KEYS}")
    return keys


def _architectures(top: Section) -> tuple[Architecture, ...]:
    words = top.texts("architectures", default=[architecture.value for architecture in Architecture])
    if not words:
        raise top.error("architectures", "is empty", resolution="name amd64, arm64 or both")
    found: list[Architecture] = []
    for word in words:
        try:
            architecture = Architecture.parse(word)
        except ValueError as error:
            raise top.error("architectures", str(error)) from error
        if architecture in found:
            raise top.error("architectures", f"{word} stands twice")
        found.append(architecture)
    return tuple(sorted(found, key=lambda architecture: architecture.value))


def _service(section: Section) -> Service:
    default = Service()
    node_port = None
    if _has_optional(section, "node-port"):
        node_port = section.integer("node-port", minimum=NODE_PORTS.start, maximum=NODE_PORTS.stop - 1, default=0)
    service = Service(
        namespace=section.parsed("namespace", parse_namespace, default=default.namespace),
        cpu=section.parsed("cpu", parse_quantity, default=default.cpu),
        memory=section.parsed("memory", parse_quantity, default=default.memory),
        replicas=section.integer("replicas", minimum=1, maximum=100, default=default.replicas),
        node_port=node_port,
        update=UpdateStrategy(
            section.choice("update", [str(word) for word in UpdateStrategy], default=str(default.update))
        ),
        grpc=section.choice("grpc", ("true", "false"), default="false") == "true",
    )
    section.done()
    return service


def _delivery(section: Section) -> tuple[ImageDelivery, GateMode, int | None]:
    image = ImageDelivery(section.choice("image", [str(word) for word in ImageDelivery], default="shared"))
    gate = GateMode(section.choice("gate", [str(word) for word in GateMode], default="strict"))
    latency = None
    if _has_optional(section, "max-latency"):
        latency = section.parsed("max-latency", _milliseconds)
    if _has_optional(section, "provider"):
        raise section.error(
            "provider", "is not supported: nothing publishes to the Snap Store", resolution="leave it out"
        )
    section.done()
    return image, gate, latency


def _milliseconds(text: str) -> int:
    """`200ms`, `2s` or a bare number of milliseconds, above zero and below an hour."""
    for suffix, factor in (("ms", 1), ("s", 1000), ("", 1)):
        number = text.removesuffix(suffix)
        if text.endswith(suffix) and number.isascii() and number.isdigit() and len(number) <= 7:
            milliseconds = int(number) * factor
            if 0 < milliseconds < 3_600_000:
                return milliseconds
            break
    raise ValueError(f"{text!r} is not a latency such as 200ms or 2s, above zero and below an hour")


def _has_optional(section: Section, key: str) -> bool:
    """Whether a key without a default is written; an absent one counts as known all the same."""
    if section.has(key):
        return True
    section.skip(key)
    return False


def _relative(section: Section, key: str, text: str) -> str:
    """A file below the folder, by its relative path."""
    path = Path(text)
    if not text or path.is_absolute() or ".." in path.parts or path.parts in ((), (".",)):
        raise section.error(key, f"{text!r} is not a file below the folder", resolution="write a relative path")
    return path.as_posix()
