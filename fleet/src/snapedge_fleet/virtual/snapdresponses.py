"""How snapd's REST answers show what a virtual device's snapd holds."""

from __future__ import annotations

import platform
from typing import Any

from . import preinstalled
from .machine import Machine
from .snapstate import RevisionRecord, SnapRecord
from .tasks import Connection


def system_info(machine: Machine) -> dict[str, Any]:
    """GET /v2/system-info."""
    return {
        "series": "16",
        "version": f"{preinstalled.SNAPD_VERSION}+virtual",
        "build-id": "virtual",
        "os-release": {"id": "ubuntu-core", "version-id": "24"},
        "on-classic": False,
        "managed": False,
        "kernel-version": platform.release(),
        "architecture": machine.setup.architecture,
        "locations": {
            "snap-mount-dir": str(machine.paths.root / "snap"),
            "snap-bin-dir": str(machine.paths.programs),
        },
        "refresh": {"timer": "00:00~24:00/4", "next": ""},
        "confinement": "partial",
        "sandbox-features": {},
        "system-mode": "run",
    }


def snap(machine: Machine, record: SnapRecord, revision: RevisionRecord | None = None) -> dict[str, Any]:
    """An installed snap, in its current revision unless told another."""
    shown = revision or record.find(record.current)
    assert shown is not None
    info = machine.info(record.name, shown.revision)
    is_current = shown.revision == record.current
    response: dict[str, Any] = {
        "id": "",
        "name": record.name,
        "title": info.summary,
        "summary": info.summary,
        "description": info.description,
        "version": info.version,
        "revision": shown.revision,
        "channel": "",
        "type": info.type,
        "base": info.base,
        "confinement": info.confinement.value,
        "grade": info.grade,
        "devmode": shown.devmode,
        "jailmode": False,
        "trymode": False,
        "private": False,
        "status": "active" if is_current and record.active else "installed",
        "install-date": shown.installed,
        "installed-size": 0,
        "mounted-from": str(machine.paths.snap(record.name, shown.revision)),
        "apps": [_app(machine, record, name) for name in sorted(info.apps)] if is_current else [],
    }
    if record.hold:
        response["hold"] = record.hold
    if record.failures:
        response["refresh-failures"] = record.failures
    if is_current and record.name in machine.state.health:
        response["health"] = machine.state.health[record.name]
    return response


def app(machine: Machine, name: str) -> list[dict[str, Any]]:
    """The apps of a snap, as GET /v2/apps shows them."""
    record = machine.state.snaps[name]
    return [_app(machine, record, one) for one in sorted(machine.info(name).apps)]


def connection(machine: Machine, one: Connection) -> dict[str, Any]:
    """An established connection, as GET /v2/connections shows it."""
    infos = machine.infos()
    plug = infos[one.plug_snap].plugs.get(one.plug) if one.plug_snap in infos else None
    interface = plug.interface if plug is not None else ""
    return {
        "plug": {"snap": one.plug_snap, "plug": one.plug},
        "slot": {"snap": one.slot_snap, "slot": one.slot},
        "interface": interface,
        "manual": interface not in preinstalled.AUTO_CONNECTED,
    }


def connections(machine: Machine, *, of: str = "", every: bool = False) -> dict[str, Any]:
    """GET /v2/connections, for one snap or all; with `every`, plugs and slots that are not connected too."""
    state = machine.state
    chosen = state.connections_of(of) if of else [one for _, one in sorted(state.connections.items())]
    plugs, slots = [], []
    for name, info in sorted(machine.infos().items()):
        for plug in info.plugs.values():
            joined = [one for one in chosen if one.plug_reference == f"{name}:{plug.name}"]
            if joined or (name == of and every) or (every and not of):
                plugs.append(
                    {
                        "snap": name,
                        "plug": plug.name,
                        "interface": plug.interface,
                        "attrs": dict(plug.attributes),
                        **(
                            {"connections": [{"snap": one.slot_snap, "slot": one.slot} for one in joined]}
                            if joined
                            else {}
                        ),
                    }
                )
        for slot in info.slots.values():
            joined = [one for one in chosen if one.slot_reference == f"{name}:{slot.name}"]
            if joined or (name == of and every) or (every and not of):
                slots.append(
                    {
                        "snap": name,
                        "slot": slot.name,
                        "interface": slot.interface,
                        "attrs": dict(slot.attributes),
                        **(
                            {"connections": [{"snap": one.plug_snap, "plug": one.plug} for one in joined]}
                            if joined
                            else {}
                        ),
                    }
                )
    return {"established": [connection(machine, one) for one in chosen], "plugs": plugs, "slots": slots}


def _app(machine: Machine, record: SnapRecord, name: str) -> dict[str, Any]:
    described = machine.info(record.name).apps[name]
    response: dict[str, Any] = {"snap": record.name, "name": name}
    if described.daemon is None:
        return response
    service = machine.services.find(f"{record.name}.{name}")
    response |= {
        "daemon": described.daemon,
        "daemon-scope": "system",
        "enabled": name not in record.disabled_services,
        "active": service is not None and service.is_active,
    }
    if described.timer is not None:
        response["activators"] = [{"Name": name, "Type": "timer", "Active": response["active"], "Enabled": True}]
    return response
