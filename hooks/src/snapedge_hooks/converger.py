"""One run of convergence: observe, plan, execute; and back to the last good spec where that proved bad."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from . import configuration as configurations
from . import content as contents
from . import (
    convergence,
    health,
    objectexecutor,
    objectplan,
    observation,
    runtimeobservation,
    runtimeplan,
    runtimesearch,
    sideload,
)
from .clock import Clock, Deadline
from .clusterobjects import ClusterObjects
from .configuration import Configuration
from .content import Content
from .doors import Doors
from .environment import SnapEnvironment
from .errors import SnapedgeError
from .executor import Executor
from .goodspec import GoodSpec, Identity, Manifests
from .health import Health
from .observation import ClusterView, Observed, RegistryView, Wish
from .runtimeexecutor import RuntimeExecutor
from .runtimeobservation import RuntimeObserved
from .situations import (
    ConfigurationError,
    PayloadBadError,
    RestoreFailedError,
    ShortageError,
    SituationError,
)
from .snapctl import SnapCtl
from .state import Memory, Refusal, with_adopted
from .vocabulary import HealthCode, Transport

_RESTORE_SHARE = 0.2
"""Of the time there is: what is kept back for putting the last good spec back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What a hook or service works with.

    Attributes:
        environment: where it runs.
        snapctl: the door to snapd.
        clock: time.
    """

    environment: SnapEnvironment
    snapctl: SnapCtl
    clock: Clock


class Converger:
    """Brings the device to what its snap says, once.

    Args:
        device: what to work with.
        remembers_refusals: whether what proved bad is passed over until something changes (services), or tried whatever
            was before (hooks).
    """

    def __init__(self, device: Device, *, remembers_refusals: bool) -> None:
        self._device = device
        self._remembers = remembers_refusals
        self.memory = Memory(device.environment.state_file)
        self.content: Content = contents.read(device.environment)
        self.configuration = _configuration(device.snapctl)
        self.serves = self.memory.state.last_good is not None

    def run(self, budget: float, *, replay: bool = False) -> Health:
        """Converge.

        Args:
            budget: seconds it may take, a restore included.
            replay: whether samples are asked again though they were answered right before.

        Returns:
            The health to report.

        Raises:
            ShortageError: a prerequisite is missing; what was served is still served, as far as can be known.
            RefusedError: what the snap says proved bad, and the last good spec is back.
            RestoreFailedError: it proved bad, and the last good spec could not be put back.
            PayloadBadError: the snap cannot work here.
        """
        self._forget_what_changed()
        if self.content.objects is not None:
            return self._run_objects(self.content.objects, again=replay)
        if self.content.payload is None:
            return self._run_runtime(budget, thorough=replay)
        return self._run_model(self._wish(), budget, replay=replay)

    def give_up(self, budget: float) -> None:
        """Put the last good spec back if something else was applied; for a hook whose time is over.

        Raises:
            RestoreFailedError: it could not be put back.
        """
        if self.content.payload is not None and self.memory.state.last_good is not None:
            wish = self._wish()
            with self._doors() as doors:
                self._restore(wish, doors, health.UNKNOWN, budget)

    def _forget_what_changed(self) -> None:
        state, revision = self.memory.state, self._device.environment.revision
        fingerprint = self.configuration.fingerprint
        kept = tuple(item for item in state.refusals if item.revision == revision and item.configuration == fingerprint)
        if state.configuration != fingerprint or kept != state.refusals:
            self.memory.update(configuration=fingerprint, refusals=kept)

    def _wish(self) -> Wish:
        assert self.content.payload is not None
        environment = self._device.environment
        return Wish(
            payload=self.configuration.applied_to(self.content.payload),
            name=environment.object_name,
            owner=environment.instance_name,
            registry=self.configuration.registry,
            own_runtime=self.content.runtime,
            transport=self.configuration.transport,
        )

    def _run_objects(self, wanted: ClusterObjects, *, again: bool) -> Health:
        with self._doors() as doors:
            api = doors.kubernetes()
            # Ends as a shortage where something was not there before: the service looks again until all is up.
            objectexecutor.execute(api, objectplan.plan(wanted, objectexecutor.observe(api, wanted), again=again))
        return health.OKAY

    def _run_runtime(self, budget: float, *, thorough: bool) -> Health:
        assert self.content.runtime is not None
        runtime, signature = self.content.runtime, self.content.signature
        with self._doors() as doors:
            observed = runtimeobservation.observe_runtime(doors.registry, runtime, signature, thorough=thorough)
            if not isinstance(observed, ShortageError):
                observed = self._with_users(observed, doors)
            plan = runtimeplan.plan_runtime(runtime, signature, observed)
            deadline = Deadline.after(self._device.clock, budget)
            RuntimeExecutor(
                content=self.content, registry=doors.registry, memory=self.memory, deadline=deadline
            ).execute(plan)
        pushed, repository = self.memory.state.pushed, runtimesearch.runtime_repository(runtime.name)
        self.memory.update(pushed=with_adopted(pushed, repository, runtime.digest, self._device.clock.time()))
        return health.OKAY

    def _with_users(self, observed: RuntimeObserved, doors: Doors) -> RuntimeObserved:
        """What is there of a runtime, and who uses the older ones: asked only when one of them could go."""
        assert self.content.runtime is not None
        now, used = self._device.clock.time(), None
        if runtimeplan.outlived(self.content.runtime, self.memory.state.pushed, now):
            used = runtimeobservation.used_runtimes(lambda: doors.cluster("default"))
            if not isinstance(used, ShortageError):
                self.memory.update(pushed=runtimeplan.seen_in_use(self.memory.state.pushed, used, now))
        return replace(observed, pushed=self.memory.state.pushed, used=used, now=now)

    def _run_model(self, wish: Wish, budget: float, *, replay: bool) -> Health:
        whole = Deadline.after(self._device.clock, budget)
        with self._doors() as doors:
            observed = self._observe(wish, doors, replay=replay)
            self.serves = observed.serves
            if observed.last_good is not None and observed.last_good != self.memory.state.last_good:
                self._adopt(observed.last_good, wish)
            plan = convergence.plan(wish, observed)
            try:
                self._executor(wish, doors, budget * (1 - _RESTORE_SHARE)).execute(plan)
            except SituationError as error:
                if _calls_for_restore(error, plan):
                    self._refuse(plan, error)
                    seconds = max(budget * _RESTORE_SHARE, whole.remaining)
                    self._restore(wish, doors, health.of_situation(error), seconds)
                raise
        return plan.refused or health.OKAY

    def _adopt(self, good: GoodSpec, wish: Wish) -> None:
        """Take what the cluster remembers for what this device does; its image is pruned one day as any of ours."""
        pushed = self.memory.state.pushed
        if wish.transport is Transport.REGISTRY:
            pushed = with_adopted(pushed, wish.payload.repository, good.image, self._device.clock.time())
        self.memory.update(last_good=good, pushed=pushed)

    def _executor(self, wish: Wish, doors: Doors, seconds: float) -> Executor:
        return Executor(
            wish=wish,
            content=self.content,
            doors=doors,
            memory=self.memory,
            deadline=Deadline.after(self._device.clock, seconds),
            archives=self._device.environment.archives,
        )

    def _observe(self, wish: Wish, doors: Doors, *, replay: bool) -> Observed:
        state = self.memory.state
        refused: Mapping[Identity, Health] = (
            {item.identity: item.health for item in state.refusals} if self._remembers else {}
        )
        proved = None if state.last_good is None else state.last_good.identity.runtime
        registry = observation.observe_registry(doors.registry, wish, frozenset(refused), proved=proved)
        environment = self._device.environment
        cluster = observation.observe_cluster(
            lambda: doors.cluster(wish.payload.service.namespace),
            environment.common,
            _wanted(wish, registry, frozenset(refused)),
        )
        good = state.last_good
        if isinstance(cluster, ClusterView):
            good = cluster.last_good or good or observation.served_before(wish, cluster)
        return Observed(
            registry=registry,
            cluster=cluster,
            last_good=good,
            refused=MappingProxyType(dict(refused)),
            pushed=state.pushed,
            former_namespace=state.namespace,
            now=self._device.clock.time(),
            replay=replay,
            watched=state.watched,
            archives=sideload.names(environment.archives),
        )

    def _refuse(self, plan: convergence.ConvergePlan, error: SituationError) -> None:
        """Remember what proved bad, unless it is what was good before: then it may be good again."""
        good = self.memory.state.last_good
        if not self._remembers or plan.target is None or isinstance(error, ShortageError):
            return
        if good is not None and good.identity == plan.target.identity:
            return
        refusal = Refusal(
            identity=plan.target.identity,
            revision=self._device.environment.revision,
            configuration=self.configuration.fingerprint,
            health=health.of_situation(error),
        )
        others = [item for item in self.memory.state.refusals if item.identity != refusal.identity]
        self.memory.update(refusals=(*others, refusal))

    def _restore(self, wish: Wish, doors: Doors, refused: Health, seconds: float) -> None:
        try:
            observed = self._observe(wish, doors, replay=False)
            plan = convergence.plan_restore(observed.cluster, observed.last_good, wish.owner, refused=refused)
            self._executor(wish, doors, seconds).execute(plan)
        except SnapedgeError as error:
            raise RestoreFailedError(error) from error

    def _doors(self) -> Doors:
        return Doors(self._device.environment, self._device.snapctl, self.configuration.registry)


def _calls_for_restore(error: SituationError, plan: convergence.ConvergePlan) -> bool:
    """Whether what was applied may not stay: it is bad, refused by the API, or does not fit.

    A registry or an API that went away calls for another try, not for going back.
    """
    if error is plan.obstacle or plan.target is None:
        return False
    return not isinstance(error, ShortageError) or error.code is HealthCode.NO_ROOM


def _wanted(wish: Wish, registry: RegistryView | ShortageError, refused: frozenset[Identity]) -> Manifests | None:
    if isinstance(registry, ShortageError):
        return None
    runtimes = (item for item in registry.runtimes if wish.identity_on(item) not in refused)
    runtime = next(runtimes, None)
    return None if runtime is None else wish.manifests_on(runtime)


def _configuration(snapctl: SnapCtl) -> Configuration:
    try:
        return configurations.parse(snapctl.serve_options())
    except ConfigurationError as error:
        # The configure hook refuses such values, so this one was there before the rule.
        raise PayloadBadError(str(error), resolution="correct it with snap set") from error
