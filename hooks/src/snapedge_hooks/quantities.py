"""Kubernetes resource quantities as numbers, so that 0.5 and 500m are equal."""

from __future__ import annotations

import re
from fractions import Fraction

_QUANTITY = re.compile(r"([+-]?[0-9]+(?:\.[0-9]*)?|[+-]?\.[0-9]+)(?:([eE][+-]?[0-9]{1,2})|([numkMGTPE]|[KMGTPE]i))?")
_FACTORS: dict[str, Fraction] = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    **{unit: Fraction(1000**power) for power, unit in enumerate("kMGTPE", start=1)},
    **{f"{unit}i": Fraction(1024**power) for power, unit in enumerate("KMGTPE", start=1)},
}


def parse(text: object) -> Fraction:
    """The number that a quantity stands for.

    Raises:
        ValueError: it is none.
    """
    match = _QUANTITY.fullmatch(str(text))
    if match is None:
        raise ValueError(f"{text!r} is not a Kubernetes quantity")
    number, exponent, unit = match.groups()
    factor = Fraction(10) ** int(exponent[1:]) if exponent else _FACTORS[unit] if unit else Fraction(1)
    return Fraction(number) * factor


def are_equal(one: object, other: object) -> bool:
    """Whether two quantities stand for the same number; two other texts, whether they are the same."""
    try:
        return parse(one) == parse(other)
    except ValueError:
        return one == other
