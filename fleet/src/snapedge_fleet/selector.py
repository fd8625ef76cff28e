"""Selectors over labels: which devices a group holds, as text such as `site=lab,arch in (amd64,arm64),!spare`.

All requirements must hold. `key=value`, `key!=value`, `key in (a,b)`, `key notin (a,b)`, `key` (the label is there),
`!key` (it is not). A device without the label fulfils `!=` and `notin`. The empty selector holds every device. Every
device has the labels `arch` and `id` besides its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from .errors import LabelError, SelectorError

LABEL_KEY = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9._/-]{0,61}[a-zA-Z0-9])?")
LABEL_VALUE = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9._:-]{0,61}[a-zA-Z0-9])?")
_SPLIT = re.compile(r",(?![^(]*\))")
_SET = re.compile(r"(?P<key>\S+)\s+(?P<operator>in|notin)\s*\((?P<values>[^()]*)\)")


class Operator(Enum):
    """How a requirement reads a label."""

    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One condition on one label; `values` is empty for `exists` and `absent`."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def holds_for(self, labels: Mapping[str, str]) -> bool:
        """Whether a device with those labels fulfils it."""
        match self.operator:
            case Operator.IN:
                return labels.get(self.key) in self.values
            case Operator.NOT_IN:
                return labels.get(self.key) not in self.values
            case Operator.EXISTS:
                return self.key in labels
            case Operator.ABSENT:
                return self.key not in labels

    def __str__(self) -> str:
        """The shortest text that `parse` reads back."""
        match self.operator:
            case Operator.EXISTS:
                return self.key
            case Operator.ABSENT:
                return f"!{self.key}"
            case Operator.IN | Operator.NOT_IN if len(self.values) == 1:
                return f"{self.key}{'=' if self.operator is Operator.IN else '!='}{self.values[0]}"
            case _:
                return f"{self.key} {self.operator.value} ({','.join(self.values)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Which devices are meant: those that fulfil every requirement."""

    requirements: tuple[Requirement, ...] = ()

    def holds_for(self, labels: Mapping[str, str]) -> bool:
        """Whether a device with those labels is meant."""
        return all(requirement.holds_for(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        """The text that `parse` reads back."""
        return ",".join(str(requirement) for requirement in self.requirements)

    @classmethod
    def parse(cls, text: str) -> Selector:
        """The selector of that text.

        Raises:
            SelectorError: it is none; the error quotes the part.
        """
        if not text.strip():
            return cls()
        return cls(requirements=tuple(_requirement(text, part.strip()) for part in _SPLIT.split(text)))


def parse_label(text: str) -> tuple[str, str]:
    """Key and value of `key=value`.

    Raises:
        LabelError: it is no label.
    """
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals:
        raise LabelError(text, "a label is key=value")
    if not LABEL_KEY.fullmatch(key):
        raise LabelError(text, f"'{key}' is not a label's key")
    if not LABEL_VALUE.fullmatch(value):
        raise LabelError(text, f"'{value}' is not a label's value")
    return key, value


def _requirement(text: str, part: str) -> Requirement:
    found = _SET.fullmatch(part)
    if found is not None:
        values = tuple(_value(text, value.strip()) for value in found["values"].split(","))
        operator = Operator.IN if found["operator"] == "in" else Operator.NOT_IN
        return Requirement(key=_key(text, found["key"]), operator=operator, values=values)
    for sign, operator in (("!=", Operator.NOT_IN), ("==", Operator.IN), ("=", Operator.IN)):
        key, found_sign, value = part.partition(sign)
        if found_sign:
            return Requirement(key=_key(text, key.strip()), operator=operator, values=(_value(text, value.strip()),))
    if part.startswith("!"):
        return Requirement(key=_key(text, part[1:].strip()), operator=Operator.ABSENT)
    return Requirement(key=_key(text, part), operator=Operator.EXISTS)


def _key(text: str, key: str) -> str:
    if not LABEL_KEY.fullmatch(key):
        raise SelectorError(text, f"'{key}' is not a label's key")
    return key


def _value(text: str, value: str) -> str:
    if not LABEL_VALUE.fullmatch(value):
        raise SelectorError(text, f"'{value}' is not a label's value")
    return value
