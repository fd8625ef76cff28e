"""The registry's disk: blobs by digest, links of each repository, uploads that may be resumed.

The tree is the one docker-registry writes (`docker/registry/v2/...`), so either can take over the other's folder:

    blobs/sha256/ab/abcd.../data
    repositories/NAME/_layers/sha256/HEX/link             the repository may hand out this blob
    repositories/NAME/_manifests/revisions/sha256/HEX/link
    repositories/NAME/_manifests/tags/TAG/current/link
    repositories/NAME/_uploads/UUID/data                  an upload that has not ended

A blob or link is written under another name first and renamed, so a crash leaves whole files or none.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

_CHUNK = 1024 * 1024
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def is_digest(text: str) -> bool:
    """Whether `text` is a digest this registry can hold."""
    return _DIGEST.fullmatch(text) is not None


class RegistryStore:
    """Blobs, manifests, tags and uploads below one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root / "docker" / "registry" / "v2"
        self._blobs = self._root / "blobs"
        self._repositories = self._root / "repositories"
        self._hashes: dict[str, tuple[int, hashlib._Hash]] = {}
        self._repositories.mkdir(parents=True, exist_ok=True)
        self._blobs.mkdir(parents=True, exist_ok=True)

    # Repositories

    def repositories(self) -> list[str]:
        """Names of repositories that have something, sorted."""
        found = [
            str(Path(folder).relative_to(self._repositories))
            for folder, names, _ in os.walk(self._repositories)
            if "_layers" in names or "_manifests" in names
        ]
        return sorted(found)

    def has_repository(self, name: str) -> bool:
        """Whether anything was ever pushed to this repository."""
        folder = self._repositories / name
        return (folder / "_layers").is_dir() or (folder / "_manifests").is_dir()

    # Blobs

    def blob_path(self, digest: str) -> Path:
        """Where the bytes of `digest` are or would be."""
        algorithm, hexadecimal = digest.split(":", 1)
        return self._blobs / algorithm / hexadecimal[:2] / hexadecimal / "data"

    def blob_size(self, name: str, digest: str) -> int | None:
        """Size of a blob of this repository; None if it is not linked there or its bytes are gone."""
        if not self._layer_link(name, digest).is_file():
            return None
        try:
            return self.blob_path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def link_blob(self, name: str, digest: str) -> None:
        """Let this repository hand out a blob."""
        self._write(self._layer_link(name, digest), digest.encode())

    def unlink_blob(self, name: str, digest: str) -> bool:
        """Take a blob out of this repository; its bytes stay. False if it was not there."""
        return self._remove_link(self._layer_link(name, digest))

    # Uploads

    def begin_upload(self, name: str) -> str:
        """A new, empty upload."""
        identifier = str(uuid.uuid4())
        path = self._upload(name, identifier)
        path.parent.mkdir(parents=True)
        path.touch()
        return identifier

    def upload_size(self, name: str, identifier: str) -> int | None:
        """How many bytes an upload has; None if there is no such upload."""
        try:
            return self._upload(name, identifier).stat().st_size
        except FileNotFoundError:
            return None

    def append(self, name: str, identifier: str, chunk: bytes) -> None:
        """Add bytes at the end of an upload."""
        with self._upload(name, identifier).open("ab") as file:
            file.write(chunk)
            size = file.tell()
        hashed, state = self._hashes.get(identifier, (0, hashlib.sha256()))
        if hashed + len(chunk) == size:
            state.update(chunk)
            self._hashes[identifier] = (size, state)

    def finish_upload(self, name: str, identifier: str, digest: str) -> bool:
        """Make the upload the blob `digest`; False, and no upload left, if its bytes say otherwise."""
        path = self._upload(name, identifier)
        hashed, state = self._hashes.pop(identifier, (0, hashlib.sha256()))
        if hashed != path.stat().st_size:
            state = _hash_file(path)
        if f"sha256:{state.hexdigest()}" != digest:
            self.cancel_upload(name, identifier)
            return False
        target = self.blob_path(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
        self.link_blob(name, digest)
        shutil.rmtree(path.parent, ignore_errors=True)
        return True

    def cancel_upload(self, name: str, identifier: str) -> None:
        """Forget an upload."""
        self._hashes.pop(identifier, None)
        shutil.rmtree(self._upload(name, identifier).parent, ignore_errors=True)

    # Manifests and tags

    def manifest_digest(self, name: str, reference: str) -> str | None:
        """The digest that a tag or digest of this repository stands for; None if it stands for nothing."""
        if is_digest(reference):
            return reference if self._revision(name, reference).is_file() else None
        try:
            return self._tag(name, reference).read_text().strip()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read_manifest(self, name: str, digest: str) -> bytes | None:
        """The manifest's bytes; None if this repository has no such manifest."""
        if not self._revision(name, digest).is_file():
            return None
        try:
            return self.blob_path(digest).read_bytes()
        except FileNotFoundError:
            return None

    def put_manifest(self, name: str, content: bytes, tag: str | None) -> str:
        """Store a manifest, under a tag as well if one is given; returns its digest."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self._write(self.blob_path(digest), content)
        self._write(self._revision(name, digest), digest.encode())
        if tag is not None:
            self._write(self._tag(name, tag), digest.encode())
        return digest

    def delete_manifest(self, name: str, digest: str) -> bool:
        """Forget a manifest and the tags that stand for it; False if it was not there."""
        if not self._remove_link(self._revision(name, digest)):
            return False
        for tag in self.tags(name):
            if self.manifest_digest(name, tag) == digest:
                shutil.rmtree(self._tag(name, tag).parent.parent)
        return True

    def tags(self, name: str) -> list[str]:
        """Tags of this repository, sorted."""
        folder = self._repositories / name / "_manifests" / "tags"
        if not folder.is_dir():
            return []
        return sorted(entry.name for entry in folder.iterdir())

    # Paths and files

    def _layer_link(self, name: str, digest: str) -> Path:
        return self._repositories / name / "_layers" / digest.replace(":", "/") / "link"

    def _revision(self, name: str, digest: str) -> Path:
        return self._repositories / name / "_manifests" / "revisions" / digest.replace(":", "/") / "link"

    def _tag(self, name: str, tag: str) -> Path:
        return self._repositories / name / "_manifests" / "tags" / tag / "current" / "link"

    def _upload(self, name: str, identifier: str) -> Path:
        return self._repositories / name / "_uploads" / identifier / "data"

    @staticmethod
    def _remove_link(link: Path) -> bool:
        try:
            link.unlink()
        except FileNotFoundError:
            return False
        link.parent.rmdir()
        return True

    @staticmethod
    def _write(path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _hash_file(path: Path) -> hashlib._Hash:
    state = hashlib.sha256()
    for chunk in read_chunks(path, 0, path.stat().st_size):
        state.update(chunk)
    return state


def read_chunks(path: Path, start: int, length: int) -> Iterator[bytes]:
    """The bytes of a file from `start` on, `length` of them, in pieces of bounded size."""
    with path.open("rb") as file:
        file.seek(start)
        left = length
        while left > 0 and (chunk := file.read(min(_CHUNK, left))):
            left -= len(chunk)
            yield chunk
