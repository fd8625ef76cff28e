"""What a model needs of a runtime and what a runtime offers, in the words that store, builder and device compare."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeTerms:
    """What a model snap needs of a runtime, or what a runtime snap provides (then `minimum` is its version)."""

    name: str
    interface: int
    minimum: str

    def are_met_by(self, offer: RuntimeTerms) -> bool:
        """Whether a runtime with that offer can carry the model."""
        return (
            self.name == offer.name
            and self.interface == offer.interface
            and version_order(offer.minimum) >= version_order(self.minimum)
        )

    def __str__(self) -> str:
        """As a plan says it: `onnx interface 1, 1.0 or newer`."""
        return f"{self.name} interface {self.interface}, {self.minimum} or newer"


def version_order(version: str) -> tuple[tuple[int, str], ...]:
    """A key that sorts dotted versions: numbers as numbers, `1.0` equal to `1.0.0`, `1.0~rc1` before both."""
    ordered: list[tuple[int, str]] = []
    for part in (*re.findall(r"[0-9]+|[a-zA-Z]+", version), ""):
        if not part.isdigit():
            while ordered and ordered[-1] == (0, ""):
                ordered.pop()
            ordered.append((-1, part) if part else (0, ""))
        else:
            ordered.append((int(part), ""))
    return tuple(ordered)
