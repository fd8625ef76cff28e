"""What every layer must hold to before it may be part of an image.

Rules:

1. Every ELF file is for the image's architecture, and asks for no newer GLIBC than the base has.
2. Everything an ELF file needs is in the image, by soname.
3. A Python extension is for the base's Python.
4. No setuid or setgid file, no world-writable file; of directories only `/tmp`.
5. An executable script names an interpreter of the image, never one of the build host.
6. No link leads out of the root.

Shared libraries are found by the loader in the multiarch folder, `/usr/lib`, and beside what needs them ($ORIGIN): the
gate asks for the soname anywhere in the image, and leaves the search path to running the samples.

    GateError            a layer breaks one of the rules; all breaches are in the details
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from snapedge_hooks.document import Fields
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Architecture

from . import elf
from .errors import BuilderError
from .trees import Directory, File, Link, Tree, link_destination

_SCRIPT_HOMES = ("/usr/", "/bin/", "/sbin/")
_EXTENSION = re.compile(r"\.cpython-(\d)(\d+)[a-z]*-[^./]+\.so\Z")
_NEVER_FILES = ("linux-vdso.so.1", "linux-gate.so.1")


class GateError(BuilderError):
    """A layer may not be shipped as it is."""

    exit_code = ExitCode.REFUSED

    def __init__(self, layer: str, architecture: Architecture, breaches: list[str]) -> None:
        more = f", and {len(breaches) - 1} more" if len(breaches) > 1 else ""
        super().__init__(
            f"layer {layer} for {architecture}: {breaches[0]}{more}",
            details="\n".join(breaches),
            resolution="prune the file, or use another version of what brings it",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What a base offers to what runs on it."""

    architecture: Architecture
    glibc: tuple[int, int]
    python: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Linkage:
    """What a layer's ELF files offer and want, for rule 2, which only the whole image can answer.

    Attributes:
        offered: file names and sonames of its shared objects.
        wanted: needed soname to one of the files that need it.
    """

    offered: frozenset[str]
    wanted: Mapping[str, str]

    def to_value(self) -> dict[str, Any]:
        """The linkage as notes hold it."""
        return {"offered": sorted(self.offered), "wanted": dict(sorted(self.wanted.items()))}

    @classmethod
    def read(cls, fields: Fields) -> Linkage:
        """The linkage of such a note."""
        return cls(offered=frozenset(fields.list("offered")), wanted=fields.raw("wanted", dict, "an object"))


def check_layer(tree: Tree, platform: Platform, *, layer: str) -> Linkage:
    """Hold a layer's files to every rule but the second.

    Raises:
        GateError: a file breaks one.
    """
    breaches: list[str] = []
    offered: set[str] = set()
    wanted: dict[str, str] = {}
    for path, node in sorted(tree.entries.items()):
        match node:
            case Link():
                offered.add(path.rpartition("/")[2])
                if link_destination(path, node.target) is None:
                    breaches.append(f"{path} links to {node.target}, out of the image")
            case Directory():
                if node.mode & 0o002 and path != "tmp":
                    breaches.append(f"{path} is writable for everybody")
            case File():
                breaches += _file_breaches(path, node, platform)
                if elf.is_elf(node):
                    found = _check_elf(path, node, platform, breaches)
                    if found is not None and found.dynamic:
                        offered |= {path.rpartition("/")[2], found.soname} - {""}
                        wanted |= {name: path for name in found.needed if name not in wanted}
    if breaches:
        raise GateError(layer, platform.architecture, breaches)
    return Linkage(offered=frozenset(offered), wanted=wanted)


def check_linkage(linkages: Iterable[Linkage], *, image: str, architecture: Architecture) -> None:
    """Hold a whole image to the second rule.

    Raises:
        GateError: something needs a library that is not there.
    """
    every = list(linkages)
    offered = frozenset(_NEVER_FILES).union(*(linkage.offered for linkage in every))
    missing = [
        f"{path} needs {name}, which is not in the image"
        for linkage in every
        for name, path in sorted(linkage.wanted.items())
        if name not in offered
    ]
    if missing:
        raise GateError(image, architecture, missing)


def _check_elf(path: str, node: File, platform: Platform, breaches: list[str]) -> elf.Elf | None:
    try:
        found = elf.read(node)
    except elf.ElfDamagedError as error:
        breaches.append(f"{path} is a {error}")
        return None
    if found.machine != platform.architecture.elf_machine:
        breaches.append(f"{path} is for {found.machine}, not {platform.architecture.elf_machine}")
    if found.glibc is not None and found.glibc > platform.glibc:
        breaches.append(f"{path} asks for GLIBC_{_dotted(found.glibc)}, the base has {_dotted(platform.glibc)}")
    return found


def _file_breaches(path: str, node: File, platform: Platform) -> list[str]:
    breaches: list[str] = []
    if node.raw_mode & 0o6000:
        breaches.append(f"{path} is setuid or setgid")
    if node.raw_mode & 0o002:
        breaches.append(f"{path} is writable for everybody")
    extension = _EXTENSION.search(path)
    if extension and (int(extension[1]), int(extension[2])) != platform.python:
        breaches.append(f"{path} is for Python {extension[1]}.{extension[2]}, the base has {_dotted(platform.python)}")
    if node.executable and node.size > 2:
        first = node.read(256).partition(b"\n")[0]
        if first.startswith(b"#!"):
            interpreter = first[2:].decode("utf-8", "replace").split() or [""]
            if not interpreter[0].startswith(_SCRIPT_HOMES):
                breaches.append(f"{path} names the interpreter {interpreter[0]!r}, which is not the image's")
    return breaches


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
