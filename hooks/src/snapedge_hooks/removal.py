"""Takes away what the snap made, when its last revision goes.

What cannot be taken away is logged: snapd goes on anyway.
"""

from __future__ import annotations

import logging

from . import configuration, executor, lock, runtimeexecutor, runtimesearch
from . import content as contents
from .clock import Deadline
from .configuration import Configuration
from .content import Content
from .converger import Device
from .doors import Doors
from .errors import SnapedgeError
from .situations import ShortageError
from .state import PushedImage, State, load

_LOG = logging.getLogger(__name__)
BUDGET = 60.0


def remove(device: Device, budget: float = BUDGET) -> int:
    """Delete our objects and manifests. The exit code, always 0."""
    environment, deadline = device.environment, Deadline.after(device.clock, budget)
    try:
        with lock.held(environment.lock_file, deadline):
            content = contents.read(environment)
            settings = configuration.parse(device.snapctl.serve_options())
            state = load(environment.state_file)
            with Doors(environment, device.snapctl, settings.registry) as doors:
                if content.payload is not None:
                    _remove_objects(doors, settings, content, state)
                    _remove_images(doors, settings, content, state)
                elif content.runtime is not None:
                    _remove_runtimes(doors, content, state)
                if content.objects is not None:
                    # Whatever else the cluster serves needs them, and goes with their definitions.
                    _LOG.info("%d objects stay in the cluster", len(content.objects.objects))
    except SnapedgeError as error:
        _LOG.warning("%s", error)
    return 0


def _remove_objects(doors: Doors, settings: Configuration, content: Content, state: State) -> None:
    assert content.payload is not None
    namespaces = {settings.applied_to(content.payload).service.namespace, state.namespace}
    for namespace in sorted(item for item in namespaces if item is not None):
        try:
            cluster = doors.cluster(namespace)
            executor.clear(cluster, cluster.owner)
            _LOG.info("nothing of ours is left in namespace %s", namespace)
        except SnapedgeError as error:
            _LOG.warning("objects in namespace %s stay: %s", namespace, error)


def _remove_images(doors: Doors, settings: Configuration, content: Content, state: State) -> None:
    assert content.payload is not None
    namespace = settings.applied_to(content.payload).service.namespace
    try:
        used = doors.cluster(namespace).used_images()
        for image in state.pushed:
            # A parallel instance of this snap shares the repository.
            if not any(name.endswith(f"/{image.repository}@{image.digest}") for name in used):
                doors.registry.delete_manifest(image.repository, image.digest)
    except ShortageError as error:
        _LOG.warning("images stay in the registry: %s", error)


def _remove_runtimes(doors: Doors, content: Content, state: State) -> None:
    assert content.runtime is not None
    repository = runtimesearch.runtime_repository(content.runtime.name)
    own = PushedImage(repository=repository, digest=content.runtime.digest, at=0.0)
    for old in (own, *(item for item in state.pushed if item.digest != own.digest)):
        runtimeexecutor.take_away(doors.registry, old)
