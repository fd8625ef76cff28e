"""What an ONNX file says of itself, and ONNX Runtime's answers to golden samples.

An ONNX model must pass onnx's own checker, hold all its weights in the one file, and have tensors for all inputs and
outputs, with datatypes of the Open Inference Protocol and a known number of dimensions. Large weights are never held in
memory (`onnxgraph`): the checker does without them, and ONNX Runtime maps them from the model's file.
"""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snapedge_hooks.samples import Tensor

from . import onnxgraph
from .modelfile import ModelRefusedError
from .signature import FREE, Signature, TensorSpec

if TYPE_CHECKING:
    import numpy
    import onnx
    import onnxruntime

_NUMPY_NAMES = {
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "BOOL": "bool",
    "BYTES": "object",
    **{f"{sign}INT{bits}": f"{sign.lower()}int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)},
}
_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
_OPSET_LIMIT = re.compile(r"[Oo]pset (\d+) is under development.*?till opset (\d+)", re.DOTALL)
_UNKNOWN_OPSET = re.compile(r"support for domain (\S+) is till opset (\d+)")


def load() -> None:
    """Import what checks and runs models, a third of a second."""
    for name in ("onnx.checker", "onnxruntime"):
        importlib.import_module(name)


def read_onnx(path: Path) -> tuple[tuple[tuple[str, int], ...], Signature]:
    """The operator sets and the signature of an ONNX file.

    Raises:
        ModelRefusedError: it is none, or one that cannot be served.
    """
    graph = _read_graph(path)
    model = _load_model(path, graph)
    # Before the checker, whose words for the same are its own.
    signature = _signature(path.name, model)
    _check(path.name, graph.checkable() if graph.apart else model)
    return tuple(sorted((entry.domain, entry.version) for entry in model.opset_import)), signature


class OnnxSession:
    """A model loaded by ONNX Runtime on the build host."""

    def __init__(self, path: Path, signature: Signature, *, is_timed: bool = False) -> None:
        """Load the model.

        Args:
            path: its file.
            signature: its tensors.
            is_timed: whether it is to be as quick as in a server; large weights are copied for that.

        Raises:
            ModelRefusedError: the runtime cannot load it; an opset it lacks is named.
        """
        self._file = path.name
        self._signature = signature
        self._session = _load_session(path, is_timed=is_timed)

    def answer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All outputs for some inputs.

        Raises:
            ModelRefusedError: the runtime fails while running the model.
        """
        with self._refusing():
            outputs = self._session.run(None, arrays(inputs.values()))
        named = zip(self._signature.outputs, outputs, strict=True)
        return {spec.name: _tensor(spec.name, spec.datatype, array) for spec, array in named}

    def seconds(self, inputs: Mapping[str, Tensor], *, rounds: int) -> list[float]:
        """How long each of some runs takes, tensors not counted.

        Raises:
            ModelRefusedError: the runtime fails while running the model.
        """
        found = []
        with self._refusing():
            given = arrays(inputs.values())
            for _ in range(rounds):
                start = time.perf_counter()
                self._session.run(None, given)
                found.append(time.perf_counter() - start)
        return found

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        try:
            yield
        except (ValueError, state.Fail, state.InvalidArgument, state.RuntimeException, state.NotImplemented) as error:
            raise ModelRefusedError(
                self._file, f"fails when it is run: {_first_line(error)}", details=str(error)
            ) from error

    def close(self) -> None:
        """Give its memory back."""
        del self._session


def _read_graph(path: Path) -> onnxgraph.GraphFile:
    try:
        # Where a link leads: ONNX Runtime maps no weights through one.
        return onnxgraph.read(path.resolve())
    except onnxgraph.NotProtobufError as error:
        raise _not_onnx(path) from error


def _not_onnx(path: Path) -> ModelRefusedError:
    return ModelRefusedError(path.name, "is no ONNX model", resolution="export the model to ONNX")


def _load_model(path: Path, graph: onnxgraph.GraphFile) -> onnx.ModelProto:
    # Imported here: it takes a third of a second that a build with nothing to do need not pay.
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # its stubs are a package of their own

    try:
        model: onnx.ModelProto = onnx.ModelProto.FromString(graph.data)
    except DecodeError as error:
        raise _not_onnx(path) from error
    if not model.ir_version or not model.opset_import or not model.graph.output:
        raise _not_onnx(path)
    outside = next((tensor.name for tensor in _tensors(model.graph) if tensor.data_location == tensor.EXTERNAL), None)
    if outside is not None:
        raise ModelRefusedError(
            path.name,
            f"keeps weights outside of the file (tensor {outside!r})",
            resolution="save it as one file: onnx.save(onnx.load(PATH), PATH, save_as_external_data=False)",
        )
    return model


def _check(file: str, model: onnx.ModelProto) -> None:
    import onnx.checker

    try:
        onnx.checker.check_model(model, full_check=False)
    except onnx.checker.ValidationError as error:
        lines = str(error).strip().splitlines()
        raise ModelRefusedError(
            file,
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


def _load_session(path: Path, *, is_timed: bool) -> onnxruntime.InferenceSession:
    # Imported here: it takes a quarter of a second that a build with nothing to do need not pay.
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    graph = _read_graph(path)
    source: Path | bytes = path
    if graph.apart:
        source = graph.referring()
        options.add_session_config_entry(_WEIGHTS_FOLDER, str(graph.path.parent))
        if not is_timed:
            # Else every matrix is copied into an order that is quicker to multiply by: for a few samples it is not.
            options.add_session_config_entry("session.disable_prepacking", "1")
    try:
        return onnxruntime.InferenceSession(source, sess_options=options, providers=["CPUExecutionProvider"])
    except (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NotImplemented,
        state.RuntimeException,
    ) as error:
        limit = _OPSET_LIMIT.search(str(error))
        if limit:
            raise ModelRefusedError(
                path.name,
                f"needs opset {limit[1]}, the runtime knows up to {limit[2]}",
                resolution=f"export the model with target opset {limit[2]} or lower",
            ) from error
        unknown = _UNKNOWN_OPSET.search(str(error))
        raise ModelRefusedError(
            path.name,
            f"cannot be loaded by ONNX Runtime {onnxruntime.__version__}: {_first_line(error)}",
            details=str(error),
            resolution=f"export the model with opset {unknown[2]} of {unknown[1]} or lower" if unknown else "",
        ) from error


def arrays(tensors: Iterable[Tensor]) -> dict[str, numpy.ndarray[Any, Any]]:
    """The arrays of tensors by name, as ONNX Runtime takes them."""
    return {tensor.name: array(tensor) for tensor in tensors}


def array(tensor: Tensor) -> numpy.ndarray[Any, Any]:
    """The array of a tensor, as ONNX Runtime takes it."""
    import numpy

    return numpy.array(tensor.data, dtype=_NUMPY_NAMES[tensor.datatype]).reshape(tensor.shape)


def _tensor(name: str, datatype: str, array: numpy.ndarray[Any, Any]) -> Tensor:
    return Tensor(name=name, shape=array.shape, datatype=datatype, data=tuple(array.reshape(-1).tolist()))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
