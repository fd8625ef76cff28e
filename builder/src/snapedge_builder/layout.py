"""A runtime as a standard OCI image layout, for other tools to read: skopeo, umoci, crane.

What goes into a snap is not this but `runtime.json` beside layers with stable names, which delta better; see
docs/architecture/contracts.md. The layout is for verification, and for getting an image into a registry by other means.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from snapedge_hooks.document import canonical_json
from snapedge_hooks.images import INDEX_MEDIA_TYPE, MANIFEST_MEDIA_TYPE, RuntimeImage
from snapedge_hooks.vocabulary import Digest


def write(image: RuntimeImage, layers: Mapping[str, Path], folder: Path) -> None:
    """Write the layout of an image into a folder that is absent or empty.

    Args:
        image: the runtime.
        layers: the tar of each of its layers, by name; linked where the file system allows, else copied.
        folder: becomes the layout, whole, by rename.

    Raises:
        OSError: it cannot be written, or something is there already.
    """
    work = folder.with_name(f".{folder.name}.{os.getpid()}")
    blobs = work / "blobs" / "sha256"
    try:
        blobs.mkdir(parents=True)
        for layer in image.layers:
            _place(layers[layer.name], blobs / layer.digest.hex)
        for data in (image.config_bytes(), image.manifest()):
            (blobs / Digest.of(data).hex).write_bytes(data)
        (work / "oci-layout").write_bytes(canonical_json({"imageLayoutVersion": "1.0.0"}))
        (work / "index.json").write_bytes(_index(image))
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _index(image: RuntimeImage) -> bytes:
    platform = {"os": "linux", "architecture": str(image.architecture)}
    if image.architecture.oci_variant:
        platform["variant"] = image.architecture.oci_variant
    return canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": INDEX_MEDIA_TYPE,
            "manifests": [
                {
                    "mediaType": MANIFEST_MEDIA_TYPE,
                    "digest": image.digest,
                    "size": len(image.manifest()),
                    "platform": platform,
                    "annotations": {"org.opencontainers.image.ref.name": image.version},
                }
            ],
        }
    )


def _place(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
