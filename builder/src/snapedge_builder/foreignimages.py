"""Images that something else than this builder wrote: an OCI layout becomes trees, for our own tar writer.

What a layer's tar says of times, owners, modes, its order and format is left behind here; of a file, its bytes and
whether it may be executed are kept, of a link where it points. So a layer's digest no longer tells when, where and by
what it was built. Rules:

1. Owner 0:0; a directory is 0755, but `/tmp`, which is everybody's. On a device the root is read-only and the server is
   no owner of anything: who owns a file says nothing there. A setuid file or one that everybody may write is for the
   gates.
2. Hard links become files, and no file stands in two layers: what a later layer replaces or removes leaves the earlier.
3. Byte code that is checked against its source's time is left out: every time is 0, so it would never be used.
4. Devices, pipes, and paths that lead out of their archive are refused.

    LayerTooLargeError   hard links make far more of a layer than it is
    LayoutError          the layout is not what the specification says, or holds what we did not ask for
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snapedge_hooks import unpacking
from snapedge_hooks.document import DocumentError, Fields, parse_object
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Architecture, Digest

from .errors import BuilderError
from .trees import Directory, File, Link, Node, Slice, Tree, TreeError, normal_path

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_SETTINGS = (
    *("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal"),
    *("Healthcheck", "Shell"),
)
_REMEDY = "have no step of the Dockerfile make it"
_TIMED_BYTECODE = 16
"""Length of a .pyc header; its flags are the second word, 0 where the source's time is what counts (PEP 552)."""


class LayoutError(BuilderError):
    """An OCI layout cannot be read."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"the image that was built cannot be read: {problem}", resolution="build again")


class LayerTooLargeError(BuilderError):
    """A layer unpacks to more than any layer should."""

    exit_code = ExitCode.REFUSED

    def __init__(self, origin: str, most: int) -> None:
        super().__init__(
            f"{origin}: a layer {unpacking.excess(most)}",
            resolution="have no step of the Dockerfile make that many hard links",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignImage:
    """An image as it was found.

    Attributes:
        architecture: that its config names.
        settings: the `config` of its config, without what is empty.
        layers: the tars of its layers, the lowest first.
        steps: what made each layer, as its history tells; empty where it does not.
    """

    architecture: Architecture
    settings: Mapping[str, Any]
    layers: tuple[Path, ...]
    steps: tuple[str, ...]


@dataclass(slots=True)
class _Layer:
    """One layer's tar: what it adds, and what it takes away from those below."""

    tree: Tree
    removed: set[str]
    emptied: set[str]


def read_layout(folder: Path) -> ForeignImage:
    """The one image of a layout whose layers are not compressed; what attests it is passed over.

    Raises:
        LayoutError: it is not such a layout, or a layer is not what its digest says.
    """
    try:
        manifest = _manifest(folder, _object(folder / "index.json"))
        config = _object(_blob(folder, manifest.object("config")))
        settings = config.raw("config", dict, "an object")
        diff_ids = config.object("rootfs").list("diff_ids")
        layers = [_blob(folder, item) for item in manifest.objects("layers")]
        architecture = config.parsed("architecture", Architecture.parse)
        history = config.list("history", default=[])
    except DocumentError as error:
        raise LayoutError(str(error)) from error
    for layer, diff_id in zip(layers, diff_ids, strict=True):
        if Digest.of_file(layer) != diff_id:
            raise LayoutError(f"layer {diff_id} is compressed or damaged")
    made = [str(item.get("created_by", "")) for item in history if not item.get("empty_layer")]
    return ForeignImage(
        architecture=architecture,
        settings={name: settings[name] for name in _SETTINGS if settings.get(name)},
        layers=tuple(layers),
        steps=tuple(made) if len(made) == len(layers) else ("",) * len(layers),
    )


def read_trees(image: ForeignImage, *, origin: str) -> tuple[Tree, ...]:
    """What each layer adds to the image that no later one replaces or removes; their bytes stay in the layout.

    Raises:
        TreeError: a layer holds what no image of ours may hold.
        LayerTooLargeError: a layer's hard links, each of which becomes a file, make far more of it than it is.
    """
    owners: dict[str, int] = {}
    nodes: dict[str, Node] = {}
    for number, path in enumerate(image.layers):
        layer = _read(path, origin=origin)
        for name in sorted(layer.emptied):
            _remove(nodes, name, below_only=True)
        for name in sorted(layer.removed):
            _remove(nodes, name)
        for name, node in layer.tree.entries.items():
            there = nodes.get(name)
            if isinstance(there, Directory) and isinstance(node, Directory):
                continue
            if there is not None:
                _remove(nodes, name)
            nodes[name] = node
            owners[name] = number
        _check_parents(nodes, layer, origin)
    trees = tuple(Tree() for _ in image.layers)
    for name, node in nodes.items():
        if not _is_timed_bytecode(name, node):
            trees[owners[name]].entries[name] = node
    return trees


