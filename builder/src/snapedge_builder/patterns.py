"""Globs over the paths of a tree: `*` and `?` stay within a name, `**` crosses slashes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """A predicate: the path, or a directory it lies in, is matched by one of the globs."""
    texts = [_regular_expression(pattern) for pattern in patterns]
    if not texts:
        return lambda path: False
    expression = re.compile("(?:" + "|".join(texts) + r")(?:/.*)?\Z", re.DOTALL)
    return lambda path: expression.match(path) is not None


def _regular_expression(pattern: str) -> str:
    parts: list[str] = []
    rest = pattern.strip("/")
    while rest:
        if rest.startswith("**/"):
            parts.append("(?:.*/)?")
            rest = rest[3:]
        elif rest.startswith("**"):
            parts.append(".*")
            rest = rest[2:]
        elif rest[0] == "*":
            parts.append("[^/]*")
            rest = rest[1:]
        elif rest[0] == "?":
            parts.append("[^/]")
            rest = rest[1:]
        else:
            parts.append(re.escape(rest[0]))
            rest = rest[1:]
    return "".join(parts)
