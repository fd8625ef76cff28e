"""A snap's health in snapd's words, cut to what `snapctl set-health` takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .document import Fields
from .situations import SituationError
from .vocabulary import HealthCode, HealthStatus

MESSAGE_LENGTHS = range(7, 71)
"""snapd refuses a shorter or longer message (overlord/hookstate/ctlcmd/health.go)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """One health report.

    Attributes:
        status: snapd's word.
        code: why, or None when okay or not yet known.
        message: for people, 7 to 70 characters; empty when okay, since snapd refuses one there.
    """

    status: HealthStatus
    code: HealthCode | None = None
    message: str = ""

    def to_json(self) -> dict[str, Any]:
        """As state.json holds it."""
        return {
            "status": self.status.value,
            "code": None if self.code is None else self.code.value,
            "message": self.message,
        }

    @classmethod
    def read(cls, fields: Fields) -> Health:
        """The report that `to_json` wrote."""
        code = fields.optional_text("code")
        health = cls(
            status=fields.parsed("status", HealthStatus),
            code=None if code is None else HealthCode(code),
            message=fields.text("message", default=""),
        )
        fields.done()
        return health


OKAY = Health(status=HealthStatus.OKAY)
UNKNOWN = Health(status=HealthStatus.WAITING, message="Not converged yet; the converge service is at work")


def of_situation(error: SituationError) -> Health:
    """The report of a situation."""
    return Health(status=error.code.status, code=error.code, message=clip(error.brief))


def clip(text: str) -> str:
    """The text as one line of the length snapd takes: cut at the end, or filled up in front."""
    line = " ".join(text.split())
    if len(line) < MESSAGE_LENGTHS.start:
        line = f"snapedge: {line}"
    longest = MESSAGE_LENGTHS.stop - 1
    return line if len(line) <= longest else line[: longest - 1] + "…"
