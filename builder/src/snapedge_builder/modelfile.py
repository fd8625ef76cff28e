"""What a model file is, by its content: its format, its tensors, and why it cannot be served where it cannot.

Rules:

1. The format follows from the content; the suffix says nothing.
2. An ONNX model must pass onnx's own checker, hold all its weights in the one file, and have tensors for all inputs and
   outputs, with datatypes of the Open Inference Protocol and a known number of dimensions.
3. Whether the runtime can run it is not decided here: `proof` loads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Digest, ModelFormat

from .errors import BuilderError
from .signature import FREE, Signature, TensorSpec

if TYPE_CHECKING:
    import onnx

MAX_BYTES = 2**31 - 1
"""A protobuf message, which an ONNX file is, cannot be larger."""

_FOREIGN = (
    (b"PK\x03\x04", "a zip archive (a PyTorch or Keras file, perhaps)"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x03", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x80\x05", "a Python pickle"),
    (b"\x89HDF", "an HDF5 file (Keras, perhaps)"),
    (b"\x1f\x8b", "a gzip file"),
    (b"version https://git-lfs", "a Git LFS pointer: run `git lfs pull`"),
)


class ModelRefusedError(BuilderError):
    """The model file cannot be served."""

    exit_code = ExitCode.REFUSED

    def __init__(self, file: str, problem: str, *, details: str = "", resolution: str = "") -> None:
        super().__init__(f"{file}: {problem}", details=details, resolution=resolution)
        self.problem = problem


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What is known of a model file before it is run.

    Attributes:
        format: by its content.
        digest: of the file.
        size: of the file, in bytes.
        opsets: operator set versions by domain; the standard domain is the empty text.
        signature: its tensors.
    """

    format: ModelFormat
    digest: Digest
    size: int
    opsets: tuple[tuple[str, int], ...]
    signature: Signature


def read_model(path: Path, *, digest: Digest | None = None) -> ModelFacts:
    """The facts of a model file.

    Args:
        path: the file.
        digest: its digest, where the caller has it already.

    Raises:
        ModelRefusedError: the file is missing, empty, no model, or one that cannot be served.
    """
    size = _size(path)
    _refuse_foreign(path)
    model = _load_onnx(path)
    # Before the checker, whose words for the same are its own.
    signature = _signature(path.name, model)
    _check_onnx(path)
    return ModelFacts(
        format=ModelFormat.ONNX,
        digest=digest or Digest.of_file(path),
        size=size,
        opsets=tuple(sorted((entry.domain, entry.version) for entry in model.opset_import)),
        signature=signature,
    )


def model_digest(path: Path) -> Digest:
    """The digest of a model file.

    Raises:
        ModelRefusedError: the file is missing or empty.
    """
    _size(path)
    return Digest.of_file(path)


def _size(path: Path) -> int:
    try:
        if not path.is_file():
            problem = "is not a file" if path.exists() else "does not exist"
            raise ModelRefusedError(path.name, problem, resolution=f"put the model at {path}")
        size = path.stat().st_size
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise ModelRefusedError(path.name, f"cannot be read: {error.strerror}", resolution=str(path)) from error
    if size == 0:
        raise ModelRefusedError(path.name, "is empty (0 bytes)", resolution="export the model again")
    if size > MAX_BYTES:
        raise ModelRefusedError(
            path.name, f"has {size} bytes, an ONNX file cannot have more than {MAX_BYTES}", resolution="quantize it"
        )
    return size


def _refuse_foreign(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(32)
    found = next((words for magic, words in _FOREIGN if head.startswith(magic)), None)
    if head[4:8] == b"TFL3":
        found = "a TensorFlow Lite model"
    if found:
        raise ModelRefusedError(
            path.name, f"is no ONNX model but {found}", resolution="export the model to ONNX; no other format is served"
        )


def _load_onnx(path: Path) -> onnx.ModelProto:
    # Imported here: it takes a third of a second that a build with nothing to do need not pay.
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # its stubs are a package of their own

    not_onnx = ModelRefusedError(path.name, "is no ONNX model", resolution="export the model to ONNX")
    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise not_onnx from error
    if not model.ir_version or not model.opset_import or not model.graph.output:
        raise not_onnx
    outside = next((tensor.name for tensor in _tensors(model.graph) if tensor.data_location == tensor.EXTERNAL), None)
    if outside is not None:
        raise ModelRefusedError(
            path.name,
            f"keeps weights outside of the file (tensor {outside!r})",
            resolution="save it as one file: onnx.save(onnx.load(PATH), PATH, save_as_external_data=False)",
        )
    return model


def _check_onnx(path: Path) -> None:
    import onnx.checker

    try:
        onnx.checker.check_model(str(path), full_check=False)
    except onnx.checker.ValidationError as error:
        lines = str(error).strip().splitlines()
        raise ModelRefusedError(
            path.name,
            f"does not pass onnx's checker: {lines[0] if lines else 'no reason given'}",
            details=str(error),
            resolution="export the model again, with a released opset",
        ) from error


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every tensor with data in a graph and the graphs within its nodes."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("g"):
                yield from _tensors(attribute.g)
            for inner in attribute.graphs:
                yield from _tensors(inner)


def _signature(file: str, model: onnx.ModelProto) -> Signature:
    # Before IR version 4 every initializer is listed as an input, too; callers never give those.
    initializers = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initializers]
    if not inputs:
        raise ModelRefusedError(file, "has no inputs: it would answer the same to everyone")
    return Signature(
        inputs=tuple(_specs(file, "input", inputs)),
        outputs=tuple(_specs(file, "output", model.graph.output)),
    )


def _specs(file: str, kind: str, values: Iterable[onnx.ValueInfoProto]) -> Iterator[TensorSpec]:
    for value in values:
        if not value.name:
            raise ModelRefusedError(file, f"has an {kind} without a name", resolution="export the model again")
        which = value.type.WhichOneof("value")
        if which != "tensor_type":
            word = (which or "unknown_type").removesuffix("_type")
            raise ModelRefusedError(
                file,
                f"{kind} {value.name!r} is a {word}, not a tensor",
                resolution="export with zipmap=False (skl2onnx: options={'zipmap': False})"
                if kind == "output"
                else "export with tensors as inputs",
            )
        tensor = value.type.tensor_type
        yield TensorSpec(
            name=value.name,
            datatype=_datatype(file, kind, value.name, tensor.elem_type),
            shape=_shape(file, kind, value),
        )


def _datatype(file: str, kind: str, name: str, number: int) -> str:
    import onnx

    words = onnx.TensorProto.DataType.Name(number) if number in onnx.TensorProto.DataType.values() else str(number)
    renamed = {"FLOAT": "FP32", "FLOAT16": "FP16", "DOUBLE": "FP64", "STRING": "BYTES"}
    same = {"INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "BOOL"}
    if words in renamed:
        return renamed[words]
    if words in same:
        return words
    raise ModelRefusedError(
        file,
        f"{kind} {name!r} has datatype {words}, which the inference protocol has no word for",
        resolution="add a Cast to FP32 at that end of the graph",
    )


def _shape(file: str, kind: str, value: onnx.ValueInfoProto) -> tuple[int, ...]:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        raise ModelRefusedError(
            file,
            f"does not say how many dimensions {kind} {value.name!r} has",
            resolution="set its shape with onnx.tools.update_model_dims and save the model",
        )
    return tuple(
        dimension.dim_value if dimension.WhichOneof("value") == "dim_value" and dimension.dim_value >= 0 else FREE
        for dimension in tensor.shape.dim
    )
