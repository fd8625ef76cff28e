"""An ONNX model in 8-bit integers: what it saves, and by how much its answers move.

Rules:

1. `dynamic` keeps activations in FP32 and asks for nothing; `static` fixes their range on calibration inputs, which are
   the golden samples' unless other ones are named.
2. The quantized model answers the golden samples' inputs beside the original. Labels, texts and whole numbers must be
   equal, and no other number may move by more than the tolerance that its author wrote.
3. A model in which nothing could be quantized, or that became no smaller, is refused: it would cost and save nothing.

The only caller of onnxruntime.quantization.
"""

from __future__ import annotations

import importlib.metadata
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snapedge_hooks.errors import ExitCode
from snapedge_hooks.samples import SampleSet, Tensor

from .errors import BuilderError
from .modelfile import ModelRefusedError

if TYPE_CHECKING:
    import numpy

DEFAULT_TOLERANCE = 0.01
_ROUNDS = 20
_QUANTIZED = ("Integer", "QLinear", "QuantizeLinear", "DynamicQuantize")
"""In the names of operators that a model has only after quantization (ONNX, and onnxruntime's own domain)."""


class QuantizationMode(Enum):
    """How activations become integers."""

    DYNAMIC = "dynamic"
    STATIC = "static"

    def __str__(self) -> str:
        """The word used in files."""
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """What an author asks for.

    Attributes:
        mode: how.
        tolerance: by how much a number of an answer may move.
        calibration: golden samples' format, for their inputs; relative to the folder, None for the golden samples.
    """

    mode: QuantizationMode
    tolerance: float = DEFAULT_TOLERANCE
    calibration: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationReport:
    """What came of it.

    Attributes:
        size: bytes before and after.
        latency: median seconds for one of the samples, before and after, here.
        errors: by output, the largest difference on the samples; infinite where a label or a whole number differs.
    """

    size: tuple[int, int]
    latency: tuple[float, float]
    errors: Mapping[str, float]

    def lines(self) -> list[str]:
        """For a person."""
        before, after = self.size
        slow, quick = (seconds * 1e3 for seconds in self.latency)
        found = [f"quantized: {before:,} to {after:,} bytes, {slow:.3f} to {quick:.3f} ms a sample"]
        return found + [f"largest error of {name}: {error:.3g}" for name, error in self.errors.items()]


class QuantizationRefusedError(BuilderError):
    """The quantized model is not worth having, or not right."""

    exit_code = ExitCode.REFUSED

    def __init__(self, file: str, problem: str, resolution: str) -> None:
        super().__init__(f"{file}: {problem}", resolution=resolution)


def quantize(
    path: Path, target: Path, asked: Quantization, samples: SampleSet, calibration: SampleSet
) -> QuantizationReport:
    """Write the quantized model, and tell how it compares.

    Args:
        path: the ONNX file.
        target: where the quantized one goes.
        asked: what its author wrote.
        samples: to compare on.
        calibration: whose inputs fix the ranges of a static one.

    Raises:
        ModelRefusedError: the library cannot quantize it, or it cannot be run afterwards.
        QuantizationRefusedError: it breaks rule 2 or 3.
    """
    _write(path, target, asked, calibration)
    size = path.stat().st_size, target.stat().st_size
    if not _has_integers(target):
        raise QuantizationRefusedError(
            path.name,
            "holds nothing that can be quantized",
            "take `quantize` out of `model`; trees, for one, have no weights",
        )
    if size[1] >= size[0]:
        raise QuantizationRefusedError(
            path.name, f"is not smaller quantized: {size[0]:,} to {size[1]:,} bytes", "take `quantize` out of `model`"
        )
    before, after = _Session(path), _Session(target)
    errors: dict[str, float] = {}
    for sample in samples.samples:
        for name, error in _errors(before.answer(sample.inputs), after.answer(sample.inputs)).items():
            errors[name] = max(error, errors.get(name, 0.0))
    for name, error in errors.items():
        if not error <= asked.tolerance:
            raise QuantizationRefusedError(
                path.name,
                f"its output {name!r} moves by {error:.3g} on the golden samples; {asked.tolerance:g} is allowed",
                "calibrate it (mode: static) on more inputs, allow more (tolerance), or ship it as it is",
            )
    first = samples.samples[0].inputs
    return QuantizationReport(size=size, latency=(before.seconds(first), after.seconds(first)), errors=errors)


def version() -> str:
    """Of what quantizes."""
    return importlib.metadata.version("onnxruntime")


def _write(path: Path, target: Path, asked: Quantization, calibration: SampleSet) -> None:
    from onnxruntime import quantization as library

    try:
        if asked.mode is QuantizationMode.DYNAMIC:
            library.quantize_dynamic(path, target, weight_type=library.QuantType.QInt8)
        else:
            library.quantize_static(
                path,
                target,
                _reader(library, calibration),
                quant_format=library.QuantFormat.QDQ,
                activation_type=library.QuantType.QUInt8,
                weight_type=library.QuantType.QInt8,
            )
    except Exception as error:  # the library raises what its many parts raise; a person hears which
        lines = (str(error) or type(error).__name__).strip().splitlines()
        raise ModelRefusedError(
            path.name,
            f"cannot be quantized: {lines[0][:300]}",
            details=str(error)[:4000],
            resolution="take `quantize` out of `model`",
        ) from error


def _reader(library: Any, calibration: SampleSet) -> Any:
    class Reader(library.CalibrationDataReader):  # type: ignore[misc]  # the library has no types
        def __init__(self) -> None:
            self._rows = iter([_arrays(sample.inputs) for sample in calibration.samples])

        def get_next(self) -> Any:
            return next(self._rows, None)

    return Reader()


def _has_integers(path: Path) -> bool:
    import onnx

    return any(any(word in node.op_type for word in _QUANTIZED) for node in onnx.load(path).graph.node)


class _Session:
    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._names = [output.name for output in self._session.get_outputs()]

    def answer(self, inputs: Sequence[Tensor]) -> dict[str, Any]:
        return dict(zip(self._names, self._session.run(self._names, _arrays(inputs)), strict=True))

    def seconds(self, inputs: Sequence[Tensor]) -> float:
        arrays = _arrays(inputs)
        # Imported here, as below: most builds quantize nothing.
        from statistics import median

        return median(_timed(self._session, self._names, arrays))


def _timed(session: Any, names: list[str], arrays: Mapping[str, Any]) -> Iterator[float]:
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        session.run(names, arrays)
        yield time.perf_counter() - start


def _errors(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, float]:
    import numpy

    found = {}
    for name, one in before.items():
        other = after[name]
        if one.shape != other.shape:
            found[name] = math.inf
        elif one.dtype.kind == "f":
            found[name] = float(numpy.max(numpy.abs(one.astype(float) - other.astype(float)), initial=0.0))
        else:
            found[name] = math.inf if (one != other).any() else 0.0
    return found


def _arrays(inputs: Sequence[Tensor]) -> dict[str, numpy.ndarray[Any, Any]]:
    from .onnxmodel import array

    return {tensor.name: array(tensor) for tensor in inputs}
