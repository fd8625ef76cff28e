"""What `snapctl` does for the hook or service that calls it: snapd's commands, in snapd's words.

Within a hook configuration, health and commands to services take effect when the hook has succeeded, and not at all
when it fails; outside of one they do at once.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, Protocol

from snapedge_hooks.errors import SnapedgeError

from . import health, preinstalled, snapconfig
from .health import Health

_COMMANDS: Final = (
    "get",
    "is-connected",
    "restart",
    "services",
    "set",
    "set-health",
    "start",
    "stop",
    "system-mode",
    "unset",
    "version",
)


class SnapctlError(SnapedgeError):
    """A call that snapd refuses; the brief is its message."""


class UnsuccessfulError(Exception):
    """A call whose answer is its exit status, with nothing to say."""

    def __init__(self, code: int) -> None:
        super().__init__(f"unsuccessful with exit code: {code}")
        self.code = code


@dataclass(slots=True, kw_only=True)
class Session:
    """Who calls: one run of a hook, or (without a hook's name) the snap's services.

    Attributes:
        patch: configuration set so far and not yet kept.
        report: health reported so far and not yet kept.
        queued: commands to services that wait for the hook's end: action and full names.
    """

    cookie: str
    instance: str
    hook: str = ""
    patch: dict[str, Any] = field(default_factory=dict)
    report: Health | None = None
    queued: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLine:
    """A service as `snapctl services` lists it."""

    name: str
    enabled: bool
    active: bool
    notes: str = "-"


class SnapView(Protocol):
    """What snapctl may ask of the device; always about the calling snap."""

    def config(self, instance: str) -> dict[str, Any]:
        """The snap's configuration as last kept."""

    def has_endpoint(self, instance: str, name: str) -> bool:
        """Whether the snap has a plug or slot of that name."""

    def is_connected(self, instance: str, name: str) -> bool:
        """Whether that plug or slot is connected."""

    def service_lines(self, instance: str) -> list[ServiceLine]:
        """The snap's services, by full name."""

    def keep(self, session: Session) -> None:
        """Makes the session's patch and report last."""

    async def control_services(self, instance: str, action: str, services: Sequence[str]) -> None:
        """Carries out a command to services now; returns when it is done."""


async def run(session: Session, view: SnapView, arguments: Sequence[str]) -> str:
    """What the call prints.

    Raises:
        SnapctlError: when snapd refuses the call.
        UnsuccessfulError: when the answer is no.
    """
    if not arguments:
        raise SnapctlError("internal error: snapctl cannot run without args")
    command, rest = arguments[0], list(arguments[1:])
    try:
        if command in ("start", "stop", "restart"):
            return await _control(session, view, command, rest)
        if command == "get":
            return _get(session, view, rest)
        if command in ("set", "unset"):
            return _set(session, view, command, rest)
        if command == "set-health":
            return _set_health(session, view, rest)
        if command == "services":
            return _services(session, view, rest)
    except (snapconfig.ConfigError, health.HealthError) as error:
        raise SnapctlError(error.brief) from error
    if command == "is-connected":
        return _is_connected(session, view, rest)
    if command == "version":
        return f"snapd  {preinstalled.SNAPD_VERSION}\nseries 16\n"
    if command == "system-mode":
        return "system-mode: run\nseed-loaded: true\n"
    known = ", ".join(_COMMANDS[:-1])
    raise SnapctlError(f"Unknown command `{command}'. Please specify one command of: {known} or {_COMMANDS[-1]}")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SnapctlError(message)


def _parser(command: str) -> _Parser:
    return _Parser(prog=f"snapctl {command}", add_help=False, allow_abbrev=False)


def _get(session: Session, view: SnapView, arguments: Sequence[str]) -> str:
    parser = _parser("get")
    parser.add_argument("-d", dest="document", action="store_true")
    parser.add_argument("-t", dest="typed", action="store_true")
    parser.add_argument("keys", nargs="*")
    given = parser.parse_intermixed_args(arguments)
    if not given.keys:
        raise SnapctlError("get which option?")
    if given.document and given.typed:
        raise SnapctlError("cannot use -d and -t together")
    if given.keys[0].startswith(":"):
        raise SnapctlError("interface attributes can only be read during the execution of interface hooks")
    config = snapconfig.patched(session.instance, view.config(session.instance), session.patch)
    found = {}
    for key in given.keys:
        try:
            found[key] = snapconfig.lookup(session.instance, config, key)
        except snapconfig.NoOptionError:
            continue
    value: Any = found if given.document or len(given.keys) > 1 else found.get(given.keys[0])
    if value is None:
        return "null\n" if given.typed else "\n"
    if isinstance(value, str) and not given.typed:
        return f"{value}\n"
    return json.dumps(value, indent="\t", sort_keys=True, ensure_ascii=False) + "\n"


def _set(session: Session, view: SnapView, command: str, arguments: Sequence[str]) -> str:
    parser = _parser(command)
    parser.add_argument("-s", dest="text", action="store_true")
    parser.add_argument("-t", dest="typed", action="store_true")
    parser.add_argument("values", nargs="*")
    given = parser.parse_intermixed_args(arguments)
    if not given.values:
        raise SnapctlError(f"{command} which option?")
    if given.text and given.typed:
        raise SnapctlError("cannot use -t and -s together")
    if given.values[0].startswith(":"):
        raise SnapctlError("interface attributes can only be set during the execution of prepare hooks")
    values = [f"{value}!" for value in given.values] if command == "unset" else given.values
    patch = snapconfig.parse_values(values, as_string=given.text, typed=given.typed)
    # Laid over what is there now, so that a key which leads through a value is refused at once.
    snapconfig.patched(session.instance, view.config(session.instance), {**session.patch, **patch})
    session.patch.update(patch)
    if not session.hook:
        view.keep(session)
    return ""


def _set_health(session: Session, view: SnapView, arguments: Sequence[str]) -> str:
    parser = _parser("set-health")
    parser.add_argument("--code", default="")
    parser.add_argument("status", nargs="?")
    parser.add_argument("message", nargs="?", default="")
    given = parser.parse_intermixed_args(arguments)
    if given.status is None:
        raise SnapctlError("the required argument `<status>` was not provided")
    session.report = health.report(given.status, given.message, given.code)
    if not session.hook:
        view.keep(session)
    return ""


def _is_connected(session: Session, view: SnapView, arguments: Sequence[str]) -> str:
    if len(arguments) != 1:
        raise SnapctlError("the required argument `<plug|slot>` was not provided")
    name = arguments[0]
    if not view.has_endpoint(session.instance, name):
        raise SnapctlError(f'snap "{session.instance}" has no plug or slot named "{name}"')
    if not view.is_connected(session.instance, name):
        raise UnsuccessfulError(1)
    return ""


def _services(session: Session, view: SnapView, arguments: Sequence[str]) -> str:
    lines = view.service_lines(session.instance)
    for name in arguments:
        if name != session.instance and name not in [line.name for line in lines]:
            raise SnapctlError(f'unknown service: "{name}"')
    wanted = [line for line in lines if not arguments or line.name in arguments or session.instance in arguments]
    if not wanted:
        return ""
    rows = [("Service", "Startup", "Current", "Notes")]
    for line in wanted:
        startup, current = "enabled" if line.enabled else "disabled", "active" if line.active else "inactive"
        rows.append((line.name, startup, current, line.notes))
    widths = [max(len(row[column]) for row in rows) + 2 for column in range(3)]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) + row[3] + "\n" for row in rows
    )


async def _control(session: Session, view: SnapView, command: str, arguments: Sequence[str]) -> str:
    parser = _parser(command)
    parser.add_argument("--enable", action="store_true")
    parser.add_argument("--disable", action="store_true")
    parser.add_argument("--reload", action="store_true")
    parser.add_argument("services", nargs="*")
    given = parser.parse_intermixed_args(arguments)
    if not given.services:
        raise SnapctlError("the required argument `<service> (at least 1 argument)` was not provided")
    known = [line.name for line in view.service_lines(session.instance)]
    names: list[str] = []
    for name in given.services:
        if name == session.instance:
            names += known
        elif name in known:
            names.append(name)
        else:
            raise SnapctlError(f'unknown service: "{name}"')
    action = command
    if command == "start" and given.enable:
        action = "start --enable"
    if command == "restart" and given.reload:
        action = "restart --reload"
    if command == "stop" and given.disable:
        action = "stop --disable"
    if session.hook:
        session.queued.append((action, tuple(names)))
    else:
        await view.control_services(session.instance, action, names)
    return ""
