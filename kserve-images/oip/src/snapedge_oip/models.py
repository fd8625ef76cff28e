"""Loaded models, and which of them may be asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, NamedTuple
from urllib.parse import quote

from . import requests
from .adapter import Session
from .batching import Batching
from .datatypes import Array
from .errors import PredictionError, RequestError
from .modelfolder import ModelFolder
from .pace import Pace
from .requests import InferRequest
from .responses import Encoder, Response
from .statistics import Statistics


@dataclass(frozen=True, slots=True, kw_only=True, weakref_slot=True)
class Model:
    """A model that is loaded and may be asked.

    Attributes:
        folder: what it was loaded from.
        session: the runtime's own.
        platform: the protocol's word for its kind.
        properties: what model metadata says besides the protocol's own keys.
        pace: how long its requests take.
        batching: how its requests run together; None where each runs alone.
        load_seconds: to load, warm up and prove it.
        statistics: what it was asked.
    """

    folder: ModelFolder
    session: Session
    platform: str
    properties: dict[str, str] = field(default_factory=dict)
    pace: Pace = field(default_factory=lambda: Pace(None))
    batching: Batching | None = None
    load_seconds: float = 0.0
    statistics: Statistics = field(default_factory=Statistics)
    encoder: Encoder = field(init=False, repr=False)
    _is_batched: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "encoder", Encoder(self.folder.name, self.folder.version))
        object.__setattr__(self, "_is_batched", self.session.signature.inputs[0].shape[:1] == (-1,))

    def infer(self, body: bytes | memoryview, header_length: int | None) -> Response:
        """The answer to the body of an infer request.

        Raises:
            RequestError: the request does not fit the model.
            PredictionError: the runtime failed.
        """
        start = perf_counter()
        signature = self.session.signature
        try:
            request = requests.parse(signature, body, header_length)
            parsed = perf_counter()
            every = request.outputs is signature.outputs
            names = signature.output_names if every else [spec.name for spec in request.outputs]
            arrays = self.session.predict(request.inputs, names)
            computed = perf_counter()
            response = self.encoder.encode(request, arrays)
        except (RequestError, PredictionError):
            self.statistics.fail(perf_counter() - start)
            raise
        total = perf_counter() - start
        self.pace.observe(total, len(body))
        self.statistics.succeed(self._rows(request), parsed - start, computed - parsed, total)
        return response

    def compute(self, request: InferRequest, size: int) -> Sequence[Array]:
        """The arrays of a request's outputs, for the protocols that have a coding of their own.

        Args:
            request: what is asked.
            size: bytes that it came in.

        Raises:
            PredictionError: the runtime failed.
        """
        start = perf_counter()
        try:
            arrays = self.session.predict(request.inputs, [spec.name for spec in request.outputs])
        except PredictionError:
            self.statistics.fail(perf_counter() - start)
            raise
        total = perf_counter() - start
        self.pace.observe(total, size)
        self.statistics.succeed(self._rows(request), 0.0, total, total)
        return arrays

    def _rows(self, request: InferRequest) -> int:
        if not self._is_batched:
            return 1
        for values in request.inputs.values():
            return len(values)
        return 1

    def outputs(self, body: bytes) -> dict[str, Array]:
        """The arrays of an infer request in JSON, by name: what the golden samples are held against.

        Raises:
            RequestError: the request does not fit the model.
            PredictionError: the runtime failed.
        """
        request = requests.parse(self.session.signature, body, None)
        names = [spec.name for spec in request.outputs]
        return dict(zip(names, self.session.predict(request.inputs, names), strict=True))

    def metadata(self, versions: Sequence[str] = ()) -> dict[str, Any]:
        """The protocol's model metadata, beside which other versions it has."""
        signature = self.session.signature
        return {
            "name": self.folder.name,
            "versions": list(versions) or [self.folder.version],
            "platform": self.platform,
            "inputs": [spec.to_json() for spec in signature.inputs],
            "outputs": [spec.to_json() for spec in signature.outputs],
            "properties": self.properties,
        }


class Versions(NamedTuple):
    """The loaded versions of one model.

    Attributes:
        default: the one that is asked where no version is named.
        loaded: all of them.
    """

    default: Model
    loaded: dict[str, Model]


class Repository:
    """The models by name and version.

    A loading thread replaces whole values, so that the event loop needs no lock to read them.

    Attributes:
        targets: request targets of inferences, for the models they mean: the one look-up that most requests need.
    """

    def __init__(self) -> None:
        self._declared: dict[str, tuple[str, ...]] | None = None
        self._models: dict[str, Versions] = {}
        self._unloaded: frozenset[str] = frozenset()
        self.targets: dict[bytes, Model] = {}

    def declare(self, names: Sequence[str] | Mapping[str, Sequence[str]]) -> None:
        """Says which models there will be, and their versions where these are known."""
        versions = names if isinstance(names, Mapping) else dict.fromkeys(names, ())
        self._declared = {name: tuple(versions[name]) for name in sorted(versions)}

    def admit(self, default: Model, *others: Model) -> None:
        """Lets a model be asked; takes the place of whatever had its name."""
        name = default.folder.name
        loaded = {model.folder.version: model for model in (*others, default)}
        self._models = self._models | {name: Versions(default, loaded)}
        self._declared = (self._declared or {}) | {name: tuple(sorted(loaded))}
        self._unloaded -= {name}
        self._retarget()

    def withdraw(self, name: str) -> bool:
        """Lets a model be asked no more; False where none has that name. What is in flight is answered."""
        if self._declared is None or name not in self._declared:
            return False
        self._models = {other: versions for other, versions in self._models.items() if other != name}
        self._unloaded |= {name}
        self._retarget()
        return True

    def find(self, name: str, version: str | None = None) -> Model | None:
        """A model that may be asked; its default version where none is named."""
        versions = self._models.get(name)
        if versions is None:
            return None
        return versions.default if version is None else versions.loaded.get(version)

    def versions(self, name: str) -> list[str]:
        """The versions of a model that may be asked, the default one last."""
        versions = self._models.get(name)
        if versions is None:
            return []
        default = versions.default.folder.version
        return [*sorted(version for version in versions.loaded if version != default), default]

    def is_expected(self, name: str) -> bool:
        """Whether a model of that name may come, or come again."""
        return name not in self._models and (self._declared is None or name in self._declared)

    @property
    def is_ready(self) -> bool:
        """Whether every model may be asked, but for those that were told to go."""
        return self._declared is not None and self._declared.keys() - self._unloaded == self._models.keys()

    def names(self) -> list[str]:
        """All that were declared."""
        return sorted(self._declared or ())

    def every(self) -> list[Model]:
        """Every version of every model that may be asked."""
        return [self._models[name].loaded[version] for name in sorted(self._models) for version in self.versions(name)]

    def index(self) -> list[tuple[str, str, bool, str]]:
        """Name, version, whether it may be asked, and why not, of all that were declared."""
        entries = []
        for name, declared in (self._declared or {}).items():
            found = self.versions(name)
            why = "unloaded" if name in self._unloaded else "loading"
            entries += [(name, version, bool(found), "" if found else why) for version in found or declared or ("",)]
        return entries

    def _retarget(self) -> None:
        targets = {}
        for name, versions in self._models.items():
            path = b"/v2/models/" + quote(name, safe="").encode()
            targets[path + b"/infer"] = versions.default
            for version, model in versions.loaded.items():
                targets[path + b"/versions/" + quote(version, safe="").encode() + b"/infer"] = model
        self.targets = targets
