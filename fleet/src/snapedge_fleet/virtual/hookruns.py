"""Running one hook of a snap: its environment, its limit, and what becomes of what it asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snapedge_hooks.errors import SnapedgeError

from . import health, processes
from .machine import Machine, session_of_hook
from .tasks import HookName


class TaskError(SnapedgeError):
    """A task that failed; the brief is what snapd writes into its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookResult:
    """What a hook that succeeded left to do: commands to services, in order."""

    queued: tuple[tuple[str, tuple[str, ...]], ...] = ()


async def run(
    machine: Machine,
    instance: str,
    hook: str,
    *,
    patch: Mapping[str, Any] | None = None,
    abort: asyncio.Event | None = None,
) -> HookResult:
    """Runs `hook` of the current revision of `instance`; does nothing where the snap has none.

    Args:
        machine: the device.
        instance: the snap.
        hook: name of the hook.
        patch: configuration that the hook sees and that is kept if it succeeds.
        abort: when set, the hook is killed.

    Raises:
        TaskError: when the hook fails, runs too long or is aborted; nothing that it asked for is done then.
    """
    info = machine.info(instance)
    if hook not in info.hooks:
        if patch:
            raise TaskError(f'snap "{instance}" has no "{hook}" hook')
        return HookResult()
    with session_of_hook(machine, instance, hook) as session:
        session.patch = dict(patch or {})
        revision = machine.state.snaps[instance].current
        arguments = (str(machine.paths.snap(instance, revision) / "meta" / "hooks" / hook),)
        variables = machine.environment(instance, session.cookie, info.hooks[hook].environment)
        try:
            await _run_to_end(machine, instance, hook, arguments, variables, abort)
        except TaskError:
            if hook == HookName.CHECK_HEALTH:
                machine.state.health[instance] = health.HOOK_FAILED.as_response("unset", machine.now())
            raise
        if hook == HookName.CHECK_HEALTH and session.report is None:
            session.report = health.HOOK_SILENT
        machine.keep(session)
        return HookResult(queued=tuple(session.queued))


async def _run_to_end(
    machine: Machine,
    instance: str,
    hook: str,
    arguments: tuple[str, ...],
    variables: Mapping[str, str],
    abort: asyncio.Event | None,
) -> None:
    limit = machine.setup.limits.of(hook)
    try:
        program = await processes.start(
            arguments,
            environment=variables,
            folder=machine.paths.root,
            ledger=machine.ledger,
            log=machine.log(instance),
            name=f"{instance}.hook.{hook}",
        )
    except (processes.ProcessStartError, OSError) as error:
        raise TaskError(f'run hook "{hook}": {error}') from error
    ended = asyncio.create_task(program.wait())
    aborted = asyncio.create_task((abort or asyncio.Event()).wait())
    try:
        await asyncio.wait([ended, aborted], timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        verdict = ""
        if not ended.done():
            verdict = "<aborted>" if aborted.done() else f"<exceeded maximum runtime of {_go_duration(limit)}>"
            program.kill()
        code = await ended
    finally:
        aborted.cancel()
        if not ended.done():
            program.kill()
            await ended
    if verdict or code != 0:
        output = "\n".join(part for part in (program.tail.strip(), verdict) if part)
        raise TaskError(f'run hook "{hook}": {_shown(output, code)}')


def _shown(output: str, code: int) -> str:
    """A failed program's output in a message, laid out as snapd does it."""
    if not output:
        return f"signal: {-code}" if code < 0 else f"exit status {code}"
    return f"\n-----\n{output}\n-----" if "\n" in output else output


def _go_duration(seconds: float) -> str:
    """Seconds in Go's notation: `10m0s`, `30s`, `1.5s`."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    shown = f"{rest:g}s"
    if minutes or hours:
        shown = f"{minutes:g}m{shown}"
    return f"{hours:g}h{shown}" if hours else shown
