"""What a snap says of itself in meta/snap.yaml, judged by snapd's rules and in snapd's words.

Rules kept here:
  - names, versions, confinement and daemon values follow snapd's grammar;
  - a plug or slot named by no app and no hook belongs to all of them, one that is named belongs to those alone;
  - files under meta must be readable, hooks and app commands executable, or the snap is unusable.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import yaml

from snapedge_hooks.errors import SnapedgeError

from . import timers

_NAME: Final = re.compile(r"^(?:[a-z0-9]+-?)*[a-z](?:-?[a-z0-9])*$")
_INSTANCE_KEY: Final = re.compile(r"^[a-z0-9]{1,10}$")
_VERSION: Final = re.compile(r"^[a-zA-Z0-9](?:[a-zA-Z0-9:.+~-]{0,30}[a-zA-Z0-9+~])?$")
_APP_NAME: Final = re.compile(r"^[a-zA-Z0-9](?:-?[a-zA-Z0-9])*$")
_HOOK_NAME: Final = re.compile(
    r"^(?:install|pre-refresh|post-refresh|remove|configure|default-configure|check-health|gate-auto-refresh|"
    r"(?:prepare|unprepare|connect|disconnect)-(?:plug|slot)-[-a-z0-9]+)$"
)
_DURATION: Final = re.compile(r"^(?:(\d+(?:\.\d+)?)(ns|us|ms|s|m|h))+$")
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)")
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_TYPES: Final = ("app", "base", "gadget", "kernel", "os", "snapd")


class SnapFileError(SnapedgeError):
    """A snap that snapd refuses; the brief is snapd's own message."""


class Confinement(StrEnum):
    """How far a snap is kept from the system."""

    STRICT = "strict"
    DEVMODE = "devmode"
    CLASSIC = "classic"


class RestartCondition(StrEnum):
    """When a service that ended is started again, in systemd's words."""

    NEVER = "never"
    ON_SUCCESS = "on-success"
    ON_FAILURE = "on-failure"
    ON_ABNORMAL = "on-abnormal"
    ON_ABORT = "on-abort"
    ON_WATCHDOG = "on-watchdog"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """A command of the snap; a service where `daemon` is set."""

    name: str
    command: tuple[str, ...]
    reload_command: tuple[str, ...] = ()
    daemon: str | None = None
    restart_condition: RestartCondition = RestartCondition.ON_FAILURE
    restart_delay: float = 0.1
    stop_timeout: float = 30.0
    timer: timers.Schedule | None = None
    starts_on_install: bool = True
    survives_refresh: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    plugs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A hook that snap.yaml or meta/hooks names."""

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)
    plugs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A plug or a slot: its interface and what it says of itself."""

    name: str
    interface: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapInfo:
    """A checked meta/snap.yaml."""

    name: str
    version: str
    summary: str
    description: str
    base: str
    type: str
    confinement: Confinement
    grade: str
    architectures: tuple[str, ...]
    environment: Mapping[str, str]
    apps: Mapping[str, App]
    hooks: Mapping[str, Hook]
    plugs: Mapping[str, Endpoint]
    slots: Mapping[str, Endpoint]

    @property
    def services(self) -> tuple[App, ...]:
        """The apps that are services, by name."""
        return tuple(app for _, app in sorted(self.apps.items()) if app.daemon is not None)


