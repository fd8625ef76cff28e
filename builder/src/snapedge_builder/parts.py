"""A runtime image out of its parts, whichever backend made their trees: byte code, gates, layers, config, record.

Every backend hands over the same trees for the same plan, so every backend gives the same layers, to the byte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snapedge_hooks.document import Fields
from snapedge_hooks.images import EPOCH, RuntimeImage
from snapedge_hooks.vocabulary import Architecture, Digest

from . import gates, rootfs, trees
from .bytecode import Compiler
from .cache import Cache
from .gates import Linkage
from .hosts import Host
from .layers import Layer, write_layer
from .record import BuildRecord, Ingredient
from .resolution import BaseResolution, Resolution
from .rootfs import Base
from .runtimes import AnyRuntime, ImageProject
from .trees import Tree
from .wheels import SITE_PACKAGES, InstalledWheel

APP = "usr/lib/snapedge/app"
OWN_LAYER_BYTES = 5_000_000
"""A wheel of this size or more is a layer of its own, so that a new version of another one leaves its bytes alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltRuntime:
    """A runtime image, its bytes in the cache.

    Attributes:
        image: what runtime.json says.
        layers: the tar of each layer, by its name.
        record: what went in.
        is_new: whether any layer was made, and not found in the cache.
        warnings: what a person should know of it.
    """

    image: RuntimeImage
    layers: Mapping[str, Path]
    record: BuildRecord
    is_new: bool
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What the builds of one run share."""

    host: Host
    compiler: Compiler
    cache: Cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One or more layers that follow from the same inputs."""

    layers: tuple[Layer, ...]
    linkages: tuple[Linkage, ...]
    ingredients: tuple[Ingredient, ...]
    dropped: Mapping[str, str]
    is_new: bool = False

    def to_value(self) -> dict[str, Any]:
        """The part as notes hold it."""
        return {
            "layers": [{"name": item.name, "diff_id": item.diff_id, "size": item.size} for item in self.layers],
            "linkages": [linkage.to_value() for linkage in self.linkages],
            "ingredients": [ingredient.to_value() for ingredient in self.ingredients],
            "dropped": dict(self.dropped),
        }

    @classmethod
    def read(cls, fields: Fields) -> Part:
        """The part of such a note."""
        return cls(
            layers=tuple(
                Layer(name=item.text("name"), diff_id=item.parsed("diff_id", Digest), size=item.integer("size"))
                for item in fields.objects("layers")
            ),
            linkages=tuple(Linkage.read(item) for item in fields.objects("linkages")),
            ingredients=tuple(Ingredient.read(item) for item in fields.objects("ingredients")),
            dropped=fields.raw("dropped", dict, "an object"),
        )


def assemble(
    runtime: AnyRuntime,
    architecture: Architecture,
    parts: Sequence[Part],
    settings: Mapping[str, Any],
    *,
    inputs: Digest,
    cache: Cache,
    warnings: tuple[str, ...] = (),
) -> BuiltRuntime:
    """The image of these parts, whichever backend made them.

    Args:
        runtime: that was declared.
        architecture: of the image.
        parts: in the order of their layers.
        settings: the `config` of the image's config.
        inputs: the key of everything it follows from.
        cache: that holds their layers.
        warnings: what a person should know of it.

    Raises:
        GateError: something needs a library that is in none of them.
    """
    gates.check_linkage(
        (linkage for part in parts for linkage in part.linkages),
        image=f"runtime {runtime.name}",
        architecture=architecture,
    )
    layers = [layer for part in parts for layer in part.layers]
    image = RuntimeImage(
        name=runtime.name,
        version=runtime.version,
        interface=runtime.interface,
        architecture=architecture,
        config=image_config(settings, architecture, layers),
        layers=tuple(layer.image_layer() for layer in layers),
    )
    record = BuildRecord(
        runtime=runtime.name,
        version=runtime.version,
        architecture=architecture,
        inputs=inputs,
        manifest=image.digest,
        ingredients=tuple(ingredient for part in parts for ingredient in part.ingredients),
        dropped={name: reason for part in parts for name, reason in part.dropped.items()},
    )
    return BuiltRuntime(
        image=image,
        layers={layer.name: cache.blob_path(layer.diff_id) for layer in layers},
        record=record,
        is_new=any(part.is_new for part in parts),
        warnings=warnings,
    )


def base_part(resolution: BaseResolution, base: Base, workshop: Workshop, *, scratch: Path) -> Part:
    """The layer of a base, whichever backend made its tree, which gets byte code."""
    name = "10-base"
    workshop.compiler.compile([base.tree], scratch=scratch)
    linkage = gates.check_layer(base.tree, resolution.platform, layer=name)
    layer = write_layer(base.tree, name=name, cache=workshop.cache)
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
    useful = {package.name for package in rootfs.useful(resolution.packages, named=resolution.named)}
    skipped = {package.name for package in resolution.packages} - useful
    dropped = {**dict.fromkeys(sorted(skipped), "only maintainer scripts use it"), **base.dropped}
    return Part(layers=(layer,), linkages=(linkage,), ingredients=tuple(ingredients), dropped=dropped)


def wheels_part(
    resolution: Resolution, installed: Sequence[InstalledWheel], workshop: Workshop, *, scratch: Path
) -> Part:
    """The layers of wheels, whichever backend installed them; their trees get byte code."""
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
        layers.append(write_layer(tree, name=name, cache=workshop.cache))
    return Part(layers=tuple(layers), linkages=tuple(linkages), ingredients=tuple(ingredients), dropped={})


def app_part(resolution: Resolution, tree: Tree, workshop: Workshop, *, scratch: Path) -> Part:
    """The layer of the server's sources, which get byte code."""
    name = "40-app"
    workshop.compiler.compile([tree], scratch=scratch)
    linkage = gates.check_layer(tree, resolution.platform, layer=name)
    layer = write_layer(tree, name=name, cache=workshop.cache)
    return Part(layers=(layer,), linkages=(linkage,), ingredients=(), dropped={})


def app_tree(project: ImageProject) -> Tree:
    """The server's sources, with their place in the image."""
    tree = Tree()
    for source in project.sources:
        found = trees.scan(source, origin=source.name).pruned(["**/__pycache__", "**/*.pyc", "*.egg-info"])
        for path, node in found.entries.items():
            tree.add(f"{APP}/{path}", node)
    return tree


def image_settings(project: ImageProject) -> dict[str, Any]:
    """What a project's image is started with: the `config` of its config."""
    environment = {
        "PATH": "/usr/bin",
        "PYTHONPATH": f"/{APP}:/{SITE_PACKAGES}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SNAPEDGE_MODEL_DIR": "/mnt/models",
        **dict(project.environment),
    }
    return {
        "User": f"{rootfs.USER}:{rootfs.USER}",
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Entrypoint": ["/usr/bin/python3", "-P", "-m", project.module],
        "WorkingDir": "/",
        "ExposedPorts": {"8080/tcp": {}},
    }


def image_config(settings: Mapping[str, Any], architecture: Architecture, layers: Sequence[Layer]) -> dict[str, Any]:
    """The config of an image: nothing in it says when or where it was built."""
    config: dict[str, Any] = {
        "architecture": str(architecture),
        "os": "linux",
        "created": EPOCH,
        "config": dict(settings),
        "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in layers]},
        "history": [{"created": EPOCH, "created_by": f"snapedge {layer.name}"} for layer in layers],
    }
    return config | ({"variant": architecture.oci_variant} if architecture.oci_variant else {})


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
