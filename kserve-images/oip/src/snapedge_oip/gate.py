"""The gate: a model is asked its golden samples before anybody else may ask it anything.

strict   a wrong answer ends the server with exit code 3, the measured error in the termination log
report   a wrong answer is logged and shown in the model's metadata
none     nothing is asked
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import orjson

from .errors import PredictionError, RequestError
from .models import Model
from .samples import Deviation, Sample

MESSAGE_LIMIT = 4000
"""Bytes of a termination message; Kubernetes keeps 4,096."""

_TEXT_LIMIT = 250
"""Characters of a text in it: two of them fit, however JSON has to escape them."""


class Gate(Enum):
    """What a wrong golden sample does."""

    STRICT = "strict"
    REPORT = "report"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the golden samples said.

    Attributes:
        checked: how many were asked.
        deviation: the first wrong answer, None where all were right.
    """

    checked: int
    deviation: Deviation | None = None

    @property
    def word(self) -> str:
        """As model metadata shows it."""
        if self.deviation is not None:
            return "failed"
        return "passed" if self.checked else "none"


def replay(model: Model, samples: Sequence[Sample]) -> Verdict:
    """Asks a model its golden samples, up to the first wrong answer."""
    for checked, sample in enumerate(samples, start=1):
        try:
            deviation = sample.deviation(model.outputs(sample.body))
        except (RequestError, PredictionError) as error:
            deviation = Deviation(sample=sample.name, output="", max_error=None, tolerance=0.0, problem=str(error))
        if deviation is not None:
            return Verdict(checked=checked, deviation=deviation)
    return Verdict(checked=len(samples))


def gate_failed(deviation: Deviation, digest: str) -> bytes:
    """The termination message of a wrong answer."""
    return _message(
        {
            "gate": "failed",
            "sample": _short(deviation.sample),
            "output": _short(deviation.output),
            "max_error": deviation.max_error,
            "tolerance": deviation.tolerance,
            "model": digest,
        }
    )


def load_failed(reason: str) -> bytes:
    """The termination message of a model that cannot be served."""
    return _message({"gate": "load-failed", "reason": _short(reason, 2 * _TEXT_LIMIT)})


def write(path: Path, message: bytes) -> str | None:
    """Writes a termination message; what went wrong, in words, where it cannot be written.

    Outside of Kubernetes there is no such file and nobody who would read it, so that this is no failure of the server.
    """
    try:
        path.write_bytes(message)
    except OSError as error:
        return f"{path}: {error.strerror}"
    return None


def _message(content: dict[str, Any]) -> bytes:
    message = orjson.dumps(content)
    assert len(message) <= MESSAGE_LIMIT
    return message


def _short(text: str, limit: int = _TEXT_LIMIT) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
