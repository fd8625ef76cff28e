"""The one door to dpkg-deb: a package file becomes a tree. No maintainer script is run, nothing is installed."""

from __future__ import annotations

import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

from snapedge_hooks import unpacking
from snapedge_hooks.errors import ExitCode

from . import processes
from .apt import Package
from .cache import Cache, CacheFullError
from .errors import BuilderError
from .trees import Directory, File, Link, Slice, Tree, TreeError, normal_path

_SECONDS = 120.0
_MERGED = ("bin", "sbin", "lib", "lib64", "lib32", "libx32")
_LICENCE = re.compile(r"^License:[ \t]*(\S[^\n]*)$", re.MULTILINE)


class DebTooLargeError(BuilderError):
    """A package unpacks to more than any package should."""

    exit_code = ExitCode.REFUSED

    def __init__(self, file: str, most: int) -> None:
        super().__init__(
            f"{file} {unpacking.excess(most)}",
            resolution="do not use it; take the package from another mirror, or another version of it",
        )


class DebError(BuilderError):
    """A package file cannot be read."""

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file} cannot be unpacked: {reason}", resolution="build with --refresh to fetch it anew")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deb:
    """A package with its files.

    Attributes:
        package: what apt said of it.
        tree: its files, `/bin`, `/sbin` and `/lib` already merged into `/usr`.
        licences: short names in its copyright file, where that is machine-readable.
    """

    package: Package
    tree: Tree
    licences: tuple[str, ...]


def unpack(package: Package, file: Path, *, scratch: Path, cache: Cache) -> Deb:
    """The package's files; their bytes stay in a tar below `scratch`, which must outlive the tree.

    Raises:
        DebError: dpkg-deb cannot read the file.
        DebTooLargeError: it holds far more than its size lets expect; it was not unpacked to its end.
        TreeError: the package holds a device or a path that leads out of it.
    """
    spool = scratch / f"{package.digest.hex}.tar"
    with cache.guard(), spool.open("wb") as output:
        most = unpacking.most(file.stat().st_size)
        done = processes.run(
            ["dpkg-deb", "--fsys-tarfile", file], package="dpkg", seconds=_SECONDS, output=output, file_bytes=most
        )
    if done.status:
        spool.unlink()
        if done.says_too_large:
            raise DebTooLargeError(package.file, most)
        if done.says_no_room:
            raise CacheFullError(cache.root)
        reason = done.errors.strip().splitlines()
        raise DebError(package.file, reason[-1] if reason else f"dpkg-deb ended with {done.status}")
    try:
        with tarfile.open(spool, "r:") as archive:
            tree = _read(archive, spool, package.name)
    except tarfile.TarError as error:
        raise DebError(package.file, str(error)) from error
    if tree.size > most:  # by hard links, each of which becomes a file
        raise DebTooLargeError(package.file, most)
    return Deb(package=package, tree=tree, licences=_licences(tree, package.name))


def _read(archive: tarfile.TarFile, spool: Path, origin: str) -> Tree:
    tree = Tree()
    for member in archive:
        path = _merged(normal_path(member.name, origin=origin))
        if not path:
            continue
        if member.isreg() and not member.issparse():
            content = Slice(path=spool, offset=member.offset_data, size=member.size)
            tree.add(
                path,
                File(
                    content=content, executable=bool(member.mode & 0o111), origin=origin, raw_mode=member.mode & 0o7777
                ),
            )
        elif member.issym():
            tree.add(path, Link(target=member.linkname, origin=origin))
        elif member.islnk():
            # A hard link repeats an earlier file: in a layer of ours it is a file again.
            earlier = tree.entries.get(_merged(normal_path(member.linkname, origin=origin)))
            if not isinstance(earlier, File):
                raise TreeError(origin, path, f"is a hard link to {member.linkname!r}, which is not before it")
            tree.add(path, earlier)
        elif member.isdir():
            tree.add(path, Directory(origin=origin))
        else:
            raise TreeError(origin, path, "is a device, a pipe or a sparse file")
    return tree


def _merged(path: str) -> str:
    """The path with `/bin`, `/sbin` and `/lib` in `/usr`, where the image has them."""
    return f"usr/{path}" if path.partition("/")[0] in _MERGED else path


def _licences(tree: Tree, name: str) -> tuple[str, ...]:
    node = tree.entries.get(f"usr/share/doc/{name}/copyright")
    if not isinstance(node, File):
        return ()
    text = node.read().decode("utf-8", "replace")
    if not text.lstrip().startswith("Format:"):
        return ()
    return tuple(sorted({found.strip() for found in _LICENCE.findall(text)}))
