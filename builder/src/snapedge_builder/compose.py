"""The compose backend: a runtime image for any architecture, with no daemon, no root and no emulation.

Layers follow from inputs whose hash is their key in the cache: the base from its packages, the wheels' layers from the
wheels, the app layer from the server's sources, all of them from this builder's own code too. Where nothing changed, a
build reads notes and hashes the layers it hands out.

Callers outside this half of the builder use:

    declaration = runtimes.read_runtime(Path("snaps/runtime-onnx"))
    resolutions = resolution.resolve_all(declaration, declaration.architectures, cache=cache)
    compose.runtime_key(resolutions[Architecture.ARM64])  # the hash of everything the image follows from
    built = compose.build_runtimes(declaration, declaration.architectures, cache=cache, progress=progress)
    built[Architecture.ARM64].image.to_json()             # runtime.json
    built[Architecture.ARM64].layers["10-base"]           # the tar that belongs at layers/10-base.tar
    built[Architecture.ARM64].record                      # what went in
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from snapedge_hooks.document import DocumentError, Fields, canonical_json
from snapedge_hooks.vocabulary import Architecture, Digest

from . import debs, hosts, rootfs, wheels
from .apt import Apt
from .bytecode import Compiler
from .cache import Cache
from .hosts import Host
from .parts import BuiltRuntime, Part, Workshop, app_part, app_tree, assemble, base_part, image_settings, wheels_part
from .progress import Progress, Silence
from .resolution import BaseResolution, Resolution, resolve_all
from .rootfs import Base
from .runtimes import RuntimeDeclaration

_RECIPE = (
    *("apt", "bytecode", "compose", "debs", "elf", "gates", "layers"),
    *("parts", "patterns", "rootfs", "trees", "wheels"),
)


def runtime_key(resolution: Resolution) -> Digest:
    """The hash of everything the image follows from, its server's sources and this builder's own code included."""
    declaration = resolution.declaration
    return _hash(
        "runtime",
        declaration.name,
        str(declaration.version),
        declaration.interface,
        declaration.project.module,
        [list(pair) for pair in declaration.project.environment],
        _base_key(resolution.base),
        _wheels_key(resolution),
        _app_key(resolution),
    )


def build(resolution: Resolution, workshop: Workshop, *, progress: Progress | None = None) -> BuiltRuntime:
    """The image that was resolved. Layers whose inputs did not change come from the cache.

    Raises:
        BuilderError: something cannot be fetched, breaks a gate, or cannot be written; nothing half-made is left.
    """
    tell, cache = progress or Silence(), workshop.cache
    base = build_base(resolution.base, workshop, progress=progress)
    others = [
        _part(cache, kind, key, tell, resolution.architecture, functools.partial(make, resolution, workshop))
        for kind, key, make in (
            ("site", _wheels_key(resolution), _build_wheels),
            ("app", _app_key(resolution), _build_app),
        )
    ]
    return assemble(
        resolution.declaration,
        resolution.architecture,
        [base, *others],
        image_settings(resolution.declaration.project),
        inputs=runtime_key(resolution),
        cache=cache,
    )


def build_runtime(
    declaration: RuntimeDeclaration,
    architecture: Architecture,
    *,
    cache: Cache,
    host: Host | None = None,
    refresh: bool = False,
    progress: Progress | None = None,
) -> BuiltRuntime:
    """Resolve and build for one architecture."""
    return build_runtimes(declaration, [architecture], cache=cache, host=host, refresh=refresh, progress=progress)[
        architecture
    ]


def build_runtimes(
    declaration: RuntimeDeclaration,
    architectures: Iterable[Architecture],
    *,
    cache: Cache,
    host: Host | None = None,
    refresh: bool = False,
    progress: Progress | None = None,
) -> Mapping[Architecture, BuiltRuntime]:
    """Resolve for all the architectures, and only when that went well for each, build; side by side.

    Raises:
        BuilderError: the first failure, in the order of the architectures, once all of them have ended.
    """
    building = host or hosts.read_host()
    resolutions = resolve_all(
        declaration, architectures, cache=cache, host=building, refresh=refresh, progress=progress
    )
    # The pool is left first: a thread still at work when another failed has its scratch to the end.
    threads = len(resolutions) or 1
    with cache.scratch() as scratch, ThreadPoolExecutor(max_workers=threads, thread_name_prefix="build") as pool:
        # One compiler for all of them: one suite, so one Python.
        any_one = next(iter(resolutions.values()))
        compiler = compiler_for(any_one.base, building, scratch=scratch, cache=cache)
        workshop = Workshop(host=building, compiler=compiler, cache=cache)

        def build_one(resolution: Resolution) -> BuiltRuntime:
            return build(resolution, workshop, progress=progress)

        return dict(zip(resolutions, pool.map(build_one, resolutions.values()), strict=True))


def compiler_for(base: BaseResolution, host: Host, *, scratch: Path, cache: Cache) -> Compiler:
    """The compiler of a base's byte code."""
    door = Apt(host.apt, suite=base.suite, architecture=host.architecture, cache=cache, pinned=base.pinned)
    return Compiler(base.interpreter, base.platform.python, fetch=door.fetch, scratch=scratch, cache=cache)


