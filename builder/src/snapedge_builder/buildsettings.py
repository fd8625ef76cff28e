"""`build:` in inference.yaml and runtime.yaml: by what a runtime's image is built, and of what.

    build:
      backend: buildx                      # auto, compose or buildx
      dockerfile: Dockerfile               # an image of one's own; all below only with it
      context: ..                          # what COPY takes from; the Dockerfile's folder if not given
      target: server                       # the stage to end with; the last if not given
      args: {VERSION: "1.2"}
      secrets: {token: {env: PIP_TOKEN}, netrc: {file: ~/.netrc}}
      contexts: {base: docker-image://debian:12, data: ../data}

Paths are relative to the folder of the file that they stand in. Secrets are named, never written: their values stay in
their files and variables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from .yamldocument import Section

_ARGUMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_CONTEXT = re.compile(r"[a-z0-9][a-z0-9._/:@-]*")
_SCHEME = re.compile(r"[a-z][a-z+.-]*://|git@")
_LAYOUT = "oci-layout://"
_OURS = "SOURCE_DATE_EPOCH"
_ONLY_WITH = ("context", "target", "args", "secrets", "contexts")


class Backend(Enum):
    """What builds an image; the image is the same."""

    AUTO = "auto"
    COMPOSE = "compose"
    BUILDX = "buildx"

    def __str__(self) -> str:
        """The word used in files."""
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretFile:
    """A secret that lies in a file."""

    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretVariable:
    """A secret that is in a variable of the environment."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerfileSettings:
    """An image of one's own.

    Attributes:
        file: the Dockerfile.
        context: the folder that COPY takes from.
        target: the stage to end with; empty for the last.
        arguments: build arguments.
        secrets: by the id that steps mount them by.
        contexts: named contexts, as buildx takes them, their paths absolute.
    """

    file: Path
    context: Path
    target: str
    arguments: Mapping[str, str]
    secrets: Mapping[str, SecretFile | SecretVariable]
    contexts: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings:
    """How an image is built.

    Attributes:
        backend: by what; `auto` is compose, which needs no Docker, or buildx where there is a Dockerfile.
        dockerfile: of an image of one's own; None for one that follows from packages and wheels.
    """

    backend: Backend = Backend.AUTO
    dockerfile: DockerfileSettings | None = None


def read(section: Section, folder: Path) -> BuildSettings:
    """The settings of a section `build`, which may be absent.

    Args:
        section: of the file.
        folder: that the file lies in.

    Raises:
        DeclarationError: something in it cannot be done.
    """
    backend = Backend(section.choice("backend", [str(word) for word in Backend], default=str(Backend.AUTO)))
    dockerfile = _dockerfile(section, folder) if section.has("dockerfile") else None
    if dockerfile is None:
        section.skip("dockerfile")
        for key in _ONLY_WITH:
            if section.has(key):
                raise section.error(key, "is for an image of one's own", resolution="name its dockerfile as well")
            section.skip(key)
    elif backend is Backend.COMPOSE:
        raise section.error("backend", "compose builds no Dockerfile", resolution="write buildx, or leave it out")
    section.done()
    return BuildSettings(backend=backend, dockerfile=dockerfile)


def _dockerfile(section: Section, folder: Path) -> DockerfileSettings:
    file = folder / section.text("dockerfile")
    if not file.is_file():
        raise section.error("dockerfile", f"there is no file {file}")
    context = folder / section.text("context") if section.has("context") else file.parent
    section.skip("context")
    if not context.is_dir():
        raise section.error("context", f"there is no folder {context}")
    target = section.text("target", default="")
    arguments = section.section("args")
    secrets = section.section("secrets")
    contexts = section.section("contexts")
    return DockerfileSettings(
        file=file,
        context=context,
        target=target,
        arguments={name: _argument(arguments, name) for name in arguments.names()},
        secrets={name: _secret(secrets, name, folder) for name in secrets.names()},
        contexts={name: _context(contexts, name, folder) for name in contexts.names()},
    )


def _argument(section: Section, name: str) -> str:
    if not _ARGUMENT.fullmatch(name):
        raise section.error(name, "is not the name of a build argument: letters, digits and underscores")
    if name == _OURS:
        raise section.error(name, "is always 0: a time would make equal images differ", resolution="leave it out")
    return section.text(name)


def _secret(section: Section, name: str, folder: Path) -> SecretFile | SecretVariable:
    if not _SECRET.fullmatch(name):
        raise section.error(name, "is not the id of a secret: letters, digits, and _ . - between them")
    place = section.section(name)
    if place.has("env") == place.has("file"):
        raise section.error(name, "is in no one place", resolution="write {file: PATH} or {env: VARIABLE}")
    found: SecretFile | SecretVariable
    if place.has("env"):
        place.skip("file")
        variable = place.text("env")
        if not _ARGUMENT.fullmatch(variable):
            raise place.error("env", "is not the name of a variable", resolution="write its name, never its value")
        found = SecretVariable(name=variable)
    else:
        place.skip("env")
        found = SecretFile(path=folder / Path(place.text("file")).expanduser())
    place.done()
    return found


def _context(section: Section, name: str, folder: Path) -> str:
    if not _CONTEXT.fullmatch(name):
        raise section.error(name, "is not the name of a context: lower-case letters, digits, and . _ / : @ -")
    text = section.text(name)
    if text.startswith(_LAYOUT):
        return f"{_LAYOUT}{folder / text.removeprefix(_LAYOUT)}"
    if _SCHEME.match(text):
        return text
    if not (folder / text).is_dir():
        raise section.error(name, f"there is no folder {folder / text}")
    return str(folder / text)
