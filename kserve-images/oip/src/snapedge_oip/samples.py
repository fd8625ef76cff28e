"""Golden samples: requests whose right answers are known.

Rules for an answer to be right:

1. It has every expected output, with the expected datatype and shape. Further outputs are not looked at.
2. Floating point: |got - want| <= atol + rtol * |want|, both rounded to the output's datatype first. NaN equals NaN, an
   infinity equals itself.
3. Strings, booleans and integers: exactly. atol and rtol do not soften them.
4. `null` stands for NaN, "Infinity" and "-Infinity" for the infinities (`tensors`).

The device's hooks have an implementation of their own; both pass `tests/cases/samples/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import orjson

from . import tensors
from .datatypes import DATATYPES, FP16, Array, Datatype
from .errors import LoadError, RequestError

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """Where an answer is wrong.

    Attributes:
        sample: the golden sample's name.
        output: the output's name, or empty where the request itself was refused.
        max_error: the largest error of a wrong element, None where no number says it.
        tolerance: what was allowed there.
        problem: the deviation in words.
    """

    sample: str
    output: str
    max_error: float | None
    tolerance: float
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A right output and how far another may be from it."""

    name: str
    datatype: Datatype
    values: Array
    atol: float
    rtol: float

    def deviation(self, sample: str, got: Array | None) -> Deviation | None:
        """What is wrong with an output, None if it is right."""

        def wrong(problem: str, max_error: float | None = None, tolerance: float = 0.0) -> Deviation:
            return Deviation(sample=sample, output=self.name, max_error=max_error, tolerance=tolerance, problem=problem)

        if got is None:
            return wrong("is not in the answer")
        if got.dtype != self.datatype.dtype:
            return wrong(f"has datatype {got.dtype.name}, not {self.datatype.name}")
        if got.shape != self.values.shape:
            return wrong(f"has shape {list(got.shape)}, not {list(self.values.shape)}")
        if self.datatype.is_float:
            return self._float_deviation(got, wrong)
        mine, theirs = self.values.ravel().tolist(), got.ravel().tolist()
        if self.datatype.dtype.kind not in "iu":
            texts = [item.decode(errors="replace") if isinstance(item, bytes) else item for item in theirs]
            return wrong("differs") if texts != mine else None
        # Python's integers, because the distance of two INT64 can be more than an INT64 holds.
        error = max((abs(one - other) for one, other in zip(theirs, mine, strict=True)), default=0)
        return wrong(f"is off by {error} where it must be equal", float(error)) if error else None

    def _float_deviation(self, got: Array, wrong: Callable[..., Deviation]) -> Deviation | None:
        one, other = got.ravel().astype(np.float64), self.values.ravel().astype(np.float64)
        same = (one == other) | (np.isnan(one) & np.isnan(other))
        finite = np.isfinite(one) & np.isfinite(other)
        if not (same | finite).all():
            return wrong("differs in what is finite")
        error = np.where(same, 0.0, np.abs(np.where(finite, one, 0.0) - np.where(finite, other, 0.0)))
        tolerance = self.atol + self.rtol * np.abs(np.where(finite, other, 0.0))
        excess = error > tolerance
        if not excess.any():
            return None
        worst = int(np.where(excess, error, -1.0).argmax())
        largest, allowed = float(error[worst]), float(tolerance[worst])
        return wrong(f"is off by {largest:.6g} where {allowed:.6g} is allowed", largest, allowed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One request and what is right to answer."""

    name: str
    body: bytes
    expected: tuple[Expected, ...]

    def deviation(self, outputs: Mapping[str, Array]) -> Deviation | None:
        """The first output that is wrong, None if the answer is right."""
        for expected in self.expected:
            found = expected.deviation(self.name, outputs.get(expected.name))
            if found is not None:
                return found
        return None


def parse(document: bytes, *, what: str = "samples.json") -> tuple[Sample, ...]:
    """The samples of a document, at least one.

    Raises:
        LoadError: it is not what its format says.
    """
    try:
        content = orjson.loads(document)
    except orjson.JSONDecodeError as error:
        raise LoadError(f"{what}: is not JSON: {error}") from error
    fields = _fields(what, content, {"format", "samples"})
    if type(fields["format"]) is not int or fields["format"] != FORMAT:
        raise LoadError(f"{what}: format {fields['format']!r} is not known; this server reads {FORMAT}")
    samples = tuple(
        _sample(f"{what}: samples[{index}]", item) for index, item in enumerate(_items(what, fields, "samples"))
    )
    if len({sample.name for sample in samples}) != len(samples):
        raise LoadError(f"{what}: two samples have one name")
    return samples


def _sample(where: str, item: object) -> Sample:
    fields = _fields(where, item, {"name", "request", "expect"})
    name = fields["name"]
    if type(name) is not str or not name:
        raise LoadError(f"{where}: name must be a text")
    request = _fields(f"{where}.request", fields["request"], {"inputs"})
    _items(f"{where}.request", request, "inputs")
    expect = _fields(f"{where}.expect", fields["expect"], {"outputs"})
    expected = tuple(_expected(f"{where}.expect", item) for item in _items(f"{where}.expect", expect, "outputs"))
    if len({output.name for output in expected}) != len(expected):
        raise LoadError(f"{where}.expect: two outputs have one name")
    wanted = [{"name": output.name} for output in expected]
    return Sample(name=name, body=orjson.dumps(request | {"outputs": wanted}), expected=expected)


def _expected(where: str, item: object) -> Expected:
    fields = _fields(where, item, {"name", "shape", "datatype", "data"}, {"atol", "rtol"})
    name, shape, datatype = fields["name"], fields["shape"], fields["datatype"]
    if type(name) is not str or not name:
        raise LoadError(f"{where}: an output's name must be a text")
    if datatype not in DATATYPES:
        raise LoadError(f"{where}: output {name!r} has datatype {datatype!r}, which the protocol does not have")
    if type(shape) is not list or any(type(size) is not int or size < 0 for size in shape):
        raise LoadError(f"{where}: output {name!r} must have a shape of whole numbers from 0")
    for key in ("atol", "rtol"):
        if type(fields.get(key, 0)) not in (int, float) or fields.get(key, 0) < 0:
            raise LoadError(f"{where}: output {name!r} has {key} {fields[key]!r}, which is no number from 0")
    kind = DATATYPES[datatype]
    held = DATATYPES["FP32"] if kind is FP16 else kind
    try:
        values = tensors.from_json(name, held, shape, prod(shape), fields["data"])
    except RequestError as error:
        raise LoadError(f"{where}: {str(error).replace('input', 'output', 1)}") from None
    return Expected(
        name=name,
        datatype=kind,
        values=values.astype(kind.dtype),
        atol=float(fields.get("atol", 0)),
        rtol=float(fields.get("rtol", 0)),
    )


def _fields(where: str, item: object, keys: set[str], optional: set[str] | None = None) -> dict[str, Any]:
    if type(item) is not dict:
        raise LoadError(f"{where}: must be an object")
    for key in sorted(keys - item.keys()):
        raise LoadError(f"{where}: {key!r} is missing")
    for key in sorted(item.keys() - keys - (optional or set())):
        raise LoadError(f"{where}: {key!r} is no key of this format")
    return item


def _items(where: str, fields: Mapping[str, Any], key: str) -> list[Any]:
    items = fields[key]
    if type(items) is not list or not items:
        raise LoadError(f"{where}: {key} must be a list that is not empty")
    return items
