"""Image archives that containerd imports: whether one is whole, for which architectures, and what it is called.

Rules (OCI image layout 1.1; the format of `docker save`; MicroK8s imports for the host's platform alone and refuses an
archive that lacks a blob it names):

1. An OCI archive has `index.json`; indexes in it are followed, attestations (platform `unknown`) are not counted.
2. Otherwise `manifest.json` names configs and layers by their paths.
3. Every config and layer that is named for a platform of ours must be in the archive.
"""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Architecture

from .errors import BuilderError

_MAX_DOCUMENT = 4 * 1024 * 1024
_MAX_MEMBERS = 100_000


class ImageArchiveError(BuilderError):
    """A file is no image archive that a device could import."""

    exit_code = ExitCode.USAGE

    def __init__(self, file: str, problem: str) -> None:
        super().__init__(
            f"{file}: {problem}",
            resolution="save it again for one platform, with `docker save` or `skopeo copy … oci-archive:`",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageArchive:
    """An archive that is whole.

    Attributes:
        path: the file.
        names: of the images in it.
        architectures: for which it holds everything.
    """

    path: Path
    names: tuple[str, ...]
    architectures: frozenset[Architecture]


def read(path: Path) -> ImageArchive:
    """What an archive holds.

    Raises:
        ImageArchiveError: it cannot be read, is none, or is not whole.
    """
    try:
        with tarfile.open(path, "r:") as archive:
            return _Reader(path, archive).read()
    except OSError as error:
        raise ImageArchiveError(str(path), str(error.strerror)) from error
    except tarfile.TarError as error:
        raise ImageArchiveError(path.name, f"is no uncompressed tar: {error}") from error


class _Reader:
    """Reads one open archive."""

    def __init__(self, path: Path, archive: tarfile.TarFile) -> None:
        self._path = path
        self._archive = archive
        self._members: dict[str, tarfile.TarInfo] = {}
        for member in archive:
            self._members[member.name.removeprefix("./")] = member
            if len(self._members) > _MAX_MEMBERS:
                raise ImageArchiveError(path.name, f"holds more than {_MAX_MEMBERS} files")

    def read(self) -> ImageArchive:
        if "index.json" in self._members:
            names, architectures = self._oci()
        elif "manifest.json" in self._members:
            names, architectures = self._docker()
        else:
            raise ImageArchiveError(self._path.name, "holds neither index.json nor manifest.json")
        if not architectures:
            raise ImageArchiveError(self._path.name, "holds no image for amd64 or arm64")
        return ImageArchive(path=self._path, names=tuple(names), architectures=frozenset(architectures))

    def _oci(self) -> tuple[list[str], set[Architecture]]:
        names: list[str] = []
        architectures: set[Architecture] = set()
        missing: dict[Architecture, str] = {}
        waiting = list(_objects(self._json("index.json"), "manifests"))
        seen: set[str] = set()
        while waiting:
            descriptor = waiting.pop(0)
            annotations = _object(descriptor, "annotations")
            name = annotations.get("io.containerd.image.name") or annotations.get("org.opencontainers.image.ref.name")
            if isinstance(name, str):
                names.append(name)
            if _object(descriptor, "platform").get("architecture") == "unknown":
                continue
            blob = _blob(descriptor)
            if blob not in self._members or blob in seen:
                continue  # An index may list platforms whose manifests were not saved, and one image by many names.
            seen.add(blob)
            body = self._json(blob)
            if "manifests" in body:
                waiting.extend(_objects(body, "manifests"))
                continue
            architecture, lost = self._image(body)
            if architecture is None:
                continue
            if lost:
                missing[architecture] = lost
            else:
                architectures.add(architecture)
        for architecture, lost in missing.items():
            if architecture not in architectures:
                raise ImageArchiveError(self._path.name, f"lacks {lost}, which its image for {architecture} names")
        return names, architectures

    def _image(self, manifest: dict[str, Any]) -> tuple[Architecture | None, str]:
        config = _blob(_object(manifest, "config"))
        if config not in self._members:
            return None, config
        architecture = _architecture(self._json(config))
        lost = next((_blob(layer) for layer in _objects(manifest, "layers") if _blob(layer) not in self._members), "")
        return architecture, lost

    def _docker(self) -> tuple[list[str], set[Architecture]]:
        names: list[str] = []
        architectures: set[Architecture] = set()
        for image in self._json_list("manifest.json"):
            names += _texts(image, "RepoTags")
            config, layers = str(image.get("Config", "")), _texts(image, "Layers")
            for part in [config, *layers]:
                if part not in self._members:
                    raise ImageArchiveError(self._path.name, f"lacks {part}, which its manifest names")
            architecture = _architecture(self._json(config))
            if architecture is not None:
                architectures.add(architecture)
        return names, architectures

    def _json(self, name: str) -> dict[str, Any]:
        document = self._parsed(name)
        if not isinstance(document, dict):
            raise ImageArchiveError(self._path.name, f"{name} is no JSON object")
        return document

    def _json_list(self, name: str) -> list[dict[str, Any]]:
        document = self._parsed(name)
        if not isinstance(document, list) or not all(isinstance(item, dict) for item in document):
            raise ImageArchiveError(self._path.name, f"{name} is no list of images")
        return document

    def _parsed(self, name: str) -> Any:
        member = self._members[name]
        file = self._archive.extractfile(member) if member.isreg() else None
        if file is None or member.size > _MAX_DOCUMENT:
            raise ImageArchiveError(self._path.name, f"{name} is no file of at most {_MAX_DOCUMENT} bytes")
        try:
            return json.loads(file.read())
        except (ValueError, RecursionError) as error:
            raise ImageArchiveError(self._path.name, f"{name} is not JSON") from error


def _objects(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    items = document.get(key)
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _object(document: dict[str, Any], key: str) -> dict[str, Any]:
    found = document.get(key)
    return found if isinstance(found, dict) else {}


def _texts(document: dict[str, Any], key: str) -> list[str]:
    items = document.get(key)
    return [item for item in items if isinstance(item, str)] if isinstance(items, list) else []


def _blob(descriptor: dict[str, Any]) -> str:
    return "blobs/" + str(descriptor.get("digest", "")).replace(":", "/", 1)


def _architecture(config: dict[str, Any]) -> Architecture | None:
    try:
        return Architecture.parse(str(config.get("architecture")))
    except ValueError:
        return None
