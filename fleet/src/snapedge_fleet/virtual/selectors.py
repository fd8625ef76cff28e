"""Label and field selectors of list requests."""

from __future__ import annotations

import re
from typing import Any

from .apply import Document

_SET = re.compile(r"(?P<key>[^\s!=,()]+)\s+(?P<operator>notin|in)\s+\((?P<values>[^)]*)\)")
_EQUALITY = re.compile(r"(?P<key>[^\s!=,()]+)\s*(?P<operator>!=|==|=)\s*(?P<value>[^\s!=,()]*)")
_EXISTS = re.compile(r"(?P<absent>!?)\s*(?P<key>[^\s!=,()]+)")
_COMMA = re.compile(r",(?![^(]*\))")


class SelectorInvalidError(ValueError):
    """This is no selector the API understands."""


def matches_labels(document: Document, selector: str) -> bool:
    """Whether an object's labels match a label selector; the empty one matches everything."""
    labels: dict[str, str] = document.get("metadata", {}).get("labels", {})
    return all(_matches_term(labels, term.strip()) for term in _COMMA.split(selector) if term.strip())


def matches_fields(document: Document, selector: str) -> bool:
    """Whether an object matches a field selector such as `metadata.name=x,status.phase!=Running`."""
    for term in selector.split(","):
        if not term.strip():
            continue
        match = _EQUALITY.fullmatch(term.strip())
        if match is None:
            raise SelectorInvalidError(term)
        value: Any = document
        for part in match["key"].split("."):
            value = value.get(part, "") if isinstance(value, dict) else ""
        if (str(value) == match["value"]) is (match["operator"] == "!="):
            return False
    return True


def matches_map(labels: dict[str, str], wanted: dict[str, str]) -> bool:
    """Whether every label in `wanted` is there with its value."""
    return all(labels.get(key) == value for key, value in wanted.items())


def _matches_term(labels: dict[str, str], term: str) -> bool:
    if match := _SET.fullmatch(term):
        values = {value.strip() for value in match["values"].split(",")}
        return (labels.get(match["key"]) in values) is (match["operator"] == "in")
    if match := _EQUALITY.fullmatch(term):
        return (labels.get(match["key"]) == match["value"]) is (match["operator"] != "!=")
    if match := _EXISTS.fullmatch(term):
        return (match["key"] in labels) is (match["absent"] == "")
    raise SelectorInvalidError(term)
