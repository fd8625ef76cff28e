"""Golden samples replayed on the build host: a model ships when its answers are right.

The device proves the same samples again with its own build of the runtime; this is where a person still sees the
numbers.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from snapedge_hooks.errors import ExitCode
from snapedge_hooks.samples import Deviation, SampleSet, Tensor
from snapedge_hooks.vocabulary import ModelFormat

from .errors import BuilderError
from .modelfile import ModelFacts

ENGINES = {
    ModelFormat.ONNX: "onnxruntime",
    ModelFormat.TFLITE: "ai-edge-litert",
    ModelFormat.SKLEARN: "scikit-learn",
}
"""The package that answers on the build host."""
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


class Answering(Protocol):
    """A model that can be asked."""

    def answer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All outputs for some inputs.

        Raises:
            ModelRefusedError: the model fails on them.
        """


@contextmanager
def answering(path: Path, model: ModelFacts) -> Iterator[Answering]:
    """A model, loaded for as long as the context lasts.

    Raises:
        ModelRefusedError: it cannot be loaded.
    """
    # Imported here: what runs models takes up to half a second that a build with nothing to do need not pay.
    if model.format is ModelFormat.ONNX:
        from .onnxmodel import OnnxSession

        with closing(OnnxSession(path, model.signature)) as session:
            yield session
    else:
        from .modelprocess import ModelProcess

        with ModelProcess(path, model.format) as process:
            yield process


def prove(model: Answering, samples: SampleSet) -> Proof:
    """Replay golden samples.

    Raises:
        ModelRefusedError: the model fails on one.
    """
    deviations: list[Deviation] = []
    for sample in samples.samples:
        deviations.extend(sample.deviations(model.answer({tensor.name: tensor for tensor in sample.inputs})))
    return Proof(samples=len(samples.samples), deviations=tuple(deviations))


def engine_version(form: ModelFormat) -> str:
    """The version of what proves models of a format here; empty where it is not installed."""
    try:
        return importlib.metadata.version(ENGINES[form])
    except importlib.metadata.PackageNotFoundError:
        return ""
