"""What goes into a model and what comes out, and whether golden samples speak of the same tensors.

A dimension that the model leaves free is -1. The words for datatypes are those of the Open Inference Protocol.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from snapedge_hooks.document import Fields
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.samples import Sample, SampleSet, Tensor

from .errors import BuilderError

FREE = -1


class SamplesMismatchError(BuilderError):
    """Golden samples speak of tensors that the model does not have."""

    exit_code = ExitCode.REFUSED

    def __init__(self, problems: tuple[str, ...]) -> None:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(
            f"samples do not fit the model: {problems[0]}{more}",
            details="\n".join(problems),
            resolution="correct samples.json; `builder inspect` of the folder shows the model's tensors",
        )
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: as the model names it.
        datatype: such as `FP32`.
        shape: -1 where the model leaves the size free.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """As model.json holds it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}

    @classmethod
    def read(cls, fields: Fields) -> TensorSpec:
        """The tensor of a model.json entry."""
        shape = fields.list("shape")
        if not all(isinstance(size, int) and not isinstance(size, bool) and size >= FREE for size in shape):
            raise fields.error("shape", "is not a list of whole numbers from -1")
        spec = cls(name=fields.text("name"), datatype=fields.text("datatype"), shape=tuple(shape))
        fields.done()
        return spec

    def __str__(self) -> str:
        """For people: `x FP32[-1,13]`."""
        return f"{self.name} {self.datatype}[{','.join(str(size) for size in self.shape)}]"

    def problem_with(self, tensor: Tensor) -> str | None:
        """What makes a tensor not one of these, or None."""
        if tensor.datatype != self.datatype:
            return f"has datatype {tensor.datatype} where the model has {self.datatype}"
        fits = len(tensor.shape) == len(self.shape) and all(
            want in (FREE, got) for got, want in zip(tensor.shape, self.shape, strict=True)
        )
        return None if fits else f"has shape {list(tensor.shape)} where the model has {list(self.shape)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """All inputs and outputs of a model, in the model's order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def to_json(self) -> dict[str, Any]:
        """The two lists of model.json."""
        return {
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
        }

    @classmethod
    def read(cls, fields: Fields) -> Signature:
        """The signature in an object with `inputs` and `outputs`, both taken out of it."""
        return cls(
            inputs=tuple(TensorSpec.read(item) for item in fields.objects("inputs")),
            outputs=tuple(TensorSpec.read(item) for item in fields.objects("outputs")),
        )


def check_samples(samples: SampleSet, signature: Signature) -> None:
    """Refuse golden samples that the model cannot be asked.

    Raises:
        SamplesMismatchError: a tensor is unknown, missing, given twice, or has another datatype or shape.
    """
    problems = tuple(problem for sample in samples.samples for problem in _problems(sample, signature))
    if problems:
        raise SamplesMismatchError(problems)


def _problems(sample: Sample, signature: Signature) -> Iterable[str]:
    outputs = tuple(expected.tensor for expected in sample.outputs)
    for kind, tensors, specs in (("input", sample.inputs, signature.inputs), ("output", outputs, signature.outputs)):
        known = {spec.name: spec for spec in specs}
        seen: set[str] = set()
        for tensor in tensors:
            place = f"sample {sample.name!r}, {kind} {tensor.name!r}"
            if tensor.name in seen:
                yield f"{place} stands twice"
            elif tensor.name not in known:
                yield f"{place} is not one of the model's ({', '.join(known)})"
            elif problem := known[tensor.name].problem_with(tensor):
                yield f"{place} {problem}"
            seen.add(tensor.name)
        if kind == "input":
            for name in known.keys() - seen:
                yield f"sample {sample.name!r} lacks the model's input {name!r}"
