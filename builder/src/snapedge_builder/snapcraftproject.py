"""A packed snap as a snapcraft project: for those whose pipeline builds with snapcraft.

    snap/snapcraft.yaml     the metadata, and one part that dumps the tree of the architecture built for
    snap/hooks/*            the hooks, which snapcraft puts into meta/hooks
    tree/amd64, tree/arm64  everything else that the snap holds, as it is

Rules, where snapcraft would otherwise write another meta/snap.yaml than ours:

1. `LD_LIBRARY_PATH: null` keeps snapcraft from adding one; PATH is said as it is.
2. `architectures` follows from `platforms`; `type: app` is what snapcraft takes for granted.
3. Nothing is compiled, so every platform may be built on every architecture.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Architecture

from . import containercheck, snapyaml
from .errors import BuilderError
from .snapfile import SnapFile

PART = "snap"
_FILE = "snap/snapcraft.yaml"
_HOOKS = "meta/hooks/"
_SAME = ("name", "version", "summary", "description", "base", "confinement", "grade")


class NotOneSnapError(BuilderError):
    """Files that are not one version of one snap, one file for each architecture."""

    exit_code = ExitCode.USAGE

    def __init__(self, first: str, second: str, what: str) -> None:
        super().__init__(
            f"{first} and {second} cannot be one project: {what}",
            resolution="name the snaps of one version, one file for each architecture",
        )


class ProjectFolderError(BuilderError):
    """The project cannot be written where it should be."""

    exit_code = ExitCode.USAGE

    def __init__(self, folder: Path, problem: str) -> None:
        super().__init__(f"cannot write a project to {folder}: {problem}", resolution="name another folder")


def project(document: Mapping[str, Any], architectures: Sequence[Architecture]) -> dict[str, Any]:
    """The snapcraft.yaml that gives a snap with this meta/snap.yaml, for each of the architectures."""
    every = [str(architecture) for architecture in Architecture]
    return {
        **{key: document[key] for key in _SAME},
        "platforms": {
            str(architecture): {"build-on": every, "build-for": [str(architecture)]} for architecture in architectures
        },
        "environment": {**document["environment"], "LD_LIBRARY_PATH": None},
        "plugs": document["plugs"],
        **({"slots": document["slots"]} if "slots" in document else {}),
        "hooks": document["hooks"],
        "apps": document["apps"],
        "parts": {PART: {"plugin": "dump", "source": "tree/$CRAFT_ARCH_BUILD_FOR"}},
    }


def write_project(paths: Sequence[Path], folder: Path) -> tuple[str, ...]:
    """Write the project of a snap's packed files into a folder that does not exist yet.

    Args:
        paths: one file for each architecture of one version.
        folder: to make; it appears whole or not at all.

    Returns:
        What was written, relative to the folder: the hooks, snapcraft.yaml and the trees.

    Raises:
        SnapFileError: a file is no snap, cut short or damaged.
        ContainerError: a tree is one snapd would refuse.
        NotOneSnapError: the files are not one version of one snap.
        ProjectFolderError: the folder is there already, or cannot be written.
    """
    if folder.exists():
        raise ProjectFolderError(folder, "it is there already")
    snaps = [SnapFile.open(path) for path in paths]
    documents = [snapyaml.parse(snap.read(snapyaml.PATH)) for snap in snaps]
    for snap, document in zip(snaps, documents, strict=True):
        containercheck.check_container(snap.entries.values(), document)
    architectures = _architectures(snaps, documents)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            written = _write(work, dict(zip(architectures, snaps, strict=True)), documents[0])
            work.chmod(0o755)
            work.rename(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise ProjectFolderError(folder, error.strerror or str(error)) from error
    return written


def _architectures(snaps: Sequence[SnapFile], documents: Sequence[dict[str, Any]]) -> list[Architecture]:
    first = documents[0]
    found: list[Architecture] = []
    for snap, document in zip(snaps, documents, strict=True):
        for key in sorted((set(first) | set(document)) - {"architectures"}):
            if first.get(key) != document.get(key):
                raise NotOneSnapError(snaps[0].path.name, snap.path.name, f"{key} differs")
        architecture = Architecture(document["architectures"][0])
        if architecture in found:
            raise NotOneSnapError(
                snaps[found.index(architecture)].path.name, snap.path.name, f"both are for {architecture}"
            )
        hooks, others = ({name: s.read(name) for name in s.files_below("meta/hooks")} for s in (snaps[0], snap))
        if hooks != others:
            raise NotOneSnapError(snaps[0].path.name, snap.path.name, "their hooks differ")
        found.append(architecture)
    return found


def _write(work: Path, snaps: Mapping[Architecture, SnapFile], document: Mapping[str, Any]) -> tuple[str, ...]:
    order = [architecture for architecture in Architecture if architecture in snaps]
    written = [_FILE]
    (work / "snap").mkdir()
    (work / _FILE).write_bytes(snapyaml.dump(project(document, order)))
    for architecture in order:
        snap = snaps[architecture]
        for name, entry in sorted(snap.entries.items()):
            if not stat.S_ISREG(entry.mode) or name == snapyaml.PATH:
                continue
            if name.startswith(_HOOKS):
                place = f"snap/hooks/{name.removeprefix(_HOOKS)}"
                if place in written:
                    continue
                written.append(place)
            else:
                place = f"tree/{architecture}/{name}"
            path = work / place
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                snap.copy(name, file)
                os.fchmod(file.fileno(), 0o755 if entry.mode & 0o111 else 0o644)
        written.append(f"tree/{architecture}")
    return tuple(written)
