"""Doing and undoing each kind of task; every one may run twice, because a restart takes up what it cut off."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from . import connections, hookruns
from .changes import Task
from .connections import InterfaceError
from .hookruns import HookResult, TaskError
from .machine import Machine
from .services import Activity
from .snapinfo import SnapFileError
from .snapstate import RevisionRecord, SnapRecord
from .tasks import Connection, TaskKind

_Handler = Callable[[Task], Awaitable[None]]


class Handlers:
    """Carries out tasks on a machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._do: dict[TaskKind, _Handler] = {
            TaskKind.PREREQUISITES: self._check_base,
            TaskKind.MOUNT_SNAP: self._mount,
            TaskKind.STOP_SERVICES: self._stop_services,
            TaskKind.UNLINK_CURRENT: self._unlink,
            TaskKind.UNLINK_SNAP: self._unlink,
            TaskKind.COPY_DATA: self._copy_data,
            TaskKind.REMOVE_PROFILES: self._remove_profiles,
            TaskKind.LINK_SNAP: self._link,
            TaskKind.AUTO_CONNECT: self._auto_connect,
            TaskKind.AUTO_DISCONNECT: self._auto_disconnect,
            TaskKind.START_SERVICES: self._start_services,
            TaskKind.CLEAR_SNAP: self._clear,
            TaskKind.DISCARD_SNAP: self._discard,
            TaskKind.CONNECT: self._connect,
            TaskKind.DISCONNECT: self._disconnect,
            TaskKind.SERVICE_CONTROL: self._control,
        }
        self._undo: dict[TaskKind, _Handler] = {
            TaskKind.MOUNT_SNAP: self._unmount,
            TaskKind.STOP_SERVICES: self._start_services,
            TaskKind.UNLINK_CURRENT: self._relink,
            TaskKind.UNLINK_SNAP: self._relink,
            TaskKind.COPY_DATA: self._drop_data,
            TaskKind.LINK_SNAP: self._undo_link,
            TaskKind.AUTO_CONNECT: self._undo_auto_connect,
            TaskKind.START_SERVICES: self._stop_started,
            TaskKind.CONNECT: self._disconnect,
            TaskKind.DISCONNECT: self._connect,
        }

    async def do(self, task: Task, abort: asyncio.Event) -> HookResult:
        """Carries the task out.

        Raises:
            TaskError: when it failed.
        """
        try:
            if task.plan.kind is TaskKind.RUN_HOOK:
                patch = task.plan.parameters.get("patch")
                return await hookruns.run(self._machine, task.plan.snap, task.plan.hook, patch=patch, abort=abort)
            handler = self._do.get(task.plan.kind)
            if handler is not None:
                await handler(task)
        except (SnapFileError, InterfaceError) as error:
            raise TaskError(str(error)) from error
        except OSError as error:
            raise TaskError(_reason(error)) from error
        return HookResult()

    async def undo(self, task: Task) -> None:
        """Takes back what the task did; kinds that leave nothing behind have nothing to take back.

        Raises:
            TaskError: when that failed.
        """
        handler = self._undo.get(task.plan.kind)
        if handler is None:
            return
        try:
            await handler(task)
        except OSError as error:
            raise TaskError(_reason(error)) from error

    def _record(self, task: Task) -> SnapRecord:
        return self._machine.state.snaps[task.plan.snap]

    async def _check_base(self, task: Task) -> None:
        base = task.plan.parameters.get("base", "")
        if base and base != "bare" and base not in self._machine.state.snaps:
            raise TaskError(f'cannot install snap base "{base}": snap not found')

    async def _mount(self, task: Task) -> None:
        given = task.plan.parameters
        tree = await self._machine.trees.mount(Path(given["file"]), given["digest"])
        link = self._machine.paths.snap(task.plan.snap, task.plan.revision)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(tree)

    async def _unmount(self, task: Task) -> None:
        link = self._machine.paths.snap(task.plan.snap, task.plan.revision)
        link.unlink(missing_ok=True)
        if link.parent.is_dir() and not any(link.parent.iterdir()):
            link.parent.rmdir()

    async def _copy_data(self, task: Task) -> None:
        paths, name, revision = self._machine.paths, task.plan.snap, task.plan.revision
        source = task.plan.parameters.get("from", "")
        await self._drop_data(task, whole=False)
        try:
            paths.common(name).mkdir(parents=True, exist_ok=True)
            for folder in (paths.data, paths.user_data):
                if source and folder(name, source).is_dir():
                    await asyncio.to_thread(
                        shutil.copytree, folder(name, source), folder(name, revision), symlinks=True
                    )
                else:
                    folder(name, revision).mkdir(parents=True, exist_ok=True)
        except OSError:
            # A task that failed is not undone: what it copied before goes with it.
            await self._drop_data(task)
            raise

    async def _drop_data(self, task: Task, *, whole: bool = True) -> None:
        """Removes the copy; at the undo of a first install also what the snap put beside it."""
        paths, name, revision = self._machine.paths, task.plan.snap, task.plan.revision
        for folder in (paths.data(name, revision), paths.user_data(name, revision)):
            await asyncio.to_thread(_remove_folder, folder)
        if whole and not task.plan.parameters.get("from"):
            await self._remove_all_data(name)

    async def _remove_all_data(self, name: str) -> None:
        paths = self._machine.paths
        for folder in (paths.common(name), paths.user_data(name, "common"), paths.scratch(name)):
            await asyncio.to_thread(_remove_folder, folder.parent)

    async def _unlink(self, task: Task) -> None:
        self._record(task).active = False

    async def _relink(self, task: Task) -> None:
        record = self._record(task)
        record.active = True
        self._machine.point_current(record.name, record.current)
        self._machine.mount_contents(record.name)

    async def _remove_profiles(self, task: Task) -> None:
        if task.plan.snap in self._machine.state.snaps:
            self._machine.unmount_contents(task.plan.snap)

    async def _link(self, task: Task) -> None:
        machine, name, revision = self._machine, task.plan.snap, task.plan.revision
        state = machine.state
        record = state.snaps.setdefault(name, SnapRecord(name=name))
        if "was" not in task.memory:
            task.memory.update(was=record.current, disabled=list(record.disabled_services), hold=record.hold)
            if record.current:
                state.saved_config.setdefault(name, {})[record.current] = machine.config(name)
        if record.find(revision) is None:
            arrived = task.plan.parameters
            record.revisions.append(
                RevisionRecord(
                    revision=revision,
                    version=arrived["version"],
                    digest=arrived["digest"],
                    devmode=arrived["devmode"],
                    installed=machine.now(),
                )
            )
        if task.plan.parameters.get("revert"):
            saved = state.saved_config.get(name, {}).get(revision)
            if saved is not None:
                state.config[name] = saved
        record.current, record.active = revision, True
        info = machine.info(name)
        if not task.memory["was"]:
            record.disabled_services = [app.name for app in info.services if not app.starts_on_install]
            for plug in info.plugs:
                if plug in machine.setup.defaults:
                    machine.patch_config(name, machine.setup.defaults[plug])
        machine.point_current(name, revision)
        machine.mount_contents(name)

    async def _undo_link(self, task: Task) -> None:
        machine, name, revision = self._machine, task.plan.snap, task.plan.revision
        state, was = machine.state, task.memory.get("was", "")
        record = state.snaps.get(name)
        if record is None:
            return
        if not was:
            for held in (state.snaps, state.config, state.saved_config, state.health):
                held.pop(name, None)
            machine.point_current(name, "")
            return
        if was != revision:
            if "digest" in task.plan.parameters:
                record.revisions = [one for one in record.revisions if one.revision != revision]
                record.failures = _one_more(record.failures, revision, machine.now())
            state.config[name] = state.saved_config.get(name, {}).pop(was, machine.config(name))
        record.current, record.active = was, False
        record.disabled_services = list(task.memory["disabled"])
        machine.point_current(name, was)

    async def _auto_connect(self, task: Task) -> None:
        machine, name = self._machine, task.plan.snap
        added = task.memory.setdefault("added", [])
        for connection in connections.automatic(name, machine.info(name)):
            if connection.plug_reference not in machine.state.connections:
                machine.state.connections[connection.plug_reference] = connection
                added.append(connection.plug_reference)

    async def _undo_auto_connect(self, task: Task) -> None:
        for reference in task.memory.get("added", []):
            self._machine.state.connections.pop(reference, None)

    async def _auto_disconnect(self, task: Task) -> None:
        for connection in self._machine.state.connections_of(task.plan.snap):
            del self._machine.state.connections[connection.plug_reference]

    async def _connect(self, task: Task) -> None:
        connection = Connection.from_parameters(task.plan.parameters)
        connections.mount_content(connection, self._machine.infos(), self._machine.folders)
        self._machine.state.connections[connection.plug_reference] = connection

    async def _disconnect(self, task: Task) -> None:
        connection = Connection.from_parameters(task.plan.parameters)
        connections.unmount_content(connection, self._machine.infos(), self._machine.folders)
        self._machine.state.connections.pop(connection.plug_reference, None)

    async def _start_services(self, task: Task) -> None:
        machine, record = self._machine, self._record(task)
        for app in machine.info(record.name).services:
            if app.name in record.disabled_services:
                continue
            name = f"{record.name}.{app.name}"
            service = await machine.start_service(name)
            if service.activity is Activity.FAILED and app.daemon == "oneshot":
                raise TaskError(
                    f"systemctl command [start snap.{name}.service] failed with exit status 1: "
                    f"Job for snap.{name}.service failed because the control process exited with error code."
                )

    async def _stop_services(self, task: Task) -> None:
        machine, name = self._machine, task.plan.snap
        refreshed = task.plan.parameters.get("reason") == "refresh"
        services = machine.info(name).services
        await machine.services.stop(
            [f"{name}.{app.name}" for app in services if not (refreshed and app.survives_refresh)]
        )

    async def _stop_started(self, task: Task) -> None:
        await self._machine.services.stop(self._machine.service_names(task.plan.snap))

    async def _control(self, task: Task) -> None:
        given: dict[str, Any] = dict(task.plan.parameters)
        await self._machine.control_services(task.plan.snap, given["action"], given["services"])

    async def _clear(self, task: Task) -> None:
        paths, name, revision = self._machine.paths, task.plan.snap, task.plan.revision
        for folder in (paths.data(name, revision), paths.user_data(name, revision)):
            await asyncio.to_thread(_remove_folder, folder)
        record = self._machine.state.snaps.get(name)
        if record is not None and [one.revision for one in record.revisions] == [revision]:
            self._machine.point_current(name, "")
            await self._remove_all_data(name)

    async def _discard(self, task: Task) -> None:
        machine, name, revision = self._machine, task.plan.snap, task.plan.revision
        await self._unmount(task)
        record = machine.state.snaps.get(name)
        if record is None:
            return
        record.revisions = [one for one in record.revisions if one.revision != revision]
        machine.state.saved_config.get(name, {}).pop(revision, None)
        if not record.revisions:
            for held in (machine.state.snaps, machine.state.config, machine.state.saved_config, machine.state.health):
                held.pop(name, None)


def _one_more(failures: dict[str, Any], revision: str, now: str) -> dict[str, Any]:
    """The record of failed refreshes with one more of `revision`; another revision begins a new count."""
    count = failures.get("failure-count", 0) if failures.get("revision") == revision else 0
    return {"revision": revision, "failure-count": count + 1, "last-failure-time": now}


def _reason(error: OSError) -> str:
    """What went wrong, in a line; copying a tree collects one error for each file, of which the first is told."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        source, _, reason = error.args[0][0]
        return f"cannot copy {source}: {reason}"
    return f"{error.strerror or error}: {error.filename}" if error.filename else str(error.strerror or error)


def _remove_folder(folder: Path) -> None:
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
