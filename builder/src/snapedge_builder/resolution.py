"""What a runtime's declaration stands for now: exact packages and wheels, asked for once and then noted in the cache.

It is asked again with `refresh`, or when the declaration, the lock or this host's package sources change. It does not
age by itself: building twice gives the same bytes, and a build without changes asks nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from snapedge_hooks.document import DocumentError, Fields, canonical_json
from snapedge_hooks.vocabulary import Architecture, Digest

from . import bytecode, hosts, rootfs, wheels
from .apt import Apt, Package
from .cache import Cache
from .gates import Platform
from .hosts import Host
from .progress import Progress, Silence
from .runtimes import RuntimeDeclaration
from .wheels import Wheel

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What a declaration stands for, on one architecture.

    Attributes:
        declaration: that was resolved.
        platform: what the base offers.
        packages: of the base, all of them.
        wheels: of the server.
        interpreter: packages of the base's Python for this host, which compiles the byte code.
    """

    declaration: RuntimeDeclaration
    platform: Platform
    packages: tuple[Package, ...]
    wheels: tuple[Wheel, ...]
    interpreter: tuple[Package, ...]

    @property
    def architecture(self) -> Architecture:
        """That it was resolved for."""
        return self.platform.architecture


def resolve_all(
    declaration: RuntimeDeclaration,
    architectures: Iterable[Architecture],
    *,
    cache: Cache,
    host: Host | None = None,
    refresh: bool = False,
    progress: Progress | None = None,
) -> Mapping[Architecture, Resolution]:
    """Which packages and wheels the declaration stands for on each architecture, asked for side by side.

    Args:
        declaration: of the runtime.
        architectures: to resolve for.
        cache: where the answers are noted.
        host: that asks; the one this runs on if not given.
        refresh: ask the mirrors again, whatever was noted.
        progress: told when mirrors or index are asked.

    Raises:
        BuilderError: a source, package or wheel cannot be had; nothing was built, no package fetched.
    """
    wanted = list(architectures)
    tell = progress or Silence()
    asking = host or hosts.read_host()
    ours = asking.architecture

    def packages_of(architecture: Architecture) -> tuple[Package, ...]:
        return packages(
            declaration.suite,
            architecture,
            declaration.packages,
            asking,
            cache=cache,
            refresh=refresh,
            progress=tell,
        )

    def wheels_of(platform: Platform) -> tuple[Wheel, ...]:
        return _wheels(declaration, platform, asking, cache=cache, tell=tell)

    every = [*wanted, *({ours} - set(wanted))]
    with ThreadPoolExecutor(max_workers=len(every), thread_name_prefix="resolve") as pool:
        resolved = dict(zip(every, pool.map(packages_of, every), strict=True))
        platforms = {
            architecture: rootfs.platform_of(resolved[architecture], suite=declaration.suite, architecture=architecture)
            for architecture in wanted
        }
        found = dict(zip(wanted, pool.map(wheels_of, platforms.values()), strict=True))
    return {
        architecture: Resolution(
            declaration=declaration,
            platform=platform,
            packages=resolved[architecture],
            wheels=found[architecture],
            interpreter=bytecode.interpreter_packages(resolved[ours], platform.python),
        )
        for architecture, platform in platforms.items()
    }


def packages(
    suite: str,
    architecture: Architecture,
    names: Sequence[str],
    host: Host,
    *,
    cache: Cache,
    refresh: bool = False,
    progress: Progress | None = None,
) -> tuple[Package, ...]:
    """Which packages these names stand for, with all they depend on; noted once it was asked.

    Raises:
        BuilderError: a source or package cannot be had.
    """
    tell = progress or Silence()
    door = Apt(host.apt, suite=suite, architecture=architecture, cache=cache)
    key = _hash(suite, str(architecture), list(names), door.sources)
    with cache.alone("packages", key), door.alone():
        found = None if refresh else _noted(cache, "packages", key, Package.read)
        if found is None:
            task = f"resolve packages {architecture}"
            tell.start(task)
            found = door.resolve(names)
            cache.write_note("packages", key, {"items": [package.to_value() for package in found]})
            tell.done(task, f"{len(found)} packages")
    return found


def _wheels(
    declaration: RuntimeDeclaration, platform: Platform, host: Host, *, cache: Cache, tell: Progress
) -> tuple[Wheel, ...]:
    lock = declaration.project.lock
    architecture = platform.architecture
    key = _hash(Digest.of_file(lock), str(architecture), list(platform.glibc), list(platform.python))
    with cache.alone("wheels", key):
        found = _noted(cache, "wheels", key, Wheel.read)
        if found is None:
            task = f"resolve wheels {architecture}"
            tell.start(task)
            found = wheels.resolve(lock, platform, environment=host.environment)
            cache.write_note("wheels", key, {"items": [wheel.to_value() for wheel in found]})
            tell.done(task, f"{len(found)} wheels")
    return found


def _noted(cache: Cache, kind: str, key: Digest, read: Callable[[Fields], T]) -> tuple[T, ...] | None:
    note = cache.find_note(kind, key)
    if note is None:
        return None
    try:
        return tuple(read(item) for item in Fields(note, what=f"cache note {kind}").objects("items"))
    except DocumentError:
        return None  # written by another version of the builder


def _hash(*values: Any) -> Digest:
    return Digest.of(canonical_json(list(values)))