def build_base(base: BaseResolution, workshop: Workshop, *, progress: Progress | None = None) -> Part:
    """The layer of a base, from the cache where its inputs did not change.

    Raises:
        BuilderError: a package cannot be fetched, breaks a gate, or the layer cannot be written.
    """

    def make() -> Part:
        with workshop.cache.scratch() as scratch:
            return base_part(base, read_base(base, workshop, scratch=scratch), workshop, scratch=scratch)

    return _part(workshop.cache, "base", _base_key(base), progress or Silence(), base.architecture, make)


def read_base(base: BaseResolution, workshop: Workshop, *, scratch: Path) -> Base:
    """The base of the resolved packages, unpacked below `scratch`, which must outlive it."""
    cache = workshop.cache
    door = Apt(
        workshop.host.apt,
        suite=base.suite,
        architecture=base.architecture,
        cache=cache,
        pinned=base.pinned,
    )
    useful = rootfs.useful(base.packages, named=base.named)
    door.fetch(useful)
    return rootfs.assemble(
        [debs.unpack(package, cache.blob_path(package.digest), scratch=scratch, cache=cache) for package in useful],
        named=base.named,
        prune=base.prune,
    )


def _build_wheels(resolution: Resolution, workshop: Workshop) -> Part:
    with workshop.cache.scratch() as scratch:
        installed = wheels.install(
            resolution.wheels,
            resolution.platform,
            prune=resolution.declaration.project.prune,
            environment=workshop.host.environment,
            scratch=scratch,
            cache=workshop.cache,
        )
        return wheels_part(resolution, installed, workshop, scratch=scratch)


def _build_app(resolution: Resolution, workshop: Workshop) -> Part:
    with workshop.cache.scratch() as scratch:
        return app_part(resolution, app_tree(resolution.declaration.project), workshop, scratch=scratch)


def _part(
    cache: Cache, kind: str, key: Digest, tell: Progress, architecture: Architecture, make: Callable[[], Part]
) -> Part:
    """The layers of these inputs: noted and whole in the cache, or made now."""
    with cache.alone(kind, key):
        note = cache.find_note(kind, key)
        if note is not None:
            try:
                part = Part.read(Fields(note, what=f"cache note {kind}"))
            except DocumentError:
                part = None  # written by another version of the builder
            if part is not None and all(cache.find_blob(layer.diff_id) for layer in part.layers):
                return part
        task = f"{kind} layers {architecture}"
        tell.start(task)
        part = make()
        cache.write_note(kind, key, part.to_value())
        tell.done(task, f"{sum(layer.size for layer in part.layers) / 1e6:.1f} MB")
        return Part(
            layers=part.layers,
            linkages=part.linkages,
            ingredients=part.ingredients,
            dropped=part.dropped,
            is_new=True,
        )


def _base_key(base: BaseResolution) -> Digest:
    return _hash(
        "base",
        _recipe(),
        _interpreter_versions(base),
        str(base.architecture),
        list(base.named),
        list(base.prune),
        [[package.name, package.version, package.source, package.digest] for package in base.packages],
    )


def _wheels_key(resolution: Resolution) -> Digest:
    platform = resolution.platform
    return _hash(
        "site",
        _recipe(),
        _interpreter_versions(resolution.base),
        str(resolution.architecture),
        list(platform.glibc),
        list(platform.python),
        list(resolution.declaration.project.prune),
        [[wheel.name, wheel.version, wheel.file, wheel.digest] for wheel in resolution.wheels],
    )


def _app_key(resolution: Resolution) -> Digest:
    tree = app_tree(resolution.declaration.project)
    files = [[path, file.executable, Digest.of(file.read())] for path, file in tree.files()]
    return _hash("app", _recipe(), _interpreter_versions(resolution.base), list(resolution.platform.python), files)


def _interpreter_versions(base: BaseResolution) -> list[list[str]]:
    """What decides the byte code: the compiler's version, on whatever host it runs."""
    return [[package.source, package.version] for package in base.interpreter if "python" in package.name]


@functools.cache
def _recipe() -> str:
    """The code that decides what layers are made of: another version of it may make others of the same inputs."""
    folder = Path(__file__).parent
    return Digest.of(b"".join((folder / f"{name}.py").read_bytes() for name in _RECIPE))


def _hash(*values: Any) -> Digest:
    return Digest.of(canonical_json(list(values)))
