"""Images of one's own: a Dockerfile built by `docker buildx`, and written again by our tar writer.

What a Dockerfile makes is its author's; what it leaves behind of the build is not kept. Each layer becomes one of ours,
so the image is the same wherever and whenever its steps gave the same files. Two contexts are offered to a Dockerfile
that has no registry to build on:

    snapedge-base    the packages of `base`, for the image's architecture: the layer that our own images begin with
    snapedge-tools   the packages of `base.tools`, for the builder's, to build with

    SecretMissingError   a secret is not where the file says
    NothingToRunError    the image starts no program, or one that is not in it
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snapedge_hooks.document import canonical_json
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.images import RuntimeImage
from snapedge_hooks.vocabulary import Architecture, Digest, SnapVersion

from . import buildtools, compose, emulation, foreignimages, foundpackages, gates, hosts, layout, resolution
from .buildsettings import SecretFile, SecretVariable
from .buildx import Buildx, Order
from .cache import Cache
from .errors import BuilderError
from .foreignimages import ForeignImage
from .hosts import Host
from .layers import Layer, write_layer
from .parts import BuiltRuntime, Part, Workshop, assemble, image_config
from .progress import Progress, Silence
from .runtimes import BaseDeclaration, DockerfileRuntime
from .trees import File, Tree

BASE = "snapedge-base"
TOOLS = "snapedge-tools"
_MAX_TOLD = 5
_PLAIN = {"Env": ["PATH=/usr/bin", "LC_ALL=C.UTF-8"], "WorkingDir": "/"}


class SecretMissingError(BuilderError):
    """A secret of a Dockerfile is not where it was said to be."""

    exit_code = ExitCode.USAGE

    def __init__(self, name: str, place: str) -> None:
        super().__init__(f"build.secrets.{name}: there is no {place}", resolution="provide it, or take the secret out")


class NothingToRunError(BuilderError):
    """An image cannot be started by itself."""

    exit_code = ExitCode.REFUSED

    def __init__(self, file: str, problem: str) -> None:
        super().__init__(f"{file} gives an image that {problem}", resolution="correct its ENTRYPOINT or CMD")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pantry:
    """What contexts are made with, and where."""

    cache: Cache
    host: Host | None
    scratch: Path
    refresh: bool
    tell: Progress


def build_runtime(
    declared: DockerfileRuntime,
    architecture: Architecture,
    *,
    cache: Cache,
    buildx: Buildx,
    host: Host | None = None,
    refresh: bool = False,
    progress: Progress | None = None,
    binfmt: Path = emulation.BINFMT,
) -> BuiltRuntime:
    """The image of a runtime's Dockerfile for one architecture.

    Raises:
        BuilderError: it cannot be built, or its image is none that a device could run.
    """
    tell = progress or Silence()
    settings = declared.dockerfile
    secrets = {name: _secret(name, secret) for name, secret in settings.secrets.items()}
    task = f"buildx {architecture}"
    with cache.scratch() as scratch:
        pantry = _Pantry(cache=cache, host=host, scratch=scratch, refresh=refresh, tell=tell)
        contexts = dict(settings.contexts)
        if declared.base is not None:
            contexts[BASE] = _base_context(declared.base, architecture, pantry)
        if declared.base is not None and declared.tools:
            contexts[TOOLS] = _tools_context(declared.base.suite, declared.tools, buildx.native(), pantry)
        tell.start(task)
        order = Order(
            architecture=architecture,
            dockerfile=settings.file,
            context=settings.context,
            target=settings.target,
            arguments=settings.arguments,
            secrets=secrets,
            contexts=contexts,
            pull=refresh,
        )
        buildx.build(order, scratch / "layout", progress=tell, task=task)
        image = foreignimages.read_layout(scratch / "layout")
        layers = _named(foreignimages.read_trees(image, origin=settings.file.name))
        _check_start(image, layers, settings.file.name)
        told = gates.check_own(layers, architecture)
        part = Part(
            layers=tuple(write_layer(tree, name=name, cache=cache) for name, tree in layers.items()),
            linkages=(),
            ingredients=foundpackages.find(layers, architecture=str(architecture)),
            dropped={},
        )
        tell.done(task, f"{sum(layer.size for layer in part.layers) / 1e6:.1f} MB")
        warnings = (*_shortened(told), *_emulated(layers, architecture, binfmt))
    return assemble(
        declared,
        architecture,
        [part],
        _settings(image),
        inputs=_inputs(declared, architecture),
        cache=cache,
        warnings=warnings,
    )


def _named(trees: Iterable[Tree]) -> dict[str, Tree]:
    """Layers by name; one that adds nothing is none."""
    found = [tree for tree in trees if tree.entries]
    return {f"{number:02d}-dockerfile": tree for number, tree in enumerate(found, start=1)}


def _check_start(image: ForeignImage, layers: Mapping[str, Tree], file: str) -> None:
    words = image.settings.get("Entrypoint") or image.settings.get("Cmd")
    if not words:
        raise NothingToRunError(file, "starts nothing")
    whole = Tree({path: node for tree in layers.values() for path, node in tree.entries.items()})
    program = str(words[0])
    pairs = [str(pair).partition("=") for pair in image.settings.get("Env", ())]
    search = next((value for name, _, value in pairs if name == "PATH"), "")
    if program.startswith("/"):
        places = [program]
    elif "/" in program:
        places = [f"{image.settings.get('WorkingDir', '/')}/{program}"]
    else:
        places = [f"{folder}/{program}" for folder in search.split(":")]
    found = next((node for node in map(whole.find, places) if isinstance(node, File) and node.executable), None)
    if found is None:
        raise NothingToRunError(file, f"starts {program}, which is not a program in it")
    interpreter = gates.interpreter_of(found)
    if interpreter is not None and not isinstance(whole.find(interpreter), File):
        raise NothingToRunError(file, f"starts {program}, a script of {interpreter}, which is not in it")


def _settings(image: ForeignImage) -> dict[str, Any]:
    return {"WorkingDir": "/", **image.settings}


def _secret(name: str, secret: SecretFile | SecretVariable) -> str:
    if isinstance(secret, SecretVariable):
        if secret.name not in os.environ:
            raise SecretMissingError(name, f"variable {secret.name} in the environment")
        return f"env={secret.name}"
    if not secret.path.is_file():
        raise SecretMissingError(name, f"file {secret.path}")
    return f"src={secret.path.absolute()}"


def _inputs(declared: DockerfileRuntime, architecture: Architecture) -> Digest:
    """What is known before the build of what an image follows from; the rest is the Dockerfile's own affair."""
    settings = declared.dockerfile
    return Digest.of(
        canonical_json(
            [
                str(architecture),
                Digest.of_file(settings.file),
                settings.target,
                dict(settings.arguments),
                sorted(settings.secrets),
                sorted(settings.contexts),
            ]
        )
    )


