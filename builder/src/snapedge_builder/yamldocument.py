"""YAML that people write, read with the line of every value.

Rules, the same for `inference.yaml` and `runtime.yaml`:

1. What is read is bounded: 64 KiB, 8 levels deep. Anchors, aliases, tags and merge keys are refused, so nothing can
   expand to more than was written.
2. One document, a mapping at the top; a key twice is an error.
3. An unknown key is an error that names the key, its line and the nearest valid one.
4. Text is what was written: `version: 1.10` is the text 1.10, not the number 1.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn, TypeVar

import yaml

from snapedge_hooks.errors import ExitCode

from .errors import BuilderError

T = TypeVar("T")

MAX_BYTES = 64 * 1024
MAX_DEPTH = 8
_NULL = "tag:yaml.org,2002:null"
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class DeclarationError(BuilderError):
    """A file that describes what to build says something that cannot be built."""

    exit_code = ExitCode.REFUSED

    def __init__(self, file: str, line: int | None, problem: str, *, resolution: str = "") -> None:
        place = f"{file}, line {line}" if line else file
        super().__init__(f"{place}: {problem}", resolution=resolution)
        self.file = file
        self.line = line
        self.problem = problem


class Section:
    """One mapping of the file being read. Each getter takes a key out; `done` refuses what nobody took."""

    def __init__(self, node: yaml.MappingNode, *, file: str, path: str = "") -> None:
        self.file = file
        self.line = node.start_mark.line + 1
        self._path = path
        self._rest: dict[str, yaml.Node] = {}
        self._lines: dict[str, int] = {}
        self._known: list[str] = []
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise DeclarationError(file, key.start_mark.line + 1, "a key must be plain text")
            if key.value in self._rest:
                raise DeclarationError(
                    file,
                    key.start_mark.line + 1,
                    f"key {self._named(key.value)!r} stands twice (first on line {self._lines[key.value]})",
                    resolution="keep one of them",
                )
            self._rest[key.value] = value
            self._lines[key.value] = key.start_mark.line + 1

    def error(self, key: str, problem: str, *, resolution: str = "") -> DeclarationError:
        """An error about one key of this mapping, for the caller to raise."""
        return DeclarationError(
            self.file, self._lines.get(key, self.line), f"{self._named(key)}: {problem}", resolution=resolution
        )

    def has(self, key: str) -> bool:
        """Whether the key is written and not null."""
        node = self._rest.get(key)
        return node is not None and not (isinstance(node, yaml.ScalarNode) and node.tag == _NULL)

    def names(self) -> list[str]:
        """The keys that nobody took yet, as they are written: of a mapping whose keys are its author's own."""
        return list(self._rest)

    def skip(self, key: str) -> None:
        """Note a key that is known here but not written, or null."""
        self._known.append(key)
        self._rest.pop(key, None)

    def text(self, key: str, *, default: str | None = None) -> str:
        """The text as it was written; numbers and dates are text too, null is none."""
        return self._text_of(key, self._take(key)) if self._wants(key, default) else str(default)

    def parsed(self, key: str, parse: Callable[[str], T], *, default: T | None = None) -> T:
        """Text turned into a domain type; a ValueError of `parse` becomes an error at this line."""
        if default is not None and not self._wants(key, default):
            return default
        text = self.text(key)
        try:
            return parse(text)
        except ValueError as error:
            raise self.error(key, str(error)) from error

    def choice(self, key: str, choices: Iterable[str], *, default: str) -> str:
        """One of the words given."""
        words = list(choices)
        word = self.text(key, default=default)
        if word not in words:
            raise self.error(key, f"{word!r} is not one of {', '.join(words)}", resolution=_nearest(word, words))
        return word

    def integer(self, key: str, *, minimum: int, maximum: int, default: int) -> int:
        """A whole number within bounds."""
        text = self.text(key, default=str(default))
        if not _INTEGER.fullmatch(text):
            raise self.error(key, f"{text!r} is not a whole number")
        if not minimum <= int(text) <= maximum:
            raise self.error(key, f"{text} is not between {minimum} and {maximum}")
        return int(text)

    def texts(self, key: str, *, default: list[str] | None = None) -> list[str]:
        """A list of texts, as written."""
        if not self._wants(key, default):
            return list(default or [])
        node = self._take(key)
        if not isinstance(node, yaml.SequenceNode):
            raise self.error(key, "is not a list", resolution=f"write {key}: [first, second]")
        return [self._text_of(key, item) for item in node.value]

    def mapping(self, key: str) -> dict[str, str]:
        """A nested mapping of texts whose keys are data; an empty one where the key is absent or null."""
        section = self.section(key)
        return {name: section.text(name) for name in section.names()}

    def section(self, key: str) -> Section:
        """A nested mapping; an empty one where the key is absent or null."""
        self._known.append(key)
        if not self.has(key):
            self._rest.pop(key, None)
            empty = yaml.MappingNode("tag:yaml.org,2002:map", [], yaml.Mark(self.file, 0, self.line - 1, 0, None, 0))
            return Section(empty, file=self.file, path=self._named(key))
        node = self._rest.pop(key)
        if not isinstance(node, yaml.MappingNode):
            raise self.error(key, "is not a mapping")
        return Section(node, file=self.file, path=self._named(key))

    def done(self) -> None:
        """Refuse keys that nobody took."""
        for key in self._rest:
            raise DeclarationError(
                self.file,
                self._lines[key],
                f"unknown key {self._named(key)!r}",
                resolution=_nearest(key, self._known) or f"known here: {', '.join(self._known)}",
            )

    def _named(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def _wants(self, key: str, default: object) -> bool:
        """Whether there is a value to take; an absent one without a default is an error."""
        self._known.append(key)
        if self.has(key):
            return True
        if default is None:
            self._refuse_absence(key)
        self._rest.pop(key, None)
        return False

    def _refuse_absence(self, key: str) -> NoReturn:
        if key in self._rest:
            raise self.error(key, "is empty")
        import difflib  # for errors alone

        misspelt = difflib.get_close_matches(key, self._rest, n=1, cutoff=0.75)
        if misspelt:
            raise DeclarationError(
                self.file,
                self._lines[misspelt[0]],
                f"unknown key {self._named(misspelt[0])!r}",
                resolution=f"did you mean {key!r}?",
            )
        raise self.error(key, "is missing")

    def _take(self, key: str) -> yaml.Node:
        return self._rest.pop(key)

    def _text_of(self, key: str, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode) or node.tag == _NULL:
            raise self.error(key, "is not text")
        return str(node.value)


def read_yaml(path: Path) -> Section:
    """The top-level mapping of a file.

    Raises:
        DeclarationError: the file is missing, unreadable, too large, not UTF-8, not YAML, or breaks a rule above.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DeclarationError(path.name, None, f"cannot be read: {error.strerror}", resolution=str(path)) from error
    return parse_yaml(data, file=path.name)


def parse_yaml(data: bytes, *, file: str) -> Section:
    """The top-level mapping of some YAML text.

    Raises:
        DeclarationError: the text breaks a rule above.
    """
    if len(data) > MAX_BYTES:
        raise DeclarationError(file, None, f"is larger than the {MAX_BYTES} bytes allowed")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DeclarationError(file, line, "is not UTF-8") from error
    try:
        _refuse_expansions(text, file)
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = f"is not YAML: {error.problem or error.context}"
        raise DeclarationError(file, mark.line + 1 if mark else None, problem) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise DeclarationError(file, line, f"holds a character YAML does not allow: {error.reason}") from error
    if node is None:
        raise DeclarationError(file, None, "is empty")
    if not isinstance(node, yaml.MappingNode):
        raise DeclarationError(file, node.start_mark.line + 1, "must be a mapping of keys to values")
    return Section(node, file=file)


def _refuse_expansions(text: str, file: str) -> None:
    """Walk the events, which cost no more than the text is long, before anything is built from them."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1 if event.start_mark else None
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise DeclarationError(file, line, "anchors and aliases are not allowed", resolution="write the value out")
        if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)) and event.tag is not None:
            raise DeclarationError(file, line, f"the tag {event.tag!r} is not allowed", resolution="write plain values")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise DeclarationError(file, line, f"is nested deeper than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _nearest(word: str, known: Iterable[str]) -> str:
    import difflib  # for errors alone

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"did you mean {found[0]!r}?" if found else ""
