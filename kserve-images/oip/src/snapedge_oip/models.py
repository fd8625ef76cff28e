"""Loaded models, and which of them may be asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from . import requests
from .adapter import Session
from .datatypes import Array
from .modelfolder import ModelFolder
from .pace import Pace
from .responses import Encoder, Response


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that is loaded and may be asked.

    Attributes:
        folder: what it was loaded from.
        session: the runtime's own.
        platform: the protocol's word for its kind.
        properties: what model metadata says besides the protocol's own keys.
        pace: how long its requests take.
    """

    folder: ModelFolder
    session: Session
    platform: str
    properties: dict[str, str] = field(default_factory=dict)
    pace: Pace = field(default_factory=lambda: Pace(None))
    encoder: Encoder = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "encoder", Encoder(self.folder.name, self.folder.version))

    def infer(self, body: bytes, header_length: int | None) -> Response:
        """The answer to the body of an infer request.

        Raises:
            RequestError: the request does not fit the model.
            PredictionError: the runtime failed.
        """
        start = perf_counter()
        signature = self.session.signature
        request = requests.parse(signature, body, header_length)
        every = request.outputs is signature.outputs
        names = signature.output_names if every else [spec.name for spec in request.outputs]
        arrays = self.session.predict(request.inputs, names)
        response = self.encoder.encode(request, arrays)
        self.pace.observe(perf_counter() - start)
        return response

    def outputs(self, body: bytes) -> dict[str, Array]:
        """The arrays of an infer request in JSON, by name: what the golden samples are held against.

        Raises:
            RequestError: the request does not fit the model.
            PredictionError: the runtime failed.
        """
        request = requests.parse(self.session.signature, body, None)
        names = [spec.name for spec in request.outputs]
        return dict(zip(names, self.session.predict(request.inputs, names), strict=True))

    def metadata(self) -> dict[str, Any]:
        """The protocol's model metadata."""
        signature = self.session.signature
        return {
            "name": self.folder.name,
            "versions": [self.folder.version],
            "platform": self.platform,
            "inputs": [spec.to_json() for spec in signature.inputs],
            "outputs": [spec.to_json() for spec in signature.outputs],
            "properties": self.properties,
        }


class Repository:
    """The models by name.

    The loading thread replaces whole values, so that the event loop needs no lock to read them.
    """

    def __init__(self) -> None:
        self._declared: frozenset[str] | None = None
        self._models: dict[str, Model] = {}
        self.targets: dict[bytes, Model] = {}

    def declare(self, names: Sequence[str]) -> None:
        """Says which models there will be."""
        self._declared = frozenset(names)

    def admit(self, model: Model) -> None:
        """Lets a model be asked."""
        self._models = self._models | {model.folder.name: model}
        self.targets = self.targets | {b"/v2/models/%b/infer" % model.folder.name.encode(): model}

    def find(self, name: str) -> Model | None:
        """A model that may be asked."""
        return self._models.get(name)

    def is_expected(self, name: str) -> bool:
        """Whether a model of that name may still come."""
        return name not in self._models and (self._declared is None or name in self._declared)

    @property
    def is_ready(self) -> bool:
        """Whether every model may be asked."""
        return self._declared is not None and self._declared == self._models.keys()

    def names(self) -> list[str]:
        """All that were declared."""
        return sorted(self._declared or ())
