"""`snap`: the part of snapd's command line that a virtual device needs, over snapd's socket.

Output and messages are snap's own; `snap help` lists what there is.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from . import snapdsocket

_BOUNDARY = "snapedge-boundary-9c2f6c1e"
_POLL_SECONDS = 0.1


class CommandError(Exception):
    """What snap prints behind `error:`."""


class UsageError(CommandError):
    """Arguments that make no command."""


def main() -> int:
    """Exit status of the command."""
    name, arguments = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("help", [])
    command = _COMMANDS.get(name)
    if command is None:
        sys.stderr.write(f'error: unknown command "{name}", see "snap help".\n')
        return 64
    try:
        command(arguments)
    except UsageError as error:
        sys.stderr.write(f"error: {error}\n")
        return 64
    except (CommandError, snapdsocket.SocketError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _call(method: str, target: str, body: Any = None) -> Any:
    answer = snapdsocket.call(os.environ["SNAPD_SOCKET"], method, target, body)
    return _result(answer.document)


def _result(document: dict[str, Any]) -> Any:
    if document["type"] == "error":
        raise CommandError(document["result"]["message"])
    return document.get("change") if document["type"] == "async" else document["result"]


def _wait(number: str) -> None:
    while True:
        change = _call("GET", f"/v2/changes/{number}")
        if change["ready"]:
            break
        time.sleep(_POLL_SECONDS)
    if change["status"] != "Done":
        raise CommandError(change.get("err") or f'change finished in status "{change["status"]}" with no error message')


def _table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")


def _options(arguments: Sequence[str], flags: Sequence[str] = ()) -> tuple[set[str], dict[str, str], list[str]]:
    """Splits arguments into flags, `--name=value` options and the rest."""
    given: set[str] = set()
    values: dict[str, str] = {}
    rest: list[str] = []
    for argument in arguments:
        name, separator, value = argument.partition("=")
        if argument in flags:
            given.add(argument)
        elif argument.startswith("-") and separator:
            values[name] = value
        elif argument.startswith("-") and argument != "-":
            raise UsageError(f"unknown flag `{argument.lstrip('-')}'")
        else:
            rest.append(argument)
    return given, values, rest


def _one(rest: Sequence[str]) -> str:
    if len(rest) != 1:
        raise UsageError("the required argument `<snap>` was not provided" if not rest else "too many arguments")
    return rest[0]


def _list(arguments: Sequence[str]) -> None:
    flags, _, names = _options(arguments, ("--all",))
    query = f"?select={'all' if '--all' in flags else 'enabled'}"
    if names:
        query += "&snaps=" + quote(",".join(names))
    rows = [("Name", "Version", "Rev", "Tracking", "Publisher", "Notes")]
    for one in _call("GET", f"/v2/snaps{query}"):
        notes = [one["type"]] if one["type"] not in ("app",) else []
        notes += ["devmode"] if one["devmode"] else []
        notes += ["disabled"] if one["status"] != "active" else []
        notes += ["held"] if "hold" in one else []
        notes += (
            [f"health:{one['health']['status']}"] if one.get("health", {}).get("status") not in (None, "okay") else []
        )
        rows.append((one["name"], one["version"], one["revision"], "-", "-", ",".join(notes) or "-"))
    if len(rows) == 1 and names:
        raise CommandError("no matching snaps installed")
    _table(rows)


def _info(arguments: Sequence[str]) -> None:
    one = _call("GET", f"/v2/snaps/{quote(_one(arguments))}")
    lines = [("name", one["name"]), ("summary", one["summary"]), ("publisher", "-")]
    lines += [("services", "")] if any("daemon" in app for app in one["apps"]) else []
    for key, value in lines:
        sys.stdout.write(f"{key + ':':<14}{value}\n".rstrip() + "\n")
    for app in one["apps"]:
        if "daemon" in app:
            state = f"{'enabled' if app['enabled'] else 'disabled'}, {'active' if app['active'] else 'inactive'}"
            sys.stdout.write(f"  {app['snap']}.{app['name']}: {app['daemon']}, {state}\n")
    if "health" in one:
        sys.stdout.write("health:\n")
        for key in ("status", "message", "code", "timestamp", "revision"):
            if key in one["health"]:
                sys.stdout.write(f"  {key}: {one['health'][key]}\n")
    sys.stdout.write(f"{'installed:':<14}{one['version']} ({one['revision']}) {one['status']}\n")


def _changes(_: Sequence[str]) -> None:
    rows = [("ID", "Status", "Spawn", "Ready", "Summary")]
    for one in _call("GET", "/v2/changes?select=all"):
        rows.append(
            (one["id"], one["status"], _moment(one["spawn-time"]), _moment(one.get("ready-time")), one["summary"])
        )
    if len(rows) == 1:
        raise CommandError("no changes of that type found")
    _table(rows)


def _tasks(arguments: Sequence[str]) -> None:
    _, values, rest = _options(arguments)
    if "--last" in values:
        every = _call("GET", "/v2/changes?select=all")
        found = [one for one in every if one["kind"].startswith(values["--last"].rstrip("?"))]
        if not found:
            raise CommandError(f'no changes of type "{values["--last"]}" found')
        change = found[-1]
    else:
        change = _call("GET", f"/v2/changes/{quote(_one(rest))}")
    rows = [("Status", "Spawn", "Ready", "Summary")]
    for task in change["tasks"]:
        rows.append((task["status"], _moment(task["spawn-time"]), _moment(task.get("ready-time")), task["summary"]))
    _table(rows)
    for task in change["tasks"]:
        if task.get("log"):
            sys.stdout.write("\n" + "." * 70 + f"\n{task['summary']}\n\n" + "\n".join(task["log"]) + "\n")


def _connections(arguments: Sequence[str]) -> None:
    flags, _, rest = _options(arguments, ("--all",))
    query = [f"snap={quote(rest[0])}"] if rest else []
    query += ["select=all"] if rest or "--all" in flags else []
    found = _call("GET", "/v2/connections" + ("?" + "&".join(query) if query else ""))
    rows = [("Interface", "Plug", "Slot", "Notes")]
    for one in found["established"]:
        plug = f"{one['plug']['snap']}:{one['plug']['plug']}"
        slot = f"{'' if one['slot']['snap'] == 'snapd' else one['slot']['snap']}:{one['slot']['slot']}"
        rows.append((one["interface"], plug, slot, "manual" if one["manual"] else "-"))
    for plug in found["plugs"]:
        if "connections" not in plug and query:
            rows.append((plug["interface"], f"{plug['snap']}:{plug['plug']}", "-", "-"))
    _table(rows)


def _get(arguments: Sequence[str]) -> None:
    flags, _, rest = _options(arguments, ("-d", "-t"))
    if not rest:
        raise UsageError("the required argument `<snap>` was not provided")
    name, keys = rest[0], rest[1:]
    query = f"?keys={quote(','.join(keys))}" if keys else ""
    found = _call("GET", f"/v2/snaps/{quote(name)}/conf{query}")
    if "-d" in flags or len(keys) > 1:
        sys.stdout.write(json.dumps(found, indent="\t", sort_keys=True) + "\n")
    elif len(keys) == 1 and not isinstance(found[keys[0]], dict):
        value = found[keys[0]]
        sys.stdout.write((value if isinstance(value, str) and "-t" not in flags else json.dumps(value)) + "\n")
    else:
        document = found[keys[0]] if keys else found
        if not document:
            raise CommandError(f'snap "{name}" has no configuration')
        prefix = f"{keys[0]}." if keys else ""
        rows = [("Key", "Value")]
        for key, value in sorted(document.items()):
            shown = "{...}" if isinstance(value, dict) else value if isinstance(value, str) else json.dumps(value)
            rows.append((prefix + key, shown))
        _table(rows)


def _set(arguments: Sequence[str]) -> None:
    if len(arguments) < 2:
        raise UsageError("the required arguments `<snap>` and `<conf value>` were not provided")
    patch: dict[str, Any] = {}
    for argument in arguments[1:]:
        key, separator, text = argument.partition("=")
        if not separator and not argument.endswith("!"):
            raise CommandError(f'invalid configuration: "{argument}" (want key=value)')
        if not separator:
            patch[argument[:-1]] = None
            continue
        try:
            patch[key] = json.loads(text)
        except ValueError:
            patch[key] = text
    _wait(_call("PUT", f"/v2/snaps/{quote(arguments[0])}/conf", patch))


def _unset(arguments: Sequence[str]) -> None:
    _set([*arguments[:1], *(f"{key}!" for key in arguments[1:])])


def _services(arguments: Sequence[str]) -> None:
    names = f"&names={quote(','.join(arguments))}" if arguments else ""
    rows = [("Service", "Startup", "Current", "Notes")]
    for app in _call("GET", f"/v2/apps?select=service{names}"):
        notes = "timer-activated" if "activators" in app else "-"
        startup, current = "enabled" if app["enabled"] else "disabled", "active" if app["active"] else "inactive"
        rows.append((f"{app['snap']}.{app['name']}", startup, current, notes))
    if len(rows) == 1:
        sys.stderr.write("There are no services provided by installed snaps.\n")
        return
    _table(rows)


def _logs(arguments: Sequence[str]) -> None:
    _, values, rest = _options(arguments)
    query = f"?n={values.get('-n', '10')}&names={quote(','.join(rest))}"
    answer = snapdsocket.call(os.environ["SNAPD_SOCKET"], "GET", f"/v2/logs{query}")
    for line in answer.body.split(b"\x1e"):
        if line.strip():
            entry = json.loads(line)
            pid = f"[{entry['pid']}]" if entry["pid"] else ""
            sys.stdout.write(f"{entry['timestamp']} {entry['sid']}{pid}: {entry['message']}\n")


def _install(arguments: Sequence[str]) -> None:
    flags, values, rest = _options(arguments, ("--dangerous", "--devmode", "--classic"))
    name = _one(rest)
    path = Path(name)
    if not path.name.endswith(".snap") or not ("/" in name or path.exists()):
        _wait(_call("POST", f"/v2/snaps/{quote(name)}", {"action": "install"}))
        return
    fields = {flag[2:]: "true" for flag in sorted(flags)}
    fields |= {"name": values["--name"]} if "--name" in values else {}
    number = _result(_upload(path, {**fields, "snap-path": str(path)}))
    change = _call("GET", f"/v2/changes/{number}")
    _wait(number)
    for installed in change["data"]["snap-names"]:
        one = _call("GET", f"/v2/snaps/{quote(installed)}")
        sys.stdout.write(f"{installed} {one['version']} installed\n")


def _upload(path: Path, fields: dict[str, str]) -> dict[str, Any]:
    head = "".join(
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in fields.items()
    )
    head += f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="snap"; filename="{path.name}"\r\n'
    head += "Content-Type: application/octet-stream\r\n\r\n"
    start, end = head.encode(), f"\r\n--{_BOUNDARY}--\r\n".encode()
    with path.open("rb") as file:
        length = len(start) + os.fstat(file.fileno()).st_size + len(end)

        def content() -> Iterator[bytes]:
            yield start
            yield from iter(lambda: file.read(snapdsocket.CHUNK), b"")
            yield end

        headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
        answer = snapdsocket.send(os.environ["SNAPD_SOCKET"], "POST", "/v2/snaps", content(), length, headers)
    return answer.document


def _action(action: str, done: str) -> Callable[[Sequence[str]], None]:
    def run(arguments: Sequence[str]) -> None:
        _, values, rest = _options(arguments, ("--purge",))
        name = _one(rest)
        body = {"action": action} | ({"revision": values["--revision"]} if "--revision" in values else {})
        _wait(_call("POST", f"/v2/snaps/{quote(name)}", body))
        if action == "revert":
            one = _call("GET", f"/v2/snaps/{quote(name)}")
            sys.stdout.write(f"{name} reverted to {one['version']}\n")
        else:
            sys.stdout.write(f"{name} {done}\n")

    return run


def _refresh(arguments: Sequence[str]) -> None:
    flags, values, rest = _options(arguments, ("--hold", "--unhold", "--amend"))
    name = _one(rest)
    body: dict[str, Any] = {"action": "refresh"}
    if "--unhold" in flags:
        body = {"action": "unhold"}
    elif "--hold" in flags or "--hold" in values:
        body = {"action": "hold", "time": values.get("--hold", "forever"), "hold-level": "general"}
    _wait(_call("POST", f"/v2/snaps/{quote(name)}", body))
    sys.stdout.write(f'General refreshes of "{name}" {"held" if body["action"] == "hold" else "resumed"}\n')


def _service_action(action: str) -> Callable[[Sequence[str]], None]:
    def run(arguments: Sequence[str]) -> None:
        flags, _, rest = _options(arguments, ("--enable", "--disable"))
        body = {"action": action, "names": list(rest), **{flag[2:]: True for flag in flags}}
        _wait(_call("POST", "/v2/apps", body))
        sys.stdout.write({"start": "Started.\n", "stop": "Stopped.\n", "restart": "Restarted.\n"}[action])

    return run


def _interface_action(action: str) -> Callable[[Sequence[str]], None]:
    def run(arguments: Sequence[str]) -> None:
        if not 1 <= len(arguments) <= 2:
            raise UsageError("the required argument `<snap>:<plug>` was not provided")
        plug_snap, _, plug = arguments[0].partition(":")
        slot_snap, _, slot = (arguments[1] if len(arguments) > 1 else "").partition(":")
        body = {
            "action": action,
            "plugs": [{"snap": plug_snap, "plug": plug}],
            "slots": [{"snap": slot_snap, "slot": slot}],
        }
        _wait(_call("POST", "/v2/interfaces", body))

    return run


def _abort(arguments: Sequence[str]) -> None:
    _call("POST", f"/v2/changes/{quote(_one(arguments))}", {"action": "abort"})


def _version(_: Sequence[str]) -> None:
    info = _call("GET", "/v2/system-info")
    rows = [("snap", info["version"]), ("snapd", info["version"]), ("series", info["series"])]
    _table([*rows, ("kernel", info["kernel-version"]), ("architecture", info["architecture"])])


def _help(_: Sequence[str]) -> None:
    sys.stdout.write("commands of a virtual device: " + ", ".join(sorted(_COMMANDS)) + "\n")


def _moment(text: str | None) -> str:
    return text[:19].replace("T", " ") if text else "-"


_COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "abort": _abort,
    "change": _tasks,
    "changes": _changes,
    "connect": _interface_action("connect"),
    "connections": _connections,
    "disable": _action("disable", "disabled"),
    "disconnect": _interface_action("disconnect"),
    "enable": _action("enable", "enabled"),
    "get": _get,
    "help": _help,
    "info": _info,
    "install": _install,
    "list": _list,
    "logs": _logs,
    "refresh": _refresh,
    "remove": _action("remove", "removed"),
    "restart": _service_action("restart"),
    "revert": _action("revert", "reverted"),
    "services": _services,
    "set": _set,
    "start": _service_action("start"),
    "stop": _service_action("stop"),
    "tasks": _tasks,
    "unset": _unset,
    "version": _version,
}
