"""What the tasks of a virtual device's snapd work on: its state, its folders, its services.

Nothing here decides what is to happen; `tasks` does, and `handlers` carries it out with what this offers.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from . import connections, environment, preinstalled, processes, snapconfig, snapctl
from .connections import SnapFolders
from .devicepaths import DevicePaths
from .logfile import LogFile, now_utc, stamp
from .services import Service, Services, ServiceSetup
from .snapinfo import App, SnapFileError, SnapInfo
from .snapstate import RevisionRecord, SnapRecord, SnapState, StateFile
from .snaptrees import SnapTrees
from .tasks import Limits

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSetup:
    """How a virtual device is made.

    Attributes:
        architecture: what the device says it is, whatever the machine.
        defaults: configuration that an installed snap with a plug of that name finds, as gadget defaults would set it.
        retain: how many revisions of a snap are kept; Ubuntu Core keeps three.
    """

    architecture: str
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    retain: int = 3
    limits: Limits = field(default_factory=Limits)
    clock: Callable[[], datetime] = now_utc


class Machine:
    """A device's snaps, as snapd holds them."""

    def __init__(self, paths: DevicePaths, setup: DeviceSetup) -> None:
        self.paths = paths
        self.setup = setup
        self.trees = SnapTrees(paths.trees)
        self.services = Services()
        self.ledger = processes.Ledger(paths.sessions)
        self.sessions: dict[str, snapctl.Session] = {}
        self._file = StateFile(paths.state)
        self.state: SnapState = self._file.load()
        self._infos: dict[str, SnapInfo] = {}

    def save(self) -> None:
        """Makes the state as it is now the one that a restart finds.

        On a full disk the state before stays, whole; the next step saves again, and undoing a change frees room.
        """
        try:
            self._file.save(self.state)
        except OSError as error:
            _log.error("cannot save the state: %s", error)

    def now(self) -> str:
        """The present moment in RFC 3339."""
        return stamp(self.setup.clock())

    def seed(self) -> None:
        """Adds the snaps that a device is born with, where they are not there yet."""
        for name, (revision, info) in preinstalled.SNAPS.items():
            if name not in self.state.snaps:
                record = RevisionRecord(revision=revision, version=info.version, digest="", installed=self.now())
                self.state.snaps[name] = SnapRecord(
                    name=name, revisions=[record], current=revision, active=True, preinstalled=True
                )
            self.paths.data(name, revision).mkdir(parents=True, exist_ok=True)
            self.point_current(name, revision)

    def write_credentials(self, kubeconfig: str) -> None:
        """Puts the cluster's credentials where microk8s shares them from."""
        folder = self.paths.data("microk8s", self.state.snaps["microk8s"].current) / "credentials"
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / "client.config"
        temporary = target.with_name("client.config.new")
        temporary.write_text(kubeconfig, encoding="utf-8")
        temporary.chmod(0o640)
        temporary.replace(target)

    def info(self, name: str, revision: str | None = None) -> SnapInfo:
        """What an installed snap says of itself, in its current revision unless told another."""
        record = self.state.snaps[name]
        if record.preinstalled:
            return preinstalled.SNAPS[name][1]
        found = record.find(revision or record.current)
        if found is None:
            raise SnapFileError(f'snap "{name}" has no revision {revision}')
        return self.info_of(found.digest)

    def info_of(self, digest: str) -> SnapInfo:
        """What the snap in an unpacked tree says of itself."""
        if digest not in self._infos:
            self._infos[digest] = self.trees.info(digest)
        return self._infos[digest]

    def infos(self) -> dict[str, SnapInfo]:
        """Every active snap's description."""
        return {name: self.info(name) for name, record in self.state.snaps.items() if record.active}

    def hooks(self, name: str) -> frozenset[str]:
        """The hooks that the current revision of `name` has; none where it is not installed."""
        record = self.state.snaps.get(name)
        return frozenset(self.info(name).hooks) if record is not None and record.current else frozenset()

    def folders(self, name: str) -> SnapFolders:
        """What the variables of snap.yaml's paths mean for the current revision of `name`."""
        revision = self.state.snaps[name].current
        return SnapFolders(
            snap=self.paths.snap(name, revision), data=self.paths.data(name, revision), common=self.paths.common(name)
        )

    def point_current(self, name: str, revision: str) -> None:
        """Lets `current` of the snap's folders name `revision`; no revision takes the links away."""
        for folder in (self.paths.snap(name, "current"), self.paths.data(name, "current")):
            folder.parent.mkdir(parents=True, exist_ok=True)
            temporary = folder.with_name(".current.new")
            temporary.unlink(missing_ok=True)
            if revision:
                temporary.symlink_to(revision)
                temporary.replace(folder)
            else:
                folder.unlink(missing_ok=True)

    def mount_contents(self, name: str) -> None:
        """Makes everything appear that the snap's connections share with it."""
        for connection in self.state.connections_of(name):
            connections.mount_content(connection, self.infos(), self.folders)

    def unmount_contents(self, name: str) -> None:
        """Takes away what the snap's connections share with it."""
        for connection in self.state.connections_of(name):
            connections.unmount_content(connection, self.infos(), self.folders)

    def environment(self, name: str, cookie: str, *additions: Mapping[str, str]) -> dict[str, str]:
        """The environment of what the current revision of `name` runs."""
        record, info = self.state.snaps[name], self.info(name)
        found = environment.of_snap(
            self.paths,
            instance=name,
            revision=record.current,
            version=info.version,
            architecture=self.setup.architecture,
            cookie=cookie,
        )
        for folder in (Path(found["TMPDIR"]), Path(found["SNAP_USER_DATA"]), Path(found["SNAP_USER_COMMON"])):
            folder.mkdir(parents=True, exist_ok=True)
        return environment.extended(found, info.environment, *additions)

    def log(self, name: str) -> LogFile:
        """The log of a snap's hooks and services."""
        return LogFile(self.paths.logs / f"{name}.log", clock=self.setup.clock)

    def session(self, cookie: str) -> snapctl.Session | None:
        """Whose cookie that is: a running hook's, or the services' of an installed snap."""
        if cookie in self.sessions:
            return self.sessions[cookie]
        found = next((name for name, one in self.state.snaps.items() if cookie and one.cookie == cookie), None)
        return None if found is None else snapctl.Session(cookie=cookie, instance=found)

    def service_names(self, name: str) -> list[str]:
        """Full names of the services of the snap's current revision."""
        return [f"{name}.{app.name}" for app in self.info(name).services]

    async def start_service(self, full_name: str) -> Service:
        """Starts a service of a snap's current revision, unless it runs; returns it."""
        snap, _, app_name = full_name.partition(".")
        found = self.services.find(full_name)
        if found is None or not found.is_active:
            app = self.info(snap).apps[app_name]
            found = Service(
                full_name,
                app,
                lambda: self._service_setup(snap, app),
                ledger=self.ledger,
                log=self.log(snap),
                clock=self.setup.clock,
            )
            self.services.put(found)
            await found.start()
        return found

    def _service_setup(self, name: str, app: App) -> ServiceSetup:
        record = self.state.snaps[name]
        if not record.cookie:
            record.cookie = secrets.token_urlsafe(24)
        variables = self.environment(name, record.cookie, app.environment)
        first, *rest = app.command
        program = self.paths.snap(name, record.current) / environment.expanded(first, variables).removeprefix(
            f"{variables['SNAP']}/"
        )
        return ServiceSetup(
            arguments=(str(program), *(environment.expanded(one, variables) for one in rest)),
            environment=variables,
            folder=self.paths.data(name, record.current),
        )

    # What snapctl asks.

    def config(self, instance: str) -> dict[str, Any]:
        """The snap's configuration as last kept."""
        return self.state.config.get(instance, {})

    def has_endpoint(self, instance: str, name: str) -> bool:
        """Whether the snap has a plug or slot of that name."""
        info = self.info(instance)
        return name in info.plugs or name in info.slots

    def is_connected(self, instance: str, name: str) -> bool:
        """Whether that plug or slot is connected."""
        reference = f"{instance}:{name}"
        return any(reference in (one.plug_reference, one.slot_reference) for one in self.state.connections.values())

    def service_lines(self, instance: str) -> list[snapctl.ServiceLine]:
        """The snap's services, by full name."""
        record = self.state.snaps[instance]
        lines = []
        for app in self.info(instance).services:
            service = self.services.find(f"{instance}.{app.name}")
            lines.append(
                snapctl.ServiceLine(
                    name=f"{instance}.{app.name}",
                    enabled=app.name not in record.disabled_services,
                    active=service is not None and service.is_active,
                    notes="timer-activated" if app.timer is not None else "-",
                )
            )
        return lines

    def keep(self, session: snapctl.Session) -> None:
        """Makes the session's patch and report last."""
        name = session.instance
        if session.patch:
            self.patch_config(name, session.patch)
            session.patch = {}
        if session.report is not None:
            # snapd knows the revision for calls of services; for hooks it says "unset".
            revision = "unset" if session.hook else self.state.snaps[name].current
            self.state.health[name] = session.report.as_response(revision, self.now())
            session.report = None
        self.save()

    def patch_config(self, name: str, patch: Mapping[str, Any]) -> None:
        """Lays `patch` over the snap's configuration."""
        self.state.config[name] = snapconfig.patched(name, self.config(name), patch)

    async def control_services(self, instance: str, action: str, services: Sequence[str]) -> None:
        """Carries out a command to services now; returns when it is done."""
        verb, _, option = action.partition(" --")
        record = self.state.snaps[instance]
        short = {name.partition(".")[2] for name in services}
        if option == "enable":
            record.disabled_services = [one for one in record.disabled_services if one not in short]
        if option == "disable":
            record.disabled_services = sorted({*record.disabled_services, *short})
        if option == "reload":
            services = [name for name in services if not await self._reload(instance, name)]
        if verb in ("stop", "restart"):
            await self.services.stop(services)
        if verb in ("start", "restart"):
            for name in services:
                await self.start_service(name)
        self.save()

    async def _reload(self, instance: str, name: str) -> bool:
        """Runs the reload command of a service that runs; False where there is nothing to reload, only to start."""
        service = self.services.find(name)
        pid = None if service is None else service.main_pid
        if service is None or pid is None or not service.app.reload_command:
            return False
        setup = self._service_setup(instance, replace(service.app, command=service.app.reload_command))
        program = await processes.start(
            setup.arguments,
            environment={**setup.environment, "MAINPID": str(pid)},
            folder=setup.folder,
            ledger=self.ledger,
            log=self.log(instance),
            name=name,
        )
        return await program.wait() == 0

    async def start_enabled(self, names: Iterable[str]) -> None:
        """Starts the enabled services of active snaps: what systemd does at boot."""
        for name in names:
            record = self.state.snaps[name]
            if record.active and not record.preinstalled:
                for app in self.info(name).services:
                    if app.name not in record.disabled_services:
                        await self.start_service(f"{name}.{app.name}")


@contextlib.contextmanager
def session_of_hook(machine: Machine, instance: str, hook: str) -> Iterator[snapctl.Session]:
    """A session that snapctl can find while the block runs."""
    session = snapctl.Session(cookie=secrets.token_urlsafe(24), instance=instance, hook=hook)
    machine.sessions[session.cookie] = session
    try:
        yield session
    finally:
        del machine.sessions[session.cookie]
