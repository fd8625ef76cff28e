"""`cluster/objects.json`: what a snap brings to the whole cluster, such as KServe itself, in the order to apply it.

Rules:

1. A path is the API's own, absolute and plain, and ends with the object's name: nothing in it leads elsewhere.
2. No object stands twice.
3. What an object is told by is the digest of its canonical JSON; the annotation `snapedge.dev/applied` keeps it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .document import DocumentError, canonical_json, parse_object
from .vocabulary import Digest

FORMAT = 1
FILE = "cluster/objects.json"
APPLIED = "snapedge.dev/applied"
_PATH = re.compile(r"/(?:api/v1|apis/[a-z0-9.-]+/v[a-z0-9]+)(?:/[A-Za-z0-9][A-Za-z0-9._:-]*){2,4}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterObject:
    """One object.

    Attributes:
        path: where it lives in the API.
        manifest: what is applied.
    """

    path: str
    manifest: dict[str, Any]

    @property
    def digest(self) -> Digest:
        """Equal for equal content."""
        return Digest.of(canonical_json(self.manifest))

    @property
    def kind(self) -> str:
        """Such as Deployment."""
        return str(self.manifest.get("kind", ""))

    @property
    def title(self) -> str:
        """For people: the kind and the name."""
        return f"{self.kind} {self.path.rpartition('/')[2]}"

    def marked(self) -> dict[str, Any]:
        """The manifest with the annotation that tells what was applied."""
        metadata = self.manifest.get("metadata", {})
        annotations = {**(metadata.get("annotations") or {}), APPLIED: str(self.digest)}
        return self.manifest | {"metadata": metadata | {"annotations": annotations}}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterObjects:
    """All of them, in order."""

    objects: tuple[ClusterObject, ...]

    def to_json(self) -> bytes:
        """The document's bytes."""
        return canonical_json(
            {"format": FORMAT, "objects": [{"path": one.path, "manifest": one.manifest} for one in self.objects]}
        )

    @classmethod
    def parse(cls, data: bytes, *, what: str = FILE) -> ClusterObjects:
        """The objects of a document.

        Raises:
            DocumentError: it breaks a rule above.
        """
        fields = parse_object(data, what=what)
        fields.format(FORMAT)
        found = []
        for index, entry in enumerate(fields.objects("objects")):
            path, manifest = entry.text("path"), entry.raw("manifest", dict, "an object")
            entry.done()
            problem = _problem(path, manifest)
            if problem:
                raise DocumentError(what, f"objects[{index}]", problem)
            found.append(ClusterObject(path=path, manifest=manifest))
        fields.done()
        twice = _first_twice(one.path for one in found)
        if twice is not None:
            raise DocumentError(what, "objects", f"{twice} stands twice")
        return cls(objects=tuple(found))


def _problem(path: str, manifest: dict[str, Any]) -> str:
    if not _PATH.fullmatch(path) or ".." in path:
        return f"path {path[:100]!r} is none of the API's"
    metadata = manifest.get("metadata")
    if not isinstance(metadata, dict) or metadata.get("name") != path.rpartition("/")[2]:
        return "the path does not end with the object's name"
    annotations = metadata.get("annotations")
    if annotations is not None and not isinstance(annotations, dict):
        return "its annotations are no object"
    return ""


def _first_twice(paths: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for path in paths:
        if path in seen:
            return path
        seen.add(path)
    return None
