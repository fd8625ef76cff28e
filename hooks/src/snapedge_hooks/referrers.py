"""Signatures beside images in a registry: OCI's referrers by tag (distribution-spec v1.1, "referrers tag schema").

The tag `sha256-<hex>` of the signed manifest names an index. Each entry of ours in it is a small manifest about that
subject, whose one layer is a DSSE envelope. The registry of MicroK8s has no referrers API, and needs none for this.
Entries of others stay where they are. Nothing read here is trusted: who asks judges the envelopes.
"""

from __future__ import annotations

from typing import Any

from .blobs import Blob, of_bytes
from .document import canonical_json
from .dsse import MAX_ENVELOPE
from .images import INDEX_MEDIA_TYPE, MANIFEST_MEDIA_TYPE
from .registry import Registry, StoredManifest
from .vocabulary import Digest, RepositoryName, TagName

ARTIFACT = "application/vnd.snapedge.runtime.signature.v1+json"
ENVELOPE_MEDIA_TYPE = "application/vnd.dsse.envelope.v1+json"
EMPTY_MEDIA_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"
MAX_SIGNATURES = 16
"""How many of our entries an index is read or written with."""


def tag_of(subject: Digest) -> TagName:
    """The tag under which what refers to a manifest is found."""
    return TagName(f"sha256-{subject.hex}")


def signature_blobs(envelope: bytes) -> tuple[Blob, Blob]:
    """What a signature's manifest names: the envelope, and the empty config."""
    return of_bytes(envelope, "signature"), of_bytes(EMPTY, "empty config")


def signature_manifest(subject: bytes, envelope: bytes) -> bytes:
    """The manifest of a signature over an image manifest."""
    return canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_MEDIA_TYPE,
            "artifactType": ARTIFACT,
            "config": _descriptor(EMPTY_MEDIA_TYPE, EMPTY),
            "layers": [_descriptor(ENVELOPE_MEDIA_TYPE, envelope)],
            "subject": _descriptor(MANIFEST_MEDIA_TYPE, subject),
        }
    )


def index_with(found: StoredManifest | None, manifest: bytes) -> bytes:
    """The index with a signature's manifest first, then what was in it; of too many of ours the oldest are left out."""
    entry = _descriptor(MANIFEST_MEDIA_TYPE, manifest) | {"artifactType": ARTIFACT}
    others = [item for item in _entries(found) if item.get("digest") != entry["digest"]]
    ours = [item for item in others if item.get("artifactType") == ARTIFACT][: MAX_SIGNATURES - 1]
    foreign = [item for item in others if item.get("artifactType") != ARTIFACT]
    return canonical_json(
        {"schemaVersion": 2, "mediaType": INDEX_MEDIA_TYPE, "manifests": [entry, *ours, *foreign]},
    )


def signatures(found: StoredManifest | None) -> tuple[Digest, ...]:
    """The manifests of our signatures that an index lists, `MAX_SIGNATURES` at most."""
    digests = []
    for item in _entries(found):
        if item.get("artifactType") == ARTIFACT:
            digest = _digest(item)
            if digest is not None:
                digests.append(digest)
    return tuple(digests[:MAX_SIGNATURES])


def envelopes(registry: Registry, repository: RepositoryName, subject: Digest) -> tuple[bytes, ...]:
    """The envelopes that are laid beside a manifest.

    Raises:
        ShortageError: the registry is down, or answers other bytes than it was asked for.
    """
    found = []
    for digest in signatures(registry.index(repository, tag_of(subject))):
        stored = registry.manifest(repository, digest)
        layers = None if stored is None else stored.document.get("layers")
        layer = layers[0] if isinstance(layers, list) and len(layers) == 1 and isinstance(layers[0], dict) else {}
        blob, size = _digest(layer), layer.get("size")
        if blob is None or not isinstance(size, int) or not 0 < size <= MAX_ENVELOPE:
            continue
        data = registry.small_blob(repository, blob)
        if data is not None:
            found.append(data)
    return tuple(found)


def _entries(found: StoredManifest | None) -> list[dict[str, Any]]:
    items = None if found is None else found.document.get("manifests")
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _digest(descriptor: dict[str, Any]) -> Digest | None:
    value = descriptor.get("digest")
    try:
        return Digest(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": Digest.of(data), "size": len(data)}
