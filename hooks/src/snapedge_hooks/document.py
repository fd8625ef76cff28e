"""Reading and writing the JSON documents that snapedge's parts hand to each other.

Rules, the same for every document:

1. What we write is canonical: UTF-8, keys sorted, no spaces, no NaN. Equal content has equal bytes and one digest.
2. What we read is bounded: in size before it is parsed, in depth by the parser.
3. A key twice, an unknown key, a missing key or a value of another type is an error that names the place.
4. `format` newer than this code knows is refused; an older one is read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from .errors import ExitCode, SnapedgeError

T = TypeVar("T")

MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
"""Largest document read whole; golden samples with an image inside stay well below it."""


class DocumentError(SnapedgeError):
    """A document of ours is not what its format says."""

    exit_code = ExitCode.REFUSED

    def __init__(self, what: str, where: str, problem: str, *, resolution: str = "") -> None:
        place = f"{what}: {where}" if where else what
        super().__init__(f"{place}: {problem}", resolution=resolution)
        self.what = what
        self.where = where
        self.problem = problem


def canonical_json(value: Any) -> bytes:
    """The one encoding of a JSON value that we hash, sign and write."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def parse_object(data: bytes, *, what: str, max_bytes: int = MAX_DOCUMENT_BYTES) -> Fields:
    """The top-level object of a JSON document.

    Args:
        data: the document's bytes.
        what: what to call the document in an error, such as its file name.
        max_bytes: refuse anything larger without parsing it.

    Raises:
        DocumentError: too large, not UTF-8 JSON, too deep, a key twice, or not an object.
    """
    if len(data) > max_bytes:
        raise DocumentError(what, "", f"{len(data)} bytes are more than the {max_bytes} allowed")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise DocumentError(what, key, "stands twice")
            found[key] = value
        return found

    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=unique)
    except UnicodeDecodeError as error:
        raise DocumentError(what, f"byte {error.start}", "is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise DocumentError(what, f"line {error.lineno}", f"is not JSON: {error.msg}") from error
    except RecursionError as error:
        raise DocumentError(what, "", "is nested too deeply") from error
    if not isinstance(value, dict):
        raise DocumentError(what, "", "is not a JSON object")
    return Fields(value, what=what)


class Fields:
    """One JSON object being read, with its place in the document for errors.

    Each getter takes a key out; `done` refuses what nobody took.
    """

    def __init__(self, value: Mapping[str, Any], *, what: str, where: str = "") -> None:
        self._rest = dict(value)
        self._what = what
        self._where = where

    def error(self, key: str, problem: str, *, resolution: str = "") -> DocumentError:
        """An error about one key of this object, for the caller to raise."""
        return DocumentError(self._what, self._place(key), problem, resolution=resolution)

    def text(self, key: str, *, default: str | None = None) -> str:
        """A string; never null."""
        return self._take(key, str, "text", default)

    def optional_text(self, key: str) -> str | None:
        """A string, null, or absent."""
        return None if self._rest.get(key) is None and self._drop(key) else self.text(key)

    def flag(self, key: str, *, default: bool | None = None) -> bool:
        """A boolean."""
        return self._take(key, bool, "true or false", default)

    def integer(self, key: str, *, minimum: int = 0, maximum: int = 2**63 - 1, default: int | None = None) -> int:
        """A whole number within bounds; a boolean is none."""
        value = self._take(key, int, "a whole number", default)
        if not minimum <= value <= maximum:
            raise self.error(key, f"{value} is not between {minimum} and {maximum}")
        return value

    def optional_integer(self, key: str, *, minimum: int = 0, maximum: int = 2**63 - 1) -> int | None:
        """A whole number within bounds, null, or absent."""
        if self._rest.get(key) is None:
            self._drop(key)
            return None
        return self.integer(key, minimum=minimum, maximum=maximum)

    def number(self, key: str, *, default: float | None = None) -> float:
        """A finite number."""
        value = self._take(key, (int, float), "a number", default)
        number = float(value)
        if number != number or number in (float("inf"), float("-inf")):
            raise self.error(key, "is not a finite number")
        return number

    def object(self, key: str) -> Fields:
        """A nested object."""
        return Fields(self._take(key, dict, "an object", None), what=self._what, where=self._place(key))

    def optional_object(self, key: str) -> Fields | None:
        """A nested object, null, or absent."""
        if self._rest.get(key) is None:
            self._drop(key)
            return None
        return self.object(key)

    def raw(self, key: str, kind: type[T], words: str) -> T:
        """A value handed on as it is, such as an OCI config; only its outermost type is checked."""
        return self._take(key, kind, words, None)

    def list(self, key: str, *, default: list[Any] | None = None) -> list[Any]:
        """A list handed on as it is."""
        return self._take(key, list, "a list", default)

    def objects(self, key: str) -> Iterator[Fields]:
        """The objects of a list, each with its index in errors."""
        for index, item in enumerate(self.list(key)):
            if not isinstance(item, dict):
                raise self.error(f"{key}[{index}]", "is not an object")
            yield Fields(item, what=self._what, where=self._place(f"{key}[{index}]"))

    def mapping(self, key: str) -> Iterator[tuple[str, Fields]]:
        """The objects of an object whose keys are data, in sorted order."""
        for name, item in sorted(self._take(key, dict, "an object", None).items()):
            if not isinstance(item, dict):
                raise self.error(f"{key}.{name}", "is not an object")
            yield name, Fields(item, what=self._what, where=self._place(f"{key}.{name}"))

    def parsed(self, key: str, parse: Callable[[str], T]) -> T:
        """A string turned into a domain type; a ValueError of `parse` becomes an error at this place."""
        text = self.text(key)
        try:
            return parse(text)
        except ValueError as error:
            raise self.error(key, str(error)) from error

    def format(self, newest: int) -> int:
        """The document's format number, refused when it is newer than `newest`."""
        number = self.integer("format", minimum=1)
        if number > newest:
            raise self.error(
                "format",
                f"{number} is newer than the {newest} this version reads",
                resolution="update snapedge on this side",
            )
        return number

    def done(self) -> None:
        """Refuse keys that nobody took."""
        for key in sorted(self._rest):
            raise self.error(key, "is not a key of this format")

    def _place(self, key: str) -> str:
        return f"{self._where}.{key}" if self._where else key

    def _drop(self, key: str) -> bool:
        self._rest.pop(key, None)
        return True

    def _take(self, key: str, kind: type[T] | tuple[type, ...], words: str, default: T | None) -> T:
        if key not in self._rest:
            if default is not None:
                return default
            raise self.error(key, "is missing")
        value = self._rest.pop(key)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.error(key, f"is not {words}")
        return value  # type: ignore[return-value]  # isinstance over a tuple does not narrow T
