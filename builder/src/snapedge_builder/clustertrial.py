"""A trial on a person's own cluster: push, InferenceService, wait, and everything taken away again.

Rules:

1. Nothing that serves is touched: the InferenceService has a name of the trial's own, the registry's repository one of
   trials alone.
2. What was made is taken away however the trial ends; what could not be is named with the command that does it.
3. The Service is asked through the API's proxy: this host need not be in the cluster's network.
4. What Deployment and pods say is judged as on a device.

    KServeMissingError       the cluster has no InferenceServices
    NoNodeError              no node runs the image's architecture
    RegistryRefusedError     the image could not be pushed
    TrialFailedError         the pod did not become ready, and why
    LeftBehindError          something could not be taken away
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from snapedge_hooks import blobs, inferenceservice, probe, readiness, upload
from snapedge_hooks.clock import Clock, Deadline
from snapedge_hooks.errors import ExitCode, SnapedgeError
from snapedge_hooks.goodspec import Identity
from snapedge_hooks.readiness import Phase
from snapedge_hooks.registry import Registry
from snapedge_hooks.situations import PullFailedError, ShortageError, SituationError
from snapedge_hooks.vocabulary import (
    Architecture,
    Digest,
    GateMode,
    HealthCode,
    ImageReference,
    RegistryAddress,
    RepositoryName,
)

from .errors import BuilderError
from .progress import Progress
from .replay import EndpointLostError
from .trialimage import TrialImage
from .usercluster import ApiAnswer, ClusterError, Object, UserCluster

OWNER = "builder-try"
LABEL = "snapedge.dev/trial"
_GROUP = "/apis/serving.kserve.io/v1beta1"
_POLL_SECONDS = 0.5
_SETTLING_SECONDS = 20.0
_LEAVING_SECONDS = 60.0
_LOG_LINES = 20


class KServeMissingError(BuilderError):
    """The cluster serves no models."""

    exit_code = ExitCode.REFUSED

    def __init__(self, context: str) -> None:
        super().__init__(
            f"cluster {context} has no KServe",
            resolution="install KServe in it, or name another with --cluster",
        )


class NoNodeError(BuilderError):
    """No node of the cluster can run the image."""

    exit_code = ExitCode.USAGE

    def __init__(self, context: str, architecture: Architecture, there: frozenset[str]) -> None:
        super().__init__(
            f"cluster {context} has no node for {architecture}, only for {', '.join(sorted(there))}",
            resolution="try the snap of the same version for those",
        )


class RegistryRefusedError(BuilderError):
    """The image could not be brought to the registry."""

    def __init__(self, address: RegistryAddress, cause: SituationError) -> None:
        super().__init__(
            f"registry {address}: {cause.brief}",
            details=cause.details,
            resolution="name the cluster's registry as this host reaches it with --registry HOST:PORT; it must speak "
            "http without a login, as MicroK8s' does",
        )
        if cause.code is HealthCode.REGISTRY_DOWN:
            self.exit_code = ExitCode.REMOTE_AWAY


class TrialFailedError(BuilderError):
    """The model did not come up."""

    exit_code = ExitCode.REFUSED

    def __init__(self, name: str, problem: str, *, log: str = "", resolution: str = "") -> None:
        super().__init__(f"{name}: {problem}", details=log, resolution=resolution)


class LeftBehindError(BuilderError):
    """The trial could not take away what it made."""

    def __init__(self, left: Mapping[str, str], cause: BaseException | None) -> None:
        before = "" if cause is None else f", after: {cause}"
        super().__init__(
            f"left behind: {'; '.join(left)}{before}",
            details="\n".join(problem for problem in left.values() if problem),
            resolution=f"delete it by hand: kubectl delete inferenceservice -l {LABEL}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a trial takes place.

    Attributes:
        namespace: of the InferenceService, or None for the model's own.
        registry: as this host reaches it.
        pulled_from: the same registry as the nodes know it.
    """

    namespace: str | None
    registry: RegistryAddress
    pulled_from: RegistryAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterServer:
    """A model that is served by the cluster.

    Attributes:
        name: of the InferenceService.
        service: `name:port` of its Service.
        seconds_to_ready: from when it was asked for.
    """

    cluster: UserCluster
    namespace: str
    name: str
    service: str
    seconds_to_ready: float

    def ask(self, path: str, body: bytes) -> tuple[int, bytes]:
        """POST something to the model.

        Raises:
            EndpointLostError: the API answers in its place.
            ClusterError: nobody does.
        """
        answer = self.cluster.through(self.namespace, self.service, "POST", path, body)
        if answer.is_from_api:
            raise EndpointLostError(path, f"is not reached: {answer.message}")
        return answer.status, answer.body

    def is_there(self) -> bool:
        """Whether nobody has deleted it yet."""
        return self.cluster.find(_service_path(self.namespace, self.name)) is not None


def architecture_of(cluster: UserCluster, preferred: Architecture | None) -> Architecture | None:
    """An architecture that the cluster's nodes run: the preferred one where they do."""
    there = _architectures(cluster)
    if preferred is not None and (str(preferred) in there or not there):
        return preferred
    return next((item for item in Architecture if str(item) in there), preferred)


