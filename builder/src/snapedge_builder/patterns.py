"""Globs over the paths of a tree: `*` and `?` stay within a name, `**` crosses slashes, `{a,b}` is one or the other."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable

_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\{|\}|,|[^*?{},]+")
_SPECIAL = re.compile(r"[.\[\]{}()*+?^$|\\]")
_PLAIN = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """A predicate: the path, or a directory it lies in, is matched by one of the globs.

    Raises:
        ValueError: a glob's braces are not closed.
    """
    texts = [_regular_expression(pattern) for pattern in patterns]
    if not texts:
        return _matches_nothing
    expression = re.compile("(?:" + "|".join(texts) + r")(?:/.*)?\Z", re.DOTALL)
    return lambda path: expression.match(path) is not None


def extended_expression(pattern: str) -> str:
    """The glob as a POSIX extended regular expression, such as `find -regextype posix-extended` reads.

    Raises:
        ValueError: its braces are not closed.
    """
    _regular_expression(pattern)
    plain = {"**/": "(.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]", "{": "(", "}": ")"}
    depth = 0
    parts: list[str] = []
    for piece in _TOKEN.findall(pattern.strip("/")):
        inside = depth > 0
        depth += {"{": 1, "}": -1 if inside else 0}.get(piece, 0)
        if (piece == "}" and not inside) or (piece == "," and not inside) or piece not in (*plain, ","):
            parts.append(_SPECIAL.sub(r"\\\g<0>", piece))
        else:
            parts.append("|" if piece == "," else plain[piece])
    return "".join(parts)


def _matches_nothing(_path: str) -> bool:
    return False


@functools.cache
def _regular_expression(pattern: str) -> str:
    parts: list[str] = []
    depth = 0
    for piece in _TOKEN.findall(pattern.strip("/")):
        if piece == "{":
            depth += 1
            parts.append("(?:")
        elif piece == "}" and depth:
            depth -= 1
            parts.append(")")
        elif piece == "," and depth:
            parts.append("|")
        else:
            parts.append(_PLAIN.get(piece) or re.escape(piece))
    if depth:
        raise ValueError(f"{pattern!r} has a brace that is not closed")
    return "".join(parts)
