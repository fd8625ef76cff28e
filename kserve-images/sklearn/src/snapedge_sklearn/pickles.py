"""What a pickled estimator is, read without running any of it.

Loading a pickle runs the code that it names. Here a pickle is walked with every name in it replaced by a stub that does
nothing, so that a file can be judged before somebody decides to load it: what it holds, which scikit-learn wrote it,
and whose code it would run. joblib's arrays, which stand between the opcodes, are skipped; its compressed files are
read too.

The builder and the scikit-learn server each have this file, the same to the byte: neither may import the other.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import pickle
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

KNOWN_MODULES = frozenset({"_codecs", "collections", "copyreg", "functools", "joblib", "numpy", "scipy", "sklearn"})
"""Top-level modules that scikit-learn's own estimators bring into their pickles."""
HARMLESS_BUILTINS = frozenset(
    {"bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object", "set", "slice", "tuple"}
)
_LIMIT = 4 << 30
_CHUNK = 1 << 20


class _File(Protocol):
    """What is needed of an open file."""

    def read(self, size: int, /) -> bytes: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> object: ...


_OPENERS: tuple[tuple[bytes, Callable[[Path], _File]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ", lzma.open),
    (b"]\x00", lzma.open),
)
_ZLIB = (b"x\x01", b"x\x5e", b"x\x9c", b"x\xda")
_BROKEN = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    EOFError,
    ImportError,
    LookupError,
    NotImplementedError,
    OSError,
    TypeError,
    ValueError,
    RecursionError,
    lzma.LZMAError,
    struct.error,
    zlib.error,
)


class PickleUnreadableError(ValueError):
    """A file is no pickle, or one that cannot be walked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PickleFacts:
    """What a pickle would load.

    Attributes:
        kind: the full name of the class of what it holds; of something else, the plain type's name.
        versions: of scikit-learn, as its estimators note them; more than one where parts were trained apart.
        foreign: names of others than scikit-learn and what it is made of: code that loading would run.
    """

    kind: str
    versions: tuple[str, ...]
    foreign: tuple[str, ...]

    @property
    def is_sklearn(self) -> bool:
        """Whether it holds an estimator of scikit-learn, or one made with it."""
        return bool(self.versions)


def is_pickle(path: Path) -> bool:
    """Whether a file begins as a pickle of protocol 2 or later does, compressed or not.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with _opened(path) as file:
            head = file.read(2)
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile):
        return False
    except OSError as error:
        if error.errno is None:  # bz2 says that its data is broken
            return False
        raise
    return len(head) == 2 and head[0] == pickle.PROTO[0] and 2 <= head[1] <= pickle.HIGHEST_PROTOCOL


def read_pickle(path: Path) -> PickleFacts:
    """The facts of a pickle.

    Raises:
        PickleUnreadableError: it is no pickle, is cut off, or holds what cannot be walked.
    """
    try:
        with _opened(path) as file:
            walk = _Walk(_Stream(file))
            found = walk.load()
    except MemoryError:
        raise PickleUnreadableError("asks for more memory than there is") from None
    except _BROKEN as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise PickleUnreadableError(f"is no pickle that can be read: {reason}") from None
    kind = found.path if isinstance(found, _Stub) else type(found).__name__
    return PickleFacts(kind=kind, versions=tuple(sorted(walk.versions)), foreign=tuple(sorted(walk.foreign)))


def _opened(path: Path) -> _File:
    with path.open("rb") as file:
        head = file.read(5)
    for magic, opener in _OPENERS:
        if head.startswith(magic):
            return opener(path)
    if head[:2] in _ZLIB:
        return _Inflated(path)
    return path.open("rb")


