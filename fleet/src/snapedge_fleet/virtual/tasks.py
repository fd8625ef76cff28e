"""Which tasks a change consists of, and in which order: snapd's choreography as data.

Every function here is pure: it takes what is installed and what is asked for, and returns a `ChangePlan`. The order is
that of snapd's overlord (`doInstall`, `Remove`, `Enable`, `Connect`). What matters to a snap:
  - install: data, link, interfaces, install hook, default-configure, services, configure, check-health;
  - refresh: pre-refresh (old revision, services running), stop, unlink, copy data, link, interfaces, post-refresh (new
    revision, services stopped), services, discard of what refresh.retain no longer covers, configure, check-health;
  - revert: no refresh hook and no copy of data, but services restart, and configure and check-health run;
  - enable and disable run no hook; remove runs its hook only with the last revision, and ignores its failure;
  - no hook runs on undo (interface hooks aside), services of the old revision do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final


class TaskKind(StrEnum):
    """snapd's own names of tasks."""

    PREREQUISITES = "prerequisites"
    PREPARE_SNAP = "prepare-snap"
    MOUNT_SNAP = "mount-snap"
    RUN_HOOK = "run-hook"
    STOP_SERVICES = "stop-snap-services"
    REMOVE_ALIASES = "remove-aliases"
    UNLINK_CURRENT = "unlink-current-snap"
    UNLINK_SNAP = "unlink-snap"
    COPY_DATA = "copy-snap-data"
    SETUP_PROFILES = "setup-profiles"
    REMOVE_PROFILES = "remove-profiles"
    LINK_SNAP = "link-snap"
    AUTO_CONNECT = "auto-connect"
    AUTO_DISCONNECT = "auto-disconnect"
    SET_AUTO_ALIASES = "set-auto-aliases"
    SETUP_ALIASES = "setup-aliases"
    START_SERVICES = "start-snap-services"
    CLEAR_SNAP = "clear-snap"
    DISCARD_SNAP = "discard-snap"
    CLEANUP = "cleanup"
    CONNECT = "connect"
    DISCONNECT = "disconnect"
    SERVICE_CONTROL = "service-control"


