"""The golden samples of a folder."""

from __future__ import annotations

from pathlib import Path

from snapedge_hooks.errors import ExitCode
from snapedge_hooks.samples import SampleSet

from .declaration import ModelDeclaration
from .errors import BuilderError


class SamplesUnreadableError(BuilderError):
    """The golden samples cannot be read."""

    exit_code = ExitCode.REFUSED

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(
            f"{path.name} cannot be read: {error.strerror}",
            resolution=f"put golden samples at {path}; `builder new` writes some",
        )


def read_samples(declaration: ModelDeclaration) -> SampleSet | None:
    """The golden samples of a folder, or None where it declares none.

    Raises:
        SamplesUnreadableError: they are missing.
        DocumentError: they are no golden samples.
    """
    path = declaration.samples_path
    return None if path is None else read_samples_file(path)


def read_samples_file(path: Path) -> SampleSet:
    """The golden samples in a file; errors as above."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SamplesUnreadableError(path, error) from error
    return SampleSet.parse(data, what=path.name)