def parse(text: str) -> SnapInfo:
    """The snap that `text`, a meta/snap.yaml, describes.

    Raises:
        SnapFileError: with snapd's message, where snapd would refuse it.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SnapFileError(f"cannot parse snap.yaml: yaml: {_one_line(error)}") from error
    if not isinstance(document, dict):
        raise SnapFileError("cannot parse snap.yaml: yaml: a mapping is wanted")
    if "layouts" in document:
        raise SnapFileError('cannot parse snap.yaml: use "layout" instead of "layouts"')
    name = str(document.get("name", ""))
    validate_name(name)
    version = _text(document, "version", "")
    validate_version(version)
    kind = _text(document, "type", "app")
    if kind not in _TYPES:
        raise SnapFileError(f'cannot parse snap.yaml: invalid snap type: "{kind}"')
    confinement = _text(document, "confinement", "strict")
    if confinement not in [one.value for one in Confinement]:
        raise SnapFileError(f'cannot parse snap.yaml: invalid confinement type: "{confinement}"')
    plugs = _endpoints(document.get("plugs"), "plug")
    slots = _endpoints(document.get("slots"), "slot")
    apps = {str(key): _app(str(key), value) for key, value in _mapping(document, "apps").items()}
    hooks = {str(key): _hook(str(key), value) for key, value in _mapping(document, "hooks").items()}
    users: list[App | Hook] = [*apps.values(), *hooks.values()]
    for plug in [plug for user in users for plug in sorted(user.plugs)]:
        # snap.yaml may name an interface directly in an app's plugs: that makes a plug of the same name.
        plugs.setdefault(plug, Endpoint(name=plug, interface=plug))
    return SnapInfo(
        name=name,
        version=version,
        summary=_text(document, "summary", ""),
        description=_text(document, "description", ""),
        base=_text(document, "base", ""),
        type=kind,
        confinement=Confinement(confinement),
        grade=_text(document, "grade", "stable"),
        architectures=tuple(str(one) for one in document.get("architectures") or ["all"]),
        environment=_environment(document),
        apps=apps,
        hooks=hooks,
        plugs=plugs,
        slots=slots,
    )


def validate_name(name: str) -> None:
    """Refuses what is no snap name: 2 to 40 characters, lower case, digits and single dashes, one letter at least."""
    if not 2 <= len(name) <= 40 or _NAME.fullmatch(name) is None:
        raise SnapFileError(f'invalid snap name: "{name}"')


def validate_instance(instance: str) -> None:
    """Refuses what is no instance name: a snap name, or one with `_` and a key of 1 to 10 letters and digits."""
    name, separator, key = instance.partition("_")
    validate_name(name)
    if separator and _INSTANCE_KEY.fullmatch(key) is None:
        raise SnapFileError(f'invalid instance key: "{key}"')


def validate_version(version: str) -> None:
    """Refuses what is no snap version, with every reason snapd gives."""
    if _VERSION.fullmatch(version) is not None:
        return
    if not version:
        raise SnapFileError("invalid snap version: cannot be empty")
    if not all("!" <= one <= "~" for one in version):
        quoted = version.encode("unicode_escape").decode("ascii")
        raise SnapFileError(f'invalid snap version "{quoted}": must be printable, non-whitespace ASCII')
    reasons = []
    if len(version) > 32:
        reasons.append(f"cannot be longer than 32 characters (got: {len(version)})")
    if not version[0].isalnum():
        reasons.append(f"must start with an ASCII alphanumeric (and not '{version[0]}')")
    if not (version[-1].isalnum() or version[-1] in "+~"):
        reasons.append(f"must end with an ASCII alphanumeric or one of '+' or '~' (and not '{version[-1]}')")
    bad = "".join(sorted({one for one in version if not (one.isalnum() or one in ":.+~-")}))
    if bad:
        reasons.append(f'contains invalid characters: "{bad}"')
    raise SnapFileError(f'invalid snap version "{version}": {", ".join(reasons)}')


def with_hooks_of(info: SnapInfo, tree: Path) -> SnapInfo:
    """`info` with the hooks that lie in meta/hooks and that snap.yaml does not name: snapd runs those as well."""
    folder = tree / "meta" / "hooks"
    found = sorted(one.name for one in folder.iterdir()) if folder.is_dir() else []
    implicit = {name: Hook(name=name) for name in found if name not in info.hooks and _HOOK_NAME.fullmatch(name)}
    if not implicit:
        return info
    values = {name: getattr(info, name) for name in SnapInfo.__dataclass_fields__}
    return SnapInfo(**{**values, "hooks": {**info.hooks, **implicit}})


def validate_container(info: SnapInfo, tree: Path) -> None:
    """Refuses a tree whose files snapd could not use.

    Raises:
        SnapFileError: with snapd's message; the details name the file.
    """
    missing: list[str] = []
    modes: list[str] = []
    for app in info.apps.values():
        path = tree / app.command[0].removeprefix("$SNAP/")
        if not path.is_file():
            missing.append(app.command[0])
        elif not path.stat().st_mode & 0o111:
            modes.append(app.command[0])
    folder = tree / "meta" / "hooks"
    for hook in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not hook.stat().st_mode & 0o100:
            modes.append(f"meta/hooks/{hook.name}")
    for file in sorted((tree / "meta").rglob("*")):
        if file.is_symlink() and not os.path.realpath(file).startswith(os.path.realpath(tree) + os.sep):
            modes.append(str(file.relative_to(tree)))
    if missing:
        raise SnapFileError(
            "snap is unusable due to missing files; contact developer", details=f"missing: {', '.join(missing)}"
        )
    if modes:
        raise SnapFileError(
            "snap is unusable due to bad permissions; contact developer", details=f"bad modes: {', '.join(modes)}"
        )


def duration(text: str) -> float:
    """Seconds in a duration as snap.yaml writes it: `30s`, `1m30s`, `500ms`.

    Raises:
        SnapFileError: when it is none.
    """
    if _DURATION.fullmatch(text) is None:
        raise SnapFileError(f'cannot parse snap.yaml: time: invalid duration "{text}"')
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))


def _app(name: str, value: Any) -> App:
    if _APP_NAME.fullmatch(name) is None:
        raise SnapFileError(f'cannot have "{name}" as app name - use letters, digits, and dash as separator')
    if not isinstance(value, dict):
        raise SnapFileError(f'invalid definition of application "{name}": a mapping is wanted')
    command = tuple(shlex.split(_text(value, "command", "")))
    if not command:
        raise SnapFileError(f'invalid definition of application "{name}": "command" is required')
    daemon = value.get("daemon")
    if daemon not in (None, "simple", "forking", "oneshot", "notify", "dbus"):
        raise SnapFileError(
            f'invalid definition of application "{name}": "daemon" field contains invalid value "{daemon}"'
        )
    condition = _text(value, "restart-condition", "on-failure")
    if condition not in [one.value for one in RestartCondition]:
        raise SnapFileError(f'cannot parse snap.yaml: invalid restart condition: "{condition}"')
    timer = None
    if "timer" in value:
        if daemon is None:
            raise SnapFileError(f'invalid definition of application "{name}": timer is only applicable to services')
        try:
            timer = timers.parse(str(value["timer"]))
        except timers.ScheduleError as error:
            raise SnapFileError(
                f'invalid definition of application "{name}": timer has invalid format: {error.brief}'
            ) from error
    return App(
        name=name,
        command=command,
        reload_command=tuple(shlex.split(_text(value, "reload-command", ""))),
        daemon=daemon,
        restart_condition=RestartCondition(condition),
        restart_delay=duration(_text(value, "restart-delay", "100ms")),
        stop_timeout=duration(_text(value, "stop-timeout", "30s")),
        timer=timer,
        starts_on_install=_text(value, "install-mode", "enable") == "enable",
        survives_refresh=_text(value, "refresh-mode", "restart") == "endure",
        environment=_environment(value),
        plugs=frozenset(str(one) for one in value.get("plugs") or ()),
    )


def _hook(name: str, value: Any) -> Hook:
    if _HOOK_NAME.fullmatch(name) is None:
        raise SnapFileError(f'invalid hook name: "{name}"')
    fields = value if isinstance(value, dict) else {}
    return Hook(
        name=name, environment=_environment(fields), plugs=frozenset(str(one) for one in fields.get("plugs") or ())
    )


def _endpoints(value: Any, side: str) -> dict[str, Endpoint]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise SnapFileError(f"cannot parse snap.yaml: {side}s must be a mapping")
    found = {}
    for name, given in value.items():
        fields = {"interface": given} if isinstance(given, str) else (given if isinstance(given, dict) else {})
        attributes = {str(key): one for key, one in fields.items() if key != "interface"}
        found[str(name)] = Endpoint(name=str(name), interface=str(fields.get("interface", name)), attributes=attributes)
    return found


def _mapping(document: Mapping[str, Any], key: str) -> Mapping[Any, Any]:
    value = document.get(key) or {}
    if not isinstance(value, dict):
        raise SnapFileError(f'cannot parse snap.yaml: "{key}" must be a mapping')
    return value


def _environment(document: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in _mapping(document, "environment").items()}


def _text(document: Mapping[str, Any], key: str, default: str) -> str:
    value = document.get(key, default)
    return default if value is None else str(value)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
