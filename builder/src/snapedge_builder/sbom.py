"""The bill of materials of a snap, as CycloneDX 1.6 JSON: what went in is known, so it is written, not scanned.

Equal snaps have equal bills: no time, no random serial number. The subject's digest makes the serial.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from snapedge_hooks.document import Fields, canonical_json, parse_object
from snapedge_hooks.vocabulary import Digest

_SPECIFICATION = "1.6"


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One thing in a snap.

    Attributes:
        kind: CycloneDX's word: library, operating-system, machine-learning-model, container, file.
        purl: the package URL, where it has one.
        licence: an SPDX expression or the words its authors use; empty where unknown.
        digest: of what was taken, where it has one.
    """

    kind: str
    name: str
    version: str
    purl: str = ""
    licence: str = ""
    digest: Digest | None = None

    @property
    def reference(self) -> str:
        """What tells it apart within the document."""
        return self.purl or f"{self.kind}:{self.name}@{self.version}"

    def to_json(self) -> dict[str, Any]:
        """As CycloneDX writes it."""
        found: dict[str, Any] = {
            "type": self.kind,
            "bom-ref": self.reference,
            "name": self.name,
            "version": self.version,
        }
        if self.purl:
            found["purl"] = self.purl
        if self.licence:
            found["licenses"] = [{"license": {"name": self.licence}}]
        if self.digest is not None:
            found["hashes"] = [{"alg": "SHA-256", "content": self.digest.hex}]
        return found


def libraries(bill: bytes, *, file: str) -> tuple[Component, ...]:
    """The packages that a bill of ours lists, in its order; models and files are not among them.

    Raises:
        DocumentError: it is no such bill.
    """
    what = f"{file}: bill of materials"
    found = []
    for item in parse_object(bill, what=what).objects("components"):
        if item.text("type") != "library":
            continue
        licences = [Fields(entry, what=what) for entry in item.list("licenses", default=[]) if isinstance(entry, dict)]
        found.append(
            Component(
                kind="library",
                name=item.text("name"),
                version=item.text("version"),
                licence=" AND ".join(licence.object("license").text("name") for licence in licences),
            )
        )
    return tuple(found)


def document(*, subject: Component, components: Iterable[Component]) -> bytes:
    """The bill of a subject; each component once, sorted."""
    unique = {component.reference: component for component in components}
    body: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": _SPECIFICATION,
        "version": 1,
        "metadata": {"component": subject.to_json()},
        "components": [unique[reference].to_json() for reference in sorted(unique)],
        "dependencies": [
            {"ref": subject.reference, "dependsOn": sorted(unique)},
            *({"ref": reference} for reference in sorted(unique)),
        ],
    }
    body["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, Digest.of(canonical_json(body)))}"
    return canonical_json(body)
