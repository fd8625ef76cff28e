"""What a runtime image adds to this package: one adapter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from .datatypes import Array
from .signature import Signature


class Session(Protocol):
    """A loaded model. `predict` may be called from several threads at once."""

    @property
    def signature(self) -> Signature:
        """What the model file itself says it takes and gives."""

    def predict(self, inputs: dict[str, Array], outputs: Sequence[str]) -> Sequence[Array]:
        """The named outputs for inputs that fit the signature.

        BYTES are object arrays: `str` where they came as JSON, `bytes` where they came as binary data.

        Raises:
            PredictionError: the runtime failed.
        """

    def unload(self) -> None:
        """Gives back what the model holds."""


class Runtime(Protocol):
    """A machine-learning runtime."""

    @property
    def name(self) -> str:
        """As runtime.yaml and payload.json name it."""

    @property
    def version(self) -> str:
        """Of the image's own server."""

    @property
    def engine(self) -> str:
        """The library that computes, with its version."""

    @property
    def platform(self) -> str:
        """The protocol's word for the kind of model."""

    @property
    def formats(self) -> frozenset[str]:
        """Values of `model_format` it serves."""

    def load(self, path: Path, *, threads: int) -> Session:
        """A session of a model file.

        Raises:
            LoadError: the runtime cannot serve it.
        """
