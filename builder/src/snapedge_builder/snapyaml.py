"""meta/snap.yaml: written by us, and checked against the rules snapd applies when it is installed.

Sources: snapd snap/info_snap_yaml.go, snap/validate.go, snap/naming/validate.go, snap/hooktypes.go.
The file is written as JSON-compatible YAML by PyYAML in a fixed key order, so equal snaps have equal bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from snapedge_hooks import device
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Architecture, SnapName, SnapVersion

from .errors import BuilderError

PATH = "meta/snap.yaml"
CORE = "core24"
"""The newest core with a Python that hooks may use; core26 hides it."""
PLUG = "mk8s"
SLOT = "configuration"
DRIFT_TIMER = "00:00~24:00/24"
"""Once an hour, at a moment of snapd's choosing in it."""
_PLUGS = ["network", PLUG]
_SHARED = ("$SNAP/", "$SNAP_COMMON/")

_INSTANCE_WORD = re.compile(r"[a-zA-Z0-9](?:-?[a-zA-Z0-9])*")
_PLUG_WORD = re.compile(r"[a-z](?:-?[a-z0-9])*")
_COMMAND = re.compile(r"[A-Za-z0-9/. _#:$-]+")
_DURATION = re.compile(r"(?:[0-9]+(?:ns|us|ms|s|m|h))+")
_HOOK_WORD = re.compile(
    r"install|pre-refresh|post-refresh|remove|configure|default-configure|check-health|gate-auto-refresh"
    r"|(?:prepare|unprepare|connect|disconnect)-(?:plug|slot)-[-a-z0-9]+"
)
_TOP_KEYS = frozenset(
    {
        "name",
        "version",
        "summary",
        "description",
        "type",
        "base",
        "grade",
        "confinement",
        "architectures",
        "assumes",
        "environment",
        "plugs",
        "slots",
        "hooks",
        "apps",
        "layout",
        "epoch",
        "license",
        "title",
        "links",
        "provenance",
        "system-usernames",
    }
)
_DAEMONS = frozenset({"simple", "forking", "oneshot", "dbus", "notify"})
_RESTARTS = frozenset({"on-failure", "on-success", "on-abnormal", "on-abort", "on-watchdog", "always", "never"})


class SnapYamlError(BuilderError):
    """A meta/snap.yaml that snapd would refuse."""

    exit_code = ExitCode.REFUSED

    def __init__(self, problems: tuple[str, ...]) -> None:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"{PATH}: {problems[0]}{more}", details="\n".join(problems))
        self.problems = problems


def snap_yaml(*, name: str, version: str, summary: str, description: str, architecture: Architecture) -> dict[str, Any]:
    """The document of one of our snaps; model and runtime snaps have the same hooks and apps."""
    return {
        "name": str(name),
        "version": str(version),
        "summary": summary,
        "description": description,
        "architectures": [str(architecture)],
        "base": CORE,
        "type": "app",
        "confinement": "strict",
        "grade": "stable",
        # snap-confine resets PATH to that of the base; snapcraft writes this line and so do we.
        "environment": {"PATH": "$SNAP/usr/sbin:$SNAP/usr/bin:$SNAP/sbin:$SNAP/bin:$PATH"},
        "plugs": {PLUG: {"interface": "content", "content": "microk8s", "target": "$SNAP_DATA/microk8s"}},
        "hooks": {hook: {"plugs": list(_PLUGS)} for hook in device.HOOKS},
        "apps": {
            device.SERVICE: {
                "command": f"bin/{device.SERVICE}",
                "reload-command": f"bin/{device.RELOAD}",
                "daemon": "simple",
                "restart-condition": "on-failure",
                "restart-delay": "30s",
                "plugs": list(_PLUGS),
            },
            "drift": {"command": "bin/drift", "daemon": "oneshot", "timer": DRIFT_TIMER, "plugs": list(_PLUGS)},
        },
    }


def configuration_slot(folder: str) -> dict[str, Any]:
    """The slots of a snap from which MicroK8s' plug `configuration` takes what is in a folder called launcher."""
    return {SLOT: {"interface": "content", "content": "configuration", "source": {"read": [folder]}}}


def dump(document: Mapping[str, Any]) -> bytes:
    """The bytes of a document; its keys keep their order."""
    text: str = yaml.safe_dump(
        dict(document), sort_keys=False, allow_unicode=True, default_flow_style=False, width=1000
    )
    return text.encode()


