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
_C_LIBRARY = re.compile(r"libc\.so\.6|libc-2\.\d+\.so")
_GLIBC_NAME = re.compile(rb"GLIBC_(\d+)\.(\d+)\b")
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
                    found = _check_elf(path, node, platform.architecture, platform.glibc, breaches)
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
    missing = _missing(linkages)
    if missing:
        raise GateError(image, architecture, missing)


def check_own(layers: Mapping[str, Tree], architecture: Architecture) -> tuple[str, ...]:
    """Hold an image of its author's own to the rules without which it cannot run, and tell what else is odd.

    Rule 1 is held, with the image's own GLIBC. A breach of rules 2 and 4 is told: what runs may not need the library,
    and our writer clears every mode that rule 4 is about.

    Args:
        layers: the trees of its layers, by name; no path stands in two of them.
        architecture: of the image.

    Returns:
        Warnings.

    Raises:
        GateError: a file is for another machine, or asks for a newer GLIBC than there is.
    """
    glibc = _own_glibc(layers.values())
    linkages: list[Linkage] = []
    told: list[str] = []
    for name, tree in layers.items():
        breaches: list[str] = []
        offered: set[str] = set()
        wanted: dict[str, str] = {}
        for path, node in sorted(tree.entries.items()):
            if isinstance(node, Link):
                offered.add(path.rpartition("/")[2])
            elif isinstance(node, File):
                if node.raw_mode & 0o6000:
                    told.append(f"{path} is setuid or setgid, and will not be")
                if elf.is_elf(node):
                    found = _check_elf(path, node, architecture, glibc, breaches)
                    if found is not None and found.dynamic:
                        offered |= {path.rpartition("/")[2], found.soname} - {""}
                        wanted |= {need: path for need in found.needed if need not in wanted}
        if breaches:
            raise GateError(name, architecture, breaches)
        linkages.append(Linkage(offered=frozenset(offered), wanted=wanted))
    return (*told, *_missing(linkages))


def _own_glibc(layers: Iterable[Tree]) -> tuple[int, int]:
    """The newest GLIBC version that the image's C library names; (0, 0) where there is none."""
    found = [
        (int(match[1]), int(match[2]))
        for tree in layers
        for path, node in tree.files()
        if _C_LIBRARY.fullmatch(path.rpartition("/")[2])
        for match in _GLIBC_NAME.finditer(node.read())
    ]
    return max(found, default=(0, 0))


def interpreter_of(node: File) -> str | None:
    """What an executable script says it is run by; None where it is no script."""
    if not node.executable or node.size <= len(b"#!"):
        return None
    first = node.read(256).partition(b"\n")[0]
    return (first[2:].decode("utf-8", "replace").split() or [""])[0] if first.startswith(b"#!") else None


def _missing(linkages: Iterable[Linkage]) -> list[str]:
    """What needs a library that is in none of the layers."""
    every = list(linkages)
    offered = frozenset(_NEVER_FILES).union(*(linkage.offered for linkage in every))
    return [
        f"{path} needs {name}, which is not in the image"
        for linkage in every
        for name, path in sorted(linkage.wanted.items())
        if name not in offered
    ]


def _check_elf(
    path: str, node: File, architecture: Architecture, glibc: tuple[int, int], breaches: list[str]
) -> elf.Elf | None:
    try:
        found = elf.read(node)
    except elf.ElfDamagedError as error:
        breaches.append(f"{path} is a {error}")
        return None
    if found.machine != architecture.elf_machine:
        breaches.append(f"{path} is for {found.machine}, not {architecture.elf_machine}")
    if found.glibc is not None and found.glibc > glibc:
        breaches.append(f"{path} asks for GLIBC_{_dotted(found.glibc)}, the base has {_dotted(glibc)}")
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
    interpreter = interpreter_of(node)
    if interpreter is not None and not interpreter.startswith(_SCRIPT_HOMES):
        breaches.append(f"{path} names the interpreter {interpreter!r}, which is not the image's")
    return breaches


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
