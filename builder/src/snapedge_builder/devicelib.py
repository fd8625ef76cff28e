"""What every snap of ours carries besides its content: the device side, its libraries, hook shims and app commands.

Rules:

1. Our own modules are those that `snapedge_hooks.device` lists: the formats of builder and fleet stay behind.
2. The libraries are requests and what it needs, as pure Python: they are taken from the distributions installed beside
   the builder (pinned by hash in the workspace's lock), each file checked against what its distribution recorded. No
   compiled module, no byte code: one set of files serves every architecture and every Python of the base.
3. Licences travel with them.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import snapedge_hooks
from snapedge_hooks import device
from snapedge_hooks.vocabulary import Digest

from .errors import BuilderError
from .snaptree import TreeFile, text_file

LIBRARIES = ("requests", "urllib3", "idna", "certifi", "charset-normalizer")
_LEFT_OUT = ("urllib3/contrib/emscripten/",)
"""Runs in browsers only."""
_KEPT_SUFFIXES = frozenset({".py", ".pem"})
_PACKAGE = "snapedge_hooks"


class DeviceLibraryError(BuilderError):
    """What the snaps carry is not installed as it should be."""

    def __init__(self, distribution: str, problem: str) -> None:
        super().__init__(
            f"the device library {distribution} {problem}",
            resolution="install the builder again from its lock (make setup)",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A distribution that snaps carry."""

    name: str
    version: str
    licence: str
    files: tuple[TreeFile, ...]


@cache
def libraries() -> tuple[Library, ...]:
    """The libraries, read once.

    Raises:
        DeviceLibraryError: one is missing or was changed after it was installed.
    """
    return tuple(_library(name) for name in LIBRARIES)


@cache
def device_files() -> tuple[TreeFile, ...]:
    """Everything below lib/, bin/ and meta/hooks/.

    Raises:
        DeviceLibraryError: a library is missing or was changed.
    """
    hooks = (text_file(f"meta/hooks/{name}", _shim(name), executable=True) for name in device.HOOKS)
    apps = (text_file(f"bin/{name}", _shim(name), executable=True) for name in device.APPS)
    return (*_modules(), *(file for library in libraries() for file in library.files), *hooks, *apps)


def _shim(name: str) -> str:
    return f'#!/bin/sh\nPYTHONPATH="$SNAP/lib" exec python3 -m {_PACKAGE} {name}\n'


def _modules() -> Iterator[TreeFile]:
    assert snapedge_hooks.__file__ is not None
    folder = Path(snapedge_hooks.__file__).parent
    for module in device.MODULES:
        yield text_file(f"lib/{_PACKAGE}/{module}.py", (folder / f"{module}.py").read_bytes())


def _library(name: str) -> Library:
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError as error:
        raise DeviceLibraryError(name, "is not installed") from error
    files = []
    for entry in distribution.files or ():
        path = entry.as_posix()
        is_licence = ".dist-info/licenses/" in path
        if path.startswith(("../", *_LEFT_OUT)) or not (is_licence or entry.suffix in _KEPT_SUFFIXES):
            continue
        source = Path(str(distribution.locate_file(entry)))
        data = _checked(name, source, entry.hash.value if entry.hash and entry.hash.mode == "sha256" else "")
        files.append(TreeFile(path=f"lib/{path}", source=data, digest=Digest.of(data), size=len(data)))
    if not any(file.path.endswith("/__init__.py") for file in files):
        raise DeviceLibraryError(name, "does not say which files it consists of")
    fields = distribution.metadata.json
    licence = str(fields.get("license_expression") or fields.get("license") or "")
    return Library(name=name, version=distribution.version, licence=licence, files=tuple(files))


def _checked(name: str, source: Path, recorded: str) -> bytes:
    try:
        data = source.read_bytes()
    except OSError as error:
        raise DeviceLibraryError(name, f"lacks {source.name}: {error.strerror}") from error
    if base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode() != recorded:
        raise DeviceLibraryError(name, f"was changed after it was installed ({source.name})")
    return data
