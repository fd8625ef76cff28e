"""The snapd of a virtual device: what is asked of it becomes a change, planned by `tasks` and carried out step by step.

One change at a time touches a snap; changes of different snaps run side by side. After each step the state is saved,
so that a device whose power was cut takes its changes up where they were.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snapedge_hooks.errors import SnapedgeError

from . import changes, connections, snapconfig, snapctl, snapinfo, tasks
from .changes import Change, Direction, Status, Task
from .connections import InterfaceError
from .devicepaths import DevicePaths
from .handlers import Handlers
from .hookruns import TaskError
from .machine import DeviceSetup, Machine
from .snapinfo import Confinement, SnapFileError
from .snapstate import SnapRecord
from .snaptrees import SnapFile
from .tasks import Arrival, ChangePlan, TaskPlan

_log = logging.getLogger(__name__)


class RefusedError(SnapedgeError):
    """A request that snapd refuses before it makes a change of it: its message, HTTP status, kind and value."""

    def __init__(self, message: str, *, status: int = 400, kind: str = "", value: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.value = value


@dataclass(frozen=True, slots=True, kw_only=True)
class SideloadOptions:
    """How a snap file is to be installed.

    Attributes:
        instance: instance name; empty means the snap's own name.
        together: several files stand or fall as one (transaction "all-snaps").
    """

    dangerous: bool = False
    devmode: bool = False
    classic: bool = False
    instance: str = ""
    together: bool = False


@dataclass(slots=True)
class _Running:
    task: asyncio.Task[None]
    abort: asyncio.Event = field(default_factory=asyncio.Event)


class Snapd:
    """Takes requests, keeps changes going, and answers questions about both."""

    def __init__(self, paths: DevicePaths, setup: DeviceSetup) -> None:
        self.machine = Machine(paths, setup)
        self._handlers = Handlers(self.machine)
        self._running: dict[str, _Running] = {}

    @property
    def state_of_changes(self) -> Mapping[str, Change]:
        """Every change that is remembered, by number."""
        return self.machine.state.changes

    def seed(self, kubeconfig: str) -> None:
        """Puts the snaps in place that a device is born with, and the cluster's credentials into microk8s."""
        self.machine.seed()
        self.machine.write_credentials(kubeconfig)
        self.machine.save()

    async def start(self) -> None:
        """Boots: what a power cut left is ended, services start, cut-off changes go on."""
        machine = self.machine
        machine.ledger.end_leftovers()
        unfinished = [change for change in machine.state.changes.values() if not change.is_ready]
        busy = {name for change in unfinished for name in change.snaps}
        wanted = {task.plan.parameters.get("file") for change in unfinished for task in change.tasks}
        for upload in machine.paths.uploads.glob(".local-install-*"):
            if str(upload) not in wanted:
                upload.unlink()
        await machine.start_enabled(name for name in machine.state.snaps if name not in busy)
        for change in unfinished:
            # A snap in the middle of a refresh has no service running; its change knows when to start them.
            self._run(change)

    async def stop(self) -> None:
        """Shuts down: running tasks are cut off as by a power cut, services are stopped in good order."""
        for running in self._running.values():
            running.task.cancel()
        await asyncio.gather(*(running.task for running in self._running.values()), return_exceptions=True)
        await self.machine.services.stop_all()
        self.machine.save()

    # Requests.

    async def sideload(self, files: Sequence[tuple[Path, str]], options: SideloadOptions) -> Change:
        """Installs snap files (each with the name its sender gave it), over what is installed of that name.

        Raises:
            RefusedError: as snapd refuses it.
        """
        read: list[SnapFile] = []
        for path, called in files:
            if not options.dangerous:
                raise RefusedError(f'cannot find signatures with metadata for snap/component "{called}"')
            try:
                read.append(await self.machine.trees.read(path, called=called))
            except SnapFileError as error:
                raise RefusedError(str(error)) from error
        names = [options.instance or one.info.name for one in read]
        for name, one in zip(names, read, strict=True):
            self._check_sideload(name, one, options)
        self._check_conflicts(names)
        planned: list[TaskPlan] = []
        for position, (name, one) in enumerate(zip(names, read, strict=True)):
            lane = tasks.FIRST_LANE if options.together else tasks.FIRST_LANE + position
            planned += self._arrival_tasks(name, one, options, lane)
        quoted = ", ".join(f'"{name}"' for name in names)
        if len(files) == 1:
            summary = f'Install {quoted} snap from file "{files[0][1]}"'
        else:
            summary = f"Install snaps {quoted} from files " + ", ".join(f'"{called}"' for _, called in files)
        return self._begin("install-snap", summary, names, planned)

    def revert(self, name: str, revision: str = "") -> Change:
        """Goes back to `revision`, or to the one before the current."""
        if not revision and name not in self.machine.state.snaps:
            raise RefusedError(f'cannot revert "{name}": no revision to revert to')
        record = self._installed(name)
        self._check_conflicts([name])
        sequence = [one.revision for one in record.revisions]
        position = sequence.index(record.current)
        if not revision:
            if position == 0:
                raise RefusedError(f'cannot revert "{name}": no revision to revert to')
            revision = sequence[position - 1]
        if revision == record.current:
            raise RefusedError(f'cannot revert "{name}": already on requested revision')
        if revision not in sequence:
            raise RefusedError(f'cannot revert "{name}": cannot find revision {revision} for snap "{name}"')
        planned = tasks.revert(record.as_installed(self.machine.hooks(name)), revision)
        return self._begin("revert-snap", f'Revert "{name}" snap', [name], planned)

    def remove(self, name: str, revision: str = "") -> Change:
        """Takes a snap away, or one revision of it."""
        record = self._installed(name)
        self._check_conflicts([name])
        if record.preinstalled:
            raise RefusedError(f'snap "{name}" is not removable: it is part of the virtual device')
        if revision:
            if record.find(revision) is None:
                raise RefusedError(
                    f'snap "{name}" revision {revision} is not installed', kind="snap-not-installed", value=name
                )
            if revision == record.current and len(record.revisions) > 1:
                raise RefusedError(f'cannot remove active revision {revision} of snap "{name}"')
        joined = [
            (one, self.machine.hooks(one.plug_snap), self.machine.hooks(one.slot_snap))
            for one in self.machine.state.connections_of(name)
        ]
        planned = tasks.remove(
            record.as_installed(self.machine.hooks(name)), revision=revision or None, connections=joined
        )
        return self._begin("remove-snap", f'Remove "{name}" snap', [name], planned)

    def enable(self, name: str) -> Change:
        """Makes a disabled snap available."""
        record = self._installed(name)
        self._check_conflicts([name])
        if record.active:
            raise RefusedError(f'cannot enable "{name}": snap "{name}" already enabled')
        planned = tasks.enable(record.as_installed(frozenset()))
        return self._begin("enable-snap", f'Enable "{name}" snap', [name], planned)

    def disable(self, name: str) -> Change:
        """Makes a snap unavailable, keeping what it has."""
        record = self._installed(name)
        self._check_conflicts([name])
        if record.preinstalled:
            raise RefusedError(f'snap "{name}" cannot be disabled')
        if not record.active:
            raise RefusedError(f'cannot disable "{name}": snap "{name}" already disabled')
        planned = tasks.disable(record.as_installed(frozenset()))
        return self._begin("disable-snap", f'Disable "{name}" snap', [name], planned)

    def hold(self, name: str, until: str) -> Change:
        """Holds refreshes of a snap until a time in RFC 3339, or `forever`; empty lets them go on."""
        self._installed(name).hold = "2315-08-19T07:45:55Z" if until == "forever" else until
        kind, verb = ("hold-snap", "Hold general refreshes for") if until else ("unhold-snap", "Remove refresh hold on")
        return self._begin(kind, f'{verb} "{name}"', [name], ())

    def connect(self, *, plug_snap: str, plug: str, slot_snap: str, slot: str) -> Change:
        """Joins a plug and a slot; a change without tasks where they are joined already."""
        try:
            wanted = connections.resolve(
                self.machine.infos(), plug_snap=plug_snap, plug=plug, slot_snap=slot_snap, slot=slot
            )
        except InterfaceError as error:
            raise RefusedError(str(error)) from error
        names = [wanted.plug_snap, wanted.slot_snap]
        self._check_conflicts(names)
        planned: tuple[TaskPlan, ...] = ()
        if self.machine.state.connections.get(wanted.plug_reference) != wanted:
            planned = tasks.connect(
                wanted,
                plug_hooks=self.machine.hooks(wanted.plug_snap),
                slot_hooks=self.machine.hooks(wanted.slot_snap),
            )
        summary = f"Connect {wanted.plug_reference} to {wanted.slot_reference}"
        return self._begin("connect-snap", summary, names, planned)

    def disconnect(self, *, plug_snap: str, plug: str, slot_snap: str, slot: str) -> Change:
        """Parts a plug and a slot; with one side given, all that it is joined to."""
        asked_plug, asked_slot = f"{plug_snap}:{plug}", f"{slot_snap}:{slot}"
        found = [
            one
            for one in self.machine.state.connections.values()
            if (not plug or one.plug_reference == asked_plug) and (not slot or one.slot_reference == asked_slot)
        ]
        if not found or not (plug or slot):
            raise RefusedError("nothing to do", kind="interfaces-unchanged")
        names = sorted({name for one in found for name in (one.plug_snap, one.slot_snap)})
        self._check_conflicts(names)
        planned: list[TaskPlan] = []
        for one in found:
            hooks = self.machine.hooks
            planned += tasks.disconnect(one, plug_hooks=hooks(one.plug_snap), slot_hooks=hooks(one.slot_snap))
        return self._begin("disconnect-snap", planned[-1].summary, names, planned)

    def set_config(self, name: str, patch: Mapping[str, Any]) -> Change:
        """Runs the configure hook with `patch`, which is kept if the hook takes it."""
        record = self._installed(name)
        self._check_conflicts([name])
        try:
            snapconfig.patched(name, self.machine.config(name), patch)
        except snapconfig.ConfigError as error:
            raise RefusedError(f"cannot set config: {error.brief}") from error
        planned = tasks.configure(record.as_installed(self.machine.hooks(name)), patch)
        return self._begin("configure-snap", f'Change configuration of "{name}" snap', [name], planned)

    def control_services(self, action: str, names: Iterable[str]) -> Change:
        """Starts, stops or restarts services, given as `snap` or `snap.app`."""
        wanted: dict[str, list[str]] = {}
        for name in names:
            snap, _, app = name.partition(".")
            if snap not in self.machine.state.snaps:
                raise RefusedError(f'snap "{snap}" not found', status=404, kind="snap-not-found")
            known = self.machine.service_names(snap)
            if app and name not in known:
                raise RefusedError(f'snap "{snap}" has no service "{app}"', status=404, kind="app-not-found")
            wanted.setdefault(snap, []).extend([name] if app else known)
        snaps = sorted(wanted)
        self._check_conflicts(snaps)
        planned = [tasks.service_control(snap, action, wanted[snap]) for snap in snaps if wanted[snap]]
        quoted = ", ".join(f'"{one}"' for snap in snaps for one in wanted[snap])
        return self._begin("service-control", f'Run service command "{action}" for services [{quoted}]', snaps, planned)

    def note(self, kind: str, summary: str) -> Change:
        """A change that is done as soon as it is asked for."""
        return self._begin(kind, summary, [], ())

    def abort(self, number: str) -> Change:
        """Turns a change round; a hook that runs is killed."""
        change = self.machine.state.changes.get(number)
        if change is None:
            raise RefusedError(f'cannot find change with id "{number}"', status=404)
        if change.is_ready:
            raise RefusedError(f"cannot abort change {number} with nothing pending")
        if number in self._running:
            self._running[number].abort.set()
        return change

    async def wait(self, change: Change) -> None:
        """Returns when the change is ready."""
        running = self._running.get(change.id)
        if running is not None:
            await asyncio.wait([running.task])

    async def snapctl(self, cookie: str, arguments: Sequence[str]) -> str:
        """What a call of snapctl prints; see `snapctl.run`."""
        session = self.machine.session(cookie)
        if session is None:
            raise snapctl.SnapctlError("cannot find the context of this call: the cookie is unknown")
        return await snapctl.run(session, self.machine, arguments)

    # Planning with what is installed.

    def _arrival_tasks(self, name: str, file: SnapFile, options: SideloadOptions, lane: int) -> tuple[TaskPlan, ...]:
        record = self.machine.state.snaps.get(name)
        arrival = Arrival(
            name=name,
            revision=record.next_local if record is not None else "x1",
            version=file.info.version,
            file=str(file.path),
            digest=file.digest,
            hooks=frozenset(file.info.hooks),
            base=file.info.base,
            devmode=options.devmode,
        )
        if record is None:
            return tasks.install(arrival, lane=lane)
        installed = record.as_installed(self.machine.hooks(name))
        return tasks.refresh(installed, arrival, retain=self._retain(), lane=lane)

    def _retain(self) -> int:
        with contextlib.suppress(snapconfig.ConfigError, ValueError, TypeError):
            return int(snapconfig.lookup("system", self.machine.config("system"), "refresh.retain"))
        return self.machine.setup.retain

    def _check_sideload(self, name: str, file: SnapFile, options: SideloadOptions) -> None:
        info = file.info
        try:
            snapinfo.validate_instance(name)
        except SnapFileError as error:
            raise RefusedError(str(error)) from error
        if name.partition("_")[0] != info.name:
            raise RefusedError(f'instance name "{name}" does not match snap name "{info.name}"')
        record = self.machine.state.snaps.get(name)
        if record is not None and record.preinstalled:
            raise RefusedError(f'snap "{name}" is part of the virtual device and cannot be replaced')
        if info.type != "app":
            raise RefusedError(f'cannot install snap "{name}" of type "{info.type}" on a virtual device')
        here = self.machine.setup.architecture
        if not {here, "all"} & set(info.architectures):
            listed = ", ".join(info.architectures)
            raise RefusedError(
                f'snap "{name}" supported architectures ({listed}) are incompatible with this system ({here})'
            )
        if info.confinement is Confinement.CLASSIC:
            message = f'snap "{name}" requires classic confinement which is only available on classic systems'
            raise RefusedError(message, kind="snap-needs-classic-system", value=name)
        if info.confinement is Confinement.DEVMODE and not options.devmode:
            message = f'snap "{name}" requires devmode or confinement override'
            raise RefusedError(message, kind="snap-needs-devmode", value=name)

    def _installed(self, name: str) -> SnapRecord:
        record = self.machine.state.snaps.get(name)
        if record is None:
            raise RefusedError(f'snap "{name}" is not installed', kind="snap-not-installed", value=name)
        return record

    def _check_conflicts(self, names: Iterable[str]) -> None:
        for change in self.machine.state.changes.values():
            if change.is_ready:
                continue
            for name in names:
                record = self.machine.state.snaps.get(name)
                if name in change.snaps and not (record is not None and record.preinstalled):
                    raise RefusedError(
                        f'snap "{name}" has "{change.kind}" change in progress',
                        status=409,
                        kind="snap-change-conflict",
                        value={"change-kind": change.kind, "snap-name": name},
                    )

    # Carrying out.

    def _begin(self, kind: str, summary: str, names: Iterable[str], planned: Sequence[TaskPlan]) -> Change:
        state = self.machine.state
        plan = ChangePlan(kind=kind, summary=summary, snaps=tuple(names), tasks=tuple(planned))
        state.last_change += 1
        change = changes.begin(plan, number=state.last_change, first_task=state.last_task + 1, now=self.machine.now())
        state.last_task += len(planned)
        state.changes[change.id] = change
        self.machine.save()
        if planned:
            self._run(change)
        return change

    def _run(self, change: Change) -> None:
        running = _Running(asyncio.create_task(self._carry_out(change)))
        self._running[change.id] = running
        running.task.add_done_callback(lambda done: self._ended(change, done))

    def _ended(self, change: Change, done: asyncio.Task[None]) -> None:
        self._running.pop(change.id, None)
        if not done.cancelled() and (error := done.exception()) is not None:
            _log.error("change %s stopped by a defect", change.id, exc_info=error)

    async def _carry_out(self, change: Change) -> None:
        await asyncio.sleep(0)
        abort = self._running[change.id].abort
        aborted = False
        while True:
            if abort.is_set() and not aborted:
                aborted = True
                change.abort()
            step = change.next_step()
            if step is None:
                break
            if step.direction is Direction.DO:
                await self._do(change, step.task, abort)
            else:
                await self._undo(change, step.task)
            self.machine.save()
        change.ready = self.machine.now()
        for file in {task.plan.parameters.get("file") for task in change.tasks}:
            if file:
                Path(file).unlink(missing_ok=True)
        self.machine.save()

    async def _do(self, change: Change, task: Task, abort: asyncio.Event) -> None:
        task.status = Status.DOING
        self.machine.save()
        try:
            result = await self._handlers.do(task, abort)
        except TaskError as error:
            self._failed(task, error)
            if task.plan.ignore_error:
                task.status = Status.DONE
            else:
                task.error = str(error)
                task.status = Status.ERROR
                change.abort_lane(task.plan.lane)
        else:
            task.status = Status.DONE
            for action, services in result.queued:
                self._queue(change, tasks.service_control(task.plan.snap, action, services, lane=task.plan.lane))
        task.ready = self.machine.now()

    async def _undo(self, change: Change, task: Task) -> None:
        task.status = Status.UNDOING
        self.machine.save()
        try:
            await self._handlers.undo(task)
        except TaskError as error:
            self._failed(task, error)
            task.error = str(error)
            task.status = Status.ERROR
        else:
            task.status = Status.UNDONE
        task.ready = self.machine.now()
        _log.debug("change %s: task %s is %s", change.id, task.plan.summary, task.status)

    def _failed(self, task: Task, error: TaskError) -> None:
        task.note(f"{self.machine.now()} ERROR {error}")
        _log.info("task %s failed: %s", task.plan.summary, error)

    def _queue(self, change: Change, plan: TaskPlan) -> None:
        self.machine.state.last_task += 1
        number = str(self.machine.state.last_task)
        change.append([Task(id=number, plan=plan, spawned=self.machine.now())])
