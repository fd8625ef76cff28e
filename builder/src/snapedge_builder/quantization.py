"""An ONNX model in 8-bit integers: what it saves, and by how much its answers move.

Rules:

1. `dynamic` keeps activations in FP32 and asks for nothing; `static` fixes their range on calibration inputs, which are
   the golden samples' unless other ones are named.
2. The quantized model answers the golden samples' inputs beside the original. Labels, texts and whole numbers must be
   equal, and no other number may move by more than the tolerance that its author wrote.
3. A model in which nothing could be quantized, or that became no smaller, is refused: it would cost and save nothing.

The only caller of onnxruntime.quantization; models are run by `onnxmodel`.
"""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from snapedge_hooks.errors import ExitCode
from snapedge_hooks.samples import SampleSet, Tensor

from . import onnxmodel
from .errors import BuilderError
from .modelfile import ModelRefusedError

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

    def __init__(self, file: str, problem: str, resolution: str, *, details: str = "") -> None:
        super().__init__(f"{file}: {problem}", details=details, resolution=resolution)


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
        ModelRefusedError: it cannot be loaded or run, or the library cannot quantize it.
        QuantizationRefusedError: it breaks rule 2 or 3, or cannot be loaded or run any more.
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
    before = _replay(path, samples)
    try:
        after = _replay(target, samples)
    except ModelRefusedError as error:
        raise QuantizationRefusedError(
            path.name,
            f"quantized, it {error.problem}",
            "quantize it with the other mode, or take `quantize` out of `model`",
            details=error.details,
        ) from error
    errors: dict[str, float] = {}
    for one, other in zip(before.answers, after.answers, strict=True):
        for name, moved in _errors(one, other).items():
            errors[name] = max(moved, errors.get(name, 0.0))
    for name, moved in errors.items():
        if not moved <= asked.tolerance:
            raise QuantizationRefusedError(
                path.name,
                f"its output {name!r} moves by {moved:.3g} on the golden samples; {asked.tolerance:g} is allowed",
                "calibrate it (mode: static) on more inputs, allow more (tolerance), or ship it as it is",
            )
    return QuantizationReport(size=size, latency=(before.seconds, after.seconds), errors=errors)


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
            self._rows = iter([onnxmodel.arrays(sample.inputs) for sample in calibration.samples])

        def get_next(self) -> Any:
            return next(self._rows, None)

    return Reader()


def _has_integers(path: Path) -> bool:
    import onnx

    return any(any(word in node.op_type for word in _QUANTIZED) for node in onnx.load(path).graph.node)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Replay:
    """What a model does with the golden samples.

    Attributes:
        answers: to each, outputs by name.
        seconds: median for the first.
    """

    answers: Sequence[Mapping[str, Tensor]]
    seconds: float


def _replay(path: Path, samples: SampleSet) -> _Replay:
    # Imported here, as other modules below: most builds quantize nothing.
    from statistics import median

    _, signature = onnxmodel.read_onnx(path)
    given = [{tensor.name: tensor for tensor in sample.inputs} for sample in samples.samples]
    with closing(onnxmodel.OnnxSession(path, signature, is_timed=True)) as session:
        answers = [session.answer(inputs) for inputs in given]
        return _Replay(answers=answers, seconds=median(session.seconds(given[0], rounds=_ROUNDS)))


def _errors(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, float]:
    """By output, by how much it moved: infinite where that is no number."""
    return {name: _moved(one, after[name]) for name, one in before.items()}


def _moved(one: Tensor, other: Tensor) -> float:
    import numpy

    if one.shape != other.shape or one.datatype != other.datatype:
        return math.inf
    if not one.datatype.startswith("FP"):
        return 0.0 if one.data == other.data else math.inf
    left, right = (onnxmodel.array(tensor).astype(float) for tensor in (one, other))
    is_same = (left == right) | (numpy.isnan(left) & numpy.isnan(right))
    with numpy.errstate(invalid="ignore"):  # of two infinities
        worst = float(numpy.max(numpy.where(is_same, 0.0, numpy.abs(left - right)), initial=0.0))
    return math.inf if math.isnan(worst) else worst
