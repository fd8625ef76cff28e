"""Making runtime.lock: what mirrors and index offer now, pinned; or what is pinned, where that still fits.

Rules:

1. A lock that fits is left alone, and nobody is asked. `upgrade` asks in any case.
2. Packages stay as they are pinned while runtime.yaml asks for the same base: a new wheel brings no new libc.
3. Versions are equal on all architectures, or there is a reason: a package that one architecture alone depends on, a
   rebuild of Debian's of the same source, what the server's own lock says of wheels, or runtime.yaml. Otherwise nothing
   is written: mirrors are often between two states for some hours.

    NothingToPinError      a runtime is built from a Dockerfile
    VersionsDifferError    architectures would get different versions for no reason that is named
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Architecture, Digest

from . import hosts, packed, resolution, rootfs, runtimelock, runtimes
from .apt import Package
from .cache import Cache
from .errors import BuilderError
from .hosts import Host
from .progress import Progress, Silence
from .runtimelock import RuntimeLock, RuntimeLockError
from .runtimes import PINS_NAME, DockerfileRuntime, RuntimeDeclaration
from .wheels import Wheel

_REBUILD = re.compile(r"\+b\d+$")


class NothingToPinError(BuilderError):
    """A runtime's Dockerfile decides by itself what it takes."""

    exit_code = ExitCode.USAGE

    def __init__(self, declaration: DockerfileRuntime) -> None:
        super().__init__(
            f"{declaration.folder.name} is built from {declaration.dockerfile.file.name}, and nothing else says what "
            "goes in",
            resolution="pin there: images by digest, packages and wheels by version and hash",
        )


