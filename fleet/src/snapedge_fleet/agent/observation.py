"""What the agent says of the device: each snap's outcome, from what snapd shows and what is remembered. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snapedge_fleet.snapd import HEALTH_OF_A_HOOK, InstalledSnap

from . import plan
from .memory import Memory, Origin
from .plan import Desired, Wanted

_MAX_TEXT = 2_000


def snap_documents(
    desired: Desired,
    installed: Mapping[str, InstalledSnap | None],
    memory: Memory,
    trouble: Mapping[str, tuple[str, str]],
) -> list[dict[str, Any]]:
    """The snaps of a report.

    Args:
        desired: what is wanted.
        installed: what snapd has.
        memory: what is remembered.
        trouble: for a snap, code and message of what keeps it waiting.
    """
    wanted = {str(one.file.snap): one for one in desired.snaps}
    names = sorted({*wanted, *(name for name, known in installed.items() if known is not None)})
    return [_document(name, wanted.get(name), installed.get(name), memory, trouble.get(name)) for name in names]


def _document(
    name: str,
    wanted: Wanted | None,
    installed: InstalledSnap | None,
    memory: Memory,
    trouble: tuple[str, str] | None,
) -> dict[str, Any]:
    origin = None if installed is None else memory.origins.get(name, {}).get(installed.active)
    outcome, code, message, details = _outcome(name, wanted, installed, origin, memory, trouble)
    return {
        "snap": name,
        "revision": None if origin is None else origin.revision,
        "version": "" if installed is None else (installed.version if origin is None else origin.version),
        "wanted": None if wanted is None else int(wanted.file.revision),
        "outcome": outcome,
        "code": code,
        "message": message[:_MAX_TEXT],
        "details": details[:_MAX_TEXT],
        "model": None if origin is None else origin.model,
        "bytes_downloaded": memory.downloaded.get(name, 0),
    }


def _outcome(
    name: str,
    wanted: Wanted | None,
    installed: InstalledSnap | None,
    origin: Origin | None,
    memory: Memory,
    trouble: tuple[str, str] | None,
) -> tuple[str, str, str, str]:
    if wanted is not None and plan.is_refused(wanted, memory) and not plan.is_there(wanted, installed, memory):
        refusal = memory.refusals[name]
        return "failed", refusal.code, refusal.message, refusal.details
    if trouble is not None:
        return "waiting", trouble[0], trouble[1], ""
    if wanted is not None and not plan.is_there(wanted, installed, memory):
        return "working", "", f"{wanted.file.version} is to come", ""
    return _health_outcome(installed, origin)


def _health_outcome(installed: InstalledSnap | None, origin: Origin | None) -> tuple[str, str, str, str]:
    health = None if installed is None else installed.health
    if installed is None or health is None or health.status == "unknown":
        # A snap without a health check: that snapd's change is done is all there is to know.
        return "confirmed", "", "", ""
    is_proved = origin is not None and origin.is_confirmed
    if health.revision == HEALTH_OF_A_HOOK:
        # Of this revision, unless its hook failed and was undone: then what runs was proved before.
        is_of_another = is_proved and health.status == "error"
    else:
        is_of_another = bool(health.revision) and health.revision != installed.active
    if is_of_another:
        # What another revision said before it was undone; this one was proved before, or says so itself soon.
        return ("confirmed", "", "", "") if is_proved else ("waiting", "", "its health is not known yet", "")
    match health.status:
        case "okay":
            return "confirmed", "", "", ""
        case "error":
            return "failed", health.code, health.message, ""
        case _:
            return "waiting", health.code, health.message, ""