class _Inflated:
    """A zlib stream as a file, which the standard library does not have."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._inflater = zlib.decompressobj()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int) -> bytes:
        """Up to that many bytes."""
        found = b""
        while len(found) < size and not self._inflater.eof:
            data = self._inflater.unconsumed_tail or self._file.read(_CHUNK)
            if not data:
                raise EOFError("the compressed data is cut off")
            found += self._inflater.decompress(data, size - len(found))
        return found


class _Stream:
    """A file as the unpickler reads it: never more at once than there is, nor more in all than a limit."""

    def __init__(self, file: _File) -> None:
        self._file = file
        self._left = _LIMIT

    def read(self, size: int) -> bytes:
        return b"".join(self.chunks(size))

    def readline(self) -> bytes:
        line = bytearray()
        while not line.endswith(b"\n"):
            line += self.read(1)
        return bytes(line)

    def chunks(self, size: int) -> Iterator[bytes]:
        if not 0 <= size <= self._left:
            raise EOFError("it says to be larger than any model may be")
        self._left -= size
        while size:
            data = self._file.read(min(size, _CHUNK))
            if not data:
                raise EOFError("it is cut off")
            size -= len(data)
            yield data


class _Stub:
    """Stands for whatever a pickle names, and does nothing."""

    path: ClassVar[str] = ""
    walk: ClassVar[_Walk]

    arguments: tuple[Any, ...]
    state: dict[str, Any]

    def __new__(cls, *arguments: object, **_: object) -> _Stub:
        made = object.__new__(cls)
        made.arguments = arguments
        made.state = {}
        return made

    def __call__(self, *_: object, **__: object) -> _Stub:
        return type(self)()

    def __setstate__(self, state: object) -> None:
        parts = state if isinstance(state, tuple) else (state,)
        for part in parts:
            if isinstance(part, dict):
                self.state = part
                version = part.get("_sklearn_version")
                if isinstance(version, str):
                    self.walk.versions.add(version[:40])

    def append(self, _: object) -> None:
        pass

    extend = add = append

    def __setitem__(self, _: object, __: object) -> None:
        pass


# The one that is written in Python, so that opcodes can be replaced; typeshed does not describe it.
_UNPICKLER: Any = pickle._Unpickler  # noqa: SLF001


class _Walk(_UNPICKLER):  # type: ignore[misc]  # an Any
    """Follows a pickle's opcodes, with stubs for all that they name."""

    dispatch: ClassVar[dict[int, Any]] = dict(_UNPICKLER.dispatch)

    def __init__(self, stream: _Stream) -> None:
        super().__init__(stream)
        self._stream = stream
        self.versions: set[str] = set()
        self.foreign: set[str] = set()

    def find_class(self, module: str, name: str) -> type[_Stub]:
        """A stub, whatever the name."""
        root = module.partition(".")[0]
        harmless = root in KNOWN_MODULES or (module in ("builtins", "__builtin__") and name in HARMLESS_BUILTINS)
        if not harmless:
            self.foreign.add(f"{module}.{name}"[:80])
        return type("Named", (_Stub,), {"path": f"{module}.{name}", "walk": self})

    def get_extension(self, code: int) -> None:
        """Extensions are looked up in this process, which has none of a stranger's."""
        raise pickle.UnpicklingError(f"extension {code}")

    def load_build(self) -> None:
        """After joblib's stand-in for an array the array itself follows, outside of the opcodes."""
        super().load_build()
        found = self.stack[-1]
        if isinstance(found, _Stub) and found.path.endswith(".NumpyArrayWrapper"):
            self._skip(found.state)

    dispatch[pickle.BUILD[0]] = load_build

    def _skip(self, wrapper: dict[str, Any]) -> None:
        code = str(wrapper["dtype"].arguments[0])
        match = re.fullmatch(r"[|<>=]?([a-zA-Z])(\d*)", code)
        if match is None:
            raise ValueError(f"an array of {code[:40]!r}")
        if match[1] == "O":
            inner = _Walk(self._stream)
            inner.load()
            self.versions |= inner.versions
            self.foreign |= inner.foreign
            return
        if wrapper.get("numpy_array_alignment_bytes") is not None:
            (padding,) = self._stream.read(1)
            self._stream.read(padding)
        size = int(match[2] or 1) * (4 if match[1] == "U" else 1)
        for length in wrapper["shape"]:
            size *= length
        for _ in self._stream.chunks(size):
            pass