def parse(data: bytes) -> dict[str, Any]:
    """The document of some bytes, checked.

    Raises:
        SnapYamlError: no YAML, or snapd would refuse it.
    """
    try:
        document = yaml.safe_load(data.decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SnapYamlError((f"is not YAML: {str(error).splitlines()[0]}",)) from error
    if not isinstance(document, dict):
        raise SnapYamlError(("is not a mapping",))
    check(document)
    return document


def check(document: Mapping[str, Any]) -> None:
    """Refuse a document that snapd would refuse.

    Raises:
        SnapYamlError: with every problem found.
    """
    problems = tuple(_problems(document))
    if problems:
        raise SnapYamlError(problems)


def _problems(document: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted(set(document) - _TOP_KEYS):
        yield f"unknown key {key!r}"
    for key, kind in (("name", SnapName), ("version", SnapVersion)):
        try:
            kind(str(document.get(key, "")))
        except ValueError as error:
            yield f"{key}: {error}"
    for key, limit in (("summary", 128), ("description", 4096)):
        text = document.get(key, "")
        if not isinstance(text, str) or len(text) > limit:
            yield f"{key}: must be text of at most {limit} characters"
    for key, allowed in (("base", {CORE}), ("type", {"app"}), ("confinement", {"strict"}), ("grade", {"stable"})):
        if document.get(key) not in allowed:
            yield f"{key}: {document.get(key)!r} is not {' or '.join(sorted(allowed))}"
    architectures = document.get("architectures")
    known = {architecture.value for architecture in Architecture}
    if architectures not in [[word] for word in known]:
        yield f"architectures: {architectures!r} is not one of {', '.join(sorted(known))}"
    yield from _use_of_plugs(document)


def _use_of_plugs(document: Mapping[str, Any]) -> Iterator[str]:
    environment = _mapping(document, "environment")
    if not all(isinstance(value, str) for value in environment.values()):
        yield "environment: must map text to text"
    plugs = _mapping(document, "plugs")
    yield from _plug_problems(plugs)
    yield from _slot_problems(_mapping(document, "slots"))
    for hook, body in _mapping(document, "hooks").items():
        if not _HOOK_WORD.fullmatch(str(hook)):
            yield f"hooks: {hook!r} is not a hook snapd runs"
        yield from _use_problems(f"hooks.{hook}", body, plugs)
    for app, body in _mapping(document, "apps").items():
        if not _INSTANCE_WORD.fullmatch(str(app)):
            yield f"apps: {app!r} is not an application name"
        yield from _app_problems(f"apps.{app}", body if isinstance(body, dict) else {})
        yield from _use_problems(f"apps.{app}", body, plugs)


def _plug_problems(plugs: Mapping[str, Any]) -> Iterator[str]:
    for name, body in plugs.items():
        if not _PLUG_WORD.fullmatch(str(name)):
            yield f"plugs: {name!r} is not a plug name"
        if not isinstance(body, dict) or not isinstance(body.get("interface"), str):
            yield f"plugs.{name}: names no interface"
        elif body["interface"] == "content":
            target = str(body.get("target", ""))
            if not target or ".." in target.split("/"):
                yield f"plugs.{name}: content needs a target inside the snap's directories"


def _slot_problems(slots: Mapping[str, Any]) -> Iterator[str]:
    for name, body in slots.items():
        if not _PLUG_WORD.fullmatch(str(name)):
            yield f"slots: {name!r} is not a slot name"
        source = body.get("source") if isinstance(body, dict) else None
        read = source.get("read") if isinstance(source, dict) else None
        if not isinstance(body, dict) or body.get("interface") != "content" or not isinstance(body.get("content"), str):
            yield f"slots.{name}: is no content slot"
        elif not isinstance(read, list) or not all(
            isinstance(item, str) and item.startswith(_SHARED) and ".." not in item.split("/") for item in read
        ):
            yield f"slots.{name}: source.read must list folders below $SNAP or $SNAP_COMMON"


def _app_problems(place: str, body: Mapping[str, Any]) -> Iterator[str]:
    command = body.get("command")
    if not isinstance(command, str) or not _COMMAND.fullmatch(command):
        yield f"{place}.command: {command!r} holds characters snapd does not take"
    daemon = body.get("daemon")
    if daemon is not None and daemon not in _DAEMONS:
        yield f"{place}.daemon: {daemon!r} is not one of {', '.join(sorted(_DAEMONS))}"
    for key in ("timer", "restart-condition", "restart-delay"):
        if key in body and daemon is None:
            yield f"{place}.{key}: only a daemon may have it"
    if body.get("restart-condition", "never") not in _RESTARTS:
        yield f"{place}.restart-condition: {body['restart-condition']!r} is not one of {', '.join(sorted(_RESTARTS))}"
    if not _DURATION.fullmatch(str(body.get("restart-delay", "1s"))):
        yield f"{place}.restart-delay: {body['restart-delay']!r} is not a duration"


def _use_problems(place: str, body: Any, plugs: Mapping[str, Any]) -> Iterator[str]:
    used = body.get("plugs", []) if isinstance(body, dict) else []
    if not isinstance(used, list):
        yield f"{place}.plugs: is not a list"
        return
    for plug in used:
        if plug not in plugs and plug not in ("network", "network-bind"):
            yield f"{place}.plugs: {plug!r} is neither a plug of the snap nor an interface we use"


def _mapping(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = document.get(key)
    return found if isinstance(found, dict) else {}
