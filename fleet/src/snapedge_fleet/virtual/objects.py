"""The objects of a virtual cluster: what etcd and the generic part of the API server keep.

Rules:

- Every change gives an object a new resourceVersion, from one counter; a write that changes nothing changes nothing.
- `generation` counts changes of what is wanted: everything but metadata and status.
- An object that is deleted while it has finalizers or a grace period stays, with a deletionTimestamp, until `remove`.
- What a removed object owns is deleted after it.
- Listeners are told of every change in order, after it was made and written to disk.

All calls are synchronous and belong to the event loop's thread: whoever calls sees a consistent state.
"""

from __future__ import annotations

import logging
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import orjson

from . import kinds
from .apply import Document
from .kinds import Kind

_log = logging.getLogger(__name__)
_HISTORY = 1024


class ObjectExistsError(Exception):
    """There is an object of this name."""


class ObjectMissingError(Exception):
    """There is no object of this name."""


class StaleObjectError(Exception):
    """The object was changed since the caller read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What happened to one object: ADDED, MODIFIED or DELETED, and how the object stood then."""

    type: str
    kind: Kind
    version: int
    document: Document


Key = tuple[Kind, str, str]
Listener = Callable[[Change], None]


class ObjectStore:
    """All objects of one cluster, in memory and, one file each, below `root`."""

    def __init__(self, root: Path, *, clock: Callable[[], datetime] | None = None) -> None:
        self._root = root
        self._clock = clock if clock is not None else _utc_now
        self._objects: dict[Key, Document] = {}
        self._listeners: list[Listener] = []
        self._version = 0
        self.history: Final[deque[Change]] = deque(maxlen=_HISTORY)
        self._load()

    @property
    def version(self) -> int:
        """The resourceVersion of the newest change."""
        return self._version

    def now(self) -> str:
        """The time as objects carry it."""
        return timestamp(self._clock())

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Be told of every change; the returned call ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def get(self, kind: Kind, namespace: str, name: str) -> Document | None:
        """A copy of one object."""
        found = self._objects.get((kind, namespace, name))
        return _copy(found) if found is not None else None

    def all_of(self, kind: Kind, namespace: str | None = None) -> list[Document]:
        """Copies of all objects of a kind, sorted by namespace and name."""
        keys = sorted(key[1:] for key in self._objects if key[0] is kind and (namespace is None or key[1] == namespace))
        return [_copy(self._objects[kind, *key]) for key in keys]

    def owned(self, kind: Kind, namespace: str, uid: str) -> list[Document]:
        """Copies of the objects of a kind that the object with `uid` owns."""
        return [
            _copy(document)
            for (its_kind, its_namespace, _), document in sorted(self._objects.items(), key=lambda item: item[0][2])
            if its_kind is kind and its_namespace == namespace and _is_owned(document, uid)
        ]

    def create(self, kind: Kind, document: Document) -> Document:
        """Add an object; gives it uid, times, versions, and a name where only `generateName` is given."""
        document = _copy(document)
        metadata = document.setdefault("metadata", {})
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:5]
        namespace = metadata.get("namespace", "") if kind.namespaced else ""
        key = (kind, namespace, metadata["name"])
        if key in self._objects:
            raise ObjectExistsError(metadata["name"])
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = self.now()
        metadata.pop("deletionTimestamp", None)
        if kind.counts_generations:
            metadata["generation"] = 1
        document["apiVersion"], document["kind"] = kind.api_version, kind.kind
        return self._commit("ADDED", key, document)

    def update(
        self, kind: Kind, document: Document, *, dry_run: bool = False, keeps_generation: bool = False
    ) -> Document:
        """Replace an object; a resourceVersion in `document` must be the current one."""
        key = self.key_of(kind, document)
        old = self._objects.get(key)
        if old is None:
            raise ObjectMissingError(key[2])
        stated = document.get("metadata", {}).get("resourceVersion")
        if stated and stated != old["metadata"]["resourceVersion"]:
            raise StaleObjectError(key[2])
        document = _copy(document)
        metadata = document["metadata"]
        for field in ("uid", "creationTimestamp", "generation", "resourceVersion", "deletionTimestamp"):
            metadata.pop(field, None)
            if field in old["metadata"]:
                metadata[field] = old["metadata"][field]
        document["apiVersion"], document["kind"] = kind.api_version, kind.kind
        if document == old:
            return _copy(old)
        if kind.counts_generations and not keeps_generation and _wanted(document) != _wanted(old):
            metadata["generation"] = old["metadata"].get("generation", 0) + 1
        if dry_run:
            return document
        if "deletionTimestamp" in metadata and _may_go(metadata) and kind is not kinds.POD:
            return self.remove(kind, key[1], key[2])
        return self._commit("MODIFIED", key, document)

    def set_status(self, kind: Kind, namespace: str, name: str, status: Document) -> None:
        """Replace the status of an object, if it is still there."""
        document = self.get(kind, namespace, name)
        if document is not None:
            document["status"] = status
            self.update(kind, document)

    def delete(self, kind: Kind, namespace: str, name: str, *, grace: int = 0, orphan: bool = False) -> Document:
        """Ask for the end of an object; it is gone at once unless finalizers or a grace period keep it."""
        document = self.get(kind, namespace, name)
        if document is None:
            raise ObjectMissingError(name)
        metadata = document["metadata"]
        if orphan:
            self._orphan(document)
        if _may_go(metadata) and grace == 0:
            return self.remove(kind, namespace, name)
        if "deletionTimestamp" in metadata and metadata.get("deletionGracePeriodSeconds", 0) <= grace:
            return document
        metadata["deletionTimestamp"] = timestamp(self._clock() + timedelta(seconds=grace))
        metadata["deletionGracePeriodSeconds"] = grace
        if "generation" in metadata:
            metadata["generation"] += 1
        return self._commit("MODIFIED", (kind, namespace, name), document)

    def remove(self, kind: Kind, namespace: str, name: str) -> Document:
        """Drop an object for good, and delete what it owned."""
        key = (kind, namespace, name)
        document = self._objects.get(key)
        if document is None:
            raise ObjectMissingError(name)
        removed = self._commit("DELETED", key, _copy(document))
        for owned_key, owned in list(self._objects.items()):
            if _is_owned(owned, removed["metadata"]["uid"]) and owned_key in self._objects:
                self.delete(*owned_key, grace=grace_period(owned_key[0], owned))
        if kind is kinds.NAMESPACE:
            for owned_key, owned in list(self._objects.items()):
                if owned_key[1] == name and owned_key in self._objects:
                    self.delete(*owned_key, grace=grace_period(owned_key[0], owned))
        return removed

    @staticmethod
    def key_of(kind: Kind, document: Document) -> Key:
        """What the store calls `document`."""
        metadata = document["metadata"]
        return (kind, metadata.get("namespace", "") if kind.namespaced else "", metadata["name"])

    def _orphan(self, owner: Document) -> None:
        for key, owned in list(self._objects.items()):
            if _is_owned(owned, owner["metadata"]["uid"]):
                freed = _copy(owned)
                freed["metadata"]["ownerReferences"] = [
                    reference
                    for reference in freed["metadata"]["ownerReferences"]
                    if reference["uid"] != owner["metadata"]["uid"]
                ]
                self._commit("MODIFIED", key, freed)

    def _commit(self, change: str, key: Key, document: Document) -> Document:
        self._version += 1
        document["metadata"]["resourceVersion"] = str(self._version)
        path = self._path(key)
        if change == "DELETED":
            del self._objects[key]
            path.unlink(missing_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}")
            temporary.write_bytes(orjson.dumps(document))
            temporary.replace(path)
            self._objects[key] = document
        event = Change(type=change, kind=key[0], version=self._version, document=document)
        self.history.append(event)
        for listener in list(self._listeners):
            listener(event)
        return _copy(document)

    def _path(self, key: Key) -> Path:
        kind, namespace, name = key
        return (
            self._root / f"{kind.plural}.{kind.group or 'core'}" / (namespace or "-") / f"{quote(name, safe='')}.json"
        )

    def _load(self) -> None:
        for document in self._stored():
            kind = kinds.find(document.get("apiVersion", ""), document.get("kind", ""))
            if kind is None:
                continue
            self._objects[self.key_of(kind, document)] = document
            self._version = max(self._version, int(document["metadata"]["resourceVersion"]))

    def _stored(self) -> Iterator[Document]:
        for path in sorted(self._root.glob("*/*/*.json")):
            if path.name.startswith("."):
                continue
            try:
                yield orjson.loads(path.read_bytes())
            except orjson.JSONDecodeError:
                # A power cut can leave an empty file behind a rename; controllers make the object again.
                _log.warning("%s is not an object and is ignored", path)


def timestamp(when: datetime) -> str:
    """A time as Kubernetes writes it."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def grace_period(kind: Kind, document: Document) -> int:
    """Seconds an object of this kind is given to end."""
    if kind is not kinds.POD:
        return 0
    seconds: int = document.get("spec", {}).get("terminationGracePeriodSeconds", 30)
    return seconds


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _copy(document: Document) -> Document:
    copied: Document = orjson.loads(orjson.dumps(document))
    return copied


def _wanted(document: Document) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in ("metadata", "status")}


def _may_go(metadata: Document) -> bool:
    return not metadata.get("finalizers")


def _is_owned(document: Document, uid: str) -> bool:
    return any(reference["uid"] == uid for reference in document["metadata"].get("ownerReferences", []))
