"""Which thing a path names."""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes


class Kind(Enum):
    """The things that can be asked for."""

    SERVER = "server metadata"
    LIVE = "server live"
    READY = "server ready"
    MODELS = "list of models"
    MODEL = "model metadata"
    MODEL_READY = "model ready"
    INFER = "inference"
    CONFIG = "model configuration"
    STATS = "model statistics"
    EVERY_STATS = "statistics of all models"
    INDEX = "repository index"
    LOAD = "load a model"
    UNLOAD = "unload a model"
    V1_MODELS = "V1 list of models"
    V1_MODEL = "V1 model status"
    V1_PREDICT = "V1 prediction"
    METRICS = "metrics"


POSTED = frozenset({Kind.INFER, Kind.INDEX, Kind.LOAD, Kind.UNLOAD, Kind.V1_PREDICT})
"""What is asked by POST; everything else by GET or HEAD."""


class Route(NamedTuple):
    """A thing and the model it is about.

    Attributes:
        kind: what is asked for.
        model: empty where no model is named.
        version: None where none is named.
    """

    kind: Kind
    model: str = ""
    version: str | None = None


_FIXED = {
    b"/v2": Route(Kind.SERVER),
    b"/v2/": Route(Kind.SERVER),
    b"/v2/health/live": Route(Kind.LIVE),
    b"/v2/health/ready": Route(Kind.READY),
    b"/v2/models": Route(Kind.MODELS),
    b"/v2/models/stats": Route(Kind.EVERY_STATS),
    b"/v2/repository/index": Route(Kind.INDEX),
    b"/v1/models": Route(Kind.V1_MODELS),
    b"/metrics": Route(Kind.METRICS),
}
_OF_MODEL = {
    b"": Kind.MODEL,
    b"ready": Kind.MODEL_READY,
    b"infer": Kind.INFER,
    b"config": Kind.CONFIG,
    b"stats": Kind.STATS,
}
_OF_REPOSITORY = {b"load": Kind.LOAD, b"unload": Kind.UNLOAD}
_V1_VERBS = {b"": Kind.V1_MODEL, b"predict": Kind.V1_PREDICT}
_CACHED_LENGTH = 256


def resolve(target: bytes) -> Route | None:
    """The route of a request target, None where it names nothing."""
    # Long targets are somebody's test of patience; they must not push the few that matter out of the cache.
    return _cached(target) if len(target) <= _CACHED_LENGTH else _resolved(target)


@lru_cache(maxsize=512)
def _cached(target: bytes) -> Route | None:
    return _resolved(target)


def _resolved(target: bytes) -> Route | None:
    path = target.partition(b"?")[0]
    if path in _FIXED:
        return _FIXED[path]
    if path.startswith(b"/v2/repository/models/"):
        name, _, verb = path.removeprefix(b"/v2/repository/models/").partition(b"/")
        return _route(_OF_REPOSITORY.get(verb), name, None)
    if path.startswith(b"/v1/models/"):
        return _v1(path.removeprefix(b"/v1/models/"))
    if not path.startswith(b"/v2/models/"):
        return None
    parts = path.split(b"/")[3:]
    model, rest = parts[0], parts[1:]
    version: bytes | None = None
    if len(rest) >= 2 and rest[0] == b"versions":
        version, rest = rest[1], rest[2:]
        if not version:
            return None
    return _route(_OF_MODEL.get(b"/".join(rest)) if rest != [b""] else None, model, version)


def _v1(rest: bytes) -> Route | None:
    """`<model>`, `<model>/versions/<version>`, either with `:predict` behind it."""
    name, _, version = rest.partition(b"/versions/")
    last = version or name
    last, colon, verb = last.rpartition(b":") if b":" in last else (last, b"", b"")
    if (colon and not verb) or (b"/versions/" in rest and not version):
        return None
    return _route(_V1_VERBS.get(verb), *((name, last) if version else (last, None)))


def _route(kind: Kind | None, model: bytes, version: bytes | None) -> Route | None:
    if kind is None or not model or b"/" in model:
        return None
    try:
        return Route(
            kind, unquote_to_bytes(model).decode(), None if version is None else unquote_to_bytes(version).decode()
        )
    except UnicodeDecodeError:
        return None
