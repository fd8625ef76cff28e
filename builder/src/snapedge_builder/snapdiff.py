"""What a device downloads when one snap follows another, which part of the snap is to blame, and what helps.

A snap is packed in blocks of 128 KiB, each compressed alone, so a delta of two packed snaps costs about what the
blocks cost that the old one does not have. These are counted here, part by part; the total is xdelta3's own.

Rules for the blame:

1. The part whose fresh blocks weigh most, packed, is to blame; without fresh blocks nobody is.
2. The remedy follows from what the part is: a runtime layer in a model's snap, a base, a wheel, our server, a model.
3. A part most of whose fresh blocks hold files that did not change was shifted; that outweighs the rest of rule 2.
4. A delta much larger than all fresh blocks together means parts that lie too far from where they lay.
"""

from __future__ import annotations

import hashlib
import lzma
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from snapedge_hooks.errors import ExitCode

from . import contents, delta, snapyaml, verification
from .errors import BuilderError
from .snapfile import SnapFile

BLOCK = 128 * 1024
OTHERS = "hooks and documents"
_DROPPED_SHARE = 0.9
_SHIFTED_SHARE = 0.5
_FAR_FACTOR = 1.5
_FAR_BYTES = 256 * 1024
_MODEL = "model"


class NotComparableError(BuilderError):
    """Two snaps of which no device refreshes from one to the other."""

    exit_code = ExitCode.USAGE

    def __init__(self, what: str, old: str, new: str) -> None:
        super().__init__(
            f"the {what} differs: {old} and {new}",
            resolution="compare two versions of one snap, built for one architecture",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedPart:
    """One layer, or the small files together, as it differs between two snaps.

    Attributes:
        name: the layer's name, `model`, or OTHERS.
        change: `added`, `removed`, `changed` or `same`.
        old_size: in bytes, 0 where it was not there.
        size: in bytes, 0 where it is gone.
        fresh: bytes in blocks that the old snap does not have.
        packed: what those blocks weigh compressed, about.
        files: paths inside that are new or other than before.
        file_bytes: what those files weigh.
    """

    name: str
    change: str
    old_size: int
    size: int
    fresh: int = 0
    packed: int = 0
    files: tuple[str, ...] = ()
    file_bytes: int = 0

    def to_value(self) -> dict[str, Any]:
        """The part as JSON has it."""
        return {
            "name": self.name,
            "change": self.change,
            "old_size": self.old_size,
            "size": self.size,
            "fresh": self.fresh,
            "packed": self.packed,
            "files": list(self.files),
            "file_bytes": self.file_bytes,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapDifference:
    """What a device downloads.

    Attributes:
        name: of the snap.
        architecture: of the snap.
        old: version before.
        new: version after.
        old_size: of the packed snap before, in bytes.
        size: of the packed snap after: what is downloaded without a delta.
        delta: of the store, in bytes.
        parts: every layer in order, then the rest.
        blame: name of the part that costs most, or empty.
        remedy: what would make the download smaller, or why nothing would.
    """

    name: str
    architecture: str
    old: str
    new: str
    old_size: int
    size: int
    delta: int
    parts: tuple[ChangedPart, ...]
    blame: str
    remedy: str

    @property
    def delta_is_dropped(self) -> bool:
        """Whether the delta is so near to the full size that the store serves none."""
        return self.delta >= self.size * _DROPPED_SHARE

    def to_value(self) -> dict[str, Any]:
        """The difference as JSON has it."""
        return {
            "name": self.name,
            "architecture": self.architecture,
            "old": {"version": self.old, "size": self.old_size},
            "new": {"version": self.new, "size": self.size},
            "delta": self.delta,
            "delta_is_dropped": self.delta_is_dropped,
            "parts": [part.to_value() for part in self.parts],
            "blame": self.blame,
            "remedy": self.remedy,
        }


def compare(old_path: Path, new_path: Path) -> SnapDifference:
    """What a device that has the old snap downloads for the new one.

    Raises:
        SnapFileError: one of them is no snap, cut short or damaged.
        NotComparableError: they are not versions of one snap for one architecture.
        DocumentError: a document inside cannot be read.
        BuilderError: xdelta3 is missing or failed.
    """
    old, new = SnapFile.open(old_path), SnapFile.open(new_path)
    before, after = (snapyaml.parse(snap.read(snapyaml.PATH)) for snap in (old, new))
    for what in ("name", "architectures"):
        if before[what] != after[what]:
            raise NotComparableError(what.removesuffix("s"), _text(before[what]), _text(after[what]))
    parts = _parts(old, new)
    size = delta.delta_size(old_path, new_path)
    blame, remedy = judge(parts, bytes_sent=size, is_model=contents.PAYLOAD in new.entries)
    return SnapDifference(
        name=after["name"],
        architecture=after["architectures"][0],
        old=str(before["version"]),
        new=str(after["version"]),
        old_size=old.size,
        size=new.size,
        delta=size,
        parts=parts,
        blame=blame,
        remedy=remedy,
    )


def judge(parts: Sequence[ChangedPart], *, bytes_sent: int, is_model: bool) -> tuple[str, str]:
    """The part to blame for a delta, and the remedy.

    Args:
        parts: of the snap.
        bytes_sent: of the store's delta.
        is_model: whether the snap brings a model.
    """
    costly = max(parts, key=lambda part: part.packed, default=None)
    fresh = sum(part.packed for part in parts)
    if bytes_sent > fresh * _FAR_FACTOR + _FAR_BYTES:
        return (
            "order of the layers",
            "most of the delta is unchanged content that lies too far from where it lay in the old snap, more than "
            f"{delta.WINDOW // 2**20} MiB: keep names and order of the layers",
        )
    if costly is None or costly.packed == 0:
        return "", "nothing of weight changed"
    return costly.name, _remedy(costly, is_model=is_model)


def _remedy(part: ChangedPart, *, is_model: bool) -> str:
    if part.name == _MODEL:
        return "the model itself is other bytes: this is what a new model costs; quantize it or retrain less of it"
    if part.name == OTHERS and not any(name.startswith(("lib/", "bin/", "meta/hooks/")) for name in part.files):
        return "names, versions and digests changed: every new version costs this"
    if part.name == OTHERS:
        return "what snapedge itself puts into every snap changed: this comes with a new builder, and once"
    if is_model:
        return "the runtime came along in a model's snap: declare `delivery: {image: shared}` to send it once"
    if part.name == "40-app":
        return "the server's own code changed: this is what a new server costs"
    if part.change == "changed" and part.file_bytes < part.fresh * _SHIFTED_SHARE:
        return (
            f"only {part.file_bytes} bytes of files in it changed, the rest was shifted: what changes often and little "
            "belongs into a layer of its own"
        )
    if part.name == "10-base":
        return "Debian packages of the base changed: build without --refresh until it is worth it"
    return "wheels in it changed: keep their versions in requirements.lock until the upgrade is worth its download"


def _parts(old: SnapFile, new: SnapFile) -> tuple[ChangedPart, ...]:
    before, after = _layers(old), _layers(new)
    # Blocks are looked for in every part of the old snap: content that moved to another layer costs nothing.
    known: set[bytes] = set()
    files_before: dict[str, dict[str, bytes]] = {}
    for name, (path, digest) in before.items():
        if name in after and after[name][1] == digest:
            continue
        with tempfile.TemporaryFile() as copy:
            old.copy(path, copy)
            known.update(hashlib.sha256(block).digest() for block in _blocks(copy))
            files_before[name] = {inner: seen for inner, _, seen in _members(copy, old.path.name)}
    parts = []
    for name, (path, digest) in after.items():
        size = new.entries[path].size
        if name in before and before[name][1] == digest:
            parts.append(ChangedPart(name=name, change="same", old_size=size, size=size))
            continue
        with tempfile.TemporaryFile() as copy:
            new.copy(path, copy)
            fresh, packed = _weigh(_blocks(copy), known)
            changed = [
                (inner, weight)
                for inner, weight, seen in _members(copy, new.path.name)
                if files_before.get(name, {}).get(inner) != seen
            ]
        parts.append(
            ChangedPart(
                name=name,
                change="changed" if name in before else "added",
                old_size=old.entries[before[name][0]].size if name in before else 0,
                size=size,
                fresh=fresh,
                packed=packed,
                files=tuple(inner for inner, _ in changed),
                file_bytes=sum(weight for _, weight in changed),
            )
        )
    parts.extend(
        ChangedPart(name=name, change="removed", old_size=old.entries[path].size, size=0)
        for name, (path, _) in before.items()
        if name not in after
    )
    return (*parts, _others(old, new, {path for path, _ in (*before.values(), *after.values())}))


def _layers(snap: SnapFile) -> dict[str, tuple[str, str]]:
    """Path in the snap and digest of each layer, by name."""
    found = {}
    if contents.RUNTIME in snap.entries:
        for layer in verification.read_runtime(snap).layers:
            found[layer.name] = (f"runtime/{layer.file}", str(layer.diff_id))
    if contents.PAYLOAD in snap.entries:
        model = verification.read_payload(snap).model.layer
        found[_MODEL] = (f"payload/{model.file}", str(model.diff_id))
    return found


def _others(old: SnapFile, new: SnapFile, layers: set[str]) -> ChangedPart:
    def small(snap: SnapFile) -> dict[str, bytes]:
        tops = ("meta", "lib", "bin", "payload", "runtime")
        names = [name for top in tops for name in snap.files_below(top) if name not in layers]
        return {name: snap.read(name) for name in [*names, *([contents.SBOM] * (contents.SBOM in snap.entries))]}

    before, after = small(old), small(new)
    known = {hashlib.sha256(block).digest() for data in before.values() for block in _cut(data)}
    fresh, packed = _weigh((block for data in after.values() for block in _cut(data)), known)
    changed = tuple(sorted(name for name, data in after.items() if before.get(name) != data))
    is_same = before == after
    return ChangedPart(
        name=OTHERS,
        change="same" if is_same else "changed",
        old_size=sum(map(len, before.values())),
        size=sum(map(len, after.values())),
        fresh=fresh,
        packed=packed,
        files=changed,
        file_bytes=sum(len(after[name]) for name in changed),
    )


def _weigh(blocks: Iterable[bytes], known: set[bytes]) -> tuple[int, int]:
    fresh = packed = 0
    for block in blocks:
        digest = hashlib.sha256(block).digest()
        if digest in known:
            continue
        known.add(digest)
        fresh += len(block)
        packed += min(len(block), len(lzma.compress(block, check=lzma.CHECK_CRC32)))
    return fresh, packed


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    return iter(lambda: file.read(BLOCK), b"")


def _cut(data: bytes) -> Iterator[bytes]:
    return (data[start : start + BLOCK] for start in range(0, len(data), BLOCK))


def _members(file: IO[bytes], snap: str) -> Iterator[tuple[str, int, bytes]]:
    """Path, size and digest of what a layer holds."""
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isreg() else None
                if content is not None:
                    yield member.name, member.size, hashlib.file_digest(content, "sha256").digest()  # type: ignore[arg-type]
    except tarfile.TarError as error:
        raise verification.VerificationError(snap, f"a layer is no tar: {error}") from error


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
