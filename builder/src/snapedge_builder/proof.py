"""Golden samples replayed on the build host: a model ships when its answers are right.

The only caller of ONNX Runtime. The device proves the same samples again with its own build of it; this is where a
person still sees the numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snapedge_hooks.errors import ExitCode
from snapedge_hooks.samples import Deviation, Sample, SampleSet, Tensor

from .errors import BuilderError
from .modelfile import ModelRefusedError
from .signature import Signature

if TYPE_CHECKING:
    import numpy
    import onnxruntime

_NUMPY_NAMES = {
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "BOOL": "bool",
    "BYTES": "object",
    **{f"{sign}INT{bits}": f"{sign.lower()}int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)},
}
_OPSET_LIMIT = re.compile(r"[Oo]pset (\d+) is under development.*?till opset (\d+)", re.DOTALL)
_UNKNOWN_OPSET = re.compile(r"support for domain (\S+) is till opset (\d+)")
SHIP_FLAG = "--ship-failing-model"
_TABLE_ROWS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What replaying the golden samples showed.

    Attributes:
        samples: how many were replayed.
        deviations: where an answer was wrong; empty when the model is right.
    """

    samples: int
    deviations: tuple[Deviation, ...]

    @property
    def passed(self) -> bool:
        """Whether every answer was right."""
        return not self.deviations


class SamplesFailedError(BuilderError):
    """The model answers its golden samples wrongly."""

    exit_code = ExitCode.REFUSED

    def __init__(self, file: str, proof: Proof) -> None:
        wrong = len({deviation.sample for deviation in proof.deviations})
        first = proof.deviations[0]
        super().__init__(
            f"{file} answers {wrong} of {proof.samples} golden samples wrongly: "
            f"sample {first.sample!r}, output {first.output!r} {first.problem}",
            details=deviation_table(proof),
            resolution=f"correct the model or its samples, or overrule with {SHIP_FLAG}",
        )
        self.proof = proof


def deviation_table(proof: Proof) -> str:
    """Wrong answers as a plain table, one line for each output of each sample, the first few of them."""
    head = ("sample", "output", "max error", "tolerance", "problem")
    left = len(proof.deviations) - _TABLE_ROWS
    rows = [
        (
            deviation.sample,
            deviation.output,
            "-" if deviation.max_error is None else f"{deviation.max_error:.6g}",
            f"{deviation.tolerance:.6g}",
            deviation.problem,
        )
        for deviation in proof.deviations[:_TABLE_ROWS]
    ]
    more = f"\nand {left} more" if left > 0 else ""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows))
    return "\n".join(line.rstrip() for line in lines) + more


class ModelSession:
    """A model loaded by ONNX Runtime on the build host."""

    def __init__(self, path: Path, signature: Signature) -> None:
        """Load the model.

        Raises:
            ModelRefusedError: the runtime cannot load it; an opset it lacks is named.
        """
        self._file = path.name
        self._signature = signature
        self._session = _load(path)

    def answer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All outputs for some inputs.

        Raises:
            ModelRefusedError: the runtime fails while running the model.
        """
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        try:
            outputs = self._session.run(None, {name: _array(tensor) for name, tensor in inputs.items()})
        except (ValueError, state.Fail, state.InvalidArgument, state.RuntimeException, state.NotImplemented) as error:
            raise ModelRefusedError(
                self._file, f"fails when it is run: {_first_line(error)}", details=str(error)
            ) from error
        named = zip(self._signature.outputs, outputs, strict=True)
        return {spec.name: _tensor(spec.name, spec.datatype, array) for spec, array in named}

    def prove(self, samples: SampleSet) -> Proof:
        """Replay golden samples."""
        deviations: list[Deviation] = []
        for sample in samples.samples:
            deviations.extend(sample.deviations(self._answer_to(sample)))
        return Proof(samples=len(samples.samples), deviations=tuple(deviations))

    def _answer_to(self, sample: Sample) -> dict[str, Tensor]:
        return self.answer({tensor.name: tensor for tensor in sample.inputs})


def runtime_version() -> str:
    """The version of ONNX Runtime that proves models here."""
    from importlib.metadata import version

    return version("onnxruntime")


def _load(path: Path) -> onnxruntime.InferenceSession:
    # Imported here: it takes a quarter of a second that a build with nothing to do need not pay.
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(path, sess_options=options, providers=["CPUExecutionProvider"])
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


def _array(tensor: Tensor) -> numpy.ndarray[Any, Any]:
    import numpy

    return numpy.array(tensor.data, dtype=_NUMPY_NAMES[tensor.datatype]).reshape(tensor.shape)


def _tensor(name: str, datatype: str, array: numpy.ndarray[Any, Any]) -> Tensor:
    return Tensor(name=name, shape=array.shape, datatype=datatype, data=tuple(array.reshape(-1).tolist()))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
