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
}
_OF_MODEL = {b"": Kind.MODEL, b"ready": Kind.MODEL_READY, b"infer": Kind.INFER}
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
    if not path.startswith(b"/v2/models/"):
        return None
    parts = path.split(b"/")[3:]
    model, rest = parts[0], parts[1:]
    version: bytes | None = None
    if len(rest) >= 2 and rest[0] == b"versions":
        version, rest = rest[1], rest[2:]
        if not version:
            return None
    kind = _OF_MODEL.get(b"/".join(rest)) if rest != [b""] else None
    if kind is None or not model:
        return None
    try:
        return Route(
            kind, unquote_to_bytes(model).decode(), None if version is None else unquote_to_bytes(version).decode()
        )
    except UnicodeDecodeError:
        return None
