"""The rules of `snapctl set-health`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from snapedge_hooks.errors import SnapedgeError

_CODE: Final = re.compile(r"^[a-z](?:-?[a-z0-9])+$")
_SHORTEST_MESSAGE: Final = 7
_LONGEST_MESSAGE: Final = 70
_SHORTEST_CODE: Final = 3
_LONGEST_CODE: Final = 30


class HealthStatus(StrEnum):
    """What a snap may say of itself; `unknown` is snapd's alone."""

    UNKNOWN = "unknown"
    OKAY = "okay"
    WAITING = "waiting"
    BLOCKED = "blocked"
    ERROR = "error"


class HealthError(SnapedgeError):
    """A report that snapd refuses, in its words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """A report of a snap's health."""

    status: HealthStatus
    message: str = ""
    code: str = ""

    def as_response(self, revision: str, timestamp: str) -> dict[str, Any]:
        """The report as GET /v2/snaps shows it."""
        response = {"revision": revision, "timestamp": timestamp, "status": self.status.value}
        if self.message:
            response["message"] = self.message
        if self.code:
            response["code"] = self.code
        return response


HOOK_SILENT: Final = Health(
    status=HealthStatus.UNKNOWN, message="hook did not call set-health", code="snapd-hook-no-health-set"
)
HOOK_FAILED: Final = Health(status=HealthStatus.UNKNOWN, message="hook failed", code="snapd-hook-failed")


def report(status: str, message: str, code: str) -> Health:
    """The report that these arguments make; a message over 70 characters is cut.

    Raises:
        HealthError: with snapd's reason.
    """
    if status == HealthStatus.OKAY and (message or code):
        raise HealthError('when status is "okay", message and code must be empty')
    if status not in [one.value for one in HealthStatus]:
        raise HealthError(f'invalid status "{status}", must be one of okay, waiting, blocked, error')
    known = HealthStatus(status)
    if known is HealthStatus.UNKNOWN:
        raise HealthError('status cannot be manually set to "unknown"')
    if code:
        if not _SHORTEST_CODE <= len(code) <= _LONGEST_CODE:
            raise HealthError(f"code must have between 3 and 30 characters, got {len(code)}")
        if _CODE.fullmatch(code) is None:
            raise HealthError(
                f'invalid code "{code}" (code must start with lowercase ASCII letters, and contain only ASCII letters '
                "and numbers, optionally separated by single dashes)"
            )
    if known is not HealthStatus.OKAY:
        if not message:
            raise HealthError('when status is not "okay", message is required')
        if len(message) < _SHORTEST_MESSAGE:
            raise HealthError(f"message must be at least 7 characters long (got {len(message)})")
        if len(message) > _LONGEST_MESSAGE:
            message = message[: _LONGEST_MESSAGE - 1] + "…"
    return Health(status=known, message=message, code=code)
