"""What goes into one snap, file by file, before anything is written.

The tree is data: its key tells whether the same snap was packed before, so that packing is skipped without assembling
anything. Modes are two, 0644 and 0755; owners and times are the packer's.
"""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from snapedge_hooks.document import canonical_json
from snapedge_hooks.vocabulary import Digest

from .errors import BuilderError

EXCLUDED_AT_TOP = (
    "DEBIAN",
    ".arch-ids",
    ".arch-inventory",
    ".bzr*",
    ".cvsignore",
    ".git",
    ".gitattributes",
    ".gitignore",
    ".gitmodules",
    ".hg*",
    ".shelf",
    ".svn",
    "CVS",
    "DEADJOE",
    "RCS",
    "_MTN",
    "_darcs",
    "{arch}",
    ".snapignore",
)
EXCLUDED_ANYWHERE = (".[#~]*", "*.snap", "*.click", ".*.sw?", "*~", ",,*")
"""Names that `snap pack` leaves out of a snap without a word (snapd snap/squashfs/squashfs.go)."""


class VanishingFileError(BuilderError):
    """A file has a name that snaps silently leave out."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} would be left out of the snap: `snap pack` drops names such as *.snap and *~",
            resolution="rename it",
        )
        self.path = path


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeFile:
    """One file of a snap.

    Attributes:
        path: where it stands in the snap, relative, with forward slashes.
        source: its bytes, or the file that holds them.
        digest: of those bytes.
        size: of those bytes.
        executable: mode 0755 where true, 0644 otherwise.
    """

    path: str
    source: bytes | Path
    digest: Digest
    size: int
    executable: bool = False

    @property
    def mode(self) -> int:
        """Its permission bits in the snap."""
        return 0o755 if self.executable else 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapTree:
    """All files of one snap, sorted by path."""

    files: tuple[TreeFile, ...]

    def key(self, packer: str) -> Digest:
        """What the packed snap follows from: every path, mode and digest, and the packer with its options."""
        entries = [[file.path, file.mode, file.digest] for file in self.files]
        return Digest.of(canonical_json({"files": entries, "packer": packer}))

    @property
    def size(self) -> int:
        """What its files hold together, in bytes."""
        return sum(file.size for file in self.files)


def text_file(path: str, content: str | bytes, *, executable: bool = False) -> TreeFile:
    """A file whose content is made here."""
    data = content.encode() if isinstance(content, str) else content
    return TreeFile(path=path, source=data, digest=Digest.of(data), size=len(data), executable=executable)


def snap_tree(files: Iterable[TreeFile]) -> SnapTree:
    """The tree of some files.

    Raises:
        VanishingFileError: a name that snaps leave out.
        ValueError: a path twice, or one that leaves the tree.
    """
    ordered = tuple(sorted(files, key=lambda file: file.path))
    for before, file in zip((None, *ordered), ordered, strict=False):
        if before is not None and before.path == file.path:
            raise ValueError(f"{file.path} stands twice in the tree")
        parts = PurePosixPath(file.path).parts
        if not parts or file.path.startswith("/") or ".." in parts:
            raise ValueError(f"{file.path!r} is not a path inside a snap")
        if is_excluded(file.path):
            raise VanishingFileError(file.path)
    return SnapTree(files=ordered)


@functools.lru_cache(maxsize=4096)
def is_excluded(path: str) -> bool:
    """Whether `snap pack` would leave the file, or a folder above it, out."""
    parts = PurePosixPath(path).parts
    if any(fnmatch.fnmatchcase(parts[0], pattern) for pattern in EXCLUDED_AT_TOP):
        return True
    return any(fnmatch.fnmatchcase(part, pattern) for part in parts for pattern in EXCLUDED_ANYWHERE)