class HookName(StrEnum):
    """The hooks that snapd runs by themselves; interface hooks are made of a plug's or slot's name."""

    INSTALL = "install"
    PRE_REFRESH = "pre-refresh"
    POST_REFRESH = "post-refresh"
    REMOVE = "remove"
    CONFIGURE = "configure"
    DEFAULT_CONFIGURE = "default-configure"
    CHECK_HEALTH = "check-health"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long hooks may run, in seconds; snapd's own unless a test says otherwise."""

    default: float = 600.0
    configure: float = 300.0
    check_health: float = 30.0

    def of(self, hook: str) -> float:
        """The limit for `hook`."""
        if hook in (HookName.CONFIGURE, HookName.DEFAULT_CONFIGURE):
            return self.configure
        return self.check_health if hook == HookName.CHECK_HEALTH else self.default


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPlan:
    """One task: what, for which snap and revision, and what else its kind needs.

    Attributes:
        hook: name of the hook of a run-hook task.
        ignore_error: the task counts as done though it failed (the remove hook).
        parameters: JSON values a kind needs besides: the file of mount-snap, the flag of link-snap, ...
        lane: tasks of one lane are undone together.
    """

    kind: TaskKind
    summary: str
    snap: str
    revision: str = ""
    hook: str = ""
    ignore_error: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)
    lane: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePlan:
    """A change before it starts."""

    kind: str
    summary: str
    snaps: tuple[str, ...]
    tasks: tuple[TaskPlan, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A snap as it is on the device: the revisions from oldest to newest, and which one is current."""

    name: str
    current: str
    sequence: tuple[str, ...]
    active: bool
    hooks: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A snap that is to come: its file is kept at `file` until it is mounted."""

    name: str
    revision: str
    version: str
    file: str
    digest: str
    hooks: frozenset[str]
    base: str = ""
    devmode: bool = False

    def as_parameters(self) -> dict[str, Any]:
        """What the tasks that bring the snap need to know of it."""
        return {"file": self.file, "digest": self.digest, "version": self.version, "devmode": self.devmode}


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A plug joined to a slot."""

    plug_snap: str
    plug: str
    slot_snap: str
    slot: str

    @property
    def plug_reference(self) -> str:
        """`snap:plug`."""
        return f"{self.plug_snap}:{self.plug}"

    @property
    def slot_reference(self) -> str:
        """`snap:slot`."""
        return f"{self.slot_snap}:{self.slot}"

    def as_parameters(self) -> dict[str, str]:
        """What a task needs to carry to name this connection."""
        return {"plug-snap": self.plug_snap, "plug": self.plug, "slot-snap": self.slot_snap, "slot": self.slot}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Connection:
        """The connection that a task names."""
        return cls(
            plug_snap=parameters["plug-snap"],
            plug=parameters["plug"],
            slot_snap=parameters["slot-snap"],
            slot=parameters["slot"],
        )


FIRST_LANE: Final = 1


def install(arrival: Arrival, *, lane: int = FIRST_LANE) -> tuple[TaskPlan, ...]:
    """Tasks that bring a snap which is not there yet."""
    make = _Maker(arrival.name, arrival.revision, lane)
    return (
        *_arrive(make, arrival),
        make.task(TaskKind.COPY_DATA, f'Copy snap "{arrival.name}" data'),
        *_link(make, arrival),
        make.hook(HookName.INSTALL),
        *([make.hook(HookName.DEFAULT_CONFIGURE)] if HookName.DEFAULT_CONFIGURE in arrival.hooks else []),
        make.start_services(),
        *_settle(make),
    )


def refresh(installed: Installed, arrival: Arrival, *, retain: int, lane: int = FIRST_LANE) -> tuple[TaskPlan, ...]:
    """Tasks that replace a snap's current revision by a new one, keeping `retain` revisions in all."""
    make = _Maker(arrival.name, arrival.revision, lane)
    old = _Maker(arrival.name, installed.current, lane)
    return (
        *_arrive(make, arrival),
        old.hook(HookName.PRE_REFRESH),
        *_leave(old),
        make.task(TaskKind.COPY_DATA, f'Copy snap "{arrival.name}" data', {"from": installed.current}),
        *_link(make, arrival),
        make.hook(HookName.POST_REFRESH),
        make.start_services(),
        *_discard(installed, arrival, retain, lane),
        make.task(TaskKind.CLEANUP, f'Clean up "{arrival.name}" ({arrival.revision}) install'),
        *_settle(make),
    )


def revert(installed: Installed, revision: str, *, lane: int = FIRST_LANE) -> tuple[TaskPlan, ...]:
    """Tasks that go back to `revision`, which is on the device: no refresh hook runs and no data is copied."""
    make = _Maker(installed.name, revision, lane)
    return (
        make.task(TaskKind.PREREQUISITES, f'Ensure prerequisites for "{installed.name}" are available'),
        make.task(TaskKind.PREPARE_SNAP, f'Prepare snap "{installed.name}" ({revision})'),
        *_leave(_Maker(installed.name, installed.current, lane)),
        *_link(make, None),
        make.start_services(),
        *_settle(make),
    )


def remove(
    installed: Installed,
    *,
    revision: str | None = None,
    connections: Sequence[tuple[Connection, frozenset[str], frozenset[str]]] = (),
    lane: int = FIRST_LANE,
) -> tuple[TaskPlan, ...]:
    """Tasks that take a snap away, or one revision that is not current.

    Args:
        installed: the snap.
        revision: that revision alone; None takes all.
        connections: the snap's connections with the hooks of the plug's and of the slot's snap.
        lane: lane of the tasks.
    """
    name = installed.name
    if revision is not None and installed.sequence != (revision,):
        return _forget(_Maker(name, revision, lane))
    make = _Maker(name, installed.current, lane)
    tasks = []
    if installed.active:
        tasks.append(make.task(TaskKind.STOP_SERVICES, f'Stop snap "{name}" services', {"reason": "remove"}))
    tasks.append(make.hook(HookName.REMOVE, ignore_error=True))
    for connection, plug_hooks, slot_hooks in connections:
        tasks += disconnect(connection, plug_hooks=plug_hooks, slot_hooks=slot_hooks, lane=lane, forget=True)
    tasks.append(make.task(TaskKind.AUTO_DISCONNECT, f'Disconnect interfaces of snap "{name}"'))
    if installed.active:
        tasks += [
            make.task(TaskKind.REMOVE_ALIASES, f'Remove aliases for snap "{name}"'),
            make.task(TaskKind.UNLINK_SNAP, f'Make snap "{name}" unavailable to the system'),
        ]
    tasks.append(
        make.task(TaskKind.REMOVE_PROFILES, f'Remove security profile for snap "{name}" ({installed.current})')
    )
    for one in [*(old for old in installed.sequence if old != installed.current), installed.current]:
        tasks += _forget(_Maker(name, one, lane))
    return tuple(tasks)


def enable(installed: Installed) -> tuple[TaskPlan, ...]:
    """Tasks that make a disabled snap available; no hook runs."""
    make = _Maker(installed.name, installed.current, FIRST_LANE)
    where = f'"{installed.name}" ({installed.current})'
    return (
        make.task(TaskKind.PREPARE_SNAP, f"Prepare snap {where}"),
        make.task(TaskKind.SETUP_PROFILES, f"Setup snap {where} security profiles"),
        make.task(TaskKind.LINK_SNAP, f"Make snap {where} available to the system"),
        make.task(TaskKind.SETUP_ALIASES, f'Setup snap "{installed.name}" aliases'),
        make.start_services(),
    )


def disable(installed: Installed) -> tuple[TaskPlan, ...]:
    """Tasks that make a snap unavailable and keep all it has; no hook runs."""
    make = _Maker(installed.name, installed.current, FIRST_LANE)
    where = f'"{installed.name}" ({installed.current})'
    return (
        make.task(TaskKind.STOP_SERVICES, f"Stop snap {where} services", {"reason": "disable"}),
        make.task(TaskKind.REMOVE_ALIASES, f'Remove aliases for snap "{installed.name}"'),
        make.task(TaskKind.UNLINK_SNAP, f"Make snap {where} unavailable to the system"),
        make.task(TaskKind.REMOVE_PROFILES, f"Remove security profiles of snap {where}"),
    )


def connect(
    connection: Connection, *, plug_hooks: frozenset[str], slot_hooks: frozenset[str], lane: int = FIRST_LANE
) -> tuple[TaskPlan, ...]:
    """Tasks that join a plug and a slot: the hooks that the two snaps have, around the connection itself."""
    plug = _Maker(connection.plug_snap, "", lane)
    slot = _Maker(connection.slot_snap, "", lane)
    wanted = [
        (plug, f"prepare-plug-{connection.plug}", plug_hooks),
        (slot, f"prepare-slot-{connection.slot}", slot_hooks),
        (None, "", frozenset()),
        (slot, f"connect-slot-{connection.slot}", slot_hooks),
        (plug, f"connect-plug-{connection.plug}", plug_hooks),
    ]
    summary = f"Connect {connection.plug_reference} to {connection.slot_reference}"
    return tuple(
        plug.task(TaskKind.CONNECT, summary, connection.as_parameters())
        if maker is None
        else maker.task(TaskKind.RUN_HOOK, f'Run hook {hook} of snap "{maker.name}"', hook=hook)
        for maker, hook, hooks in wanted
        if maker is None or hook in hooks
    )


def disconnect(
    connection: Connection,
    *,
    plug_hooks: frozenset[str],
    slot_hooks: frozenset[str],
    lane: int = FIRST_LANE,
    forget: bool = False,
) -> tuple[TaskPlan, ...]:
    """Tasks that part a plug and a slot; the hooks run while they are still joined."""
    plug = _Maker(connection.plug_snap, "", lane)
    slot = _Maker(connection.slot_snap, "", lane)
    tasks = []
    for maker, hook, hooks in (
        (slot, f"disconnect-slot-{connection.slot}", slot_hooks),
        (plug, f"disconnect-plug-{connection.plug}", plug_hooks),
    ):
        if hook in hooks:
            tasks.append(
                maker.task(TaskKind.RUN_HOOK, f'Run hook {hook} of snap "{maker.name}"', hook=hook, ignore_error=forget)
            )
    summary = f"Disconnect {connection.plug_reference} from {connection.slot_reference}"
    tasks.append(plug.task(TaskKind.DISCONNECT, summary, connection.as_parameters()))
    return tuple(tasks)


def configure(installed: Installed, patch: Mapping[str, Any]) -> tuple[TaskPlan, ...]:
    """The one task of `snap set`: the configure hook with the patch laid over the configuration."""
    make = _Maker(installed.name, installed.current, FIRST_LANE)
    return (make.hook(HookName.CONFIGURE, {"patch": dict(patch)}),)


def service_control(snap: str, action: str, services: Sequence[str], *, lane: int = FIRST_LANE) -> TaskPlan:
    """The task that starts, stops or restarts services by name; `action` may carry `enable` or `disable`."""
    names = ", ".join(f'"{one}"' for one in services)
    return _Maker(snap, "", lane).task(
        TaskKind.SERVICE_CONTROL,
        f'Run service command "{action}" for services [{names}] of snap "{snap}"',
        {"action": action, "services": list(services)},
    )


@dataclass(frozen=True, slots=True)
class _Maker:
    name: str
    revision: str
    lane: int

    def task(
        self,
        kind: TaskKind,
        summary: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        hook: str = "",
        ignore_error: bool = False,
    ) -> TaskPlan:
        return TaskPlan(
            kind=kind,
            summary=summary,
            snap=self.name,
            revision=self.revision,
            hook=hook,
            ignore_error=ignore_error,
            parameters=dict(parameters or {}),
            lane=self.lane,
        )

    def hook(
        self, hook: HookName, parameters: Mapping[str, Any] | None = None, *, ignore_error: bool = False
    ) -> TaskPlan:
        summary = f'Run {hook} hook of "{self.name}" snap if present'
        if hook is HookName.CHECK_HEALTH:
            summary = f'Run health check of "{self.name}" snap'
        return self.task(TaskKind.RUN_HOOK, summary, parameters, hook=hook.value, ignore_error=ignore_error)

    def start_services(self) -> TaskPlan:
        return self.task(TaskKind.START_SERVICES, f'Start snap "{self.name}" ({self.revision}) services')


def _arrive(make: _Maker, arrival: Arrival) -> tuple[TaskPlan, ...]:
    where = f'"{make.name}" ({make.revision})'
    return (
        make.task(
            TaskKind.PREREQUISITES, f'Ensure prerequisites for "{make.name}" are available', {"base": arrival.base}
        ),
        make.task(TaskKind.PREPARE_SNAP, f"Prepare snap {where}"),
        make.task(TaskKind.MOUNT_SNAP, f"Mount snap {where}", arrival.as_parameters()),
    )


def _leave(old: _Maker) -> tuple[TaskPlan, ...]:
    return (
        old.task(TaskKind.STOP_SERVICES, f'Stop snap "{old.name}" services', {"reason": "refresh"}),
        old.task(TaskKind.REMOVE_ALIASES, f'Remove aliases for snap "{old.name}"'),
        old.task(TaskKind.UNLINK_CURRENT, f'Make current revision for snap "{old.name}" unavailable'),
    )


def _link(make: _Maker, arrival: Arrival | None) -> tuple[TaskPlan, ...]:
    where = f'"{make.name}" ({make.revision})'
    given = {"revert": True} if arrival is None else {**arrival.as_parameters(), "revert": False}
    return (
        make.task(TaskKind.SETUP_PROFILES, f"Setup snap {where} security profiles"),
        make.task(TaskKind.LINK_SNAP, f"Make snap {where} available to the system", given),
        make.task(TaskKind.AUTO_CONNECT, f'Automatically connect eligible plugs and slots of snap "{make.name}"'),
        make.task(TaskKind.SET_AUTO_ALIASES, f'Set automatic aliases for snap "{make.name}"'),
        make.task(TaskKind.SETUP_ALIASES, f'Setup snap "{make.name}" aliases'),
    )


def _settle(make: _Maker) -> tuple[TaskPlan, ...]:
    return (make.hook(HookName.CONFIGURE), make.hook(HookName.CHECK_HEALTH))


def _discard(installed: Installed, arrival: Arrival, retain: int, lane: int) -> tuple[TaskPlan, ...]:
    """What a refresh drops: all behind the current revision (a revert left it), and the oldest beyond `retain`."""
    position = installed.sequence.index(installed.current)
    gone = list(installed.sequence[position + 1 :])
    kept = max(retain - 1, 1)  # the revision that arrives counts, the one that it replaces always stays
    gone += list(installed.sequence[: max(0, position + 1 - kept)])
    return tuple(task for one in gone if one != arrival.revision for task in _forget(_Maker(arrival.name, one, lane)))


def _forget(make: _Maker) -> tuple[TaskPlan, ...]:
    where = f'snap "{make.name}" ({make.revision})'
    return (
        make.task(TaskKind.CLEAR_SNAP, f"Remove data for {where}"),
        make.task(TaskKind.DISCARD_SNAP, f"Remove {where} from the system"),
    )
