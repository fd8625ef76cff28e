"""TensorFlow Lite's interpreter as the protocol server sees it: load, signature, predict, unload."""

from __future__ import annotations

import importlib.metadata
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

try:
    from tflite_runtime.interpreter import Interpreter

    _PACKAGE = "tflite-runtime"
except ModuleNotFoundError:
    from ai_edge_litert.interpreter import Interpreter

    _PACKAGE = "ai-edge-litert"

from snapedge_oip.datatypes import DATATYPES, Array
from snapedge_oip.errors import LoadError, PredictionError
from snapedge_oip.signature import Signature, TensorSpec

from . import __version__

DEFAULT_SIGNATURE = "serving_default"
"""What TensorFlow names the signature that is served where nobody says which."""

_DATATYPES = {datatype.dtype.newbyteorder("="): name for name, datatype in DATATYPES.items() if name != "BYTES"}
_ERRORS = (RuntimeError, ValueError)

Details = Mapping[str, Mapping[str, Any]]


class TfliteSession:
    """A loaded TensorFlow Lite model."""

    def __init__(self, graph: Graph, signature: Signature) -> None:
        self._graph = graph
        self._signature = signature
        # An interpreter computes in memory of its own, hence one request at a time.
        self._lock = threading.Lock()

    @property
    def signature(self) -> Signature:
        """What the model file says it takes and gives."""
        return self._signature

    def predict(self, inputs: dict[str, Array], outputs: Sequence[str]) -> Sequence[Array]:
        """The named outputs.

        Raises:
            PredictionError: the interpreter failed.
        """
        for name, values in inputs.items():
            if not values.size:
                raise PredictionError(f"input '{name}': TensorFlow Lite takes no empty tensor", by_input=True)
        try:
            with self._lock:
                return self._graph.run(inputs, outputs)
        except _ERRORS as error:
            raise PredictionError(f"the model cannot compute this input: {_reason(error)}", by_input=True) from None

    def unload(self) -> None:
        """Frees the interpreter's memory."""
        del self._graph


class Graph:
    """One signature of a model, or its only graph where it has no signatures."""

    def __init__(self, interpreter: Any, key: str | None) -> None:
        self._interpreter = interpreter
        self._runner = None if key is None else interpreter.get_signature_runner(key)
        if self._runner is None:
            self.inputs: Details = {item["name"]: item for item in interpreter.get_input_details()}
            self.outputs: Details = {item["name"]: item for item in interpreter.get_output_details()}
        else:
            self.inputs = self._runner.get_input_details()
            self.outputs = self._runner.get_output_details()

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """The named outputs; memory is laid out anew only where a shape has changed."""
        if self._runner is not None:
            results = self._runner(**inputs)
            return [results[name] for name in outputs]
        for name, values in inputs.items():
            self._interpreter.resize_tensor_input(self.inputs[name]["index"], values.shape)
        self._interpreter.allocate_tensors()
        for name, values in inputs.items():
            self._interpreter.set_tensor(self.inputs[name]["index"], values)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(self.outputs[name]["index"]) for name in outputs]


class TfliteRuntime:
    """TensorFlow Lite on the CPU."""

    name = "tflite"
    version = __version__
    engine = f"{_PACKAGE} {importlib.metadata.version(_PACKAGE)}"
    platform = "tflite_flatbuffer"
    formats = frozenset({"tflite"})

    def load(self, path: Path, *, threads: int) -> TfliteSession:
        """A session of a .tflite file.

        Raises:
            LoadError: it is none, needs an operator that is not here, or has a tensor the protocol cannot carry.
        """
        try:
            interpreter = Interpreter(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
            graph = Graph(interpreter, _served(path, tuple(interpreter.get_signature_list())))
        except _ERRORS as error:
            raise LoadError(f"{path}: {self.engine} refuses it: {_reason(error)}") from None
        signature = Signature(inputs=_specs(path, graph.inputs), outputs=_specs(path, graph.outputs))
        return TfliteSession(graph, signature)


def _served(path: Path, keys: Sequence[str]) -> str | None:
    if len(keys) < 2:
        return keys[0] if keys else None
    if DEFAULT_SIGNATURE not in keys:
        raise LoadError(f"{path}: has the signatures {', '.join(keys)}; one must be named {DEFAULT_SIGNATURE}")
    return DEFAULT_SIGNATURE


def _specs(path: Path, details: Details) -> tuple[TensorSpec, ...]:
    specs = []
    for name, item in details.items():
        datatype = _DATATYPES.get(np.dtype(item["dtype"]))
        if datatype is None:
            raise LoadError(f"{path}: {name!r} is {np.dtype(item['dtype'])}, which this server does not carry")
        specs.append(TensorSpec.of(name, datatype, [int(size) for size in item["shape_signature"]]))
    if not specs or len({spec.name for spec in specs}) != len(details):
        raise LoadError(f"{path}: has no inputs, or two tensors of one name")
    return tuple(specs)


def _reason(error: Exception) -> str:
    """The words of the interpreter in one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__
