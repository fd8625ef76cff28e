"""The snap that makes MicroK8s on Ubuntu Core ready for model snaps, without a shell on the device.

It does two things. Its slot `configuration` hands MicroK8s a launch configuration (dns, storage, registry, and
containerd's leave to pull from that registry) and image archives to import; MicroK8s reads both when the slot is
connected. Its hooks and services apply the given Kubernetes objects, KServe in raw mode and what it needs, through the
plug `mk8s`, as those of a model snap apply an InferenceService.

    launcher/configuration/snapedge.yaml   the launch configuration
    launcher/sideload/<file>.tar           the image archives that hold an image for the snap's architecture
    cluster/objects.json                   the objects, in order (snapedge_hooks.clusterobjects)

Sources: MicroK8s, branch strict, snap/hooks/connect-plug-configuration; its launch configuration, version 0.2.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from snapedge_hooks import clusterobjects
from snapedge_hooks.clusterobjects import ClusterObjects
from snapedge_hooks.configuration import DEFAULT_REGISTRY
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Architecture, Digest, RegistryAddress, SnapName, SnapVersion

from . import clustermanifests, imagearchive, packed, rawdeployment, sbom, snapyaml
from .cache import Cache
from .contents import SBOM, SnapContent
from .devicelib import device_files
from .errors import BuilderError
from .gadget import launch_configuration
from .imagearchive import ImageArchive
from .prime import Assembler
from .progress import Progress
from .snaptree import TreeFile, snap_tree, text_file

NAME = "snapedge-microk8s"
LAUNCHER = "launcher"


class NothingToConfigureError(BuilderError):
    """Neither objects nor images are given."""

    exit_code = ExitCode.USAGE

    def __init__(self) -> None:
        super().__init__("no file is given to apply", resolution="give KServe's installation file with --kserve FILE")


class SameNameError(BuilderError):
    """Two image archives have one file name."""

    exit_code = ExitCode.USAGE

    def __init__(self, name: str) -> None:
        super().__init__(f"two image archives are called {name}", resolution="rename one of them")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationRequest:
    """What the snap is to bring.

    Attributes:
        name: of the snap.
        version: of the snap.
        kserve: files of KServe.
        others: files that KServe needs, such as cert-manager's; applied as they are.
        images: archives for containerd.
        registry: of the device.
        architectures: to make the snap for.
    """

    name: SnapName
    version: SnapVersion
    kserve: tuple[Path, ...]
    others: tuple[Path, ...] = ()
    images: tuple[Path, ...] = ()
    registry: RegistryAddress = DEFAULT_REGISTRY
    architectures: tuple[Architecture, ...] = tuple(Architecture)


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """What was made.

    Attributes:
        snaps: the files, one for each architecture.
        objects: what they apply.
        changes: what was changed in KServe's configuration, in words.
        without_images: architectures for which some archive holds no image, with its name.
    """

    snaps: tuple[Path, ...]
    objects: ClusterObjects
    changes: tuple[str, ...]
    without_images: tuple[tuple[Architecture, str], ...]


def build(request: ConfigurationRequest, *, cache: Cache, output: Path, progress: Progress) -> Configured:
    """Make the snaps.

    Raises:
        ManifestError: a file holds something that cannot be applied.
        ImageArchiveError: an archive cannot be imported.
        BuilderError: a snap cannot be packed or written; the output folder holds whole files only.
    """
    if not request.kserve:
        raise NothingToConfigureError
    kserve, changes = rawdeployment.in_raw_mode(clustermanifests.read(request.kserve))
    objects = clustermanifests.objects((*clustermanifests.read(request.others), *kserve))
    archives = [imagearchive.read(path) for path in request.images]
    names = [archive.path.name for archive in archives]
    for name in names:
        if names.count(name) > 1:
            raise SameNameError(name)
    contents = [content(request, architecture, objects, archives) for architecture in request.architectures]
    snaps = _packed(contents, cache=cache, progress=progress)
    return Configured(
        snaps=tuple(packed.deliver(snap, output.absolute()) for snap in snaps),
        objects=objects,
        changes=changes,
        without_images=tuple(
            (architecture, archive.path.name)
            for architecture in request.architectures
            for archive in archives
            if architecture not in archive.architectures
        ),
    )


def content(
    request: ConfigurationRequest,
    architecture: Architecture,
    objects: ClusterObjects,
    archives: Sequence[ImageArchive],
) -> SnapContent:
    """One snap before it is assembled.

    Raises:
        SnapYamlError: snapd would refuse it.
    """
    fitting = [archive for archive in archives if architecture in archive.architectures]
    document = snapyaml.snap_yaml(
        name=request.name,
        version=request.version,
        summary="Makes MicroK8s ready for snapedge models",
        description=(
            "Has MicroK8s enable DNS, storage and its registry, and applies KServe in raw mode with what it needs. "
            "Connect microk8s:configuration to its slot, and its plug mk8s to microk8s:microk8s."
        ),
        architecture=architecture,
    )
    document["slots"] = snapyaml.configuration_slot(f"$SNAP/{LAUNCHER}")
    snapyaml.check(document)
    files = [_archive_file(archive) for archive in fitting]
    sources = [*request.others, *request.kserve, *(archive.path for archive in fitting)]
    bill = sbom.document(
        subject=sbom.Component(kind="application", name=request.name, version=request.version),
        components=[_component(path) for path in sources],
    )
    launch: dict[str, Any] = launch_configuration(request.registry)
    files += [
        text_file(f"{LAUNCHER}/configuration/snapedge.yaml", yaml.safe_dump(launch, sort_keys=False)),
        text_file(clusterobjects.FILE, objects.to_json()),
        text_file(SBOM, bill),
        text_file(snapyaml.PATH, snapyaml.dump(document)),
    ]
    return SnapContent(
        name=request.name,
        version=request.version,
        architecture=architecture,
        document=document,
        tree=snap_tree([*files, *device_files()]),
        has_parts=True,
    )


def _component(path: Path) -> sbom.Component:
    digest = Digest.of_file(path)
    return sbom.Component(kind="file", name=path.name, version=digest.short, digest=digest)


def _archive_file(archive: ImageArchive) -> TreeFile:
    name = archive.path.name if archive.path.suffix == ".tar" else f"{archive.path.name}.tar"
    return TreeFile(
        path=f"{LAUNCHER}/sideload/{name}",
        source=archive.path.absolute(),
        digest=Digest.of_file(archive.path),
        size=archive.path.stat().st_size,
    )


def _packed(contents: list[SnapContent], *, cache: Cache, progress: Progress) -> list[packed.PackedSnap]:
    known = {content.architecture: packed.find_packed(content, cache=cache) for content in contents}
    to_pack = [content for content in contents if known[content.architecture] is None]
    if to_pack:
        with Assembler() as assembler:
            for snap in packed.pack_all(to_pack, assembler=assembler, cache=cache, progress=progress):
                known[snap.content.architecture] = snap
    return [snap for snap in known.values() if snap is not None]
