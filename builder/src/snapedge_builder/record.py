"""The build record: every package and wheel in an image, by hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from packageurl import PackageURL

from snapedge_hooks.document import Fields, canonical_json, parse_object
from snapedge_hooks.vocabulary import Architecture, Digest

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingredient:
    """One package or wheel that went into a layer.

    Attributes:
        kind: `deb` or `wheel`.
        name: of the package.
        version: as its publisher writes it.
        architecture: Debian's for a deb, the image's for a wheel.
        source: the Debian source package; the wheel's file name.
        digest: of the file it came in; None where it was found in an image that something else made.
        licences: as far as they are declared for machines.
        layer: name of the layer it is in.
    """

    kind: str
    name: str
    version: str
    architecture: str
    source: str
    digest: Digest | None
    licences: tuple[str, ...]
    layer: str

    def to_value(self) -> dict[str, Any]:
        """The ingredient as JSON has it."""
        return {
            "kind": self.kind,
            "name": self.name,
            "version": self.version,
            "architecture": self.architecture,
            "source": self.source,
            "digest": self.digest,
            "licences": list(self.licences),
            "layer": self.layer,
        }

    @classmethod
    def read(cls, fields: Fields) -> Ingredient:
        """The ingredient of such an object."""
        ingredient = cls(
            kind=fields.text("kind"),
            name=fields.text("name"),
            version=fields.text("version"),
            architecture=fields.text("architecture"),
            source=fields.text("source"),
            digest=_digest(fields),
            licences=tuple(fields.list("licences")),
            layer=fields.text("layer"),
        )
        fields.done()
        return ingredient

    @property
    def purl(self) -> PackageURL:
        """Its package URL."""
        if self.kind == "deb":
            return PackageURL("deb", "debian", self.name, self.version, {"arch": self.architecture})
        return PackageURL("pypi", None, self.name, self.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRecord:
    """What a runtime image was made of.

    Attributes:
        inputs: the key under which it was built.
        manifest: digest of the image.
        ingredients: sorted by layer, kind and name.
        dropped: packages that were resolved and left out, with the reason.
    """

    runtime: str
    version: str
    architecture: Architecture
    inputs: Digest
    manifest: Digest
    ingredients: tuple[Ingredient, ...]
    dropped: Mapping[str, str]

    def to_json(self) -> bytes:
        """The canonical JSON of the record."""
        return canonical_json(
            {
                "format": FORMAT,
                "runtime": self.runtime,
                "version": self.version,
                "architecture": str(self.architecture),
                "inputs": self.inputs,
                "manifest": self.manifest,
                "ingredients": [ingredient.to_value() for ingredient in self.ingredients],
                "dropped": dict(self.dropped),
            }
        )

    @classmethod
    def parse(cls, data: bytes, *, what: str = "record.json") -> BuildRecord:
        """The record of such JSON.

        Raises:
            DocumentError: it is not what the format says.
        """
        fields = parse_object(data, what=what)
        fields.format(FORMAT)
        record = cls(
            runtime=fields.text("runtime"),
            version=fields.text("version"),
            architecture=fields.parsed("architecture", Architecture.parse),
            inputs=fields.parsed("inputs", Digest),
            manifest=fields.parsed("manifest", Digest),
            ingredients=tuple(Ingredient.read(item) for item in fields.objects("ingredients")),
            dropped=fields.raw("dropped", dict, "an object"),
        )
        fields.done()
        return record


def _digest(fields: Fields) -> Digest | None:
    text = fields.optional_text("digest")
    return None if text is None else Digest(text)
