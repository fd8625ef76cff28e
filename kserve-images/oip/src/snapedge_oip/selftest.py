"""`--self-test`: every model is asked all its golden samples, and the largest error of each output is printed.

One line for each output: model, version, output, samples, largest error, the tolerance allowed there, and ok or WRONG.
Nothing is opened and nothing served; the exit code is 0 where every answer is right, else 3.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TextIO

import numpy as np

from . import samples
from .adapter import Runtime
from .datatypes import Array
from .errors import LoadError, PredictionError, RequestError
from .gate import Gate
from .loading import load
from .modelfolder import find
from .models import Model
from .samples import Expected, Sample
from .settings import Settings


@dataclass(slots=True, kw_only=True)
class Row:
    """What was seen of one output so far."""

    checked: int = 0
    wrong: int = 0
    error: float | None = 0.0
    tolerance: float = 0.0


def run(runtime: Runtime, settings: Settings, threads: int, out: TextIO = sys.stdout) -> bool:
    """Tests every model and prints the table; whether all answers were right.

    Raises:
        LoadError: a model cannot be loaded.
    """
    right = True
    for versions in find(settings.model_dir):
        for folder in versions.every:
            document = folder.samples()
            model, _ = load(runtime, folder, Gate.NONE, threads)
            if document is None:
                print(f"{folder.name} {folder.version}: no samples", file=out)
                continue
            known = samples.parse(document, what=str(folder.path / "samples.json"))
            right = _tell(model, known, out) and right
            model.session.unload()
    return right


def _tell(model: Model, known: Iterable[Sample], out: TextIO) -> bool:
    rows: dict[str, Row] = {}
    refused = 0
    name = f"{model.folder.name} {model.folder.version}"
    for sample in known:
        try:
            outputs = model.outputs(sample.body)
        except (RequestError, PredictionError) as error:
            print(f"{name} sample {sample.name!r}: {error}", file=out)
            refused += 1
            continue
        for expected in sample.expected:
            _take(rows.setdefault(expected.name, Row()), expected, outputs.get(expected.name), sample.name)
    for output, row in rows.items():
        largest = "differs" if row.error is None else f"{row.error:.6g}"
        verdict = f"WRONG in {row.wrong}" if row.wrong else "ok"
        print(
            f"{name} {output}: {row.checked} samples, largest error {largest}, {row.tolerance:.6g} allowed, {verdict}",
            file=out,
        )
    return not refused and not any(row.wrong for row in rows.values())


def _take(row: Row, expected: Expected, got: Array | None, sample: str) -> None:
    row.checked += 1
    if expected.deviation(sample, got) is not None:
        row.wrong += 1
    if got is None or got.shape != expected.values.shape or expected.datatype.dtype.kind not in "iuf":
        if row.wrong:
            row.error = None
        return
    one, other = got.ravel().astype(np.float64), expected.values.ravel().astype(np.float64)
    both = np.isfinite(one) & np.isfinite(other)
    errors = np.abs(one[both] - other[both])
    if not errors.size:
        return
    worst = int(errors.argmax())
    if row.error is not None and float(errors[worst]) >= row.error:
        row.error = float(errors[worst])
        row.tolerance = expected.atol + expected.rtol * abs(float(other[both][worst]))


def outcome(runtime: Runtime, settings: Settings, threads: int) -> tuple[bool, str | None]:
    """Whether every answer was right, and why a model could not be tested at all."""
    try:
        return run(runtime, settings, threads), None
    except LoadError as error:
        return False, str(error)
