"""A snap's configuration: typed JSON values under dotted keys, as `snap set` and `snapctl set` mean them."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from snapedge_hooks.errors import SnapedgeError

_SUBKEY: Final = re.compile(r"^(?:[a-z0-9]+-?)*[a-z](?:-?[a-z0-9])*$")


class ConfigError(SnapedgeError):
    """A key or value that snapd refuses, in its words."""


class NoOptionError(ConfigError):
    """A key that is not set."""

    def __init__(self, snap: str, key: str) -> None:
        super().__init__(f'snap "{snap}" has no "{key}" configuration option')


def parse_key(key: str) -> tuple[str, ...]:
    """The parts of a dotted key.

    Raises:
        ConfigError: when a part is none.
    """
    parts = tuple(key.split("."))
    for part in parts:
        if _SUBKEY.fullmatch(part) is None:
            raise ConfigError(f'invalid option name: "{part}"')
    return parts


def parse_values(arguments: Iterable[str], *, as_string: bool = False, typed: bool = False) -> dict[str, Any]:
    """What `key=value` and `key!` arguments ask for; None stands for a key to unset.

    Raises:
        ConfigError: for an argument that is neither.
    """
    values: dict[str, Any] = {}
    for argument in arguments:
        key, separator, text = argument.partition("=")
        if not separator and argument.endswith("!"):
            values[argument[:-1]] = None
            parse_key(argument[:-1])
            continue
        if not separator:
            raise ConfigError(f'invalid configuration: "{argument}" (want key=value)')
        parse_key(key)
        values[key] = text if as_string else _value(text, key, typed)
    return values


def patched(snap: str, config: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with `patch` laid over it; None unsets, and maps that become empty go with their last key.

    Raises:
        ConfigError: when a key leads through a value that is no map.
    """
    result = copy.deepcopy(dict(config))
    for key, value in patch.items():
        parts = parse_key(key)
        _place(snap, result, parts, 0, value)
    return result


def lookup(snap: str, config: Mapping[str, Any], key: str) -> Any:
    """The value at `key`.

    Raises:
        NoOptionError: when nothing is set there.
        ConfigError: when the key leads through a value that is no map.
    """
    parts = parse_key(key)
    value: Any = dict(config)
    for depth, part in enumerate(parts):
        if not isinstance(value, Mapping):
            where = ".".join(parts[:depth])
            raise ConfigError(f'snap "{snap}" option "{where}" is not a map', details=f"it is a {type(value).__name__}")
        if part not in value:
            raise NoOptionError(snap, key)
        value = value[part]
    return value


def flattened(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Every leaf of `config` with its dotted key, sorted."""
    found: list[tuple[str, Any]] = []
    for key, value in sorted(config.items()):
        if isinstance(value, Mapping) and value:
            found += flattened(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", value))
    return found


def _value(text: str, key: str, typed: bool) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        if typed:
            raise ConfigError(f"failed to parse JSON: {error} (option {key!r})") from error
        return text


def _place(snap: str, node: dict[str, Any], parts: tuple[str, ...], depth: int, value: Any) -> None:
    part = parts[depth]
    if depth == len(parts) - 1:
        cleaned = _without_nulls(value)
        if cleaned is None:
            node.pop(part, None)
        else:
            node[part] = cleaned
        return
    child = node.get(part)
    if child is None:
        if value is None:
            return
        child = node[part] = {}
    if not isinstance(child, dict):
        if value is None:
            return
        where = ".".join(parts[: depth + 1])
        raise ConfigError(f'snap "{snap}" option "{where}" is not a map')
    _place(snap, child, parts, depth + 1, value)
    if not child:
        node.pop(part)


def _without_nulls(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: kept for key, one in value.items() if (kept := _without_nulls(one)) is not None}
