"""`build:` in inference.yaml and runtime.yaml: by what a runtime's image is built."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .yamldocument import Section


class Backend(Enum):
    """What builds an image; the image is the same."""

    AUTO = "auto"
    COMPOSE = "compose"
    BUILDX = "buildx"

    def __str__(self) -> str:
        """The word used in files."""
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings:
    """How an image is built.

    Attributes:
        backend: by what; `auto` is compose, which needs no Docker.
    """

    backend: Backend = Backend.AUTO


def read(section: Section) -> BuildSettings:
    """The settings of a section `build`, which may be absent.

    Raises:
        DeclarationError: something in it cannot be done.
    """
    backend = Backend(section.choice("backend", [str(word) for word in Backend], default=str(Backend.AUTO)))
    if section.has("dockerfile"):
        raise section.error(
            "dockerfile", "is not supported: images are composed without one", resolution="leave it out"
        )
    section.skip("dockerfile")
    section.done()
    return BuildSettings(backend=backend)
