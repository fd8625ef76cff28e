"""What a device holds of the runtime that its runtime snap brings. Reads, never changes anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import MappingProxyType

from . import referrers
from .cluster import Cluster
from .images import RuntimeImage
from .registry import Registry
from .runtimesearch import runtime_repository
from .situations import ShortageError
from .state import PushedImage
from .vocabulary import Digest, RepositoryName, TagName


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeObserved:
    """What is there of a runtime.

    Attributes:
        blobs: which of its blobs are there.
        tags: what its tags name.
        signed: whether the signature that its snap brings is beside it; None where its snap brings none.
        pushed: runtimes that this snap brought, this one included.
        used: runtimes that models are served on or go back to; the shortage that hides them, where nobody may be
            taken away; None where nobody is old enough to be asked for.
        now: seconds since 1970.
    """

    blobs: frozenset[Digest]
    tags: MappingProxyType[TagName, Digest | None]
    signed: bool | None = None
    pushed: tuple[PushedImage, ...] = ()
    used: frozenset[Digest] | ShortageError | None = None
    now: float = 0.0


def observe_runtime(
    registry: Registry, runtime: RuntimeImage, signature: bytes | None, *, thorough: bool
) -> RuntimeObserved | ShortageError:
    """The registry's view of a runtime.

    Args:
        registry: to ask.
        runtime: what is looked for.
        signature: the envelope that its snap brings, or None.
        thorough: read a byte of each blob: a registry can claim what it has lost.
    """
    repository = runtime_repository(runtime.name)
    digests = [*(layer.digest for layer in runtime.layers), Digest.of(runtime.config_bytes())]
    try:
        tags = {tag: _tagged(registry, repository, tag) for tag in runtime_tags(runtime)}
        signed = None if signature is None else _is_signed(registry, runtime, signature)
        held = frozenset(digests)
        if thorough or set(tags.values()) != {runtime.digest}:
            held = frozenset(
                digest
                for digest in digests
                if registry.has_blob(repository, digest) and (not thorough or registry.serves_blob(repository, digest))
            )
    except ShortageError as error:
        return error
    return RuntimeObserved(blobs=held, tags=MappingProxyType(tags), signed=signed)


def runtime_tags(runtime: RuntimeImage) -> tuple[TagName, ...]:
    """The tags a runtime is found by: its version and its interface."""
    return TagName.for_version(runtime.version), TagName(str(runtime.interface))


def used_runtimes(connect: Callable[[], Cluster]) -> frozenset[Digest] | ShortageError:
    """The runtimes that models of this cluster are served on or would go back to.

    Args:
        connect: gives the cluster to ask.
    """
    try:
        return _digests(connect().used_runtimes())
    except ShortageError as error:
        return error


def _digests(words: Iterable[str]) -> frozenset[Digest]:
    found = set()
    for word in words:
        try:
            found.add(Digest(word))
        except ValueError:
            continue  # an annotation that somebody wrote by hand names no runtime
    return frozenset(found)


def _is_signed(registry: Registry, runtime: RuntimeImage, signature: bytes) -> bool:
    """Whether a model would find this signature: it is read as a model reads it, so what was lost is not there."""
    return signature in referrers.envelopes(registry, runtime_repository(runtime.name), runtime.digest)


def _tagged(registry: Registry, repository: RepositoryName, tag: TagName) -> Digest | None:
    stored = registry.manifest(repository, tag)
    return None if stored is None else stored.digest
