"""The life of one pod: pull, start, probe, restart with growing delays, end."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import shutil
import signal
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from snapedge_hooks.rootfs import LayerRefusedError, RootfsCache
from snapedge_hooks.sandbox import TERMINATION_LOG, Sandbox

from . import kinds, podstatus, probes
from .apply import Document
from .containerruns import Container
from .containers import ContainerMaker, ContainerRefusedError, config_maps_of
from .controllers import watched
from .faults import ClusterFaults
from .imagepull import Image, ImagePuller, ImagePullError
from .objects import ObjectStore
from .podstatus import PodState

_log = logging.getLogger(__name__)

_HEALTHY_AFTER = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PodTiming:
    """How long a pod waits; the defaults are Kubernetes'.

    Attributes:
        restart_pause: seconds between an end and the kubelet noticing it.
        backoff_unit: seconds that one second of crash and pull delays lasts; less makes tests quick.
    """

    restart_pause: float = 1.0
    backoff_unit: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PodHost:
    """What all pods of a node share."""

    store: ObjectStore
    sandbox: Sandbox
    puller: ImagePuller
    cache: RootfsCache
    folder: Path
    address: str
    faults: ClusterFaults
    timing: PodTiming
    record: Callable[[Document, str, str, str], None]


class Pod:
    """One scheduled pod; `run` ends when the pod is gone or the node stops."""

    def __init__(self, host: PodHost, pod: Document, address: str) -> None:
        metadata = pod["metadata"]
        self._host = host
        self.namespace: str = metadata["namespace"]
        self.name: str = metadata["name"]
        self.uid: str = metadata["uid"]
        self.address = address
        self._container: Document = pod["spec"]["containers"][0]
        self._pod = pod
        self._state = PodState(address=address, scheduled=True, start_time=host.store.now())
        self._recover(pod)
        self._running: Container | None = None
        self._folder: Path = host.folder / self.uid
        self._main: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None

    @property
    def log(self) -> Path:
        """Where the container's output goes."""
        return self._folder / "output.log"

    def start(self) -> None:
        """Begin."""
        self._main = watched(self._live(), f"pod {self.name}")

    def end(self, grace: float) -> None:
        """End with SIGTERM, then SIGKILL, and remove the pod; a second call can only shorten the wait."""
        if self._ending is not None and grace > 0:
            return
        if self._ending is not None:
            self._signal(signal.SIGKILL)
            return
        self._ending = watched(self._end(grace, remove=True), f"the end of pod {self.name}")

    async def stop(self, grace: float) -> None:
        """End the container and leave the pod object, as a node that goes down does."""
        if self._ending is None:
            self._ending = watched(self._end(grace, remove=False), f"the end of pod {self.name}")
        else:
            self._signal(signal.SIGKILL)
        await asyncio.wait([self._ending])

    def _recover(self, pod: Document) -> None:
        """Go on counting where the status of a pod that ran before stopped."""
        statuses = pod.get("status", {}).get("containerStatuses", [])
        if statuses and statuses[0].get("containerID"):
            container = self._state.container
            container.restarts = statuses[0]["restartCount"] + 1
            container.last_state = podstatus.terminated(
                code=255,
                reason="Unknown",
                message="",
                identifier=statuses[0]["containerID"],
                started=statuses[0]["state"].get("running", {}).get("startedAt", self._host.store.now()),
                finished=self._host.store.now(),
            )

    # Life

    async def _live(self) -> None:
        self._publish()
        image = await self._pull()
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self._run_once(image)
            except (ContainerRefusedError, LayerRefusedError, OSError) as error:
                reason = error.reason if isinstance(error, ContainerRefusedError) else "CreateContainerError"
                self._state.container.state = {"waiting": {"message": str(error), "reason": reason}}
                self._note("Warning", "Failed", f"Error: {error}")
                self._publish()
                await self._delay(podstatus.backoff(1))
                continue
            failures = 0 if loop.time() - began > _HEALTHY_AFTER else failures + 1
            await asyncio.sleep(self._host.timing.restart_pause)
            # The first restart is at once, as the kubelet's is; delays begin with the second failure.
            if failures > 1:
                seconds = podstatus.backoff(failures - 1)
                container = self._state.container
                container.last_state = container.state
                container.state = podstatus.crash_loop(self._pod, self._container["name"], seconds)
                self._note("Warning", "BackOff", container.state["waiting"]["message"])
                self._publish()
                await self._delay(seconds)
            self._state.container.restarts += 1

    async def _pull(self) -> Image:
        failures = 0
        reference: str = self._container["image"]
        if self._container.get("imagePullPolicy") == "Never":
            return await self._held(reference)
        while True:
            try:
                image = await asyncio.to_thread(self._host.puller.pull, reference)
            except ImagePullError as error:
                failures += 1
                message = str(error)
                self._note("Warning", "Failed", f'Failed to pull image "{reference}": {message}')
                self._wait_for_image("ErrImagePull", message)
                await asyncio.sleep(self._host.timing.restart_pause)
                backing_off = f'Back-off pulling image "{reference}": ErrImagePull: {message}'
                self._wait_for_image("ImagePullBackOff", backing_off)
                await self._delay(podstatus.backoff(failures))
            else:
                self._note("Normal", "Pulled", f'Successfully pulled image "{reference}"')
                return image

    async def _held(self, reference: str) -> Image:
        while (image := await asyncio.to_thread(self._host.puller.held, reference)) is None:
            message = f'Container image "{reference}" is not present with pull policy of Never'
            self._note("Warning", "ErrImageNeverPull", message)
            self._wait_for_image("ErrImageNeverPull", message)
            await self._delay(podstatus.backoff(1))
        return image

    async def _run_once(self, image: Image) -> None:
        """Start the container, probe it, and write down how it ended."""
        spec = await asyncio.to_thread(self._maker().make, image)
        container = self._state.container
        container.image = image
        container.identifier = "containerd://" + hashlib.sha256(uuid.uuid4().bytes).hexdigest()
        self._running = await Container.start(self._host.sandbox, spec, self.log)
        began = self._host.store.now()
        if not container.last_state or "terminated" in container.state:
            container.last_state = container.state if "terminated" in container.state else container.last_state
        container.state = {"running": {"startedAt": began}}
        self._state.sandbox_up = True
        container.started = "startupProbe" not in self._container
        container.ready = container.started and "readinessProbe" not in self._container
        self._note("Normal", "Started", f"Started container {self._container['name']}")
        self._publish()
        watchers = [asyncio.create_task(self._probe())]
        out_of_memory = self._service_name() in self._host.faults.kill_out_of_memory
        if out_of_memory:
            self._signal(signal.SIGKILL)
        try:
            code = await self._running.wait()
        finally:
            for watcher in watchers:
                watcher.cancel()
            await asyncio.gather(*watchers, return_exceptions=True)
        self._running = None
        container.ready = container.started = False
        reason = "OOMKilled" if out_of_memory and code == 137 else ("Completed" if code == 0 else "Error")
        container.state = podstatus.terminated(
            code=code,
            reason=reason,
            message=self._termination_message(spec.termination_log, code),
            identifier=container.identifier,
            started=began,
            finished=self._host.store.now(),
        )
        self._publish()

    def _maker(self) -> ContainerMaker:
        return ContainerMaker(
            pod=self._pod,
            address=self.address,
            host_address=self._host.address,
            folder=self._folder,
            cache=self._host.cache,
            config_maps=config_maps_of(self._pod, self._host.store),
        )

    async def _end(self, grace: float, *, remove: bool) -> None:
        self._note("Normal", "Killing", f"Stopping container {self._container['name']}")
        self._publish()
        if self._running is not None:
            await self._running.end(grace)
        if self._main is not None:
            self._main.cancel()
            await asyncio.wait([self._main])
        if self._running is not None:
            # It was being started when the first signal was sent.
            await self._running.kill()
        if remove:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
            current = self._host.store.get(kinds.POD, self.namespace, self.name)
            if current is not None and current["metadata"]["uid"] == self.uid:
                self._host.store.remove(kinds.POD, self.namespace, self.name)

    # Probes

    async def _probe(self) -> None:
        startup = probes.Probe.from_container(self._container, "startupProbe")
        if startup is not None and not await self._reaches(startup):
            self._kill("startup")
            return
        container = self._state.container
        if not container.started:
            container.started = True
            container.ready = "readinessProbe" not in self._container
            self._publish()
        readiness = probes.Probe.from_container(self._container, "readinessProbe")
        liveness = probes.Probe.from_container(self._container, "livenessProbe")
        async with asyncio.TaskGroup() as group:
            if readiness is not None:
                group.create_task(self._watch_readiness(readiness))
            if liveness is not None:
                group.create_task(self._watch_liveness(liveness))

    async def _reaches(self, probe: probes.Probe) -> bool:
        """Whether a startup probe succeeds before it has failed too often."""
        await asyncio.sleep(probe.delay)
        for _ in range(probe.failure_threshold):
            if (await probes.perform(probe, self.address)).succeeded:
                return True
            await asyncio.sleep(probe.period)
        return False

    async def _watch_readiness(self, probe: probes.Probe) -> None:
        await asyncio.sleep(probe.delay)
        successes = failures = 0
        while True:
            began = asyncio.get_running_loop().time()
            result = await probes.perform(probe, self.address)
            if self._service_name() in self._host.faults.never_ready:
                result = probes.ProbeResult(succeeded=False, message="HTTP probe failed with statuscode: 503")
            successes, failures = (successes + 1, 0) if result.succeeded else (0, failures + 1)
            container = self._state.container
            if not container.ready and successes >= probe.success_threshold:
                container.ready = True
                self._publish()
            elif failures == probe.failure_threshold:
                self._note("Warning", "Unhealthy", f"Readiness probe failed: {result.message}")
                if container.ready:
                    container.ready = False
                    self._publish()
            spent = asyncio.get_running_loop().time() - began
            await asyncio.sleep(max(probe.period - spent, 0.01))

    async def _watch_liveness(self, probe: probes.Probe) -> None:
        await asyncio.sleep(probe.delay)
        failures = 0
        while failures < probe.failure_threshold:
            result = await probes.perform(probe, self.address)
            failures = 0 if result.succeeded else failures + 1
            if not result.succeeded:
                self._note("Warning", "Unhealthy", f"Liveness probe failed: {result.message}")
            await asyncio.sleep(probe.period)
        self._kill("liveness")

    def _kill(self, why: str) -> None:
        name = self._container["name"]
        self._note("Normal", "Killing", f"Container {name} failed {why} probe, will be restarted")
        if self._running is not None:
            grace = self._pod["spec"].get("terminationGracePeriodSeconds", 30)
            self._signal(signal.SIGTERM)
            asyncio.get_running_loop().call_later(grace, self._signal_run, self._running)

    # Telling

    def _termination_message(self, path: Path, code: int) -> str:
        policy = self._container.get("terminationMessagePolicy", "File")
        text = path.read_bytes()[: podstatus.MESSAGE_LIMIT].decode(errors="replace")
        asked = self._container.get("terminationMessagePath", TERMINATION_LOG)
        if asked != TERMINATION_LOG:
            text = ""
        if not text and code and policy == "FallbackToLogsOnError" and self.log.is_file():
            text = self.log.read_bytes()[-2048:].decode(errors="replace")
        return text

    def _service_name(self) -> str:
        labels: dict[str, str] = self._pod["metadata"].get("labels", {})
        return labels.get("serving.kserve.io/inferenceservice", "")

    def _wait_for_image(self, reason: str, message: str) -> None:
        self._state.container.state = {"waiting": {"message": message, "reason": reason}}
        self._publish()

    async def _delay(self, seconds: float) -> None:
        await asyncio.sleep(seconds * self._host.timing.backoff_unit)

    def _signal(self, number: signal.Signals) -> None:
        if self._running is not None:
            self._running.signal(number)

    @staticmethod
    def _signal_run(container: Container) -> None:
        container.signal(signal.SIGKILL)

    def _note(self, kind: str, reason: str, message: str) -> None:
        self._host.record(self._pod, kind, reason, message)

    def _publish(self) -> None:
        store = self._host.store
        current = store.get(kinds.POD, self.namespace, self.name)
        if current is None or current["metadata"]["uid"] != self.uid:
            return
        status = podstatus.pod_status(current, self._state, host=self._host.address, now=store.now())
        store.set_status(kinds.POD, self.namespace, self.name, status)
