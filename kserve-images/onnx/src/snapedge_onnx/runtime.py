"""The onnxruntime library as the protocol server sees it: load, signature, predict, unload."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as states

from snapedge_oip.datatypes import BYTES, Array
from snapedge_oip.errors import LoadError, PredictionError
from snapedge_oip.signature import Signature, TensorSpec

from . import __version__

_DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}
_LOG_ERRORS = 3
_LOAD_ERRORS = (
    states.Fail,
    states.InvalidArgument,
    states.InvalidGraph,
    states.InvalidProtobuf,
    states.NoSuchFile,
    states.NotImplemented,
    states.RuntimeException,
)
# A node that fails on checked inputs fails on their values: an index out of range, shapes that do not go together.
_INPUT_ERRORS = (states.Fail, states.InvalidArgument, states.NotImplemented)


class OnnxSession:
    """A loaded ONNX model."""

    def __init__(self, session: onnxruntime.InferenceSession, signature: Signature) -> None:
        # The wrapper's `run` looks at each input's name again and asks after graph capture on GPUs: 2 us for nothing
        # where the request was checked against the signature and there is one provider.
        self._run = session._sess.run  # noqa: SLF001
        self._signature = signature
        self._texts = [spec.name for spec in signature.inputs if spec.datatype is BYTES]

    @property
    def signature(self) -> Signature:
        """What the model file says it takes and gives."""
        return self._signature

    def predict(self, inputs: dict[str, Array], outputs: Sequence[str]) -> Sequence[Array]:
        """The named outputs.

        Raises:
            PredictionError: onnxruntime failed.
        """
        if self._texts:
            inputs = inputs | {name: _as_text(name, inputs[name]) for name in self._texts}
        try:
            arrays: Sequence[Array] = self._run(outputs, inputs, None)
        except _INPUT_ERRORS as error:
            raise PredictionError(f"the model cannot compute this input: {_reason(error)}", by_input=True) from None
        except states.RuntimeException as error:
            raise PredictionError(
                f"the model failed: {_reason(error)}", by_input="allocate" not in str(error)
            ) from None
        return arrays

    def unload(self) -> None:
        """Frees the session's memory."""
        del self._run


class OnnxRuntime:
    """onnxruntime on the CPU."""

    name = "onnx"
    version = __version__
    engine = f"onnxruntime {onnxruntime.__version__}"
    platform = "onnx_onnxv1"
    formats = frozenset({"onnx"})

    def load(self, path: Path, *, threads: int) -> OnnxSession:
        """A session of an ONNX file.

        Raises:
            LoadError: it is no ONNX file, needs what this onnxruntime lacks, or has a tensor the protocol cannot carry.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # A spinning thread takes a core from the device's other work for a second after each request.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        options.log_severity_level = _LOG_ERRORS
        try:
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except _LOAD_ERRORS as error:
            raise LoadError(f"{path}: onnxruntime {onnxruntime.__version__} refuses it: {_reason(error)}") from None
        signature = Signature(inputs=_specs(path, session.get_inputs()), outputs=_specs(path, session.get_outputs()))
        return OnnxSession(session, signature)


def _specs(path: Path, arguments: Sequence[Any]) -> tuple[TensorSpec, ...]:
    specs = []
    for argument in arguments:
        datatype = _DATATYPES.get(argument.type)
        if datatype is None:
            advice = "; convert with zipmap off" if argument.type.startswith("seq(map") else ""
            raise LoadError(f"{path}: {argument.name!r} is a {argument.type}, which the protocol cannot carry{advice}")
        shape = [size if isinstance(size, int) and size >= 0 else -1 for size in argument.shape]
        specs.append(TensorSpec.of(argument.name, datatype, shape))
    return tuple(specs)


def _as_text(name: str, values: Array) -> Array:
    """The strings of an input as `str`: of `bytes`, onnxruntime would take Python's notation."""
    try:
        texts = [item.decode() if isinstance(item, bytes) else item for item in values.ravel().tolist()]
    except UnicodeDecodeError:
        raise PredictionError(f"input '{name}': ONNX strings are UTF-8, and this one is not", by_input=True) from None
    return np.array(texts, dtype=object).reshape(values.shape)


def _reason(error: Exception) -> str:
    """The words of onnxruntime without its prefix, in one line."""
    return " ".join(str(error).rpartition("[ONNXRuntimeError] : ")[2].split())[:300]
