"""What is in an image that something else made, as far as it says so itself: dpkg's status, and wheels' metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from email.parser import HeaderParser

from . import sources, wheels
from .record import Ingredient
from .trees import File, Tree

_STATUS = re.compile(r"var/lib/dpkg/(?:status|status\.d/[^/]+)")
_METADATA = re.compile(r"(?:.*/)?[^/]+\.dist-info/METADATA")


def find(layers: Mapping[str, Tree], *, architecture: str) -> tuple[Ingredient, ...]:
    """The packages and wheels in an image, each with the layer that says so; sorted."""
    found = [
        ingredient
        for layer, tree in layers.items()
        for path, file in tree.files()
        for ingredient in _read(path, file, layer, architecture)
    ]
    unique = {(item.kind, item.name, item.version): item for item in found}
    return tuple(unique[key] for key in sorted(unique))


def _read(path: str, file: File, layer: str, architecture: str) -> Iterator[Ingredient]:
    if _STATUS.fullmatch(path) and not path.endswith(".md5sums"):
        yield from _debs(file, layer, architecture)
    elif _METADATA.fullmatch(path):
        yield from _wheel(path, file, layer, architecture)


def _debs(file: File, layer: str, architecture: str) -> Iterator[Ingredient]:
    for fields in sources.stanzas(file.read().decode("utf-8", errors="replace")):
        if "Package" in fields and "Version" in fields and "deinstall" not in fields.get("Status", ""):
            yield Ingredient(
                kind="deb",
                name=fields["Package"],
                version=fields["Version"],
                architecture=fields.get("Architecture", architecture),
                source=fields.get("Source", fields["Package"]).partition(" ")[0],
                digest=None,
                licences=(),
                layer=layer,
            )


def _wheel(path: str, file: File, layer: str, architecture: str) -> Iterator[Ingredient]:
    text = file.read().decode("utf-8", errors="replace")
    headers = HeaderParser().parsestr(text.partition("\n\n")[0])
    if headers["Name"] and headers["Version"]:
        yield Ingredient(
            kind="wheel",
            name=str(headers["Name"]),
            version=str(headers["Version"]),
            architecture=architecture,
            source=path.rpartition("/")[0].rpartition("/")[2],
            digest=None,
            licences=wheels.licences_in(text),
            layer=layer,
        )
