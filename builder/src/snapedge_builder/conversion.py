"""Models that become ONNX before they are served: scikit-learn's pickles, XGBoost's and LightGBM's own files.

Rules:

1. What a file is follows from its content. XGBoost saves JSON or UBJSON that begins with a learner, LightGBM a text
   that begins with its tree; both formats are their libraries' stable ones. A pickle is scikit-learn's or nothing.
2. A conversion counts only if the converted model answered as the original did, on the golden samples' inputs, or on
   drawn rows where there are none: labels equal, numbers within `TOLERANCE` of the larger of 1 and the number.
3. It is done without network and without writing, since a pickle is code, and the same file gives the same bytes.

The only caller of `conversionworker`.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from snapedge_hooks.errors import ExitCode
from snapedge_hooks.samples import SampleSet

from . import modelfile, modelprocess, pickles
from .errors import BuilderError
from .modelfile import ModelRefusedError

TOLERANCE = 1e-4
"""What FP32 may differ from a model that computes in FP64."""
SECONDS = 600.0
INPUT = "X"

_UBJSON_LEARNER = b"{L\0\0\0\0\0\0\0\x07learner"
_PACKAGES = ("joblib", "lightgbm", "onnxmltools", "scikit-learn", "skl2onnx", "xgboost", "xgboost-cpu")
EXTRA = "snapedge-builder[convert]"


class Source(Enum):
    """What can become ONNX."""

    SKLEARN = "sklearn"
    XGBOOST = "xgboost"
    LIGHTGBM = "lightgbm"

    def __str__(self) -> str:
        """The word that the worker knows."""
        return self.value


class ConverterMissingError(BuilderError):
    """The libraries that convert are not installed."""

    def __init__(self, file: str, source: Source) -> None:
        super().__init__(
            f"{file}: is a model of {source}, and what converts it to ONNX is not installed here",
            resolution=f"install {EXTRA}",
        )


class ConversionDiffersError(BuilderError):
    """The converted model answers otherwise than the original."""

    exit_code = ExitCode.REFUSED

    def __init__(self, file: str, output: str, error: float, rows: int) -> None:
        how = "another label" if error == float("inf") else f"off by {error:.3g} where {TOLERANCE:g} is allowed"
        super().__init__(
            f"{file}: as ONNX it answers otherwise than before: {output} is {how}, on {rows} rows",
            resolution="convert it yourself and see where it differs, or serve it as it is: model: {convert: none}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """A model as ONNX.

    Attributes:
        data: the ONNX file.
        tool: what made it, with its version.
        rows: that it was compared on.
        errors: by output, the largest difference from the original.
    """

    data: bytes
    tool: str
    rows: int
    errors: Mapping[str, float]


def source_of(path: Path) -> Source | None:
    """What a file is that can become ONNX; None for one that cannot, or need not."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
        if head.startswith(b"tree\nversion=v"):
            return Source.LIGHTGBM
        if head.startswith(_UBJSON_LEARNER) or b"".join(head.split()).startswith(b'{"learner":'):
            return Source.XGBOOST
        return Source.SKLEARN if pickles.is_pickle(path) else None
    except OSError:
        return None  # whoever reads it next says what is wrong


def convert(path: Path, source: Source, samples: SampleSet | None) -> Conversion:
    """The model as ONNX, compared with the original.

    Raises:
        ModelRefusedError: it cannot be loaded or converted, or is a pickle that must not be loaded.
        ConversionDiffersError: it answers otherwise as ONNX.
        ConverterMissingError: a library is not installed.
        ToolMissingError: bubblewrap is not installed.
    """
    _require(path.name, source)
    if source is Source.SKLEARN:
        modelfile.judge_pickle(path)
    command = modelprocess.sandboxed(
        [sys.executable, "-P", "-m", "snapedge_builder.conversionworker", str(source), str(path.absolute())]
    )
    asked = json.dumps(_inputs(samples)).encode()
    try:
        ended = subprocess.run(command, input=asked, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ModelRefusedError(path.name, f"is not converted after {SECONDS:.0f} s") from error
    line, _, data = ended.stdout.partition(b"\n")
    told: dict[str, Any] = json.loads(line) if line.startswith(b"{") else {}
    if "error" in told:
        raise ModelRefusedError(
            path.name,
            f"cannot be converted to ONNX: {told['error']}",
            details=told["details"],
            resolution="export it to ONNX yourself",
        )
    if ended.returncode != 0 or len(data) != told.get("size"):
        words = ended.stderr.decode("utf-8", "replace")[-4000:]
        raise ModelRefusedError(
            path.name, f"ended the process that converts it (status {ended.returncode})", details=words
        )
    for output, distance in told["errors"].items():
        if not distance <= TOLERANCE:
            raise ConversionDiffersError(path.name, output, distance, told["rows"])
    return Conversion(data=data, tool=told["tool"], rows=told["rows"], errors=told["errors"])


def versions() -> dict[str, str]:
    """The libraries that conversions depend on, as far as they are installed."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _require(file: str, source: Source) -> None:
    needed = {
        Source.SKLEARN: ("joblib", "scikit-learn", "skl2onnx"),
        Source.XGBOOST: ("onnxmltools", "xgboost-cpu"),
        Source.LIGHTGBM: ("lightgbm", "onnxmltools"),
    }[source]
    here = versions()
    if "xgboost" in here:
        # The full package serves as well as the one without GPUs.
        here["xgboost-cpu"] = here["xgboost"]
    if not all(package in here for package in needed):
        raise ConverterMissingError(file, source)


def _inputs(samples: SampleSet | None) -> list[Sequence[Any]] | None:
    """The samples' rows, where they are about what a converted model takes."""
    if samples is None:
        return None
    tensors = [tensor for sample in samples.samples for tensor in sample.inputs if tensor.name == INPUT]
    return [list(tensor.data) for tensor in tensors] or None
