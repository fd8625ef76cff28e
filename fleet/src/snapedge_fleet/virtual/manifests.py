"""What a registry and a container runtime need to know of an image manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from .registrystore import is_digest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
_INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
_KNOWN = frozenset({OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST})


class ManifestInvalidError(ValueError):
    """These bytes are no manifest this registry takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The digests a manifest names, by what they must be."""

    blobs: tuple[str, ...] = ()
    manifests: tuple[str, ...] = ()


def media_type(content: bytes) -> str:
    """The media type of a manifest that was accepted once."""
    document = orjson.loads(content)
    stated = document.get("mediaType")
    if isinstance(stated, str):
        return stated
    return OCI_INDEX if "manifests" in document else OCI_MANIFEST


def parse(content: bytes, content_type: str) -> Manifest:
    """The digests that a manifest names; `ManifestInvalidError` says what is wrong with it."""
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ManifestInvalidError(str(error)) from error
    if not isinstance(document, dict) or document.get("schemaVersion") != 2:
        raise ManifestInvalidError("not a manifest of schema version 2")
    stated = document.get("mediaType", content_type.split(";")[0])
    if stated not in _KNOWN:
        raise ManifestInvalidError(f"unsupported media type {stated!r}")
    if content_type and content_type.split(";")[0] != stated:
        raise ManifestInvalidError(f"if present, mediaType in manifest should be '{content_type}' not '{stated}'")
    if stated in _INDEXES:
        return Manifest(manifests=tuple(_digest(child) for child in _list(document, "manifests")))
    layers = [_digest(layer) for layer in _list(document, "layers")]
    return Manifest(blobs=(_digest(document.get("config")), *layers))


def _list(document: dict[str, Any], key: str) -> list[Any]:
    value = document.get(key)
    if not isinstance(value, list):
        raise ManifestInvalidError(f"{key} is not a list")
    return value


def _digest(descriptor: Any) -> str:
    digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
    if not isinstance(digest, str) or not is_digest(digest):
        raise ManifestInvalidError(f"not a descriptor with a sha256 digest: {descriptor!r}")
    return digest
