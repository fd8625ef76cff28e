"""Which runtimes are at hand for a model on this device. Reads, never changes anything.

Looked at in this order: the one that the interface's tag names, which is the newest that its snap brought; the one that
the model was last proved on; the ones that the payload lists. The first that was not refused ends the search. Where the
snap itself brings a runtime, it is the only one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import referrers, runtimetrust
from .images import RuntimeImage
from .payload import Payload
from .registry import Registry, StoredManifest
from .runtimetrust import Distrust
from .situations import ShortageError
from .vocabulary import Digest, HealthCode, RepositoryName, TagName

_LOG = logging.getLogger(__name__)
_MANY = 16
"""How many listed runtimes are looked for: a payload that lists more names history, not choices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeCandidate:
    """A trusted runtime that is at hand.

    Attributes:
        digest: of its manifest.
        config: its OCI config.
        layers: its layer descriptors, lowest first.
        repository: whose blobs can be mounted, or None for the runtime in the snap.
        found: how it was found, for people.
    """

    digest: Digest
    config: dict[str, Any]
    layers: tuple[dict[str, Any], ...]
    repository: RepositoryName | None
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedOver:
    """Why the runtime that the device offers is not used.

    Attributes:
        problem: for people, short enough for snapd's health.
        resolution: what to do.
    """

    problem: str
    resolution: str

    def as_shortage(self) -> ShortageError:
        """The shortage that this is where there is no other runtime."""
        return ShortageError(HealthCode.NO_RUNTIME, self.problem, resolution=self.resolution)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimesFound:
    """What a search found.

    Attributes:
        candidates: trusted runtimes at hand, the preferred one first.
        passed: why the newest one at hand is not among them; None where it is.
    """

    candidates: tuple[RuntimeCandidate, ...] = ()
    passed: PassedOver | None = None


def runtime_repository(name: str) -> RepositoryName:
    """Where a runtime is kept in the device's registry."""
    return RepositoryName(f"snapedge/runtime-{name}")


def of_snap(runtime: RuntimeImage) -> RuntimesFound:
    """The runtime that the snap itself brings: the only one its model is put on."""
    layers = tuple(layer.descriptor() for layer in runtime.layers)
    candidate = RuntimeCandidate(
        digest=runtime.digest, config=runtime.config, layers=layers, repository=None, found="snap"
    )
    return RuntimesFound(candidates=(candidate,))


def search(
    registry: Registry, payload: Payload, *, proved: Digest | None, is_refused: Callable[[RuntimeCandidate], bool]
) -> RuntimesFound:
    """Trusted runtimes in the registry, up to the first that was not refused.

    Args:
        registry: to look in.
        payload: the model's.
        proved: the runtime that the model was last proved on.
        is_refused: whether a runtime proved bad with this model.

    Raises:
        ShortageError: the registry is down.
    """
    requirement, repository = payload.runtime, runtime_repository(payload.runtime.name)
    tag = TagName(str(requirement.interface))
    found: list[RuntimeCandidate] = []
    passed: PassedOver | None = None
    seen: set[Digest] = set()
    for reference in (tag, proved, *requirement.digests[:_MANY]):
        stored = None if reference is None or reference in seen else registry.manifest(repository, reference)
        if stored is None or stored.digest in seen:
            continue
        seen.add(stored.digest)
        judged = _judged(registry, repository, payload, stored, reference)
        if isinstance(judged, PassedOver):
            _LOG.warning("%s; passed over: %s", judged.problem, judged.resolution)
            passed = passed or judged
            continue
        found.append(judged)
        if not is_refused(judged):
            break
    if not found and passed is None:
        passed = _missing(registry, repository, payload)
    return RuntimesFound(candidates=tuple(found), passed=passed)


def _judged(
    registry: Registry,
    repository: RepositoryName,
    payload: Payload,
    stored: StoredManifest,
    reference: Digest | TagName | None,
) -> RuntimeCandidate | PassedOver:
    requirement, name = payload.runtime, f"Runtime {payload.runtime.name} {stored.digest.short}"
    signed: tuple[bytes, ...] = ()
    if requirement.keys and stored.digest not in requirement.digests:
        signed = referrers.envelopes(registry, repository, stored.digest)
    judged = runtimetrust.judge(requirement, payload.architecture, stored.digest, signed)
    if isinstance(judged, Distrust):
        return PassedOver(problem=f"{name} {judged.problem}", resolution=judged.resolution)
    # It is trusted from here on, so what it says was written by whoever is trusted; what is missing is only bytes.
    parts = _parts(registry, repository, stored)
    if parts is None:
        return PassedOver(
            problem=f"{name} is not whole in the registry",
            resolution=f"wait for the services of snapedge-{requirement.name}, which bring back what is missing",
        )
    how = f"interface {reference}" if isinstance(reference, TagName) else f"digest {stored.digest.short}"
    if judged.signer is not None:
        how += f", version {judged.version}, signed by {judged.signer.short}"
    return RuntimeCandidate(digest=stored.digest, config=parts[0], layers=parts[1], repository=repository, found=how)


def _parts(
    registry: Registry, repository: RepositoryName, stored: StoredManifest
) -> tuple[dict[str, Any], tuple[dict[str, Any], ...]] | None:
    """Config and layers of a trusted manifest; None where the config is gone or they are not what an image has."""
    try:
        data = registry.small_blob(repository, Digest(stored.document["config"]["digest"]))
        config = None if data is None else json.loads(data)
        layers = tuple(
            {"mediaType": str(layer["mediaType"]), "digest": Digest(layer["digest"]), "size": int(layer["size"])}
            for layer in stored.document["layers"]
        )
    except (LookupError, TypeError, ValueError, RecursionError):
        return None
    return (config, layers) if isinstance(config, dict) else None


def _missing(registry: Registry, repository: RepositoryName, payload: Payload) -> PassedOver:
    """Nothing trusted is there, and nothing under the interface's tag: say what is there instead."""
    requirement = payload.runtime
    # A tag that is a whole number is an interface: builder gives no runtime a version that is one.
    numbers = (int(tag) for tag in registry.tags(repository) if tag.isascii() and tag.isdigit() and len(tag) < 6)
    offered = sorted(number for number in numbers if number != requirement.interface)
    snap = f"snapedge-{requirement.name}"
    if offered:
        return PassedOver(
            problem=f"Runtime {requirement.name} has interface {offered[-1]}, this model needs {requirement.interface}",
            resolution=f"install the {snap} that this snap was built for, or refresh this snap to one built for what "
            "is there",
        )
    return PassedOver(
        problem=f"Runtime {requirement.name} interface {requirement.interface} is not in the registry",
        resolution=f"install {snap}, {requirement.minimum} or later, as this snap lists it",
    )
