"""Golden samples: requests whose right answers are known, carried with the model and replayed wherever it is served.

Rules for an answer to be right:

1. It has every expected output, with the expected shape and datatype. Outputs that nobody expects are not looked at.
2. Floating point: |got - want| <= atol + rtol * |want| for each element, both rounded to the output's datatype first.
   NaN equals NaN; an infinity equals itself.
3. Strings, booleans and integers: exactly. atol and rtol do not soften them.
4. In JSON, `null` stands for NaN, "Infinity" and "-Infinity" for the infinities.

The servers' protocol package has its own implementation, since images import nothing of ours; both pass
`tests/cases/samples/`.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .document import DocumentError, Fields, canonical_json, parse_object

FORMAT = 1
MAX_DIMENSIONS = 32
"""More than any runtime takes; ONNX Runtime and NumPy stop at 64 and below."""
_FLOAT_PACKING = {"FP16": struct.Struct("<e"), "FP32": struct.Struct("<f"), "FP64": struct.Struct("<d")}
FLOATS = frozenset(_FLOAT_PACKING)
INTEGERS = frozenset({"INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"})
DATATYPES = FLOATS | INTEGERS | {"BOOL", "BYTES"}

Scalar = float | int | bool | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A named tensor of the Open Inference Protocol.

    Attributes:
        name: as the model names it.
        shape: every dimension known, each >= 0.
        datatype: one of `DATATYPES`.
        data: row-major and flat; as many as the shape says. Floats are rounded to the datatype.
    """

    name: str
    shape: tuple[int, ...]
    datatype: str
    data: tuple[Scalar, ...]

    def to_json(self) -> dict[str, Any]:
        """The protocol's JSON, flat."""
        data = [item if not isinstance(item, float) or math.isfinite(item) else _unwritable(item) for item in self.data]
        return {"name": self.name, "shape": list(self.shape), "datatype": self.datatype, "data": data}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedTensor:
    """A right answer, and how far another may be from it.

    Attributes:
        tensor: the answer.
        atol: absolute tolerance, in the output's own unit.
        rtol: relative tolerance, a share of the expected value.
    """

    tensor: Tensor
    atol: float = 0.0
    rtol: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """Where an answer is wrong.

    Attributes:
        sample: the golden sample's name.
        output: the output's name.
        max_error: the largest |got - want| of a wrong element, or None where no number says it.
        tolerance: what was allowed there.
        problem: the deviation in words.
    """

    sample: str
    output: str
    max_error: float | None
    tolerance: float
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One request and what is right to answer."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[ExpectedTensor, ...]

    def request(self) -> dict[str, Any]:
        """The body of the infer request, asking for the expected outputs only."""
        return {
            "inputs": [tensor.to_json() for tensor in self.inputs],
            "outputs": [{"name": expected.tensor.name} for expected in self.outputs],
        }

    def deviations(self, answer: Mapping[str, Tensor]) -> tuple[Deviation, ...]:
        """What is wrong with an answer, by output; empty when it is right."""
        found = (self._deviation(expected, answer.get(expected.tensor.name)) for expected in self.outputs)
        return tuple(deviation for deviation in found if deviation is not None)

    def errors(self, answer: Mapping[str, Tensor]) -> dict[str, float]:
        """The largest |got - want| of each output that can be compared: there, of the right shape and datatype.

        It is infinite where no number says how far apart two elements are.
        """
        found = {}
        for expected in self.outputs:
            want, got = expected.tensor, answer.get(expected.tensor.name)
            if got is not None and (got.datatype, got.shape) == (want.datatype, want.shape):
                pairs = zip(got.data, want.data, strict=True)
                found[want.name] = max((_distance(one, other, expected)[0] for one, other in pairs), default=0.0)
        return found

    def _deviation(self, expected: ExpectedTensor, got: Tensor | None) -> Deviation | None:
        want = expected.tensor

        def wrong(problem: str, max_error: float | None = None, tolerance: float = 0.0) -> Deviation:
            return Deviation(
                sample=self.name, output=want.name, max_error=max_error, tolerance=tolerance, problem=problem
            )

        if got is None:
            return wrong("is not in the answer")
        if got.datatype != want.datatype:
            return wrong(f"has datatype {got.datatype}, not {want.datatype}")
        if got.shape != want.shape:
            return wrong(f"has shape {list(got.shape)}, not {list(want.shape)}")
        worst: tuple[float, float] | None = None
        for one, other in zip(got.data, want.data, strict=True):
            error, tolerance = _distance(one, other, expected)
            if error > tolerance and (worst is None or error > worst[0]):
                worst = (error, tolerance)
        if worst is None:
            return None
        error, tolerance = worst
        if math.isinf(error):
            return wrong("differs")
        return wrong(f"is off by {error:.6g} where {tolerance:.6g} is allowed", error, tolerance)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSet:
    """All golden samples of a model; at least one, each name once."""

    samples: tuple[Sample, ...]

    @classmethod
    def parse(cls, data: bytes, *, what: str = "samples.json") -> SampleSet:
        """The samples of a document.

        Raises:
            DocumentError: the document is not what the format says; the place is named.
        """
        fields = parse_object(data, what=what)
        fields.format(FORMAT)
        samples = tuple(_sample(item) for item in fields.objects("samples"))
        fields.done()
        if not samples:
            raise DocumentError(what, "samples", "is empty", resolution="give at least one request with a known answer")
        names = [sample.name for sample in samples]
        for name in sorted({name for name in names if names.count(name) > 1}):
            raise DocumentError(what, "samples", f"{name!r} stands twice")
        return cls(samples=samples)

    def part(self, start: int, count: int) -> SampleSet:
        """So many samples from a position on, going on at the first after the last; all where there are no more.

        Walking on by `count` from part to part, every sample has its turn, whatever their number.
        """
        size = len(self.samples)
        if count >= size:
            return self
        return SampleSet(samples=tuple(self.samples[(start + step) % size] for step in range(count)))

    def to_json(self) -> bytes:
        """The canonical document."""
        return canonical_json(
            {
                "format": FORMAT,
                "samples": [
                    {
                        "name": sample.name,
                        "request": {"inputs": [tensor.to_json() for tensor in sample.inputs]},
                        "expect": {
                            "outputs": [
                                expected.tensor.to_json() | {"atol": expected.atol, "rtol": expected.rtol}
                                for expected in sample.outputs
                            ]
                        },
                    }
                    for sample in self.samples
                ],
            }
        )


