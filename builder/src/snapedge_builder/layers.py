"""Writing layers: one tar format, decided here, whatever wrote the files.

Rules:

1. Entries sorted by path, each directory before what it holds, every parent listed.
2. Owner 0:0 without names, mtime 0, mode 0644 or 0755; a directory may say otherwise (only `/tmp` does, 1777).
3. USTAR headers; a PAX header only for a name or size that USTAR cannot hold. Nothing of the host gets in.
4. Written front to back and hashed meanwhile: memory does not grow with the layer.
"""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from snapedge_hooks.images import ImageLayer, ModelLayer
from snapedge_hooks.vocabulary import Digest

from .cache import Cache
from .trees import Directory, File, Link, Node, Slice, Tree

_BLOCK = 512
MODELS_FOLDER = "mnt/models"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer in the cache.

    Attributes:
        name: stable and ordered, such as `20-onnxruntime`.
        diff_id: digest of its tar, under which the cache has it.
        size: of the tar, in bytes.
    """

    name: str
    diff_id: Digest
    size: int

    def image_layer(self) -> ImageLayer:
        """The layer as runtime.json lists it."""
        return ImageLayer(
            name=self.name,
            file=f"layers/{self.name}.tar",
            diff_id=self.diff_id,
            digest=self.diff_id,
            size=self.size,
        )


class Sink(Protocol):
    """What a tar is written to, front to back."""

    def write(self, data: bytes) -> None:
        """Append some bytes."""


def write_layer(tree: Tree, *, name: str, cache: Cache) -> Layer:
    """The layer of a tree, in the cache.

    Raises:
        CacheError: it could not be written.
    """
    with cache.write_blob() as writer:
        write_tar(tree, writer)
    return Layer(name=name, diff_id=writer.digest, size=writer.size)


def write_model_layer(name: str, files: Mapping[str, Path | bytes], *, cache: Cache) -> ModelLayer:
    """The one layer that a model adds: its files under `/mnt/models/<name>/`; the tar is a blob of the cache.

    Args:
        name: the model's name.
        files: by file name; a path is read while the layer is written, so a model of any size is never held.
        cache: where the tar goes; `cache.blob_path(layer.diff_id)` is the file.

    Raises:
        CacheError: it could not be written.
        OSError: a file cannot be read.
    """
    tree = Tree()
    for file_name, content in files.items():
        part = content if isinstance(content, bytes) else Slice(path=content, offset=0, size=content.stat().st_size)
        tree.add(f"{MODELS_FOLDER}/{name}/{file_name}", File(content=part, origin=name))
    layer = write_layer(tree, name="model", cache=cache)
    return ModelLayer(file="model.tar", diff_id=layer.diff_id, size=layer.size)


def write_tar(tree: Tree, writer: Sink) -> None:
    """The tar of a tree, by the rules above."""
    entries: dict[str, Node] = dict(tree.entries)
    for path in tree.entries:
        parent = path.rpartition("/")[0]
        while parent and parent not in entries:
            entries[parent] = Directory()
            parent = parent.rpartition("/")[0]
    for path in sorted(entries):
        node = entries[path]
        writer.write(_header(path, node))
        if isinstance(node, File):
            for chunk in node.chunks():
                writer.write(chunk)
            writer.write(bytes(-node.size % _BLOCK))
    writer.write(bytes(2 * _BLOCK))


def _header(path: str, node: Node) -> bytes:
    info = tarfile.TarInfo(path)
    match node:
        case File():
            info.size = node.size
            info.mode = 0o755 if node.executable else 0o644
        case Link():
            info.type = tarfile.SYMTYPE
            info.linkname = node.target
            info.mode = 0o777
        case Directory():
            info.type = tarfile.DIRTYPE
            info.name = f"{path}/"
            info.mode = node.mode
    return info.tobuf(format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape")
