"""Proof that a snap is what its folder gives: built again from nothing, and compared to the byte.

Everything is made anew, in the build cache but without its notes of what was made before. Two kinds of notes are kept,
since nothing here made them: what mirrors and index answered, where no runtime.lock says which packages and wheels to
take; and files of packages, which are known by their sha256.

    NotReproducedError    a snap came out differently
    OtherFolderError      a folder is not what a snap was built from
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from snapedge_hooks.document import parse_object
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Digest

from . import building, contents, declaration, firstdifference, pack, resolution, runtimes, runtimesource
from .building import BuildRequest
from .cache import Cache
from .errors import BuilderError
from .firstdifference import Difference
from .hosts import Host
from .progress import Progress
from .runtimes import AnyRuntime, DockerfileRuntime
from .snapfile import SnapFile
from .verification import VerifiedSnap

_FOLDERS = Path("snaps")
_UNPINNED = "; or `builder lock` the runtime before it is built, if packages moved on since"
_UNKNOWN = "; or pin in the Dockerfile what it takes, if that moved on since"


class NotReproducedError(BuilderError):
    """A snap is not what its folder gives."""

    exit_code = ExitCode.REFUSED

    def __init__(
        self, file: str, folder: Path, difference: Difference | None, *, components: Sequence[str], hint: str
    ) -> None:
        if difference is None:
            problem = "it holds the same files, packed otherwise"
            resolution = f"rebuild with the packer it was packed with; here it is {pack.packer()}"
        else:
            problem = str(difference)
            resolution = "do not ship it, or check out what it was built from"
        super().__init__(
            f"{file} is not what {folder} gives: {problem}",
            details="\n".join(components),
            resolution=resolution + ("" if difference is None else hint),
        )
        self.difference = difference


class OtherFolderError(BuilderError):
    """A folder is not what a snap was built from."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What a folder says that it builds, and what may have moved on since, as a hint."""

    name: str
    version: str
    hint: str


def rebuild(
    snaps: Sequence[VerifiedSnap],
    folder: Path | None,
    *,
    runtime_folder: Path | None,
    cache: Cache,
    progress: Progress,
    host: Host | None = None,
) -> Path:
    """Build the snaps of one folder again and compare them; gives the folder.

    Args:
        snaps: of one version, verified.
        folder: that they were built from; the one in ./snaps that has their name where None.
        runtime_folder: of a model's runtime, as for a build.
        cache: whose downloads are used.
        progress: told what is built.
        host: to build on; the one this runs on if not given.

    Raises:
        OtherFolderError: the folder is missing, or builds another snap or version.
        NotReproducedError: a snap came out differently.
        BuilderError: the folder cannot be built.
    """
    found = folder or _FOLDERS / _folder_name(snaps[0].name)
    said = _said(found, runtime_folder)
    for snap in snaps:
        if (snap.name, snap.version) != (said.name, said.version):
            raise OtherFolderError(
                f"{snap.path.name}: {found} builds {said.name} {said.version}",
                resolution="name the folder that the snap was built from, as it was then",
            )
    signatures = _signatures(snaps)
    with cache.scratch() as scratch:
        anew = _without_memory(cache, scratch / "notes")
        request = BuildRequest(
            folder=found,
            runtime_folder=runtime_folder,
            architectures=tuple(snap.architecture for snap in snaps),
            output=scratch / "dist",
            # Whether a model answers right was for the build to judge; here it has only to be the same.
            ship_failing=True,
            # A signature cannot be made again without its key: it is taken as it is, if it is about the same runtime.
            sign=lambda runtime: signatures.get(runtime.digest),
        )
        source = runtimesource.ComposedRuntimes(anew, host=host)
        built = building.build(request, cache=anew, source=source, progress=progress)
        by_name = {path.name: path for path in built.snaps}
        for snap in snaps:
            _compare(snap, by_name[f"{snap.name}_{snap.version}_{snap.architecture}.snap"], found, said)
    return found


def _signatures(snaps: Sequence[VerifiedSnap]) -> dict[Digest, bytes]:
    """The signatures that snaps bring, by the digest of the runtime that they are about."""
    found = {}
    for snap in snaps:
        opened = SnapFile.open(snap.path)
        if snap.runtime is not None and contents.SIGNATURE in opened.entries:
            found[snap.runtime.digest] = opened.read(contents.SIGNATURE)
    return found


def _without_memory(cache: Cache, notes: Path) -> Cache:
    for kind in resolution.NOTES:
        if (cache.notes / kind).is_dir():
            shutil.copytree(cache.notes / kind, notes / kind)
    return Cache(cache.root, notes=notes)


def _said(folder: Path, runtime_folder: Path | None) -> _Said:
    if (folder / declaration.FILE_NAME).is_file():
        model = declaration.read_declaration(folder.absolute())
        runtime: AnyRuntime = building.runtime_for(model, runtime_folder)
        name, version = str(model.name), str(model.version)
    elif (folder / runtimes.FILE_NAME).is_file():
        runtime = runtimes.read_any(folder.absolute())
        name, version = contents.runtime_snap_name(runtime.name), str(runtime.version)
    else:
        raise OtherFolderError(
            f"{folder} holds neither {declaration.FILE_NAME} nor {runtimes.FILE_NAME}",
            resolution="name the folder that the snap was built from: builder verify --rebuild FILE.snap FOLDER",
        )
    if isinstance(runtime, DockerfileRuntime):
        hint = _UNKNOWN
    else:
        hint = "" if (runtime.folder / runtimes.PINS_NAME).is_file() else _UNPINNED
    return _Said(name=name, version=version, hint=hint)


def _folder_name(snap: str) -> str:
    prefix = contents.runtime_snap_name("")
    return f"runtime-{snap.removeprefix(prefix)}" if snap.startswith(prefix) else snap


def _compare(snap: VerifiedSnap, rebuilt: Path, folder: Path, said: _Said) -> None:
    if Digest.of_file(snap.path) == Digest.of_file(rebuilt):
        return
    found, wanted = SnapFile.open(snap.path), SnapFile.open(rebuilt)
    raise NotReproducedError(
        snap.path.name,
        folder,
        firstdifference.find(found, wanted),
        components=list(_components(found, wanted)),
        hint=said.hint,
    )


def _components(found: SnapFile, wanted: SnapFile) -> Iterator[str]:
    """What the bills of materials name differently, which is often why files differ."""
    ours, theirs = _bill(found), _bill(wanted)
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            yield f"{name}: {ours.get(name, 'not')} in the snap, {theirs.get(name, 'not')} in what was built"


def _bill(snap: SnapFile) -> dict[str, str]:
    fields = parse_object(snap.read(contents.SBOM), what=f"{snap.path.name}: {contents.SBOM}")
    return {item.text("name"): item.text("version") for item in fields.objects("components")}
