"""Packed snaps in the cache: found by what they were packed from, so nothing unchanged is packed twice."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from snapedge_hooks.vocabulary import Digest

from . import pack, prime
from .cache import Cache
from .contents import SnapContent
from .errors import BuilderError
from .prime import Assembler
from .progress import Progress

_KIND = "snap"


class OutputError(BuilderError):
    """The output folder cannot take a file."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(
            f"cannot write {path}: {error.strerror}", resolution="make room or name another folder with --output"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedSnap:
    """A packed snap.

    Attributes:
        content: what it was packed from.
        digest: of the packed file.
        size: of the packed file, in bytes.
        path: the file, in the cache.
    """

    content: SnapContent
    digest: Digest
    size: int
    path: Path


def find_packed(content: SnapContent, *, cache: Cache) -> PackedSnap | None:
    """The snap that was packed from this content before, if the cache still holds it whole."""
    note = cache.find_note(_KIND, content.tree.key(pack.packer()))
    if note is None:
        return None
    digest = Digest(note["digest"])
    path = cache.find_blob(digest)
    return None if path is None else PackedSnap(content=content, digest=digest, size=note["size"], path=path)


def pack_all(
    contents: list[SnapContent], *, assembler: Assembler | None, cache: Cache, progress: Progress
) -> list[PackedSnap]:
    """Pack several snaps, as many at once as there are processors; each is noted in the cache.

    Trees are assembled one after another, and each is packed while the next is assembled.

    Args:
        contents: what to pack.
        assembler: None where none of them has parts.
        cache: that takes them.
        progress: that is told.

    Raises:
        AssemblyError: a tree could not be put together.
        ContainerError: snapd would refuse a tree.
        PackError: mksquashfs is missing or failed.
        CacheError: the cache cannot be written.
    """
    cores = len(os.sched_getaffinity(0))
    workers = min(len(contents), cores)
    # The pool is left first: it waits for the packers before their trees are removed.
    with cache.scratch() as work, contextlib.ExitStack() as trees, ThreadPoolExecutor(max_workers=workers) as pool:
        futures = []
        for content in contents:
            progress.start(content.file_name)
            progress.advance(content.file_name, "assembling")
            tree = trees.enter_context(_assembled(content, assembler, work / str(content.architecture)))
            progress.advance(content.file_name, "packing")
            snap = work / f"{content.architecture}.packed"
            futures.append(pool.submit(pack.pack, tree, snap, processors=max(1, cores // workers)))
        packed = []
        for content, future in zip(contents, futures, strict=True):
            future.result()
            packed.append(_keep(content, work / f"{content.architecture}.packed", cache))
            progress.done(content.file_name, f"{packed[-1].size / 1e6:.2f} MB")
    return packed


def is_delivered(snap: PackedSnap, output: Path) -> bool:
    """Whether the same bytes lie in the output folder."""
    path = output / snap.content.file_name
    try:
        return path.stat().st_size == snap.size and Digest.of_file(path) == snap.digest
    except OSError:
        return False


def deliver(snap: PackedSnap, output: Path) -> Path:
    """Copy a snap to the output folder; it appears whole or not at all.

    Raises:
        OutputError: the folder cannot take it.
    """
    path = output / snap.content.file_name
    replace_file(path, snap.path)
    return path


def replace_file(path: Path, source: bytes | Path) -> None:
    """Write a file of the output folder by temporary file and rename.

    Raises:
        OutputError: the folder cannot take it; what was there is still there.
    """
    name: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, text = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        name = Path(text)
        os.close(descriptor)
        if isinstance(source, bytes):
            name.write_bytes(source)
        else:
            shutil.copyfile(source, name)
        name.chmod(0o644)
        name.replace(path)
    except OSError as error:
        raise OutputError(path, error) from error
    finally:
        if name is not None:
            name.unlink(missing_ok=True)


def _assembled(
    content: SnapContent, assembler: Assembler | None, work: Path
) -> contextlib.AbstractContextManager[Path]:
    if not content.has_parts:
        return prime.laid_out(content.tree, document=content.document, work=work)
    assert assembler is not None, "what has parts comes with an assembler"
    return assembler.assembled(content.tree, architecture=content.architecture, document=content.document, work=work)


def _keep(content: SnapContent, file: Path, cache: Cache) -> PackedSnap:
    size = file.stat().st_size
    digest = cache.keep(file)
    cache.write_note(_KIND, content.tree.key(pack.packer()), {"digest": digest, "size": size})
    return PackedSnap(content=content, digest=digest, size=size, path=cache.blob_path(digest))
