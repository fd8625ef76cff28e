"""What a runtime's declaration stands for now: exact packages and wheels, asked for once and then noted in the cache.

It is asked again with `refresh`, or when the declaration, the lock or this host's package sources change. It does not
age by itself: building twice gives the same bytes, and a build without changes asks nobody.

Where runtime.lock lies beside runtime.yaml, nobody is asked which packages and wheels to take: it says so, and only
where they are offered now is looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from snapedge_hooks.document import DocumentError, Fields, canonical_json
from snapedge_hooks.vocabulary import Architecture, Digest

from . import bytecode, hosts, rootfs, runtimelock, wheels
from .apt import Apt, Package
from .cache import Cache
from .gates import Platform
from .hosts import Host
from .progress import Progress, Silence
from .runtimelock import RuntimeLock, RuntimeLockError
from .runtimes import BaseDeclaration, RuntimeDeclaration
from .wheels import Wheel

T = TypeVar("T")

NOTES = ("packages", "wheels")
"""Kinds of notes that hold what mirrors and index answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseResolution:
    """What a base stands for, on one architecture.

    Attributes:
        suite: that its packages are of.
        named: packages that were asked for by name.
        prune: globs of files that do not run.
        platform: what it offers.
        packages: all of them.
        interpreter: packages of its Python for this host, which compiles the byte code.
        pinned: whether a runtime.lock said so.
    """

    suite: str
    named: tuple[str, ...]
    prune: tuple[str, ...]
    platform: Platform
    packages: tuple[Package, ...]
    interpreter: tuple[Package, ...]
    pinned: bool = False

    @property
    def architecture(self) -> Architecture:
        """That it was resolved for."""
        return self.platform.architecture


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What a declaration stands for, on one architecture.

    Attributes:
        declaration: that was resolved.
        platform: what the base offers.
        packages: of the base, all of them.
        wheels: of the server.
        interpreter: packages of the base's Python for this host, which compiles the byte code.
        pinned: whether a runtime.lock said so.
    """

    declaration: RuntimeDeclaration
    platform: Platform
    packages: tuple[Package, ...]
    wheels: tuple[Wheel, ...]
    interpreter: tuple[Package, ...]
    pinned: bool = False

    @property
    def architecture(self) -> Architecture:
        """That it was resolved for."""
        return self.platform.architecture

    @property
    def base(self) -> BaseResolution:
        """What its base stands for."""
        return BaseResolution(
            suite=self.declaration.suite,
            named=self.declaration.packages,
            prune=self.declaration.prune,
            platform=self.platform,
            packages=self.packages,
            interpreter=self.interpreter,
            pinned=self.pinned,
        )


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
        RuntimeLockError: runtime.lock is damaged, or does not fit the declaration.
        BuilderError: a source, package or wheel cannot be had; nothing was built, no package fetched.
    """
    wanted = list(architectures)
    tell = progress or Silence()
    asking = host or hosts.read_host()
    ours = asking.architecture
    lock = runtimelock.find(declaration)

    def packages_of(architecture: Architecture) -> tuple[Package, ...]:
        if lock is not None:
            return lock.packages[architecture]
        return packages(
            declaration.suite,
            architecture,
            declaration.packages,
            asking,
            cache=cache,
            refresh=refresh,
            progress=tell,
        )

    def wheels_found(platform: Platform) -> tuple[Wheel, ...]:
        if lock is not None:
            return _pinned_wheels(lock, platform, asking, cache=cache, tell=tell)
        return wheels_of(declaration, platform, asking, cache=cache, progress=tell)

    every = [*wanted, *({ours} - set(wanted))]
    if lock is not None and ours not in lock.packages:
        raise RuntimeLockError(
            declaration.folder, f"has no packages for {ours}, this host, whose Python compiles the byte code"
        )
    with ThreadPoolExecutor(max_workers=len(every), thread_name_prefix="resolve") as pool:
        resolved = dict(zip(every, pool.map(packages_of, every), strict=True))
        platforms = {
            architecture: rootfs.platform_of(resolved[architecture], suite=declaration.suite, architecture=architecture)
            for architecture in wanted
        }
        found = dict(zip(wanted, pool.map(wheels_found, platforms.values()), strict=True))
    return {
        architecture: Resolution(
            declaration=declaration,
            platform=platform,
            packages=resolved[architecture],
            wheels=found[architecture],
            interpreter=bytecode.interpreter_packages(resolved[ours], platform.python),
            pinned=lock is not None,
        )
        for architecture, platform in platforms.items()
    }


def resolve_base(
    declared: BaseDeclaration,
    architecture: Architecture,
    host: Host,
    *,
    cache: Cache,
    refresh: bool = False,
    progress: Progress | None = None,
) -> BaseResolution:
    """What a base by itself stands for, on one architecture.

    Raises:
        BuilderError: a source or package cannot be had.
    """
    resolved = {
        one: packages(declared.suite, one, declared.packages, host, cache=cache, refresh=refresh, progress=progress)
        for one in {architecture, host.architecture}
    }
    platform = rootfs.platform_of(resolved[architecture], suite=declared.suite, architecture=architecture)
    return BaseResolution(
        suite=declared.suite,
        named=declared.packages,
        prune=declared.prune,
        platform=platform,
        packages=resolved[architecture],
        interpreter=bytecode.interpreter_packages(resolved[host.architecture], platform.python),
    )


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


def wheels_of(
    declaration: RuntimeDeclaration, platform: Platform, host: Host, *, cache: Cache, progress: Progress
) -> tuple[Wheel, ...]:
    """Which wheels a server's own lock stands for on a platform; noted once it was asked.

    Raises:
        BuilderError: a wheel cannot be had.
    """
    lock = declaration.project.lock

    def ask() -> tuple[Wheel, ...]:
        return wheels.resolve(lock, platform, environment=host.environment)

    return _asked_wheels(Digest.of_file(lock), platform, ask, task="resolve wheels", cache=cache, tell=progress)


def _pinned_wheels(
    lock: RuntimeLock, platform: Platform, host: Host, *, cache: Cache, tell: Progress
) -> tuple[Wheel, ...]:
    pins = lock.wheels[platform.architecture]

    def ask() -> tuple[Wheel, ...]:
        with cache.scratch() as scratch:
            return wheels.locate(pins, platform, environment=host.environment, scratch=scratch)

    key = _hash("pinned", [[pin.name, pin.version, pin.digest] for pin in pins])
    return _asked_wheels(key, platform, ask, task="locate wheels", cache=cache, tell=tell)


def _asked_wheels(
    of: Digest, platform: Platform, ask: Callable[[], tuple[Wheel, ...]], *, task: str, cache: Cache, tell: Progress
) -> tuple[Wheel, ...]:
    architecture = platform.architecture
    key = _hash(of, str(architecture), list(platform.glibc), list(platform.python))
    with cache.alone("wheels", key):
        found = _noted(cache, "wheels", key, Wheel.read)
        if found is None:
            tell.start(f"{task} {architecture}")
            found = ask()
            cache.write_note("wheels", key, {"items": [wheel.to_value() for wheel in found]})
            tell.done(f"{task} {architecture}", f"{len(found)} wheels")
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
