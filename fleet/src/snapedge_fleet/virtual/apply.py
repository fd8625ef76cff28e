"""Server-side apply: who owns which field, what conflicts, what an apply makes of an object. Pure.

Rules (those of structured-merge-diff that can be seen from outside):

- A manager owns the fields it applied; a plain write owns the fields it changed.
- Applying a field that another manager owns, with another value, is a conflict; force takes the field from them.
  The same value makes both its owners.
- A field that a manager applied before and does not apply now is removed, unless somebody else owns it.
- Lists of things with a name (containers, env, ports ...) are maps by that name; every other list is one value.

A path is a tuple of the elements of `managedFields`: `f:name` a field, `k:{...}` the item of a list with these keys,
`v:...` the member of a set.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import orjson

Document = dict[str, Any]
Path = tuple[str, ...]
Paths = frozenset[Path]

_LIST_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "conditions": ("type",),
    "containers": ("name",),
    "env": ("name",),
    "imagePullSecrets": ("name",),
    "initContainers": ("name",),
    "ownerReferences": ("uid",),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}
_SETS: Final = frozenset({"finalizers"})
_UNOWNED: Final = frozenset({"apiVersion", "kind"})
_UNOWNED_METADATA: Final = frozenset(
    {
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "generation",
        "managedFields",
        "name",
        "namespace",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)
_MISSING: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """A field that another manager owns with another value."""

    manager: str
    api_version: str
    field: str


class ApplyConflictError(Exception):
    """The apply would overwrite what others own, and force was not asked for."""

    def __init__(self, conflicts: tuple[Conflict, ...]) -> None:
        super().__init__(conflicts)
        self.conflicts = conflicts


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """Who writes, how, and when: one entry of managedFields."""

    manager: str
    operation: str
    api_version: str
    time: str
    subresource: str = ""

    def owns(self, entry: Document) -> bool:
        """Whether `entry` of managedFields is this writer's."""
        return (
            entry.get("manager") == self.manager
            and entry.get("operation") == self.operation
            and entry.get("subresource", "") == self.subresource
        )


def apply(live: Document | None, wanted: Document, writer: Writer, *, force: bool) -> Document:
    """The object after `writer` applied `wanted` to it.

    Where nothing changes the result equals `live`, the time in managedFields included.
    """
    wanted = _without_nulls(wanted)
    now_owned = owned_paths(wanted)
    if live is None:
        return _with_fields(wanted, _entries([], writer, now_owned))
    entries: list[Document] = copy.deepcopy(live.get("metadata", {}).get("managedFields", []))
    before = _owned_by(entries, writer)
    entries = _settle_conflicts(entries, live, wanted, now_owned, writer, force=force)

    result = _merge(live, wanted)
    others = frozenset[Path]().union(*(from_fields(entry["fieldsV1"]) for entry in entries if not writer.owns(entry)))
    holders = _holders(others | now_owned)
    for path in _abandoned(before - now_owned, holders):
        _remove(result, path, holders)
    if now_owned == before and _bare(result) == _bare(live):
        return live
    return _with_fields(result, _entries(entries, writer, now_owned))


def record_update(old: Document | None, new: Document, writer: Writer) -> Document:
    """`new` with the managedFields it has after a plain write (POST, PUT, merge patch) by `writer`."""
    after = owned_paths(new)
    if old is None:
        return _with_fields(new, _entries([], writer, after))
    before = owned_paths(old)
    changed = frozenset(path for path in after if path not in before or _value(old, path) != _value(new, path))
    gone = before - after
    entries: list[Document] = copy.deepcopy(old.get("metadata", {}).get("managedFields", []))
    if not changed and not gone:
        return _with_fields(new, entries)
    mine = (_owned_by(entries, writer) | changed) - gone
    kept: list[Document] = []
    for entry in entries:
        if writer.owns(entry):
            continue
        # Items of a list stay shared: only leaves have a value to take.
        left = from_fields(entry["fieldsV1"]) - gone - frozenset(path for path in changed if path in before)
        if left:
            kept.append(entry | {"fieldsV1": to_fields(left)})
    return _with_fields(new, _entries(kept, writer, mine))


def is_same(one: Document, other: Document) -> bool:
    """Whether two states of an object differ in nothing but the times of managedFields."""
    return _timeless(one) == _timeless(other)