def _shortened(told: tuple[str, ...]) -> tuple[str, ...]:
    more = len(told) - _MAX_TOLD
    return (*told[:_MAX_TOLD], f"and {more} more like these") if more > 1 else told


def _emulated(layers: Mapping[str, Tree], architecture: Architecture, binfmt: Path) -> tuple[str, ...]:
    """A warning where this machine's emulator is known to crash on what is in the image."""
    if architecture is hosts.architecture() or not any(
        path.endswith("/onnxruntime/__init__.py") for tree in layers.values() for path in tree.entries
    ):
        return ()
    found = emulation.registered(architecture, folder=binfmt)
    if found is None or found.version >= emulation.GOOD:
        return ()
    return (
        f"{found} is registered here for {architecture}, and onnxruntime is in the image: below {emulation.GOOD[0]} it "
        "crashes when Python imports that. A step that does will fail; install QEMU 10 or newer",
    )


def _base_context(base: BaseDeclaration, architecture: Architecture, pantry: _Pantry) -> str:
    host = pantry.host or hosts.read_host()
    plan = resolution.resolve_base(
        base, architecture, host, cache=pantry.cache, refresh=pantry.refresh, progress=pantry.tell
    )
    compiler = compose.compiler_for(plan, host, scratch=pantry.scratch, cache=pantry.cache)
    part = compose.build_base(plan, Workshop(host=host, compiler=compiler, cache=pantry.cache), progress=pantry.tell)
    return _layout(BASE, part.layers, architecture, pantry)


def _tools_context(suite: str, tools: tuple[str, ...], native: Architecture, pantry: _Pantry) -> str:
    host = pantry.host or hosts.read_host()
    layer = buildtools.layer(suite, native, tools, host, cache=pantry.cache, refresh=pantry.refresh)
    return _layout(TOOLS, (layer,), native, pantry)


def _layout(name: str, layers: tuple[Layer, ...], architecture: Architecture, pantry: _Pantry) -> str:
    """The context of an image of these layers, as an OCI layout that `buildx` reads."""
    image = RuntimeImage(
        name=name,
        version=SnapVersion("1"),
        interface=1,
        architecture=architecture,
        config=image_config(_PLAIN, architecture, layers),
        layers=tuple(layer.image_layer() for layer in layers),
    )
    folder = pantry.scratch / name
    layout.write(image, {layer.name: pantry.cache.blob_path(layer.diff_id) for layer in layers}, folder)
    return f"oci-layout://{folder}@{image.digest}"
