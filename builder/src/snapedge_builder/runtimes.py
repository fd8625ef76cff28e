"""runtime.yaml and what the image project beside it says: what a runtime is built from.

    name: onnx
    version: 1.0.0
    interface: 1
    image: ../../kserve-images/onnx
    base:
      suite: bookworm
      packages: [python3-minimal, ...]     # and what they depend on, as the mirrors have it
      prune: [usr/lib/python3*/lib2to3]    # globs of what does not run; optional
      differences: {libfoo1: why}          # packages whose versions may differ between architectures; optional
    extras: [grpc]                       # of the image project: further wheels for what is not in every one; optional
    architectures: [amd64, arm64]
    build: {backend: auto}               # or compose, or buildx; optional

or, for an image of one's own (see `buildsettings`):

    name: mine
    version: 1.0.0
    formats: [onnx]
    base: {suite: bookworm, packages: [python3-minimal], tools: [python3-pip]}   # optional: contexts for the Dockerfile
    build: {dockerfile: Dockerfile}

No version of a package is written here: which ones a build takes is the resolution's to say, or that of the file
runtime.lock beside it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from snapedge_hooks.vocabulary import Architecture, ModelFormat, SnapVersion

from . import buildsettings
from .buildsettings import BuildSettings, DockerfileSettings
from .patterns import matcher
from .yamldocument import DeclarationError, Section, read_yaml

FILE_NAME = "runtime.yaml"
LOCK_NAME = "requirements.lock"
PINS_NAME = "runtime.lock"
GRPC = "grpc"
"""The extra with which a server speaks gRPC where it is asked to."""
_NAME = re.compile(r"[a-z](-?[a-z0-9])*")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_SUITE = re.compile(r"[a-z][a-z0-9.-]*")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_INTERFACE = 10_000
_PROJECT_KEYS = frozenset({"module", "sources", "formats", "prune", "environment", "extras"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageProject:
    """What the server's own project says of its image, in `[tool.snapedge.image]`.

    Attributes:
        folder: of the project; `sources` are below or beside it.
        module: that `python -m` starts.
        sources: folders whose contents become `/usr/lib/snapedge/app`.
        formats: of models it serves.
        prune: globs below site-packages that do not run.
        environment: variables the server needs.
        lock: the wheels, pinned by hash.
    """

    folder: Path
    module: str
    sources: tuple[Path, ...]
    formats: tuple[ModelFormat, ...]
    prune: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    lock: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseDeclaration:
    """Debian packages that a root file system is made of.

    Attributes:
        suite: the Debian suite.
        packages: asked for by name.
        prune: globs of files that do not run.
    """

    suite: str
    packages: tuple[str, ...]
    prune: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeDeclaration:
    """One runtime.yaml, checked, with its image project.

    Attributes:
        folder: where it lies.
        name: of the runtime, such as `onnx`.
        version: of the runtime.
        interface: that models on it rely on.
        project: the server.
        suite: the Debian suite of the base.
        packages: asked for by name.
        prune: globs of files of the base that do not run.
        differences: why packages may have another version on one architecture than on another, by name.
        architectures: to build for.
        build: how.
        extras: of the server's project that are built in.
    """

    folder: Path
    name: str
    version: SnapVersion
    interface: int
    project: ImageProject
    suite: str
    packages: tuple[str, ...]
    prune: tuple[str, ...]
    architectures: tuple[Architecture, ...]
    build: BuildSettings
    extras: tuple[str, ...] = ()
    differences: Mapping[str, str] = field(default_factory=dict)

    @property
    def formats(self) -> tuple[ModelFormat, ...]:
        """Of models it serves."""
        return self.project.formats


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerfileRuntime:
    """A runtime whose image is built from a Dockerfile of its author's own.

    Attributes:
        folder: where it is declared.
        name: of the runtime.
        version: of the runtime.
        interface: that models on it rely on.
        formats: of models it serves.
        architectures: to build for.
        build: how.
        dockerfile: of what; the settings' own.
        base: packages offered to the Dockerfile as the context `snapedge-base`, or None.
        tools: packages offered to it as `snapedge-tools`, of the builder's own architecture; empty for none.
    """

    folder: Path
    name: str
    version: SnapVersion
    interface: int
    formats: tuple[ModelFormat, ...]
    architectures: tuple[Architecture, ...]
    build: BuildSettings
    dockerfile: DockerfileSettings
    base: BaseDeclaration | None = None
    tools: tuple[str, ...] = ()


AnyRuntime: TypeAlias = RuntimeDeclaration | DockerfileRuntime


def read_any(folder: Path) -> AnyRuntime:
    """The runtime declared in a folder, with a Dockerfile or without.

    Raises:
        DeclarationError: a file of it is missing or says what cannot be built.
    """
    top = read_yaml(folder / FILE_NAME)
    build = buildsettings.read(top.section("build"), folder)
    if build.dockerfile is None:
        return read_runtime(folder)
    name, version, interface = _identity(top)
    formats = tuple(_format(FILE_NAME, "formats", word) for word in top.texts("formats"))
    base, tools = _optional_base(top)
    architectures = _architectures(top)
    if top.has("image"):
        raise top.error("image", "is for images without a Dockerfile", resolution="leave one of the two out")
    top.skip("image")
    top.done()
    return DockerfileRuntime(
        folder=folder,
        name=name,
        version=version,
        interface=interface,
        formats=formats,
        architectures=architectures,
        build=build,
        dockerfile=build.dockerfile,
        base=base,
        tools=tools,
    )


def read_runtime(folder: Path) -> RuntimeDeclaration:
    """The runtime declared in a folder, that follows from packages and wheels.

    Raises:
        DeclarationError: runtime.yaml or the image project's pyproject.toml is missing or says what cannot be built.
    """
    top = read_yaml(folder / FILE_NAME)
    name, version, interface = _identity(top)
    image = top.text("image")
    section = top.section("base")
    base = _base(section)
    differences = section.mapping("differences")
    for package, reason in differences.items():
        if not reason.strip():
            raise section.error("differences", f"{package} has no reason")
    section.done()
    architectures = _architectures(top)
    build = buildsettings.read(top.section("build"), folder)
    extras = tuple(top.texts("extras", default=[]))
    if len(set(extras)) != len(extras):
        raise top.error("extras", "names one twice")
    if build.dockerfile is not None:
        raise top.error("build", "names a Dockerfile, and this is for images that follow from packages and wheels")
    top.done()
    if not (folder / image).is_dir():
        raise top.error("image", f"there is no folder {image}", resolution="name the folder of the server's project")
    return RuntimeDeclaration(
        folder=folder,
        name=name,
        version=version,
        interface=interface,
        project=read_project(folder / image, extras),
        suite=base.suite,
        packages=base.packages,
        prune=base.prune,
        architectures=architectures,
        build=build,
        extras=extras,
        differences=differences,
    )


def read_project(folder: Path, extras: Sequence[str] = ()) -> ImageProject:
    """What a server's project says of its image, with some of its extras.

    An extra, `[tool.snapedge.image.extras.<name>]`, has a `lock` of its own, which holds the plain one's wheels too,
    and what to `keep` of what is pruned without it. At most one can be built in, since two locks have no common one.

    Raises:
        DeclarationError: pyproject.toml, its table, the lock or a source folder is missing or wrong.
    """
    name = f"{folder.name}/pyproject.toml"
    try:
        document = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    except OSError as error:
        raise DeclarationError(name, None, f"cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DeclarationError(name, None, f"is not TOML: {error}") from error
    table = _table(document, ("tool", "snapedge", "image"))
    if table is None:
        raise DeclarationError(name, None, "has no table [tool.snapedge.image]", resolution="see contracts.md, Image")
    for key in sorted(table.keys() - _PROJECT_KEYS):
        raise DeclarationError(
            name,
            None,
            f"tool.snapedge.image: unknown key {key!r}",
            resolution=f"known: {', '.join(sorted(_PROJECT_KEYS))}",
        )
    lock, kept = _extra(name, table, extras)
    project = ImageProject(
        folder=folder,
        module=_word(name, table, "module", _MODULE),
        sources=tuple(folder / item for item in _texts(name, table, "sources")),
        formats=tuple(_format(name, "tool.snapedge.image.formats", item) for item in _texts(name, table, "formats")),
        prune=tuple(item for item in _texts(name, table, "prune", optional=True) if item not in kept),
        environment=_environment(name, table),
        lock=folder / lock,
    )
    try:
        matcher(project.prune)
    except ValueError as error:
        raise DeclarationError(name, None, f"tool.snapedge.image.prune: {error}") from error
    for source in project.sources:
        if not source.is_dir():
            raise DeclarationError(name, None, f"tool.snapedge.image.sources: there is no folder {source.name!r}")
    if not project.lock.is_file():
        raise DeclarationError(
            f"{folder.name}/{project.lock.name}",
            None,
            "is missing",
            resolution="make it with `uv pip compile --universal --generate-hashes --no-emit-index-url`",
        )
    return project


def locked_version(project: ImageProject, package: str) -> str | None:
    """The version of a package in an image's lock."""
    found = re.search(rf"^{re.escape(package)}==([^\s;]+)", project.lock.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else None


def _extra(name: str, table: Mapping[str, Any], extras: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The lock, and what is kept of what is pruned."""
    if not extras:
        return LOCK_NAME, ()
    known = table.get("extras", {})
    for extra in extras:
        if not isinstance(known, dict) or not isinstance(known.get(extra), dict):
            words = ", ".join(sorted(known)) if isinstance(known, dict) else ""
            raise DeclarationError(
                name, None, f"tool.snapedge.image.extras: there is no {extra!r}", resolution=f"known: {words or 'none'}"
            )
    if len(extras) > 1:
        raise DeclarationError(name, None, "one extra can be built in", resolution="name one in runtime.yaml")
    chosen = known[extras[0]]
    lock = chosen.get("lock")
    if not isinstance(lock, str) or "/" in lock or chosen.keys() - {"lock", "keep"}:
        raise DeclarationError(
            name,
            None,
            f"tool.snapedge.image.extras.{extras[0]} must have a lock beside pyproject.toml, and may have keep",
        )
    return lock, tuple(_texts(name, chosen, "keep", optional=True))


def _identity(top: Section) -> tuple[str, SnapVersion, int]:
    return (
        top.parsed("name", _checked(_NAME, "a runtime name: lower-case letters, digits and single dashes")),
        top.parsed("version", SnapVersion),
        top.integer("interface", minimum=1, maximum=_MAX_INTERFACE, default=1),
    )


def _base(section: Section) -> BaseDeclaration:
    suite = section.parsed("suite", _checked(_SUITE, "a suite name"))
    packages = _packages(section, "packages")
    if not packages:
        raise section.error("packages", "is empty")
    prune = tuple(section.texts("prune", default=[]))
    try:
        matcher(prune)
    except ValueError as error:
        raise section.error("prune", str(error)) from error
    return BaseDeclaration(suite=suite, packages=packages, prune=prune)


def _optional_base(top: Section) -> tuple[BaseDeclaration | None, tuple[str, ...]]:
    """The base and the tools that a Dockerfile is offered."""
    if not top.has("base"):
        top.skip("base")
        return None, ()
    section = top.section("base")
    base = _base(section)
    tools = _packages(section, "tools", default=[])
    section.done()
    return base, tools


def _packages(base: Section, key: str, *, default: list[str] | None = None) -> tuple[str, ...]:
    names = tuple(base.texts(key, default=default))
    for name in names:
        if not _PACKAGE.fullmatch(name):
            raise base.error(
                key, f"{name!r} is not a package name", resolution="write the name alone, without a version"
            )
    if len(set(names)) != len(names):
        raise base.error(key, "names a package twice")
    return names


def _architectures(top: Section) -> tuple[Architecture, ...]:
    names = top.texts("architectures", default=[str(architecture) for architecture in Architecture])
    try:
        found = tuple(Architecture.parse(name) for name in names)
    except ValueError as error:
        raise top.error("architectures", str(error)) from error
    if not found or len(set(found)) != len(found):
        raise top.error("architectures", "names none, or one twice")
    return found


def _checked(pattern: re.Pattern[str], rule: str) -> Any:
    def parse(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"{text!r} is not {rule}")
        return text

    return parse


def _table(document: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any] | None:
    value: Any = document
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else None


def _texts(name: str, table: Mapping[str, Any], key: str, *, optional: bool = False) -> list[str]:
    value = table.get(key, [] if optional else None)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value) or not (value or optional):
        raise DeclarationError(name, None, f"tool.snapedge.image.{key} is not a list of texts")
    return value


def _word(name: str, table: Mapping[str, Any], key: str, pattern: re.Pattern[str]) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise DeclarationError(name, None, f"tool.snapedge.image.{key} is missing or not a {key} name")
    return value


def _format(name: str, key: str, text: str) -> ModelFormat:
    try:
        return ModelFormat(text)
    except ValueError as error:
        known = ", ".join(str(item) for item in ModelFormat)
        raise DeclarationError(
            name, None, f"{key}: {text!r} is not a model format", resolution=f"known: {known}"
        ) from error


def _environment(name: str, table: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    value = table.get("environment", {})
    if not isinstance(value, dict):
        raise DeclarationError(name, None, "tool.snapedge.image.environment is not a table")
    for key, item in value.items():
        if not _VARIABLE.fullmatch(key) or not isinstance(item, str) or "\0" in item:
            raise DeclarationError(name, None, f"tool.snapedge.image.environment.{key} is not a variable with a text")
    return tuple(sorted(value.items()))
