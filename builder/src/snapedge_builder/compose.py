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
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snapedge_hooks.document import DocumentError, Fields, canonical_json
from snapedge_hooks.images import EPOCH, RuntimeImage
from snapedge_hooks.vocabulary import Architecture, Digest

from . import debs, gates, hosts, rootfs, trees, wheels
from .apt import Apt
from .bytecode import Compiler
from .cache import Cache
from .gates import Linkage
from .hosts import Host
from .layers import Layer, write_layer
from .progress import Progress, Silence
from .record import BuildRecord, Ingredient
from .resolution import Resolution, resolve_all
from .runtimes import ImageProject, RuntimeDeclaration
from .trees import Tree
from .wheels import SITE_PACKAGES, InstalledWheel

APP = "usr/lib/snapedge/app"
OWN_LAYER_BYTES = 5_000_000
"""A wheel of this size or more is a layer of its own, so that a new version of another one leaves its bytes alone."""
_RECIPE = ("apt", "bytecode", "compose", "debs", "elf", "gates", "layers", "patterns", "rootfs", "trees", "wheels")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltRuntime:
    """A runtime image, its bytes in the cache.

    Attributes:
        image: what runtime.json says.
        layers: the tar of each layer, by its name.
        record: what went in.
        is_new: whether any layer was made, and not found in the cache.
    """

    image: RuntimeImage
    layers: Mapping[str, Path]
    record: BuildRecord
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What the builds of one run share."""

    host: Host
    compiler: Compiler
    cache: Cache


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One or more layers that follow from the same inputs."""

    layers: tuple[Layer, ...]
    linkages: tuple[Linkage, ...]
    ingredients: tuple[Ingredient, ...]
    dropped: Mapping[str, str]
    is_new: bool = False

    def to_value(self) -> dict[str, Any]:
        return {
            "layers": [{"name": item.name, "diff_id": item.diff_id, "size": item.size} for item in self.layers],
            "linkages": [linkage.to_value() for linkage in self.linkages],
            "ingredients": [ingredient.to_value() for ingredient in self.ingredients],
            "dropped": dict(self.dropped),
        }

    @classmethod
    def read(cls, fields: Fields) -> _Part:
        return cls(
            layers=tuple(
                Layer(name=item.text("name"), diff_id=item.parsed("diff_id", Digest), size=item.integer("size"))
                for item in fields.objects("layers")
            ),
            linkages=tuple(Linkage.read(item) for item in fields.objects("linkages")),
            ingredients=tuple(Ingredient.read(item) for item in fields.objects("ingredients")),
            dropped=fields.raw("dropped", dict, "an object"),
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
        _base_key(resolution),
        _wheels_key(resolution),
        _app_key(resolution),
    )


