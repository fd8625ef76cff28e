"""Plugs and slots: which may be joined, what joining them makes appear, and snapd's words where it refuses."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from snapedge_hooks.errors import SnapedgeError

from . import preinstalled
from .environment import expanded
from .snapinfo import Endpoint, SnapInfo
from .tasks import Connection

_CONTENT: Final = "content"


class InterfaceError(SnapedgeError):
    """A connection that snapd refuses; the brief is its message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapFolders:
    """What `$SNAP_DATA` and its like mean for a snap's current revision."""

    snap: Path
    data: Path
    common: Path

    def expand(self, text: str) -> Path:
        """A path in snap.yaml as one on this machine."""
        names = {"SNAP": str(self.snap), "SNAP_DATA": str(self.data), "SNAP_COMMON": str(self.common)}
        return Path(expanded(text, names))


def resolve(
    infos: Mapping[str, SnapInfo], *, plug_snap: str, plug: str, slot_snap: str = "", slot: str = ""
) -> Connection:
    """The connection that a request means; a slot left out is looked for.

    Raises:
        InterfaceError: when a side is missing, several slots fit, or the two do not go together.
    """
    plug_side = _endpoint(infos, plug_snap, plug, "plug")
    if not slot_snap and not slot:
        slot_snap, slot = _only_candidate(infos, plug_snap, plug_side)
    slot_snap = slot_snap if slot_snap not in ("", "core", "system") else preinstalled.SYSTEM_SNAP
    if not slot:
        slot = _only_slot_of(infos, slot_snap, plug_side)
    slot_side = _endpoint(infos, slot_snap, slot, "slot")
    if plug_side.interface != slot_side.interface:
        raise InterfaceError(
            f'cannot connect plug "{plug_snap}:{plug}" (interface "{plug_side.interface}") '
            f'to "{slot_snap}:{slot}" (interface "{slot_side.interface}")'
        )
    if plug_side.interface == _CONTENT and _label(plug_side) != _label(slot_side):
        raise InterfaceError(
            f'cannot connect plug "{plug}" of snap "{plug_snap}" to slot "{slot}" of snap "{slot_snap}": '
            "content attributes differ"
        )
    return Connection(plug_snap=plug_snap, plug=plug, slot_snap=slot_snap, slot=slot)


def automatic(instance: str, info: SnapInfo) -> list[Connection]:
    """The connections that snapd makes by itself for a sideloaded snap: plain ones to the system's own slots."""
    return [
        Connection(plug_snap=instance, plug=plug.name, slot_snap=preinstalled.SYSTEM_SNAP, slot=plug.interface)
        for plug in info.plugs.values()
        if plug.interface in preinstalled.AUTO_CONNECTED
    ]


def mount_content(connection: Connection, infos: Mapping[str, SnapInfo], folders: Callable[[str], SnapFolders]) -> None:
    """Makes what a content slot shares appear at its plug's target; does nothing for other interfaces.

    Raises:
        InterfaceError: when the target is not in the snap's data.
    """
    for source, link in _links(connection, infos, folders):
        link.parent.mkdir(parents=True, exist_ok=True)
        if link.is_symlink() or link.is_file():
            link.unlink()
        elif link.is_dir():
            shutil.rmtree(link)
        link.symlink_to(source)


def unmount_content(
    connection: Connection, infos: Mapping[str, SnapInfo], folders: Callable[[str], SnapFolders]
) -> None:
    """Takes away what `mount_content` made; the target stays as an empty folder."""
    for _, link in _links(connection, infos, folders):
        if link.is_symlink():
            link.unlink()


def _links(
    connection: Connection, infos: Mapping[str, SnapInfo], folders: Callable[[str], SnapFolders]
) -> Iterable[tuple[Path, Path]]:
    plug = infos[connection.plug_snap].plugs.get(connection.plug) if connection.plug_snap in infos else None
    slot = infos[connection.slot_snap].slots.get(connection.slot) if connection.slot_snap in infos else None
    if plug is None or slot is None or plug.interface != _CONTENT:
        return []
    consumer, provider = folders(connection.plug_snap), folders(connection.slot_snap)
    target = consumer.expand(str(plug.attributes.get("target", "")))
    if not any(target.is_relative_to(root) for root in (consumer.data, consumer.common)):
        raise InterfaceError(
            f'cannot share content at "{plug.attributes.get("target", "")}" on a virtual device',
            resolution="give the plug a target in $SNAP_DATA or $SNAP_COMMON",
        )
    source = slot.attributes.get("source")
    if isinstance(source, dict):
        shared = [provider.expand(str(path)) for key in ("read", "write") for path in source.get(key) or ()]
        return [(path, target / path.name) for path in shared]
    shared = [provider.expand(str(path)) for key in ("read", "write") for path in slot.attributes.get(key) or ()]
    return [(path, target) for path in shared[:1]]


def _endpoint(infos: Mapping[str, SnapInfo], snap: str, name: str, side: str) -> Endpoint:
    if snap not in infos:
        raise InterfaceError(f'snap "{snap}" is not installed')
    found = (infos[snap].plugs if side == "plug" else infos[snap].slots).get(name)
    if found is None:
        raise InterfaceError(f'snap "{snap}" has no {side} named "{name}"')
    return found


def _only_candidate(infos: Mapping[str, SnapInfo], plug_snap: str, plug: Endpoint) -> tuple[str, str]:
    system = infos[preinstalled.SYSTEM_SNAP].slots.values()
    found = [(preinstalled.SYSTEM_SNAP, slot.name) for slot in system if slot.interface == plug.interface]
    if len(found) != 1:
        raise InterfaceError(
            f'snap "{preinstalled.SYSTEM_SNAP}" has no "{plug.interface}" interface slots'
            if not found
            else f'cannot resolve the slot for "{plug_snap}:{plug.name}"'
        )
    return found[0]


def _only_slot_of(infos: Mapping[str, SnapInfo], slot_snap: str, plug: Endpoint) -> str:
    if slot_snap not in infos:
        raise InterfaceError(f'snap "{slot_snap}" is not installed')
    found = sorted(slot.name for slot in infos[slot_snap].slots.values() if slot.interface == plug.interface)
    if not found:
        raise InterfaceError(f'snap "{slot_snap}" has no "{plug.interface}" interface slots')
    if len(found) > 1:
        names = ", ".join(f"{slot_snap}:{name}" for name in found)
        raise InterfaceError(f'snap "{slot_snap}" has multiple "{plug.interface}" interface slots: {names}')
    return found[0]


def _label(endpoint: Endpoint) -> Any:
    return endpoint.attributes.get("content", endpoint.name)
