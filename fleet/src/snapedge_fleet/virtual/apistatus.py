"""The refusals of the Kubernetes API: `Status` objects with the codes, reasons and words of the real one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from .apply import Conflict
from .kinds import Kind
from .webserver import Response


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One part of a refusal: which field, and why."""

    reason: str
    message: str
    field: str

    def to_document(self) -> dict[str, str]:
        """As `details.causes` has it."""
        return {"reason": self.reason, "message": self.message, "field": self.field}


class ApiError(Exception):
    """An answer other than success; the server turns it into a Status."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        kind: Kind | None = None,
        name: str = "",
        causes: Sequence[Cause] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self._kind = kind
        self._name = name
        self._causes = causes

    def response(self) -> Response:
        """The HTTP answer."""
        details: dict[str, Any] = {}
        if self._name:
            details["name"] = self._name
        if self._kind is not None:
            details |= {"group": self._kind.group, "kind": self._kind.plural}
        if self._causes:
            details["causes"] = [cause.to_document() for cause in self._causes]
        status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": details,
            "code": self.code,
        }
        return Response(status=self.code, headers=[("content-type", "application/json")], body=orjson.dumps(status))


def not_found(kind: Kind, name: str) -> ApiError:
    """404 for an object."""
    return ApiError(404, "NotFound", f'{kind.qualified} "{name}" not found', kind=kind, name=name)


def unknown_path() -> ApiError:
    """404 for a resource type that is not served."""
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def unauthorized() -> ApiError:
    """401, no certificate was shown."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def bad_request(message: str) -> ApiError:
    """400."""
    return ApiError(400, "BadRequest", message)


def exists(kind: Kind, name: str) -> ApiError:
    """409, a POST of what is there."""
    return ApiError(409, "AlreadyExists", f'{kind.qualified} "{name}" already exists', kind=kind, name=name)


def stale(kind: Kind, name: str) -> ApiError:
    """409, the resourceVersion sent is not the current one."""
    message = (
        f'Operation cannot be fulfilled on {kind.qualified} "{name}": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    return ApiError(409, "Conflict", message, kind=kind, name=name)


def apply_conflict(conflicts: Sequence[Conflict]) -> ApiError:
    """409, fields are owned by others."""
    count = len(conflicts)
    causes = [
        Cause(
            reason="FieldManagerConflict",
            message=f'conflict with "{conflict.manager}" using {conflict.api_version}',
            field=conflict.field,
        )
        for conflict in conflicts
    ]
    if count == 1:
        text = f"Apply failed with 1 conflict: {causes[0].message}: {causes[0].field}"
    else:
        lines = [f"{cause.message}:\n- {cause.field}" for cause in causes]
        text = f"Apply failed with {count} conflicts: " + "\n".join(lines)
    return ApiError(409, "Conflict", text, causes=causes)


def invalid(kind: Kind, name: str, field: str, problem: str) -> ApiError:
    """422, the object breaks a rule of its type."""
    of_kind = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    cause = Cause(reason="FieldValueInvalid", message=problem, field=field)
    message = f'{of_kind} "{name}" is invalid: {field}: {problem}'
    return ApiError(422, "Invalid", message, kind=kind, name=name, causes=[cause])


def denied(webhook: str, message: str) -> ApiError:
    """403, an admission webhook said no."""
    return ApiError(403, "Forbidden", f'admission webhook "{webhook}" denied the request: {message}')


def webhook_away(webhook: str, address: str) -> ApiError:
    """500, an admission webhook could not be asked."""
    message = (
        f'Internal error occurred: failed calling webhook "{webhook}": failed to call webhook: '
        f'Post "https://kserve-webhook-server-service.kserve.svc:443/{webhook}?timeout=10s": '
        f"dial tcp {address}:443: connect: connection refused"
    )
    return ApiError(500, "InternalError", message)