def build(resolution: Resolution, workshop: Workshop, *, progress: Progress | None = None) -> BuiltRuntime:
    """The image that was resolved. Layers whose inputs did not change come from the cache.

    Raises:
        BuilderError: something cannot be fetched, breaks a gate, or cannot be written; nothing half-made is left.
    """
    tell, cache = progress or Silence(), workshop.cache
    declaration, architecture = resolution.declaration, resolution.architecture
    parts = [
        _part(cache, kind, key, tell, architecture, functools.partial(make, resolution, workshop))
        for kind, key, make in (
            ("base", _base_key(resolution), _build_base),
            ("site", _wheels_key(resolution), _build_wheels),
            ("app", _app_key(resolution), _build_app),
        )
    ]
    gates.check_linkage(
        (linkage for part in parts for linkage in part.linkages),
        image=f"runtime {declaration.name}",
        architecture=architecture,
    )
    layers = [layer for part in parts for layer in part.layers]
    image = RuntimeImage(
        name=declaration.name,
        version=declaration.version,
        interface=declaration.interface,
        architecture=architecture,
        config=_config(declaration.project, architecture, layers),
        layers=tuple(layer.image_layer() for layer in layers),
    )
    record = BuildRecord(
        runtime=declaration.name,
        version=declaration.version,
        architecture=architecture,
        inputs=runtime_key(resolution),
        manifest=image.digest,
        ingredients=tuple(ingredient for part in parts for ingredient in part.ingredients),
        dropped={name: reason for part in parts for name, reason in part.dropped.items()},
    )
    return BuiltRuntime(
        image=image,
        layers={layer.name: cache.blob_path(layer.diff_id) for layer in layers},
        record=record,
        is_new=any(part.is_new for part in parts),
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
        compiler = _compiler(declaration, resolutions, building, scratch=scratch, cache=cache)
        workshop = Workshop(host=building, compiler=compiler, cache=cache)

        def build_one(resolution: Resolution) -> BuiltRuntime:
            return build(resolution, workshop, progress=progress)

        return dict(zip(resolutions, pool.map(build_one, resolutions.values()), strict=True))


def _compiler(
    declaration: RuntimeDeclaration,
    resolutions: Mapping[Architecture, Resolution],
    host: Host,
    *,
    scratch: Path,
    cache: Cache,
) -> Compiler:
    """The compiler for all of them: one suite, so one Python."""
    door = Apt(host.apt, suite=declaration.suite, architecture=host.architecture, cache=cache)
    any_one = next(iter(resolutions.values()))
    return Compiler(any_one.interpreter, any_one.platform.python, fetch=door.fetch, scratch=scratch, cache=cache)


def _build_base(resolution: Resolution, workshop: Workshop) -> _Part:
    cache = workshop.cache
    declaration = resolution.declaration
    door = Apt(workshop.host.apt, suite=declaration.suite, architecture=resolution.architecture, cache=cache)
    useful = rootfs.useful(resolution.packages, named=declaration.packages)
    door.fetch(useful)
    with cache.scratch() as scratch:
        unpacked = [
            debs.unpack(package, cache.blob_path(package.digest), scratch=scratch, cache=cache) for package in useful
        ]
        base = rootfs.assemble(unpacked, named=declaration.packages, prune=declaration.prune)
        workshop.compiler.compile([base.tree], scratch=scratch)
        name = "10-base"
        linkage = gates.check_layer(base.tree, resolution.platform, layer=name)
        layer = write_layer(base.tree, name=name, cache=cache)
    ingredients = [
        Ingredient(
            kind="deb",
            name=deb.package.name,
            version=deb.package.version,
            architecture=deb.package.architecture,
            source=deb.package.source,
            digest=deb.package.digest,
            licences=deb.licences,
            layer=name,
        )
        for deb in base.kept
    ]
    skipped = {package.name for package in resolution.packages} - {package.name for package in useful}
    dropped = {**dict.fromkeys(sorted(skipped), "only maintainer scripts use it"), **base.dropped}
    return _Part(layers=(layer,), linkages=(linkage,), ingredients=tuple(ingredients), dropped=dropped)


def _build_wheels(resolution: Resolution, workshop: Workshop) -> _Part:
    cache = workshop.cache
    project = resolution.declaration.project
    with cache.scratch() as scratch:
        installed = wheels.install(
            resolution.wheels,
            resolution.platform,
            prune=project.prune,
            environment=workshop.host.environment,
            scratch=scratch,
            cache=cache,
        )
        workshop.compiler.compile([item.tree for item in installed], scratch=scratch)
        layers: list[Layer] = []
        linkages: list[Linkage] = []
        ingredients: list[Ingredient] = []
        for name, members in _grouped(installed):
            tree = Tree()
            for member in members:
                for path, node in member.tree.entries.items():
                    tree.add(path, node)
                ingredients.append(_wheel_ingredient(member, resolution.architecture, name))
            linkages.append(gates.check_layer(tree, resolution.platform, layer=name))
            layers.append(write_layer(tree, name=name, cache=cache))
    return _Part(layers=tuple(layers), linkages=tuple(linkages), ingredients=tuple(ingredients), dropped={})


def _grouped(installed: Sequence[InstalledWheel]) -> list[tuple[str, list[InstalledWheel]]]:
    """Layer names, each with its wheels: large wheels by themselves, then the small ones together."""
    large = [item for item in installed if item.tree.size >= OWN_LAYER_BYTES]
    small = [item for item in installed if item.tree.size < OWN_LAYER_BYTES]
    groups = [(f"20-{item.wheel.name}", [item]) for item in large]
    return [*groups, ("30-wheels", small)] if small else groups


def _wheel_ingredient(item: InstalledWheel, architecture: Architecture, layer: str) -> Ingredient:
    return Ingredient(
        kind="wheel",
        name=item.wheel.name,
        version=item.wheel.version,
        architecture=str(architecture),
        source=item.wheel.file,
        digest=item.wheel.digest,
        licences=item.licences,
        layer=layer,
    )


def _build_app(resolution: Resolution, workshop: Workshop) -> _Part:
    cache = workshop.cache
    name = "40-app"
    tree = _app_tree(resolution.declaration.project)
    with cache.scratch() as scratch:
        workshop.compiler.compile([tree], scratch=scratch)
        linkage = gates.check_layer(tree, resolution.platform, layer=name)
        layer = write_layer(tree, name=name, cache=cache)
    return _Part(layers=(layer,), linkages=(linkage,), ingredients=(), dropped={})


def _app_tree(project: ImageProject) -> Tree:
    tree = Tree()
    for source in project.sources:
        found = trees.scan(source, origin=source.name).pruned(["**/__pycache__", "**/*.pyc", "*.egg-info"])
        for path, node in found.entries.items():
            tree.add(f"{APP}/{path}", node)
    return tree


def _part(
    cache: Cache, kind: str, key: Digest, tell: Progress, architecture: Architecture, make: Callable[[], _Part]
) -> _Part:
    """The layers of these inputs: noted and whole in the cache, or made now."""
    with cache.alone(kind, key):
        note = cache.find_note(kind, key)
        if note is not None:
            try:
                part = _Part.read(Fields(note, what=f"cache note {kind}"))
            except DocumentError:
                part = None  # written by another version of the builder
            if part is not None and all(cache.find_blob(layer.diff_id) for layer in part.layers):
                return part
        task = f"{kind} layers {architecture}"
        tell.start(task)
        part = make()
        cache.write_note(kind, key, part.to_value())
        tell.done(task, f"{sum(layer.size for layer in part.layers) / 1e6:.1f} MB")
        return _Part(
            layers=part.layers,
            linkages=part.linkages,
            ingredients=part.ingredients,
            dropped=part.dropped,
            is_new=True,
        )


def _config(project: ImageProject, architecture: Architecture, layers: Sequence[Layer]) -> dict[str, Any]:
    environment = {
        "PATH": "/usr/bin",
        "PYTHONPATH": f"/{APP}:/{SITE_PACKAGES}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SNAPEDGE_MODEL_DIR": "/mnt/models",
        **dict(project.environment),
    }
    config: dict[str, Any] = {
        "architecture": str(architecture),
        "os": "linux",
        "created": EPOCH,
        "config": {
            "User": f"{rootfs.USER}:{rootfs.USER}",
            "Env": [f"{name}={value}" for name, value in environment.items()],
            "Entrypoint": ["/usr/bin/python3", "-P", "-m", project.module],
            "WorkingDir": "/",
            "ExposedPorts": {"8080/tcp": {}},
        },
        "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in layers]},
        "history": [{"created": EPOCH, "created_by": f"snapedge {layer.name}"} for layer in layers],
    }
    return config | ({"variant": architecture.oci_variant} if architecture.oci_variant else {})


def _base_key(resolution: Resolution) -> Digest:
    declaration = resolution.declaration
    return _hash(
        "base",
        _recipe(),
        _interpreter_versions(resolution),
        str(resolution.architecture),
        list(declaration.packages),
        list(declaration.prune),
        [[package.name, package.version, package.source, package.digest] for package in resolution.packages],
    )


def _wheels_key(resolution: Resolution) -> Digest:
    platform = resolution.platform
    return _hash(
        "site",
        _recipe(),
        _interpreter_versions(resolution),
        str(resolution.architecture),
        list(platform.glibc),
        list(platform.python),
        list(resolution.declaration.project.prune),
        [[wheel.name, wheel.version, wheel.file, wheel.digest] for wheel in resolution.wheels],
    )


def _app_key(resolution: Resolution) -> Digest:
    tree = _app_tree(resolution.declaration.project)
    files = [[path, file.executable, Digest.of(file.read())] for path, file in tree.files()]
    return _hash("app", _recipe(), _interpreter_versions(resolution), list(resolution.platform.python), files)


def _interpreter_versions(resolution: Resolution) -> list[list[str]]:
    """What decides the byte code: the compiler's version, on whatever host it runs."""
    return [[package.source, package.version] for package in resolution.interpreter if "python" in package.name]


@functools.cache
def _recipe() -> str:
    """The code that decides what layers are made of: another version of it may make others of the same inputs."""
    folder = Path(__file__).parent
    return Digest.of(b"".join((folder / f"{name}.py").read_bytes() for name in _RECIPE))


def _hash(*values: Any) -> Digest:
    return Digest.of(canonical_json(list(values)))