@contextmanager
def running(
    image: TrialImage, place: Place, *, cluster: UserCluster, clock: Clock, seconds: float, progress: Progress
) -> Iterator[ClusterServer]:
    """The image served by the cluster, ready, for as long as the context lasts.

    Args:
        image: what to serve.
        place: where.
        cluster: which.
        clock: to wait by.
        seconds: that it may take to be ready, after it was pushed.
        progress: is told the steps.

    Raises:
        BuilderError: as in the module's list.
        ClusterError: the API is away, or refuses.
    """
    trial = _Trial(image, place, cluster=cluster, clock=clock, progress=progress)
    cause: BaseException | None = None
    try:
        trial.check()
        trial.push(seconds)
        yield trial.serve(seconds)
    except BaseException as error:
        cause = error
        raise
    finally:
        trial.take_away(cause)


class _Trial:
    """One trial: what it made, so that it can be taken away."""

    def __init__(
        self, image: TrialImage, place: Place, *, cluster: UserCluster, clock: Clock, progress: Progress
    ) -> None:
        self._image = image
        self._place = place
        self._cluster = cluster
        self._clock = clock
        self._progress = progress
        payload = image.payload
        self.namespace = place.namespace or payload.service.namespace
        self.name = f"{payload.name}-try-{secrets.token_hex(3)}"
        # One for all trials of a model: what its image shares with the one before is not sent again.
        self._repository = RepositoryName(f"snapedge/try/{payload.name}")
        self._registry = Registry(place.registry)
        self._pushed: Digest | None = None
        self._is_asked_for = False

    def check(self) -> None:
        """Find out what cannot go well before anything is made."""
        if self._cluster.find(_GROUP) is None:
            raise KServeMissingError(self._cluster.context)
        there, architecture = _architectures(self._cluster), self._image.payload.architecture
        if there and str(architecture) not in there:
            raise NoNodeError(self._cluster.context, architecture, there)

    def push(self, seconds: float) -> None:
        """Bring the image to the registry, without the layers that it has."""
        task = f"push to {self._place.registry}"
        self._progress.start(task)
        deadline = Deadline.after(self._clock, seconds)
        composed = self._image.composed
        shared = RepositoryName(f"snapedge/runtime-{self._image.runtime.name}")
        sent = 0
        try:
            for digest in composed.layer_digests:
                sent += self._bring(digest, shared, deadline)
            upload.push(self._registry, self._repository, blobs.of_bytes(composed.config, "image config"), deadline)
            self._pushed = composed.digest
            self._registry.put_manifest(self._repository, composed.digest, composed.manifest)
        except SituationError as error:
            raise RegistryRefusedError(self._place.registry, error) from error
        self._progress.done(task, f"{sent / 1e6:.1f} MB sent")

    def _bring(self, digest: Digest, shared: RepositoryName, deadline: Deadline) -> int:
        """Have a layer in the trial's repository; the bytes that were sent for it."""
        blob = self._image.layers[digest]
        if self._registry.has_blob(self._repository, digest):
            return 0
        if self._registry.has_blob(shared, digest):
            upload.mount(self._registry, self._repository, shared, digest, blob.size, deadline)
            return 0
        self._progress.advance(f"push to {self._place.registry}", blob.name)
        upload.push(self._registry, self._repository, blob, deadline)
        return blob.size

    def serve(self, seconds: float) -> ClusterServer:
        """Ask for the InferenceService and wait until it answers."""
        task = f"InferenceService {self.namespace}/{self.name}"
        self._progress.start(task)
        manifest = self._manifest()
        began = self._clock.monotonic()
        deadline = Deadline.after(self._clock, seconds)
        self._is_asked_for = True
        self._cluster.create(f"{_GROUP}/namespaces/{self.namespace}/inferenceservices", manifest)
        self._wait_ready(inferenceservice.container_of(manifest), deadline, task)
        service = self._wait_reached(Deadline.after(self._clock, min(_SETTLING_SECONDS, deadline.remaining + 5.0)))
        elapsed = self._clock.monotonic() - began
        self._progress.done(task, f"ready after {elapsed:.1f} s")
        return ClusterServer(
            cluster=self._cluster,
            namespace=self.namespace,
            name=self.name,
            service=service,
            seconds_to_ready=elapsed,
        )

    def take_away(self, cause: BaseException | None) -> None:
        """Delete what was made; nothing where nothing was.

        Raises:
            LeftBehindError: something is still there.
        """
        left: dict[str, str] = {}
        try:
            if self._is_asked_for:
                self._delete_service(left)
            if self._pushed is not None:
                self._delete_image(left)
        except KeyboardInterrupt as error:
            left.setdefault(f"InferenceService {self.namespace}/{self.name}", "interrupted while it was taken away")
            raise LeftBehindError(left, cause) from error
        finally:
            self._registry.close()
        if left:
            raise LeftBehindError(left, cause) from cause

    def _delete_service(self, left: dict[str, str]) -> None:
        try:
            self._cluster.delete(_service_path(self.namespace, self.name))
            deadline = Deadline.after(self._clock, _LEAVING_SECONDS)
            while self._cluster.find(self._deployment()) is not None:
                if deadline.has_passed:
                    left[f"Deployment {self.namespace}/{self.name}-predictor"] = "KServe does not take it away"
                    return
                deadline.pause(_POLL_SECONDS)
        except ClusterError as error:
            left[f"InferenceService {self.namespace}/{self.name}"] = error.brief

    def _delete_image(self, left: dict[str, str]) -> None:
        assert self._pushed is not None, "called after a push"
        try:
            # A registry that deletes nothing keeps a few kilobytes, and layers that others share.
            self._registry.delete_manifest(self._repository, self._pushed)
        except ShortageError as error:
            left[f"image {self._place.registry}/{self._repository}"] = error.brief

    def _manifest(self) -> Object:
        payload = self._image.payload
        gate = payload.gate if payload.gate is GateMode.NONE else GateMode.REPORT
        service = replace(payload.service, namespace=self.namespace, node_port=None, replicas=1)
        image = ImageReference(
            registry=self._place.pulled_from, repository=self._repository, digest=self._image.composed.digest
        )
        identity = Identity(model=payload.model.layer.diff_id, runtime=self._image.runtime.digest)
        made = inferenceservice.manifests(
            replace(payload, gate=gate, service=service), name=self.name, owner=OWNER, image=image, identity=identity
        ).inference_service
        labels = {**made["metadata"]["labels"], LABEL: "true"}
        return {**made, "metadata": {**made["metadata"], "labels": labels}}

    def _wait_ready(self, container: dict[str, Any], deadline: Deadline, task: str) -> None:
        selector = f"app={inferenceservice.pod_app(self.name)}"
        while True:
            pods = self._cluster.items(f"/api/v1/namespaces/{self.namespace}/pods", selector=selector)
            found = readiness.read(
                container,
                self._cluster.find(self._deployment()),
                self._cluster.items(f"/apis/apps/v1/namespaces/{self.namespace}/replicasets", selector=selector),
                pods,
            )
            if found.phase is Phase.READY:
                return
            if found.phase is Phase.FAILED:
                raise self._failed(found.failure, found.reason, pods)
            if deadline.has_passed:
                raise TrialFailedError(
                    self.name,
                    f"is not ready in time: {found.reason}",
                    log=self._log(pods),
                    resolution="give it longer with --timeout",
                )
            self._progress.advance(task, found.reason)
            deadline.pause(_POLL_SECONDS)

    def _wait_reached(self, deadline: Deadline) -> str:
        """The Service as `name:port`, once it leads to the pod."""
        problem = "KServe has made no Service"
        while True:
            service = self._cluster.find(f"/api/v1/namespaces/{self.namespace}/services/{self.name}-predictor")
            where = None if service is None else _http_port(service, self._image.payload.model.name)
            if where is not None:
                name = f"{self.name}-predictor:{where}"
                answer = self._cluster.through(self.namespace, name, "GET", "/v2/health/ready")
                if answer.status == 200:
                    return name
                problem = _said(answer)
            if deadline.has_passed:
                raise TrialFailedError(self.name, f"is ready, and its Service does not answer: {problem}")
            deadline.pause(_POLL_SECONDS)

    def _failed(self, failure: SnapedgeError | None, reason: str, pods: list[Object]) -> TrialFailedError:
        if isinstance(failure, PullFailedError):
            return TrialFailedError(
                self.name,
                failure.brief,
                resolution=f"the nodes pull from {self._place.pulled_from}; name the registry as they know it with "
                "--pulled-from HOST:PORT",
            )
        brief, resolution = (reason, "") if failure is None else (failure.brief, failure.resolution)
        return TrialFailedError(self.name, brief, log=self._log(pods), resolution=resolution)

    def _log(self, pods: list[Object]) -> str:
        for pod in pods:
            name = pod.get("metadata", {}).get("name")
            if isinstance(name, str):
                try:
                    return self._cluster.log_of(self.namespace, name, lines=_LOG_LINES)
                except ClusterError:
                    return ""  # the failure itself is worth more
        return ""

    def _deployment(self) -> str:
        return f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{self.name}-predictor"


def _service_path(namespace: str, name: str) -> str:
    return f"{_GROUP}/namespaces/{namespace}/inferenceservices/{name}"


def _architectures(cluster: UserCluster) -> frozenset[str]:
    """Of the nodes; none where they may not be looked at or do not tell."""
    try:
        nodes = cluster.items("/api/v1/nodes")
    except ClusterError:
        return frozenset()
    found = {node.get("status", {}).get("nodeInfo", {}).get("architecture") for node in nodes}
    return frozenset(item for item in found if isinstance(item, str))


def _http_port(service: Object, model: str) -> int | None:
    where = probe.endpoint(service, model, "")
    return None if where is None else int(where.url.rpartition(":")[2])


def _said(answer: ApiAnswer) -> str:
    return answer.message if answer.is_from_api else f"answered {answer.status}"
