"""Images for devices without a registry: archives in $SNAP_COMMON that MicroK8s has containerd import.

Rules (MicroK8s' hook connect-plug-configuration and its containerd plugin for sideloaded images):

1. MicroK8s copies `launcher/sideload/*.tar` of what is connected to its plug `configuration` at that moment, and never
   looks again; containerd imports each copy once. So an archive is not needed once its image runs.
2. A folder without a .tar makes its copy fail: the folder is there only while an archive is.
3. An archive that lacks a blob is refused: it holds the whole image.
4. The annotation names the image exactly as pods do, by digest; so no pod can get another one.
"""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from .blobs import PIECE, Blob, BlobStream
from .document import canonical_json
from .images import INDEX_MEDIA_TYPE, MANIFEST_MEDIA_TYPE
from .situations import ShortageError
from .vocabulary import Architecture, Digest, HealthCode, ImageReference

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


def file_name(name: str, image: Digest) -> str:
    """What the archive of an image is called: MicroK8s keeps the archives of all snaps in one folder."""
    return f"{name}-{image.short}.tar"


def names(folder: Path) -> frozenset[str]:
    """The archives that lie ready."""
    return frozenset(path.name for path in folder.glob("*.tar"))


def write(
    path: Path, *, reference: ImageReference, architecture: Architecture, manifest: bytes, parts: Sequence[Blob]
) -> None:
    """Write the archive of an image, whole or not at all, a piece of a layer in memory at a time.

    Args:
        path: where; its folder is made.
        reference: what containerd is to call the image.
        architecture: it is for.
        manifest: of the image.
        parts: config and layers.

    Raises:
        PayloadBadError: a layer's bytes do not have its digest.
        ShortageError: the disk is full, or refuses.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            with tarfile.TarFile(fileobj=file, mode="w", format=tarfile.GNU_FORMAT, copybufsize=PIECE) as archive:
                _add_bytes(archive, "oci-layout", _LAYOUT)
                _add_bytes(archive, "index.json", _index(reference, architecture, manifest))
                _add_bytes(archive, _place(reference.digest), manifest)
                for part in {part.digest: part for part in parts}.values():
                    archive.addfile(_member(_place(part.digest), part.size), _Pieces(part.stream()))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise ShortageError(
            HealthCode.NO_ROOM,
            f"Image archive not written: {error.strerror}",
            resolution=f"make room for {sum(part.size for part in parts)} bytes on the device",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
            _leave(path.parent)


def delete(folder: Path, gone: Iterable[str]) -> None:
    """Delete archives, and the folder with the last of them."""
    for name in gone:
        with contextlib.suppress(FileNotFoundError):
            (folder / name).unlink()
    with contextlib.suppress(OSError):
        _leave(folder)


def _leave(folder: Path) -> None:
    for left in folder.glob(".*.part"):  # of a power cut
        left.unlink()
    folder.rmdir()


def _index(reference: ImageReference, architecture: Architecture, manifest: bytes) -> bytes:
    platform = {"architecture": str(architecture), "os": "linux"}
    if architecture.oci_variant is not None:
        platform["variant"] = architecture.oci_variant
    return canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": INDEX_MEDIA_TYPE,
            "manifests": [
                {
                    "mediaType": MANIFEST_MEDIA_TYPE,
                    "digest": reference.digest,
                    "size": len(manifest),
                    "platform": platform,
                    "annotations": {"io.containerd.image.name": str(reference)},
                }
            ],
        }
    )


def _place(digest: Digest) -> str:
    return f"blobs/sha256/{digest.hex}"


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    return member


def _add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    archive.addfile(_member(name, len(data)), io.BytesIO(data))


class _Pieces(io.RawIOBase):
    """A blob's stream, read as tarfile reads a file."""

    def __init__(self, stream: BlobStream) -> None:
        self._pieces = iter(stream)
        self._rest = b""

    def read(self, size: int = -1, /) -> bytes:
        while not self._rest or (0 <= len(self._rest) < size):
            piece = next(self._pieces, b"")
            if not piece:
                break
            self._rest += piece
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken
