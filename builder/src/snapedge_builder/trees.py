"""Files of an image before they are a layer: paths, modes and where the bytes are.

A tree holds no bytes of its own but those we generate; everything else stays where it was unpacked (a tar spooled to
disk, a wheel's folder) until the layer is written. So no archive is ever extracted over the host's file system: a
hostile path has nowhere to go, and no mode or owner of the host enters an image.

    TreeError            an archive holds what no image of ours may hold
"""

from __future__ import annotations

import io
import posixpath
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeAlias

from snapedge_hooks.errors import ExitCode

from .errors import BuilderError
from .patterns import matcher

_CHUNK = 1 << 20
_MAX_STEPS = 400
"""More than any path takes whose links do not lead in a circle."""


class TreeError(BuilderError):
    """An archive or folder holds something that may not become part of an image."""

    exit_code = ExitCode.REFUSED

    def __init__(self, origin: str, path: str, problem: str, *, resolution: str = "") -> None:
        super().__init__(f"{origin}: {path!r} {problem}", resolution=resolution or f"use another version of {origin}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Bytes that lie somewhere in a file on disk."""

    path: Path
    offset: int
    size: int

    def chunks(self) -> Iterator[bytes]:
        """The bytes, a piece at a time.

        Raises:
            EOFError: the file is shorter than it was.
        """
        left = self.size
        with self.path.open("rb") as file:
            file.seek(self.offset)
            while left:
                data = file.read(min(left, _CHUNK))
                if not data:
                    raise EOFError(f"{self.path} ended {left} bytes early")
                left -= len(data)
                yield data


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A regular file."""

    content: Slice | bytes
    executable: bool = False
    origin: str = ""
    raw_mode: int = 0

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.size

    def chunks(self) -> Iterable[bytes]:
        """The content, a piece at a time."""
        return [self.content] if isinstance(self.content, bytes) else self.content.chunks()

    def read(self, limit: int | None = None) -> bytes:
        """The content, or its first `limit` bytes."""
        if isinstance(self.content, bytes):
            return self.content[:limit]
        with self.content.path.open("rb") as file:
            file.seek(self.content.offset)
            return file.read(self.content.size if limit is None else min(limit, self.content.size))

    def open(self) -> BinaryIO:
        """The content as a seekable file in memory."""
        return io.BytesIO(self.read())


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A symbolic link; an absolute target is meant inside the image."""

    target: str
    origin: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """A directory; those that only hold other entries need not be listed."""

    mode: int = 0o755
    origin: str = ""


Node: TypeAlias = File | Link | Directory


@dataclass(slots=True)
class Tree:
    """Entries by path: relative, normal, with slashes."""

    entries: dict[str, Node] = field(default_factory=dict)

    def add(self, path: str, node: Node) -> None:
        """Put an entry in its place.

        Raises:
            TreeError: the place is taken by something else.
        """
        there = self.entries.get(path)
        if there is not None and not (isinstance(there, Directory) and isinstance(node, Directory)):
            raise TreeError(node.origin or "this image", path, f"is already there, from {there.origin or 'elsewhere'}")
        self.entries[path] = node

    def files(self) -> Iterator[tuple[str, File]]:
        """Regular files, in the order of their paths."""
        for path in sorted(self.entries):
            node = self.entries[path]
            if isinstance(node, File):
                yield path, node

    def find(self, path: str) -> Node | None:
        """What a path of the image's leads to, links followed; None where it leads nowhere."""
        steps = [part for part in posixpath.normpath(path).split("/") if part not in ("", ".")]
        place = ""
        for _ in range(_MAX_STEPS):
            if not steps:
                return self.entries.get(place)
            place = f"{place}/{steps.pop(0)}".lstrip("/")
            node = self.entries.get(place)
            if isinstance(node, Link):
                target = link_destination(place, node.target)
                if target is None:
                    return None
                steps, place = [*(part for part in target.split("/") if part != "."), *steps], ""
        return None

    def without(self, drop: Callable[[str], bool]) -> Tree:
        """A tree less the entries whose path the predicate takes."""
        return Tree({path: node for path, node in self.entries.items() if not drop(path)})

    def pruned(self, patterns: Iterable[str]) -> Tree:
        """A tree less what the globs match, and what lies below a directory they match."""
        return self.without(matcher(patterns))

    @property
    def size(self) -> int:
        """Bytes in regular files."""
        return sum(node.size for node in self.entries.values() if isinstance(node, File))


def normal_path(name: str, *, origin: str) -> str:
    """An archive member's name as a tree has it; empty for the root itself.

    Raises:
        TreeError: the name leads out of the archive, or is none.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name or "\\" in name:
        raise TreeError(origin, name, "leads out of its archive")
    return "/".join(parts)


def link_destination(path: str, target: str) -> str | None:
    """Where a link points, as a path of the tree; None if it leads out of the root."""
    joined = target.lstrip("/") if target.startswith("/") else posixpath.join(posixpath.dirname(path), target)
    depth = 0
    for part in joined.split("/"):
        if part == "..":
            depth -= 1
        elif part not in ("", "."):
            depth += 1
        if depth < 0:
            return None
    return posixpath.normpath(joined).lstrip("/")


def scan(folder: Path, *, origin: str) -> Tree:
    """The regular files below a folder, by relative path. Links and special files are refused.

    Raises:
        TreeError: something there is neither file nor directory.
        OSError: it cannot be read.
    """
    tree = Tree()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise TreeError(origin, name, "is neither a file nor a directory", resolution="put a plain file there")
        if path.is_file():
            stat = path.stat()
            tree.add(
                name,
                File(
                    content=Slice(path=path, offset=0, size=stat.st_size),
                    executable=bool(stat.st_mode & 0o111),
                    origin=origin,
                ),
            )
    return tree