def owned_paths(document: Document) -> Paths:
    """Every field of `document` that a manager can own."""
    found: set[Path] = set()
    for key, value in document.items():
        if key in _UNOWNED:
            continue
        if key == "metadata" and isinstance(value, dict):
            for name, inner in value.items():
                if name not in _UNOWNED_METADATA:
                    _collect(inner, ("f:metadata", f"f:{name}"), name, found)
        else:
            _collect(value, (f"f:{key}",), key, found)
    return frozenset(found)


def to_fields(paths: Iterable[Path]) -> Document:
    """The `fieldsV1` that says `paths`."""
    members = set(paths)
    root: Document = {}
    for path in sorted(members):
        node = root
        for element in path:
            node = node.setdefault(element, {})
    for path in members:
        node = root
        for element in path:
            node = node[element]
        if node:
            node["."] = {}
    return root


def from_fields(fields: Document) -> Paths:
    """The paths that a `fieldsV1` says."""
    found: set[Path] = set()

    def walk(node: Document, path: Path) -> None:
        if path and (not node or "." in node):
            found.add(path)
        for element, child in node.items():
            if element != ".":
                walk(child, (*path, element))

    walk(fields, ())
    return frozenset(found)


def field_name(path: Path) -> str:
    """A path as the API server writes it in conflicts: `.spec.containers[name="a"].image`."""
    text = ""
    for element in path:
        kind, _, rest = element.partition(":")
        if kind == "f":
            text += f".{rest}"
        elif kind == "k":
            keys = orjson.loads(rest)
            text += "[" + ",".join(f"{key}={orjson.dumps(value).decode()}" for key, value in keys.items()) + "]"
        else:
            text += f"[={rest}]"
    return text


# Ownership


def _settle_conflicts(
    entries: list[Document], live: Document, wanted: Document, paths: Paths, writer: Writer, *, force: bool
) -> list[Document]:
    conflicts: list[Conflict] = []
    settled: list[Document] = []
    for entry in entries:
        if writer.owns(entry):
            settled.append(entry)
            continue
        owned = from_fields(entry["fieldsV1"])
        contested = frozenset(
            path for path in owned & paths if _is_leaf(wanted, path) and _value(live, path) != _value(wanted, path)
        )
        conflicts += [
            Conflict(manager=entry["manager"], api_version=entry["apiVersion"], field=field_name(path))
            for path in sorted(contested)
        ]
        if owned - contested:
            settled.append(entry | {"fieldsV1": to_fields(owned - contested)} if contested else entry)
    if conflicts and not force:
        raise ApplyConflictError(tuple(conflicts))
    return settled


def _holders(kept: Paths) -> Paths:
    """What is kept and everything it lies in."""
    return frozenset(path[:length] for path in kept for length in range(1, len(path) + 1))


def _abandoned(dropped: Paths, holders: Paths) -> list[Path]:
    """Of the fields an owner dropped, those to remove, outer ones first."""
    gone = dropped - holders
    return sorted((path for path in gone if not _names_kept_item(path, gone)), key=len)


def _names_kept_item(path: Path, gone: Paths) -> bool:
    """Whether a field is what its list item is known by, and the item stays."""
    if len(path) < 2 or not path[-2].startswith("k:"):
        return False
    return path[:-1] not in gone and path[-1].removeprefix("f:") in orjson.loads(path[-2][2:])


def _owned_by(entries: Iterable[Document], writer: Writer) -> Paths:
    return frozenset[Path]().union(*(from_fields(entry["fieldsV1"]) for entry in entries if writer.owns(entry)))


def _entries(entries: list[Document], writer: Writer, paths: Paths) -> list[Document]:
    others = [entry for entry in entries if not writer.owns(entry)]
    if not paths:
        return others
    entry: Document = {
        "apiVersion": writer.api_version,
        "fieldsType": "FieldsV1",
        "fieldsV1": to_fields(paths),
        "manager": writer.manager,
        "operation": writer.operation,
        "time": writer.time,
    }
    if writer.subresource:
        entry["subresource"] = writer.subresource
    return [*others, entry]


def _with_fields(document: Document, entries: list[Document]) -> Document:
    result = copy.deepcopy(document)
    metadata = result.setdefault("metadata", {})
    metadata.pop("managedFields", None)
    if entries:
        metadata["managedFields"] = entries
    return result


