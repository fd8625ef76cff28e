"""Kubernetes quantities: `500m`, `256Mi`, `1.5`."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

_FACTORS: Final[dict[str, Decimal]] = {
    "n": Decimal(10) ** -9,
    "u": Decimal(10) ** -6,
    "m": Decimal(10) ** -3,
    "": Decimal(1),
    "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "Ki": Decimal(2) ** 10,
    "Mi": Decimal(2) ** 20,
    "Gi": Decimal(2) ** 30,
    "Ti": Decimal(2) ** 40,
}
_QUANTITY = re.compile(r"(?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+))(?P<unit>[KMGT]i|[numkMGT]|)")
_EXPONENT = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)[eE][+-]?\d{1,2}")


class QuantityInvalidError(ValueError):
    """This is not how an amount of a resource is written."""


def parse(value: object) -> Decimal:
    """The amount in its unit: cores, or bytes."""
    text = str(value)
    if _EXPONENT.fullmatch(text):
        return Decimal(text)
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise QuantityInvalidError(text)
    return Decimal(match["number"]) * _FACTORS[match["unit"]]
