"""A fleet for tests: a control plane with a hand-turned clock behind a real HTTP server, a store, and devices."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn

from snapedge_fleet import leader, server
from snapedge_fleet.agent.agent import Agent, AgentSetup
from snapedge_fleet.control import Control, Settings
from snapedge_fleet.database import Database
from snapedge_fleet.localfleet import LocalFleet
from snapedge_fleet.rollout import Transition, WavePolicy
from snapedge_hooks.channels import Channel, Revision
from snapedge_hooks.directorystore import DirectoryStore
from snapedge_hooks.runtimeterms import RuntimeTerms
from snapedge_hooks.storeindex import SnapDescription, SnapKind
from snapedge_hooks.vocabulary import Architecture, Digest, SnapName, SnapVersion

from .snapd import snap_bytes

ADMIN_TOKEN = "the-admin-token"
START = 1_772_366_400.0
NEEDS_ONNX = RuntimeTerms(name="onnx", interface=1, minimum="1.0")
QUICK = Settings(poll_active=1.0, poll_idle=10.0, policy=WavePolicy(settle=5.0, soak=0.0, timeout=100.0))


@dataclass
class HandClock:
    """Time that passes when a test says so; waiting passes it too."""

    seconds: float = START

    def now(self) -> float:
        return self.seconds

    def wait(self, seconds: float) -> None:
        self.seconds += seconds


@dataclass
class FleetSite:
    """A fleet, and what tests do to it."""

    control: Control
    clock: HandClock
    folder: Path
    url: str = ""
    agents: dict[str, Agent] = field(default_factory=dict)

    @property
    def store(self) -> DirectoryStore:
        return self.control.store

    def call(self, operation: str, **arguments: Any) -> Any:
        return LocalFleet(self.control, actor="anna").call(operation, **arguments)

    def publish(
        self,
        name: str,
        version: str,
        channel: str,
        *,
        behaviour: str = "okay",
        runtime: RuntimeTerms | None = None,
        kind: SnapKind = SnapKind.MODEL,
        architectures: tuple[Architecture, ...] = (Architecture.AMD64, Architecture.ARM64),
        behaviours: dict[Architecture, str] | None = None,
        plugs: tuple[str, ...] = (),
        pad: int = 0,
    ) -> None:
        """What `builder publish` does: files into the store, a release to the channel."""
        revisions: dict[Architecture, Revision] = {}
        for number, architecture in enumerate(architectures):
            path = self.folder / f"{name}_{version}_{architecture}.snap"
            acts = (behaviours or {}).get(architecture, behaviour)
            path.write_bytes(snap_bytes(name, version, behaviour=acts, plugs=plugs, pad=pad + number))
            description = SnapDescription(
                name=SnapName(name),
                version=SnapVersion(version),
                architecture=architecture,
                kind=kind,
                runtime=runtime,
                image_size=50_000_000 if kind is SnapKind.MODEL else None,
                model_digest=Digest.of(version.encode()) if kind is SnapKind.MODEL else None,
            )
            revisions[architecture] = self.store.push(path, description).revision
        self.store.release(SnapName(name), Channel.parse(channel), revisions)

    def publish_runtime(self, version: str, channel: str) -> None:
        terms = RuntimeTerms(name="onnx", interface=1, minimum=version)
        self.publish("snapedge-onnx", version, channel, runtime=terms, kind=SnapKind.RUNTIME)

    def add_device(self, name: str, architecture: str = "amd64", **labels: str) -> str:
        """A declared device; its claim word."""
        made = self.call(
            "device-add",
            device=name,
            architecture=architecture,
            labels=[f"{key}={value}" for key, value in labels.items()],
        )
        return str(made["claim"])

    def agent(self, name: str, socket_path: Path, *, architecture: str = "amd64", claim: str = "") -> Agent:
        """The device's agent, its state in a folder of its own, with no chance in its jitter."""
        state_dir = self.folder / "agents" / name
        state_dir.mkdir(parents=True, exist_ok=True)
        if claim:
            (state_dir / "claim").write_text(claim)
        setup = AgentSetup(
            device=name,
            server=self.url,
            token_file=state_dir / "token",
            claim_file=state_dir / "claim",
            snapd_socket=socket_path,
            state_dir=state_dir,
            architecture=Architecture.parse(architecture),
        )
        return Agent(setup, now=self.clock.now, wait=self.clock.wait, chance=lambda: 0.5)

    def tick(self) -> list[Transition]:
        return leader.tick(self.control)


@contextmanager
def fleet_site(folder: Path, settings: Settings = QUICK) -> Iterator[FleetSite]:
    """A fleet without HTTP."""
    folder.mkdir(parents=True, exist_ok=True)
    clock = HandClock()
    store = DirectoryStore(
        folder / "store", now=lambda: datetime.fromtimestamp(clock.now(), UTC).replace(microsecond=0)
    )
    control = Control(database=Database.open(folder / "data"), store=store, settings=settings, now=clock.now)
    try:
        yield FleetSite(control=control, clock=clock, folder=folder)
    finally:
        control.close()


@contextmanager
def served_site(folder: Path, settings: Settings = QUICK) -> Iterator[FleetSite]:
    """A fleet behind HTTP on a free loopback port."""
    with fleet_site(folder, settings) as site, serving(server.application(site.control, ADMIN_TOKEN)) as url:
        site.url = url
        yield site


@contextmanager
def serving(application: Any) -> Iterator[str]:
    """An ASGI application on a free loopback port; its URL."""
    config = uvicorn.Config(application, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = _Server(config)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            running.should_exit = True
            thread.join()


class _Server(uvicorn.Server):
    """Leaves signals to pytest."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
