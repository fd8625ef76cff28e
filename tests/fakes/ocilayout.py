"""OCI layouts as BuildKit writes them, of layers a test makes up."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from snapedge_hooks.images import CONFIG_MEDIA_TYPE, INDEX_MEDIA_TYPE, LAYER_MEDIA_TYPE, MANIFEST_MEDIA_TYPE
from snapedge_hooks.vocabulary import Digest

REGULAR, HARD, SYMBOLIC, FOLDER, DEVICE = (
    tarfile.REGTYPE,
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.DIRTYPE,
    tarfile.CHRTYPE,
)


def entry(
    name: str,
    data: bytes = b"",
    *,
    kind: bytes = REGULAR,
    target: str = "",
    mode: int = 0o644,
    owner: int = 1000,
    mtime: int = 1_700_000_000,
) -> tuple[tarfile.TarInfo, bytes]:
    """One entry of a layer."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname, info.mode, info.mtime = kind, len(data), target, mode, mtime
    info.uid = info.gid = owner
    info.uname = "somebody"
    return info, data


def tar(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A layer of entries, in that order."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def write(
    folder: Path,
    layers: Iterable[bytes],
    *,
    architecture: str = "arm64",
    settings: Mapping[str, Any] | None = None,
    attested: bool = False,
) -> Path:
    """A layout of one image; `attested` as BuildKit does by default: in an index of its own, beside an attestation."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
        (blobs / Digest.of(data).hex).write_bytes(data)
        return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data), **more}

    def put_json(value: Any, media_type: str, **more: Any) -> dict[str, Any]:
        return put(json.dumps(value).encode(), media_type, **more)

    descriptors = [put(layer, LAYER_MEDIA_TYPE) for layer in layers]
    config = {
        "architecture": architecture,
        "os": "linux",
        "created": "2026-01-02T03:04:05Z",
        "config": {"Env": ["PATH=/usr/bin"], "ArgsEscaped": True, "OnBuild": None, **(settings or {})},
        "rootfs": {"type": "layers", "diff_ids": [item["digest"] for item in descriptors]},
        "history": [
            {"created_by": "ARG X", "empty_layer": True},
            *({"created_by": f"COPY {number} / # buildkit"} for number in range(len(descriptors))),
        ],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_MEDIA_TYPE,
        "config": put_json(config, CONFIG_MEDIA_TYPE),
        "layers": descriptors,
    }
    found = put_json(manifest, MANIFEST_MEDIA_TYPE, platform={"os": "linux", "architecture": architecture})
    if attested:
        statement = put_json({}, MANIFEST_MEDIA_TYPE)
        statement["annotations"] = {"vnd.docker.reference.type": "attestation-manifest"}
        inner = {"schemaVersion": 2, "mediaType": INDEX_MEDIA_TYPE, "manifests": [found, statement]}
        found = put_json(inner, INDEX_MEDIA_TYPE)
    index = {"schemaVersion": 2, "mediaType": INDEX_MEDIA_TYPE, "manifests": [found]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return folder