class VersionsDifferError(BuilderError):
    """Architectures would get different versions for no reason that is named."""

    exit_code = ExitCode.REFUSED

    def __init__(self, differing: Iterable[tuple[str, Mapping[Architecture, str]]]) -> None:
        told = "; ".join(
            f"{name} ({', '.join(f'{version} on {architecture}' for architecture, version in found.items())})"
            for name, found in differing
        )
        super().__init__(
            f"the architectures would get different versions: {told}",
            resolution="try again in some hours, when the mirrors agree, or say why in runtime.yaml: "
            "base: {differences: {PACKAGE: reason}}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LockResult:
    """A lock that was made, or found to fit.

    Attributes:
        path: of the file.
        lock: what it says.
        changes: what is other than in the lock before, a line each.
        is_new: whether the file was written.
    """

    path: Path
    lock: RuntimeLock
    changes: tuple[str, ...]
    is_new: bool


def check(folder: Path) -> LockResult:
    """The lock of a runtime's folder, which fits it; nobody is asked.

    Raises:
        NothingToPinError: the runtime is built from a Dockerfile.
        RuntimeLockError: there is none, it is damaged, or it does not fit.
    """
    declaration = _declared(folder)
    found = runtimelock.find(declaration)
    if found is None:
        raise RuntimeLockError(declaration.folder, "is missing")
    return LockResult(path=folder / PINS_NAME, lock=found, changes=(), is_new=False)


def lock(
    folder: Path, *, cache: Cache, upgrade: bool = False, host: Host | None = None, progress: Progress | None = None
) -> LockResult:
    """Write the lock of a runtime's folder, by the rules above.

    Args:
        folder: that holds runtime.yaml.
        cache: where apt has its folders.
        upgrade: take what mirrors offer now, whatever is pinned.
        host: whose mirrors and index are asked; the one this runs on if not given.
        progress: told when they are.

    Raises:
        NothingToPinError: the runtime is built from a Dockerfile.
        RuntimeLockError: the lock that is there is damaged, and is not to be replaced.
        VersionsDifferError: see rule 3.
        BuilderError: a package or wheel cannot be had; the file is as it was.
    """
    declaration = _declared(folder)
    before = _before(declaration.folder, upgrade=upgrade)
    path = folder / PINS_NAME
    asking = host or hosts.read_host()
    kept = before if before is not None and not upgrade else None
    if kept is not None and kept.base_misfit(declaration) is None and asking.architecture in kept.packages:
        if kept.misfit(declaration) is None:
            return LockResult(path=path, lock=kept, changes=(), is_new=False)
        pinned = kept.packages
    else:
        pinned = {}
    made = _ask(declaration, pinned, asking, cache=cache, tell=progress or Silence())
    text = made.to_text().encode()
    is_new = not (path.is_file() and path.read_bytes() == text)
    if is_new:
        packed.replace_file(path, text)
    changes = () if before is None else tuple(_changes(before, made))
    return LockResult(path=path, lock=made, changes=changes, is_new=is_new)


def explain(
    packages: Mapping[Architecture, tuple[Package, ...]],
    wheels: Mapping[Architecture, tuple[Wheel, ...]],
    declared: Mapping[str, str],
) -> dict[str, str]:
    """Why packages and wheels have not one version everywhere, by their name; see rule 3.

    Raises:
        VersionsDifferError: for some there is no reason.
    """
    reasons: dict[str, str] = {}
    unexplained: list[tuple[str, Mapping[Architecture, str]]] = []
    for name, found in sorted(runtimelock.versions(packages).items()):
        where = " and ".join(str(architecture) for architecture in found)
        if len(found) == len(packages) and len(set(found.values())) == 1:
            continue
        if name in declared:
            reasons[name] = declared[name]
        elif len(set(found.values())) == 1:
            reasons[name] = f"what depends on it is for {where} alone"
        elif len({_REBUILD.sub("", version) for version in found.values()}) == 1:
            reasons[name] = "Debian rebuilt the same source for one architecture alone"
        else:
            unexplained.append((name, found))
    if unexplained:
        raise VersionsDifferError(unexplained)
    for name, found in sorted(runtimelock.versions(wheels).items()):
        if len(found) < len(wheels) or len(set(found.values())) > 1:
            reasons[name] = "the server's own lock says so, by a marker"
    return reasons


def _declared(folder: Path) -> RuntimeDeclaration:
    found = runtimes.read_any(folder.absolute())
    if isinstance(found, DockerfileRuntime):
        raise NothingToPinError(found)
    return found


def _before(folder: Path, *, upgrade: bool) -> RuntimeLock | None:
    try:
        return runtimelock.read(folder)
    except RuntimeLockError:
        if upgrade:
            return None  # whatever was wrong with it, it is made anew
        raise


def _ask(
    declaration: RuntimeDeclaration,
    pinned: Mapping[Architecture, tuple[Package, ...]],
    host: Host,
    *,
    cache: Cache,
    tell: Progress,
) -> RuntimeLock:
    # The host's own packages are pinned as well: the Python among them compiles the byte code.
    every = sorted({*declaration.architectures, host.architecture}, key=str)

    def packages_of(architecture: Architecture) -> tuple[Package, ...]:
        return pinned.get(architecture) or resolution.packages(
            declaration.suite, architecture, declaration.packages, host, cache=cache, refresh=True, progress=tell
        )

    def wheels_of(architecture: Architecture) -> tuple[Wheel, ...]:
        platform = rootfs.platform_of(packages[architecture], suite=declaration.suite, architecture=architecture)
        return resolution.wheels_of(declaration, platform, host, cache=cache, progress=tell)

    with ThreadPoolExecutor(max_workers=len(every), thread_name_prefix="lock") as pool:
        packages = dict(zip(every, pool.map(packages_of, every), strict=True)) | dict(pinned)
        wanted = sorted(declaration.architectures, key=str)
        wheels = dict(zip(wanted, pool.map(wheels_of, wanted), strict=True))
    return RuntimeLock(
        suite=declaration.suite,
        asked=tuple(sorted(declaration.packages)),
        requirements=Digest.of_file(declaration.project.lock),
        packages=packages,
        wheels=wheels,
        reasons=explain(packages, wheels, declaration.differences),
    )


def _changes(before: RuntimeLock, after: RuntimeLock) -> Iterator[str]:
    for old, new in (
        (runtimelock.versions(before.packages), runtimelock.versions(after.packages)),
        (runtimelock.versions(before.wheels), runtimelock.versions(after.wheels)),
    ):
        for name in sorted(old.keys() | new.keys()):
            was, now = _told(old.get(name)), _told(new.get(name))
            if was != now:
                yield f"{name} {was or 'none'} -> {now or 'none'}"


def _told(found: Mapping[Architecture, str] | None) -> str:
    if not found:
        return ""
    if len(set(found.values())) == 1:
        return next(iter(found.values()))
    return ", ".join(f"{version} ({architecture})" for architecture, version in sorted(found.items(), key=str))
