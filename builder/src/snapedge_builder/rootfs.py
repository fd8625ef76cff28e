"""The base of an image: unpacked packages, and what their maintainer scripts would have done.

No script of a package is run, so what an image needs of their work is done here, the same for every architecture:
merged-usr links, users, the CA bundle, `/tmp`, mount points, and a dpkg status that scanners can read. What is left
out: documentation but the copyright files, locales, character set converters, and packages nothing here runs:

1. what only maintainer scripts use (dpkg, debconf, perl-base, ...), unless it was asked for by name;
2. a library package that came as a dependency, when no file that stays needs one of its libraries.

ld.so.cache is not made: the loader's built-in folders are Debian's multiarch ones, where all libraries are.

    BaseError            the packages do not make a base our servers run on
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from snapedge_hooks.vocabulary import Architecture

from . import elf
from .apt import Package
from .debs import Deb
from .errors import BuilderError
from .gates import Platform
from .patterns import matcher
from .trees import Directory, File, Link, Tree

SCRIPTS_ONLY = frozenset({"dpkg", "tar", "debconf", "debconf-2.0", "cdebconf", "perl-base", "mawk", "sed", "libc-bin"})
DROPPED = (
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/doc-base",
    "usr/share/bug",
    "usr/share/menu",
    "usr/share/applications",
    "usr/share/pixmaps",
    "usr/share/binfmts",
    "usr/share/debconf",
    "usr/share/readline",
    "usr/share/python3",
    "usr/lib/*/gconv",
    "usr/lib/valgrind",
    "usr/bin/py3*",
    "usr/bin/pydoc*",
    "usr/bin/pygettext*",
    "**/__pycache__",
    "**/*.pyc",
    "**/*.a",
)
_DOCUMENTATION = re.compile(r"usr/share/doc/[^/]+/.+")
_COPYRIGHT = re.compile(r"usr/share/doc/[^/]+/copyright\Z")
_PYTHON = re.compile(r"(?:lib)?python(\d)\.(\d+)-(?:minimal|stdlib)")
_GLIBC = re.compile(r"(?:\d+:)?(\d+)\.(\d+)")
USER = 65532
_PASSWD = (
    "root:x:0:0:root:/root:/usr/sbin/nologin\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    f"nonroot:x:{USER}:{USER}:nonroot:/nonexistent:/usr/sbin/nologin\n"
)
_GROUP = f"root:x:0:\nnogroup:x:65534:\nnonroot:x:{USER}:\n"
FILES = {
    "etc/passwd": _PASSWD,
    "etc/group": _GROUP,
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
}
"""What maintainer scripts would have written, by path."""
MERGED = ("bin", "sbin", "lib", "lib64")
"""Links at the root, into `/usr`; `lib64` only where something is in it."""
FOLDERS = ("dev", "proc", "sys", "run", "mnt/models", "var/tmp", "root", "usr/bin", "usr/sbin", "usr/lib")
"""Folders that are there even if nothing is in them; beside them, `/tmp` for everybody."""
CERTIFICATES = "usr/share/ca-certificates"
CA_BUNDLE = "etc/ssl/certs/ca-certificates.crt"
_ORIGIN = "snapedge"


class BaseError(BuilderError):
    """The packages of a base lack what our servers stand on."""

    def __init__(self, suite: str, lack: str) -> None:
        super().__init__(
            f"the base of suite {suite} has no {lack}", resolution=f"add {lack} to base.packages in runtime.yaml"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A base, ready to be a layer.

    Attributes:
        tree: its files.
        kept: packages that have a part in it.
        dropped: names of packages that were resolved and are not in it, each with the reason.
    """

    tree: Tree
    kept: tuple[Deb, ...]
    dropped: Mapping[str, str]


def platform_of(packages: Iterable[Package], *, suite: str, architecture: Architecture) -> Platform:
    """What a base of these packages offers, known before any is fetched.

    Raises:
        BaseError: there is no C library or no Python among them.
    """
    glibc: tuple[int, int] | None = None
    python: tuple[int, int] | None = None
    for package in packages:
        if package.name == "libc6" and (match := _GLIBC.match(package.version)):
            glibc = (int(match[1]), int(match[2]))
        if match := _PYTHON.fullmatch(package.name):
            python = (int(match[1]), int(match[2]))
    if glibc is None:
        raise BaseError(suite, "libc6")
    if python is None:
        raise BaseError(suite, "python3-minimal")
    return Platform(architecture=architecture, glibc=glibc, python=python)


