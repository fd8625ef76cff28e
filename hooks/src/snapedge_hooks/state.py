"""$SNAP_COMMON/state.json: a cache of what was done, so that nothing is done twice and health can be told at once.

Losing it loses no truth: an absent, corrupt or newer file reads as empty, and what matters is rebuilt from the cluster.
"""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .document import DocumentError, Fields, canonical_json, parse_object
from .goodspec import GoodSpec, Identity
from .health import Health
from .vocabulary import Digest, RepositoryName

_LOG = logging.getLogger(__name__)
FORMAT = 1
MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Something that proved bad here, not to be tried again until revision, runtime or configuration change.

    Attributes:
        identity: what was refused; another runtime is another identity.
        revision: the snap revision that tried it.
        configuration: fingerprint of the configuration it was tried with.
        health: what was wrong with it.
    """

    identity: Identity
    revision: str
    configuration: Digest
    health: Health


@dataclass(frozen=True, slots=True, kw_only=True)
class PushedImage:
    """A manifest that we put into the registry.

    Attributes:
        repository: where.
        digest: which.
        at: when it was pushed or, later, when another became the good one instead; in seconds since 1970.
    """

    repository: RepositoryName
    digest: Digest
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is remembered between runs.

    Attributes:
        health: as last reported.
        last_good: a copy of the ConfigMap's, for when the cluster was wiped.
        configuration: fingerprint of the configuration that was last converged with.
        refusals: what not to try again.
        pushed: our manifests, for pruning.
        namespace: where our objects were last put.
        watched: how many golden samples the watch has asked so far; where its next part starts.
    """

    health: Health | None = None
    last_good: GoodSpec | None = None
    configuration: Digest | None = None
    refusals: tuple[Refusal, ...] = ()
    pushed: tuple[PushedImage, ...] = ()
    namespace: str | None = None
    watched: int = 0

    def to_json(self) -> bytes:
        """The canonical document."""
        document: dict[str, Any] = {
            "format": FORMAT,
            "health": None if self.health is None else self.health.to_json(),
            "last_good": None if self.last_good is None else self.last_good.document(),
            "configuration": self.configuration,
            "refusals": [
                {
                    "identity": refusal.identity.to_json(),
                    "revision": refusal.revision,
                    "configuration": refusal.configuration,
                    "health": refusal.health.to_json(),
                }
                for refusal in self.refusals
            ],
            "pushed": [
                {"repository": image.repository, "digest": image.digest, "at": image.at} for image in self.pushed
            ],
            "namespace": self.namespace,
            "watched": self.watched,
        }
        return canonical_json(document)

    @classmethod
    def parse(cls, data: bytes) -> State:
        """The state of a document.

        Raises:
            DocumentError: it is not what the format says.
        """
        fields = parse_object(data, what="state.json", max_bytes=MAX_BYTES)
        fields.format(FORMAT)
        health, last_good = fields.optional_object("health"), fields.optional_object("last_good")
        configuration = fields.optional_text("configuration")
        state = cls(
            health=None if health is None else Health.read(health),
            last_good=None if last_good is None else GoodSpec.read(last_good),
            configuration=None if configuration is None else Digest(configuration),
            refusals=tuple(_refusal(item) for item in fields.objects("refusals")),
            pushed=tuple(_pushed(item) for item in fields.objects("pushed")),
            namespace=fields.optional_text("namespace"),
            watched=fields.integer("watched", default=0),
        )
        fields.done()
        return state


def _refusal(fields: Fields) -> Refusal:
    refusal = Refusal(
        identity=Identity.read(fields.object("identity")),
        revision=fields.text("revision"),
        configuration=fields.parsed("configuration", Digest),
        health=Health.read(fields.object("health")),
    )
    fields.done()
    return refusal


def _pushed(fields: Fields) -> PushedImage:
    image = PushedImage(
        repository=fields.parsed("repository", RepositoryName),
        digest=fields.parsed("digest", Digest),
        at=fields.number("at"),
    )
    fields.done()
    return image


def with_adopted(
    pushed: tuple[PushedImage, ...], repository: RepositoryName, digest: Digest, now: float
) -> tuple[PushedImage, ...]:
    """Our manifests, and one that is ours though its record is lost: its grace period starts now."""
    if any(image.digest == digest for image in pushed):
        return pushed
    return (*pushed, PushedImage(repository=repository, digest=digest, at=now))


def load(path: Path) -> State:
    """What is remembered; nothing when the file is absent, corrupt or newer than this code."""
    try:
        with path.open("rb") as file:
            return State.parse(file.read(MAX_BYTES + 1))
    except FileNotFoundError:
        return State()
    except (DocumentError, ValueError, OSError) as error:
        _LOG.warning("state is read anew from the cluster: %s", error)
        return State()


def save(path: Path, state: State) -> None:
    """Remember, whole or not at all. A disk that is full costs the memory, not the convergence."""
    data = state.to_json()
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.exists() and path.read_bytes() == data:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        _LOG.warning("state is not saved: %s: %s", path, error.strerror)
        with contextlib.suppress(OSError):
            temporary.unlink()


class Memory:
    """The state of one run: read once, saved at each change, so that a power cut loses one step at most."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.state = load(path)

    def update(self, **changes: Any) -> None:
        """Change some of what is remembered and save it."""
        self.state = replace(self.state, **changes)
        save(self._path, self.state)