def parse_answer(data: bytes, *, what: str = "answer") -> dict[str, Tensor]:
    """The outputs of an infer response by name; other keys of the response are not looked at.

    Raises:
        DocumentError: it is no infer response.
    """
    fields = parse_object(data, what=what)
    return {tensor.name: tensor for tensor in (_tensor(item) for item in fields.objects("outputs"))}


def parse_refusal(data: bytes) -> str:
    """What a server said in place of an answer, on one line of at most 200 characters; empty where it said nothing."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return ""
    text = found.get("error") if isinstance(found, dict) else None
    return " ".join(text.split())[:200] if isinstance(text, str) else ""


def _distance(got: Scalar, want: Scalar, expected: ExpectedTensor) -> tuple[float, float]:
    """How far apart two elements are, and how far they may be."""
    if expected.tensor.datatype not in FLOATS:
        if got == want and isinstance(got, bool) is isinstance(want, bool):
            return 0.0, 0.0
        numeric = expected.tensor.datatype in INTEGERS
        return (float(abs(int(got) - int(want))) if numeric else math.inf), 0.0
    one, other = float(got), float(want)
    if one == other or (math.isnan(one) and math.isnan(other)):
        return 0.0, 0.0
    if not (math.isfinite(one) and math.isfinite(other)):
        return math.inf, 0.0
    return abs(one - other), expected.atol + expected.rtol * abs(other)


def _sample(fields: Fields) -> Sample:
    name = fields.text("name")
    if not name:
        raise fields.error("name", "is empty")
    request = fields.object("request")
    inputs = tuple(_tensor(item) for item in request.objects("inputs"))
    request.done()
    expect = fields.object("expect")
    outputs = []
    for item in expect.objects("outputs"):
        atol, rtol = item.number("atol", default=0.0), item.number("rtol", default=0.0)
        if atol < 0 or rtol < 0:
            raise item.error("atol" if atol < 0 else "rtol", "is negative")
        tensor = _tensor(item)
        item.done()
        outputs.append(ExpectedTensor(tensor=tensor, atol=atol, rtol=rtol))
    expect.done()
    fields.done()
    if not inputs:
        raise request.error("inputs", "is empty")
    if not outputs:
        raise expect.error("outputs", "is empty")
    return Sample(name=name, inputs=inputs, outputs=tuple(outputs))


def _tensor(fields: Fields) -> Tensor:
    name, datatype = fields.text("name"), fields.text("datatype")
    if datatype not in DATATYPES:
        raise fields.error("datatype", f"{datatype!r} is not one of {', '.join(sorted(DATATYPES))}")
    shape = tuple(fields.list("shape"))
    if not all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in shape):
        raise fields.error("shape", "is not a list of whole numbers from 0")
    data = tuple(_flat(fields, fields.list("data")))
    if len(data) != math.prod(shape):
        raise fields.error("data", f"has {len(data)} elements where shape {list(shape)} has {math.prod(shape)}")
    return Tensor(
        name=name, shape=shape, datatype=datatype, data=tuple(_element(fields, datatype, item) for item in data)
    )


def _unwritable(number: float) -> str | None:
    """What JSON carries in place of a float that it has no number for."""
    return None if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _rounded(datatype: str, item: Any) -> float | None:
    """A float as its datatype holds it, or None for what is no float."""
    if item is None:
        return math.nan
    if isinstance(item, str):
        return {"Infinity": math.inf, "-Infinity": -math.inf}.get(item)
    if isinstance(item, bool) or not isinstance(item, int | float):
        return None
    packing = _FLOAT_PACKING[datatype]
    try:
        rounded: float = packing.unpack(packing.pack(item))[0]
    except OverflowError:
        return math.copysign(math.inf, item)
    return rounded


def _element(fields: Fields, datatype: str, item: Any) -> Scalar:
    if datatype in FLOATS:
        number = _rounded(datatype, item)
        right = number is not None
        item = item if number is None else number
    elif datatype in INTEGERS:
        right = isinstance(item, int) and not isinstance(item, bool)
    else:
        right = isinstance(item, bool if datatype == "BOOL" else str)
    if not right:
        raise fields.error("data", f"{item!r} is not a {datatype}")
    value: Scalar = item
    return value


def _flat(fields: Fields, items: Sequence[Any], depth: int = 0) -> Iterable[Any]:
    """Nested lists in row-major order, as deep as a tensor has dimensions."""
    if depth > MAX_DIMENSIONS:
        raise fields.error("data", f"is nested deeper than {MAX_DIMENSIONS} lists")
    for item in items:
        if isinstance(item, list):
            yield from _flat(fields, item, depth + 1)
        else:
            yield item