def _manifest(folder: Path, index: Fields) -> Fields:
    while True:
        found = [item for item in index.objects("manifests") if not _attests(item)]
        if len(found) != 1:
            raise LayoutError(f"it holds {len(found)} images, one was asked for")
        document = _object(_blob(folder, found[0]))
        if found[0].text("mediaType") not in _INDEXES:
            return document
        index = document


def _attests(descriptor: Fields) -> bool:
    annotations = descriptor.optional_object("annotations")
    return annotations is not None and annotations.optional_text("vnd.docker.reference.type") is not None


def _object(path: Path) -> Fields:
    try:
        return parse_object(path.read_bytes(), what=path.name)
    except OSError as error:
        raise LayoutError(f"{path.name}: {error.strerror}") from error


def _blob(folder: Path, descriptor: Fields) -> Path:
    return folder / "blobs" / "sha256" / descriptor.parsed("digest", Digest).hex


def _read(path: Path, *, origin: str) -> _Layer:
    layer = _Layer(tree=Tree(), removed=set(), emptied=set())
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                name = normal_path(member.name, origin=origin)
                folder, _, last = name.rpartition("/")
                if last == _OPAQUE:
                    layer.emptied.add(folder)
                elif last.startswith(_WHITEOUT):
                    layer.removed.add(f"{folder}/{last[len(_WHITEOUT) :]}".lstrip("/"))
                elif name:
                    layer.tree.entries[name] = _node(member, name, path, layer.tree, origin)
    except tarfile.TarError as error:
        raise LayoutError(f"a layer is no tar: {error}") from error
    most = unpacking.most(path.stat().st_size)
    if layer.tree.size > most:
        raise LayerTooLargeError(origin, most)
    return layer


def _node(member: tarfile.TarInfo, name: str, path: Path, tree: Tree, origin: str) -> Node:
    if member.isreg() and not member.issparse():
        return File(
            content=Slice(path=path, offset=member.offset_data, size=member.size),
            executable=bool(member.mode & 0o111),
            origin=origin,
            raw_mode=member.mode & 0o7777,
        )
    if member.issym():
        return Link(target=member.linkname, origin=origin)
    if member.isdir():
        return Directory(mode=0o1777 if name == "tmp" else 0o755, origin=origin)
    if member.islnk():
        earlier = tree.entries.get(normal_path(member.linkname, origin=origin))
        if isinstance(earlier, File | Link):
            return earlier
        raise TreeError(origin, name, f"is a hard link to {member.linkname!r}, which is not before it")
    raise TreeError(origin, name, "is a device, a pipe or a sparse file", resolution=_REMEDY)


def _remove(nodes: dict[str, Node], name: str, *, below_only: bool = False) -> None:
    """Take away an entry, and what is below it."""
    there = nodes.get(name)
    if not below_only:
        nodes.pop(name, None)
    if there is None or isinstance(there, Directory):
        prefix = f"{name}/" if name else ""
        for path in [path for path in nodes if path.startswith(prefix)]:
            del nodes[path]


def _check_parents(nodes: Mapping[str, Node], layer: _Layer, origin: str) -> None:
    for name in layer.tree.entries:
        for parent in _parents(name):
            if parent in nodes and not isinstance(nodes[parent], Directory):
                raise TreeError(origin, name, f"lies below {parent!r}, which is no directory", resolution=_REMEDY)


def _parents(name: str) -> Iterator[str]:
    parent = name.rpartition("/")[0]
    while parent:
        yield parent
        parent = parent.rpartition("/")[0]


def _is_timed_bytecode(name: str, node: Node) -> bool:
    if not name.endswith(".pyc") or not isinstance(node, File):
        return False
    header = node.read(_TIMED_BYTECODE)
    return len(header) == _TIMED_BYTECODE and header[4:8] == bytes(4)
