"""The buildx backend for images that a plan describes: BuildKit makes the trees, everything after is as composed.

The Dockerfile and all it needs are written into one folder, which any builder can build by itself. Each layer tree that
comes back is held against the same gates and written by the same writer, so the image is the composed one, to the byte.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from snapedge_hooks.vocabulary import Architecture

from . import buildtools, compose, dockerfiles, foreignimages, hosts, resolution, rootfs, wheelfiles, wheels
from .buildx import Buildx, Order
from .cache import Cache
from .dockerfiles import ImageSteps
from .foreignimages import LayoutError
from .hosts import Host
from .parts import APP, BuiltRuntime, Workshop, app_part, app_tree, assemble, base_part, image_settings, wheels_part
from .progress import Progress, Silence
from .resolution import Resolution
from .rootfs import Base
from .runtimes import RuntimeDeclaration
from .trees import File, Tree
from .wheels import InstalledWheel, Wheel


def build_runtime(
    declaration: RuntimeDeclaration,
    architecture: Architecture,
    *,
    cache: Cache,
    buildx: Buildx,
    host: Host | None = None,
    refresh: bool = False,
    progress: Progress | None = None,
) -> BuiltRuntime:
    """The image that the declaration stands for on one architecture, built by BuildKit.

    Raises:
        BuilderError: something cannot be fetched or built, breaks a gate, or cannot be written.
    """
    building = host or hosts.read_host()
    native = buildx.native()
    found = resolution.resolve_all(
        declaration, [architecture], cache=cache, host=building, refresh=refresh, progress=progress
    )
    tools = buildtools.layer(declaration.suite, native, (), building, cache=cache)
    with cache.scratch() as scratch:
        compiler = compose.compiler_for(found[architecture].base, building, scratch=scratch, cache=cache)
        workshop = Workshop(host=building, compiler=compiler, cache=cache)
        return _build(
            found[architecture],
            workshop,
            buildx,
            cache.blob_path(tools.diff_id),
            scratch=scratch,
            tell=progress or Silence(),
        )


def _build(
    plan: Resolution, workshop: Workshop, buildx: Buildx, tools: Path, *, scratch: Path, tell: Progress
) -> BuiltRuntime:
    project, cache = plan.declaration.project, workshop.cache
    base = compose.read_base(plan.base, workshop, scratch=_folder(scratch, "debs"))
    wheelfiles.fetch(plan.wheels, cache)
    steps = image_steps(plan)
    context = _folder(scratch, "context")
    with cache.guard():
        write_context(context, steps, base=base, wheels=plan.wheels, app=app_tree(project), tools=tools, cache=cache)
    task = f"buildx {plan.architecture}"
    tell.start(task)
    order = Order(architecture=plan.architecture, dockerfile=context / "Dockerfile", context=context)
    buildx.build(order, scratch / "layout", progress=tell, task=task)
    image = foreignimages.read_layout(scratch / "layout")
    trees = dict(zip(steps.trees, _trees(image, steps), strict=True))
    tell.done(task, f"{len(trees)} layers of BuildKit's")
    return assemble(
        plan.declaration,
        plan.architecture,
        [
            base_part(plan.base, replace(base, tree=trees["base"]), workshop, scratch=_folder(scratch, "base")),
            wheels_part(
                plan,
                [_installed(wheel, trees[wheel.name]) for wheel in plan.wheels],
                workshop,
                scratch=_folder(scratch, "wheels"),
            ),
            app_part(plan, trees["app"], workshop, scratch=_folder(scratch, "app")),
        ],
        image.settings,
        inputs=compose.runtime_key(plan),
        cache=cache,
    )


def image_steps(plan: Resolution) -> ImageSteps:
    """What the Dockerfile of a plan is to do."""
    declaration = plan.declaration
    return ImageSteps(
        title=f"Runtime {declaration.name} {declaration.version} for {plan.architecture.oci_platform}",
        base_prune=declaration.prune,
        wheels=tuple(wheel.name for wheel in plan.wheels),
        wheels_prune=declaration.project.prune,
        app=APP,
        settings=image_settings(declaration.project),
    )


def write_context(
    folder: Path, steps: ImageSteps, *, base: Base, wheels: Iterable[Wheel], app: Tree, tools: Path, cache: Cache
) -> None:
    """Write the Dockerfile and all it needs into a folder; large files are links into the cache where that can be.

    Args:
        folder: empty.
        steps: what the Dockerfile is to do.
        base: whose packages are unpacked.
        wheels: whose files are in the cache.
        app: the server's sources, with their place in the image.
        tools: the tar of what the steps are run with.
        cache: that holds packages and wheels.

    Raises:
        OSError: it cannot be written.
    """
    (folder / "Dockerfile").write_text(dockerfiles.write(steps), encoding="utf-8")
    _place(tools, folder / dockerfiles.TOOLS_TAR)
    for deb in base.kept:
        _place(cache.blob_path(deb.package.digest), folder / dockerfiles.DEBS / f"{deb.package.name}.deb")
    for wheel in wheels:
        _place(cache.blob_path(wheel.digest), folder / dockerfiles.WHEELS / wheel.name / wheel.file)
    for path, text in {**rootfs.FILES, **rootfs.status_files(deb.package for deb in base.kept)}.items():
        _write(folder / dockerfiles.FILES / path, text.encode())
    for path, file in app.files():
        place = folder / dockerfiles.SOURCES / path.removeprefix(f"{APP}/")
        _write(place, file.read())
        place.chmod(0o755 if file.executable else 0o644)


def _trees(image: foreignimages.ForeignImage, steps: ImageSteps) -> list[Tree]:
    trees = [tree for tree in foreignimages.read_trees(image, origin="BuildKit") if tree.entries]
    if len(trees) != len(steps.trees):
        raise LayoutError(f"it has {len(trees)} layers where the Dockerfile makes {len(steps.trees)}")
    return trees


def _installed(wheel: Wheel, tree: Tree) -> InstalledWheel:
    metadata = next((file.read() for path, file in tree.files() if path.endswith(".dist-info/METADATA")), b"")
    files = Tree({path: node for path, node in tree.entries.items() if isinstance(node, File)})
    return InstalledWheel(
        wheel=wheel, tree=files, licences=wheels.licences_in(metadata.decode("utf-8", errors="replace"))
    )


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder


def _place(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
