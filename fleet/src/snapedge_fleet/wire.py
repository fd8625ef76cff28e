"""What server and callers share on the wire: header names, and how an error travels."""

from __future__ import annotations

import requests

from snapedge_hooks.errors import ExitCode

from .errors import ServerAwayError, ServerRefusalError

AGENT_HEADER = "X-Snapedge-Agent"
"""Names the agent by its state folder, so that two of them are told apart."""
ACTOR_HEADER = "X-Snapedge-Actor"
"""Who orders, for the audit log."""
INTERVAL_HEADER = "X-Poll-Interval"
"""Seconds until the device is to ask again."""


def refusal(url: str, answer: requests.Response) -> ServerAwayError | ServerRefusalError:
    """The error that a server's answer tells."""
    try:
        document = answer.json()
        brief, details = str(document["error"]), str(document.get("details", ""))
        resolution, code = str(document.get("resolution", "")), int(document.get("exit_code", 1))
    except (ValueError, KeyError, TypeError):
        brief, details, resolution, code = f"{url} answers {answer.status_code}", answer.text[:200], "", 1
    if answer.status_code in (429, 502, 503, 504):
        after = answer.headers.get("Retry-After", "")
        return ServerAwayError(url, brief, retry_after=float(after) if after.isdigit() else None)
    return ServerRefusalError(answer.status_code, brief, details, resolution, code or int(ExitCode.FAILED))


def reason_of(error: requests.RequestException) -> str:
    """What went wrong with a call, without the stack of libraries in between."""
    cause: BaseException = error
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause) or type(cause).__name__