def useful(packages: Iterable[Package], *, named: Iterable[str]) -> tuple[Package, ...]:
    """Packages less those that only maintainer scripts use, which need not even be fetched."""
    kept = frozenset(named)
    return tuple(package for package in packages if package.name in kept or package.name not in SCRIPTS_ONLY)


def assemble(debs: Sequence[Deb], *, named: Iterable[str], prune: Iterable[str]) -> Base:
    """The base of these packages.

    Args:
        debs: the useful ones of those that were resolved.
        named: packages asked for by name: they are kept whatever needs them.
        prune: globs of further files that do not run.

    Raises:
        TreeError: two packages have the same file.
    """
    ours = matcher([*DROPPED, *prune])

    def is_dropped(path: str) -> bool:
        return ours(path) or (_DOCUMENTATION.match(path) is not None and _COPYRIGHT.match(path) is None)

    trees = {deb.package.name: deb.tree.without(is_dropped) for deb in debs}
    reasons = _unneeded(debs, trees, frozenset(named))
    kept = tuple(deb for deb in debs if deb.package.name not in reasons)
    tree = Tree()
    for deb in kept:
        for path, node in sorted(trees[deb.package.name].entries.items()):
            # An empty directory is of use only where a package of ours or the runtime puts something.
            if not isinstance(node, Directory):
                tree.add(path, node)
    _fix_up(tree, kept)
    return Base(tree=tree, kept=kept, dropped=reasons)


def _unneeded(debs: Sequence[Deb], trees: Mapping[str, Tree], named: frozenset[str]) -> dict[str, str]:
    """Packages to leave out, by rules 1 and 2 of this module, each with the reason."""
    facts = {name: _Facts.of(tree) for name, tree in trees.items()}
    depends = {deb.package.name: deb.package.depends for deb in debs}
    reached: set[str] = set(named & trees.keys())
    while True:
        needed = {soname for name in reached for soname in facts[name].needed}
        more = {
            dependency
            for name in reached
            for dependency in depends[name]
            if dependency in trees
            and dependency not in reached
            and (not facts[dependency].is_library or facts[dependency].offered & needed)
        }
        # A library can be needed through a package that merely depends on one that depends on it.
        more |= {name for name in trees.keys() - reached if facts[name].offered & needed}
        if not more:
            break
        reached |= more
    return dict.fromkeys(sorted(trees.keys() - reached), "nothing in the image needs it")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What a package's ELF files offer and need."""

    offered: frozenset[str]
    needed: frozenset[str]
    is_library: bool

    @classmethod
    def of(cls, tree: Tree) -> _Facts:
        offered: set[str] = set()
        needed: set[str] = set()
        has_programs = False
        for path, file in tree.files():
            if not elf.is_elf(file):
                continue
            try:
                found = elf.read(file)
            except elf.ElfDamagedError:
                continue  # the gates say so, with its name
            needed |= set(found.needed)
            if found.soname:
                offered.add(found.soname)
            has_programs = has_programs or path.startswith(("usr/bin/", "usr/sbin/"))
        return cls(offered=frozenset(offered), needed=frozenset(needed), is_library=bool(offered) and not has_programs)


def _fix_up(tree: Tree, kept: Sequence[Deb]) -> None:
    """What maintainer scripts would have done, as far as a server notices."""
    for name in MERGED:
        if name != "lib64" or any(path.startswith("usr/lib64/") for path in tree.entries):
            tree.add(name, Link(target=f"usr/{name}", origin=_ORIGIN))
    for path, text in FILES.items():
        tree.entries[path] = File(content=text.encode(), origin=_ORIGIN)
    certificates = [
        file for path, file in tree.files() if path.startswith(f"{CERTIFICATES}/") and path.endswith(".crt")
    ]
    if certificates:
        bundle = b"".join(file.read().rstrip(b"\n") + b"\n" for file in certificates)
        tree.entries[CA_BUNDLE] = File(content=bundle, origin=_ORIGIN)
    for path, text in status_files(deb.package for deb in kept).items():
        tree.add(path, File(content=text.encode(), origin=_ORIGIN))
    for path in FOLDERS:
        tree.add(path, Directory(origin=_ORIGIN))
    tree.entries["tmp"] = Directory(mode=0o1777, origin=_ORIGIN)


def status_files(packages: Iterable[Package]) -> dict[str, str]:
    """What scanners read of the packages in an image, by path."""
    return {f"var/lib/dpkg/status.d/{package.name}": _status(package) for package in packages}


def _status(package: Package) -> str:
    return (
        f"Package: {package.name}\nStatus: install ok installed\nArchitecture: {package.architecture}\n"
        f"Source: {package.source}\nVersion: {package.version}\n"
    )
