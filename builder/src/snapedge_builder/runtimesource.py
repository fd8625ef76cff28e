"""Built runtimes, remembered: what a runtime's own files gave is found again without asking a mirror or an index.

A runtime follows from its declaration, its lock, its server's sources, the builder's code, and what mirrors offered on
the day it was resolved, or what its runtime.lock pins. All but what mirrors offered make the key; that is asked again
only with `refresh`, or when the cache has lost a layer. So building twice gives the same bytes, and building again
without a change takes no network.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snapedge_hooks.document import DocumentError, Fields, canonical_json
from snapedge_hooks.images import RuntimeImage
from snapedge_hooks.vocabulary import Architecture, Digest

from . import contextfiles, runtimes
from .buildsettings import Backend
from .cache import Cache
from .contents import BuiltLayers
from .progress import Progress
from .runtimes import AnyRuntime, DockerfileRuntime, RuntimeDeclaration
from .sbom import Component

if TYPE_CHECKING:
    from .hosts import Host
    from .parts import BuiltRuntime

_KIND = "built-runtime"


class ComposedRuntimes:
    """Runtimes made by the backend that their declaration names."""

    def __init__(self, cache: Cache, *, refresh: bool = False, host: Host | None = None) -> None:
        self._cache = cache
        self._refresh = refresh
        self._host = host  # None for the one this runs on

    def recall(self, declaration: AnyRuntime, architecture: Architecture) -> BuiltLayers | None:
        """The runtime that these files gave before; its layers are not looked at.

        Raises:
            RuntimeLockError: there is a runtime.lock, and it does not fit, or is to be refreshed over.
        """
        if isinstance(declaration, RuntimeDeclaration) and (declaration.folder / runtimes.PINS_NAME).is_file():
            self._check_pins(declaration)
        if self._refresh:
            return None
        note = self._cache.find_note(_KIND, _key(declaration, architecture))
        if note is None:
            return None
        try:
            fields = Fields(note, what="note of a runtime")
            image = RuntimeImage.parse(fields.text("runtime").encode())
            components = tuple(_component(item) for item in fields.objects("components"))
            warnings = tuple(fields.list("warnings", default=[]))
        except DocumentError:
            return None  # written by another version of the builder
        files = {layer.name: self._cache.blob_path(layer.diff_id) for layer in image.layers}
        return BuiltLayers(image=image, files=files, components=components, warnings=warnings)

    def is_whole(self, runtime: BuiltLayers) -> bool:
        """Whether the cache holds all its layers; what is broken of them leaves it."""
        found = [self._cache.find_blob(layer.diff_id) for layer in runtime.image.layers]
        return None not in found

    def build(self, declaration: AnyRuntime, architecture: Architecture, progress: Progress) -> BuiltLayers:
        """The runtime, built where the cache does not hold it.

        Raises:
            BuilderError: a package or wheel cannot be had, a gate is broken, or the cache cannot be written.
        """
        built = self._built(declaration, architecture, progress)
        components = tuple(
            Component(
                kind="library",
                name=ingredient.name,
                version=ingredient.version,
                purl=ingredient.purl.to_string(),
                licence=" AND ".join(ingredient.licences),
                digest=ingredient.digest,
            )
            for ingredient in built.record.ingredients
        )
        self._cache.write_note(
            _KIND,
            _key(declaration, architecture),
            {
                "runtime": built.image.to_json().decode(),
                "components": [
                    {
                        "kind": component.kind,
                        "name": component.name,
                        "version": component.version,
                        "purl": component.purl,
                        "licence": component.licence,
                        "digest": component.digest,
                    }
                    for component in components
                ],
                "warnings": list(built.warnings),
            },
        )
        return BuiltLayers(image=built.image, files=dict(built.layers), components=components, warnings=built.warnings)

    def _check_pins(self, declaration: RuntimeDeclaration) -> None:
        from . import runtimelock

        runtimelock.find(declaration)
        if self._refresh:
            raise runtimelock.PinnedError(declaration)

    def _built(self, declaration: AnyRuntime, architecture: Architecture, progress: Progress) -> BuiltRuntime:
        # Imported here: they bring apt, ELF and bill-of-materials readers that a build with nothing to do need not pay.
        if isinstance(declaration, DockerfileRuntime):
            from . import ownimages
            from .buildx import Buildx

            return ownimages.build_runtime(
                declaration,
                architecture,
                cache=self._cache,
                buildx=Buildx.of_environment(),
                refresh=self._refresh,
                progress=progress,
            )
        if declaration.build.backend is Backend.BUILDX:
            from . import generatedimages
            from .buildx import Buildx

            return generatedimages.build_runtime(
                declaration,
                architecture,
                cache=self._cache,
                buildx=Buildx.of_environment(),
                host=self._host,
                refresh=self._refresh,
                progress=progress,
            )
        from . import compose

        return compose.build_runtime(
            declaration,
            architecture,
            cache=self._cache,
            host=self._host,
            refresh=self._refresh,
            progress=progress,
        )


def _component(fields: Fields) -> Component:
    digest = fields.optional_text("digest")
    return Component(
        kind=fields.text("kind"),
        name=fields.text("name"),
        version=fields.text("version"),
        purl=fields.text("purl"),
        licence=fields.text("licence"),
        digest=None if digest is None else Digest(digest),
    )


def _key(declaration: AnyRuntime, architecture: Architecture) -> Digest:
    if isinstance(declaration, DockerfileRuntime):
        own = contextfiles.fingerprint(declaration)
        return Digest.of(canonical_json([str(architecture), own, *_code()]))
    inputs = [
        declaration.folder / runtimes.FILE_NAME,
        declaration.project.folder / "pyproject.toml",
        declaration.project.lock,
        *(path for path in [declaration.folder / runtimes.PINS_NAME] if path.is_file()),
        *(path for source in declaration.project.sources for path in _sources(source)),
    ]
    backend = str(declaration.build.backend)
    return Digest.of(canonical_json([str(architecture), backend, *(_file(path) for path in inputs), *_code()]))


@functools.cache
def _code() -> tuple[list[Any], ...]:
    """The builder's own code, which is what it was when this process began."""
    return tuple(_file(path) for path in sorted(Path(__file__).parent.glob("*.py")))


def _file(path: Path) -> list[Any]:
    return [path.name, bool(path.stat().st_mode & 0o111), Digest.of_file(path)]


def _sources(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            yield path
