"""What a model takes and gives, and the checks of a request against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .datatypes import DATATYPES, Datatype
from .errors import LoadError, RequestError

MAX_DIMENSION = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: as the model names it.
        datatype: what it holds.
        shape: -1 where the dimension is free.
    """

    name: str
    datatype: Datatype
    shape: tuple[int, ...]

    @classmethod
    def of(cls, name: str, datatype: str, shape: Sequence[int]) -> TensorSpec:
        """A spec from the words of the protocol.

        Raises:
            LoadError: there is no such datatype.
        """
        if datatype not in DATATYPES:
            raise LoadError(f"tensor {name!r} has datatype {datatype!r}, which the protocol does not have")
        return cls(name=name, datatype=DATATYPES[datatype], shape=tuple(shape))

    def to_json(self) -> dict[str, Any]:
        """As model metadata shows it."""
        return {"name": self.name, "datatype": self.datatype.name, "shape": list(self.shape)}

    def agrees_with(self, other: TensorSpec) -> bool:
        """Whether both describe one tensor; a free dimension agrees with any."""
        return (
            (self.name, self.datatype.name, len(self.shape)) == (other.name, other.datatype.name, len(other.shape))
        ) and all(mine == theirs or -1 in (mine, theirs) for mine, theirs in zip(self.shape, other.shape, strict=True))

    def check(self, datatype: object, shape: object) -> tuple[list[int], int]:
        """The shape of a request's tensor that fits this spec, and how many elements it has.

        Raises:
            RequestError: it does not fit.
        """
        if datatype != self.datatype.name:
            if type(datatype) is not str or datatype not in DATATYPES:
                raise RequestError(f"input '{self.name}': {str(datatype)[:40]!r} is not a datatype of the protocol")
            raise RequestError(f"input '{self.name}': datatype is {datatype}, the model takes {self.datatype.name}")
        if type(shape) is not list:
            raise RequestError(f"input '{self.name}': shape must be a list of whole numbers")
        if len(shape) != len(self.shape):
            raise self._misfit(shape)
        count = 1
        for size, wanted in zip(shape, self.shape):  # noqa: B905  # both have one length, and `strict` costs time
            if type(size) is not int or not 0 <= size <= MAX_DIMENSION:
                raise RequestError(f"input '{self.name}': shape must hold whole numbers from 0, not {size!r}")
            if size != wanted and wanted != -1:
                raise self._misfit(shape)
            count *= size
        return shape, count

    def _misfit(self, shape: Sequence[Any]) -> RequestError:
        shown = str(list(shape)[:16])[:120]
        return RequestError(f"input '{self.name}': shape is {shown}, the model takes {list(self.shape)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A model's inputs and outputs, in the model's order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    input_named: dict[str, TensorSpec] = field(init=False, repr=False, compare=False)
    output_named: dict[str, TensorSpec] = field(init=False, repr=False, compare=False)
    output_names: list[str] = field(init=False, repr=False, compare=False)
    every: tuple[tuple[bool, ...], tuple[bool, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_named", {spec.name: spec for spec in self.inputs})
        object.__setattr__(self, "output_named", {spec.name: spec for spec in self.outputs})
        object.__setattr__(self, "output_names", [spec.name for spec in self.outputs])
        # By whether all outputs leave as binary data: made once, not for each request.
        count = len(self.outputs)
        object.__setattr__(self, "every", ((False,) * count, (True,) * count))

    def disagreement(self, other: Signature) -> str | None:
        """How another signature differs, in words, or None."""
        for kind, mine, theirs in (
            ("input", self.input_named, other.input_named),
            ("output", self.output_named, other.output_named),
        ):
            for name in sorted(mine.keys() ^ theirs.keys()):
                return f"{kind} {name!r} is in one of them only"
            for name, spec in mine.items():
                if not spec.agrees_with(theirs[name]):
                    return f"{kind} {name!r} is {spec.to_json()} in one and {theirs[name].to_json()} in the other"
        return None
