"""Where two snaps that should be the same begin to differ: the file in the snap, and of a layer the file in it.

Rules:

1. What others follow from comes first: layers, then all else in the order of paths, then the documents that repeat the
   layers' digests. In a layer, byte code comes after what it was compiled from.
2. Names, kinds, modes and link targets count as well as bytes. Times and owners are the packer's: equal trees whose
   files differ were packed by other tools.
"""

from __future__ import annotations

import hashlib
import stat
import tarfile
import tempfile
from dataclasses import dataclass
from typing import IO

from . import contents, verification
from .containercheck import Entry
from .snapfile import SnapFile

_DOCUMENTS = (contents.PAYLOAD, contents.RUNTIME, contents.SBOM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first file in which a snap differs from what it should be.

    Attributes:
        path: in the snap.
        inside: path in the layer at `path`, where that is one and a file in it differs; else empty.
        problem: how it differs.
    """

    path: str
    inside: str
    problem: str

    def __str__(self) -> str:
        """In words."""
        return f"{self.inside} in {self.path} {self.problem}" if self.inside else f"{self.path} {self.problem}"


def find(snap: SnapFile, expected: SnapFile) -> Difference | None:
    """The first file in which a snap differs from what is expected; None where their trees are equal.

    Raises:
        SnapFileError: one of them is damaged.
        VerificationError: a layer of one is no tar.
    """
    for path in sorted(snap.entries.keys() | expected.entries.keys(), key=_rank):
        found, wanted = snap.entries.get(path), expected.entries.get(path)
        if found is None or wanted is None:
            return Difference(path=path, inside="", problem="is missing" if found is None else "should not be there")
        if (found.mode, found.target) != (wanted.mode, wanted.target):
            return Difference(path=path, inside="", problem=f"is {_kind(found)} and should be {_kind(wanted)}")
        if not stat.S_ISREG(found.mode):
            continue
        if found.size == wanted.size and snap.digest(path) == expected.digest(path):
            continue
        if path.endswith(".tar"):
            with tempfile.TemporaryFile() as ours, tempfile.TemporaryFile() as theirs:
                snap.copy(path, ours)
                expected.copy(path, theirs)
                inside, problem = _in_layer(_members(ours, snap.path.name), _members(theirs, expected.path.name))
            return Difference(path=path, inside=inside, problem=problem)
        return Difference(path=path, inside="", problem="has other bytes than it should")
    return None


def _rank(path: str) -> tuple[int, str]:
    order = 0 if path.endswith(".tar") else 2 if path in _DOCUMENTS else 1
    return order, path


def _kind(entry: Entry) -> str:
    kind = "a folder" if stat.S_ISDIR(entry.mode) else f"a link to {entry.target}" if entry.target else "a file"
    return f"{kind} of mode {stat.S_IMODE(entry.mode):04o}"


def _in_layer(found: dict[str, _Member], wanted: dict[str, _Member]) -> tuple[str, str]:
    for name in sorted(found.keys() | wanted.keys(), key=lambda name: ("/__pycache__/" in name, name)):
        if name not in found or name not in wanted:
            return name, "is missing" if name not in found else "should not be there"
        if found[name] != wanted[name]:
            return name, "has other bytes than it should" if found[name].is_like(wanted[name]) else "has another mode"
    return "", "holds the same files in another order, or with other times"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    kind: bytes
    mode: int
    target: str
    digest: bytes

    def is_like(self, other: _Member) -> bool:
        """Whether they differ in no more than their bytes."""
        return (self.kind, self.mode, self.target) == (other.kind, other.mode, other.target)


def _members(layer: IO[bytes], snap: str) -> dict[str, _Member]:
    layer.seek(0)
    found = {}
    try:
        with tarfile.open(fileobj=layer, mode="r:") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isreg() else None
                found[member.name] = _Member(
                    kind=member.type,
                    mode=member.mode,
                    target=member.linkname,
                    digest=b"" if content is None else hashlib.file_digest(content, "sha256").digest(),  # type: ignore[arg-type]
                )
    except tarfile.TarError as error:
        raise verification.VerificationError(snap, f"a layer is no tar: {error}") from error
    return found