def _bare(document: Document) -> Document:
    metadata = {key: value for key, value in document.get("metadata", {}).items() if key != "managedFields"}
    return document | {"metadata": metadata}


def _timeless(document: Document) -> Document:
    metadata = document.get("metadata", {})
    entries = [{key: entry[key] for key in entry if key != "time"} for entry in metadata.get("managedFields", [])]
    return document | {"metadata": metadata | {"managedFields": entries}}


# Values


def _collect(value: Any, path: Path, name: str, found: set[Path]) -> None:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            _collect(inner, (*path, f"f:{key}"), key, found)
    elif isinstance(value, list) and value and name in _SETS:
        found.update((*path, f"v:{orjson.dumps(item).decode()}") for item in value)
    elif isinstance(value, list) and _item_keys(name, value):
        for item in value:
            item_path = (*path, _item_element(name, item))
            found.add(item_path)
            for key, inner in item.items():
                _collect(inner, (*item_path, f"f:{key}"), key, found)
    else:
        found.add(path)


def _item_keys(name: str, items: list[Any]) -> tuple[str, ...]:
    if not items or not all(isinstance(item, dict) for item in items):
        return ()
    if name == "ports":
        return ("containerPort", "protocol") if "containerPort" in items[0] else ("port", "protocol")
    return _LIST_KEYS.get(name, ())


def _item_identity(name: str, item: Document) -> Document:
    defaults = {"protocol": "TCP"}
    return {key: item.get(key, defaults.get(key, "")) for key in _item_keys(name, [item])}


def _item_element(name: str, item: Document) -> str:
    return "k:" + orjson.dumps(_item_identity(name, item), option=orjson.OPT_SORT_KEYS).decode()


def _find_item(items: Any, name: str, element: str) -> int | None:
    if not isinstance(items, list):
        return None
    if element.startswith("v:"):
        value = orjson.loads(element[2:])
        return items.index(value) if value in items else None
    for index, item in enumerate(items):
        if isinstance(item, dict) and _item_keys(name, [item]) and _item_element(name, item) == element:
            return index
    return None


def _value(document: Document, path: Path) -> Any:
    node: Any = document
    name = ""
    for element in path:
        if element.startswith("f:"):
            name = element[2:]
            if not isinstance(node, dict) or name not in node:
                return _MISSING
            node = node[name]
        else:
            index = _find_item(node, name, element)
            if index is None:
                return _MISSING
            node = node[index]
    return node


def _is_leaf(document: Document, path: Path) -> bool:
    if path[-1].startswith("f:"):
        value = _value(document, path)
        return not (isinstance(value, dict) and value)
    return False


def _merge(live: Document, wanted: Document) -> Document:
    result = copy.deepcopy(live)
    for key, value in wanted.items():
        old = result.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            result[key] = _merge(old, value)
        elif isinstance(value, list) and isinstance(old, list) and key in _SETS:
            result[key] = old + [item for item in value if item not in old]
        elif isinstance(value, list) and isinstance(old, list) and _item_keys(key, value or old):
            result[key] = _merge_items(old, value, key)
        else:
            result[key] = copy.deepcopy(value)
    return result


def _merge_items(live: list[Any], wanted: list[Document], name: str) -> list[Any]:
    result = copy.deepcopy(live)
    for item in wanted:
        index = _find_item(result, name, _item_element(name, item))
        if index is None:
            result.append(copy.deepcopy(item))
        else:
            result[index] = _merge(result[index], item)
    return result


def _remove(document: Document, path: Path, holders: Paths) -> None:
    parent = _value(document, path[:-1]) if len(path) > 1 else document
    last = path[-1]
    if last.startswith("f:"):
        if isinstance(parent, dict):
            parent.pop(last[2:], None)
    elif isinstance(parent, list):
        name = next(element[2:] for element in reversed(path[:-1]) if element.startswith("f:"))
        index = _find_item(parent, name, last)
        if index is not None:
            del parent[index]
    # A map or list that only held what was removed goes with it, as an unset field does.
    if parent in ({}, []) and len(path) > 1 and path[:-1] not in holders:
        _remove(document, path[:-1], holders)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value]
    return value
