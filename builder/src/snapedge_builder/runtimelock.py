"""runtime.lock: the very packages and wheels that a runtime is built from, for every architecture, beside runtime.yaml.

Rules:

1. It pins by sha256 and names no mirror and no index: those are the building host's. A package's path is the one in
   its archive.
2. It says what it was made for, the base asked for and the digest of the server's own lock; a build for anything else
   is refused.
3. A package or wheel has one version on all architectures, or is absent on some, only with a reason that stands there.
4. It is JSON with one line for each package and wheel, so that a difference can be read. Equal locks have equal bytes.

    RuntimeLockError     it cannot be used
      PinnedError        mirrors were to be asked again, past it
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from packaging import utils

from snapedge_hooks.document import DocumentError, Fields, canonical_json, parse_object
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Architecture, Digest

from .apt import Package
from .errors import BuilderError
from .runtimes import PINS_NAME, RuntimeDeclaration
from .wheels import Wheel

FORMAT = 1
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+:~-]*")
_PATH = re.compile(r"(?!.*(?:^|/)\.\.?/)[A-Za-z0-9.+~_%-]+(?:/[A-Za-z0-9.+~_%-]+)*\.deb")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+_-]*")
T = TypeVar("T", Package, Wheel)


class RuntimeLockError(BuilderError):
    """A runtime.lock cannot be used."""

    exit_code = ExitCode.REFUSED

    def __init__(self, folder: Path, problem: str, *, remedy: str = "") -> None:
        super().__init__(
            f"{folder.name}/{PINS_NAME} {problem}", resolution=remedy or f"run `builder lock` for the folder {folder}"
        )


class PinnedError(RuntimeLockError):
    """Mirrors were to be asked which packages to take, and the lock says which."""

    exit_code = ExitCode.USAGE

    def __init__(self, declaration: RuntimeDeclaration) -> None:
        super().__init__(
            declaration.folder,
            "pins what this runtime is built from: --refresh would change nothing",
            remedy=f"run `builder lock --upgrade` for the folder {declaration.folder}, or leave out --refresh",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeLock:
    """What a runtime is built from.

    Attributes:
        suite: of the base.
        asked: packages of the base that were asked for by name, sorted.
        requirements: digest of the server's own lock.
        packages: of the base, all of them, sorted by name; those of the host that locked are there, too.
        wheels: of the server, sorted by name; they have no `uri`.
        reasons: why a package or wheel has not one version everywhere, by its name.
    """

    suite: str
    asked: tuple[str, ...]
    requirements: Digest
    packages: Mapping[Architecture, tuple[Package, ...]]
    wheels: Mapping[Architecture, tuple[Wheel, ...]]
    reasons: Mapping[str, str]

    def base_misfit(self, declaration: RuntimeDeclaration) -> str | None:
        """Why the packages are not those that a declaration asks for, if they are not."""
        if declaration.suite != self.suite:
            return f"is of suite {self.suite}, runtime.yaml asks for {declaration.suite}"
        wanted = set(declaration.packages)
        for names, words in ((wanted - set(self.asked), "does not pin"), (set(self.asked) - wanted, "was made with")):
            if names:
                asks = "which runtime.yaml asks for" if words == "does not pin" else "which runtime.yaml does not name"
                return f"{words} {', '.join(sorted(names))}, {asks}"
        missing = [str(item) for item in declaration.architectures if item not in self.packages]
        return f"has no packages for {', '.join(missing)}" if missing else None

    def misfit(self, declaration: RuntimeDeclaration) -> str | None:
        """Why it is not a lock of a declaration, if it is not."""
        lock = declaration.project.lock
        missing = [str(item) for item in declaration.architectures if item not in self.wheels]
        if problem := self.base_misfit(declaration):
            return problem
        if missing:
            return f"has no wheels for {', '.join(missing)}"
        if Digest.of_file(lock) != self.requirements:
            return f"was made for another {lock.parent.name}/{lock.name}"
        return None

    def to_text(self) -> str:
        """The file."""
        head = {
            "format": FORMAT,
            "suite": self.suite,
            "packages_asked": list(self.asked),
            "requirements": self.requirements,
            "architectures": {
                "packages": sorted(str(item) for item in self.packages),
                "wheels": sorted(str(item) for item in self.wheels),
            },
        }
        lines = [f'"{key}":{_json(value)}' for key, value in sorted(head.items())]
        for key, entries in (
            ("packages", _entries(self.packages, self.reasons, _package_value)),
            ("wheels", _entries(self.wheels, self.reasons, _wheel_value)),
        ):
            rows = ",\n".join(_json(entry) for entry in entries)
            lines.append(f'"{key}":[\n{rows}\n]' if rows else f'"{key}":[]')
        return "{\n" + ",\n".join(lines) + "\n}\n"


def find(declaration: RuntimeDeclaration) -> RuntimeLock | None:
    """The lock beside a declaration, or None where there is none.

    Raises:
        RuntimeLockError: it is damaged, or does not fit the declaration.
    """
    found = read(declaration.folder)
    if found is not None and (problem := found.misfit(declaration)):
        raise RuntimeLockError(declaration.folder, problem)
    return found


def read(folder: Path) -> RuntimeLock | None:
    """The lock in a folder, whatever it fits, or None where there is none.

    Raises:
        RuntimeLockError: it is damaged.
    """
    path = folder / PINS_NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RuntimeLockError(folder, f"cannot be read: {error.strerror}", remedy=str(path)) from error
    try:
        return parse(data)
    except DocumentError as error:
        problem = str(error).removeprefix(f"{PINS_NAME}: ")
        remedy = "take it from version control again, or make another with `builder lock --upgrade`"
        raise RuntimeLockError(folder, f"cannot be used: {problem}", remedy=remedy) from error


def parse(data: bytes) -> RuntimeLock:
    """The lock of a file's bytes.

    Raises:
        DocumentError: it is not what its format says.
    """
    fields = parse_object(data, what=PINS_NAME)
    fields.format(FORMAT)
    architectures = fields.object("architectures")
    reasons: dict[str, str] = {}
    lock = RuntimeLock(
        suite=fields.text("suite"),
        asked=tuple(fields.list("packages_asked")),
        requirements=fields.parsed("requirements", Digest),
        packages=_read(fields, "packages", _architectures(architectures, "packages"), _read_package, reasons),
        wheels=_read(fields, "wheels", _architectures(architectures, "wheels"), _read_wheel, reasons),
        reasons=reasons,
    )
    architectures.done()
    fields.done()
    return lock


def versions(found: Mapping[Architecture, Iterable[T]]) -> dict[str, dict[Architecture, str]]:
    """The version of each name on each architecture that has it."""
    result: dict[str, dict[Architecture, str]] = {}
    for architecture, items in found.items():
        for item in items:
            result.setdefault(item.name, {})[architecture] = item.version
    return result


def _entries(
    found: Mapping[Architecture, Iterable[T]], reasons: Mapping[str, str], value: Any
) -> Iterator[dict[str, Any]]:
    """One entry for each name and version, with a file for each architecture that has it."""
    by_identity: dict[tuple[str, str], dict[str, T]] = {}
    for architecture, items in found.items():
        for item in items:
            by_identity.setdefault((item.name, item.version), {})[str(architecture)] = item
    for (name, version), files in sorted(by_identity.items()):
        entry = {"name": name, "version": version, "files": {word: value(item) for word, item in files.items()}}
        yield entry if len(files) == len(found) else entry | {"reason": reasons[name]}


def _read(
    fields: Fields, key: str, architectures: tuple[Architecture, ...], read_file: Any, reasons: dict[str, str]
) -> dict[Architecture, tuple[Any, ...]]:
    found: dict[Architecture, list[Any]] = {architecture: [] for architecture in architectures}
    for entry in fields.objects(key):
        name = entry.parsed("name", _matching(_WORD, "a name"))
        version = entry.parsed("version", _matching(_WORD if key == "packages" else _VERSION, "a version"))
        files = dict(entry.mapping("files"))
        for word, file in files.items():
            if word not in [str(architecture) for architecture in architectures]:
                raise entry.error("files", f"{word} is none of its architectures")
            if any(item.name == name for item in found[Architecture(word)]):
                raise entry.error("name", f"{name} stands twice for {word}")
            found[Architecture(word)].append(read_file(name, version, Architecture(word), file))
            file.done()
        reason = entry.text("reason", default="") if len(files) == len(architectures) else entry.text("reason")
        if reason:
            reasons[name] = reason
        entry.done()
    return {
        architecture: tuple(sorted(items, key=lambda item: str(item.name))) for architecture, items in found.items()
    }


def _package_value(package: Package) -> dict[str, Any]:
    return {
        "path": package.path,
        "digest": package.digest,
        "size": package.size,
        "source": package.source,
        "depends": list(package.depends),
    }


def _read_package(name: str, version: str, architecture: Architecture, file: Fields) -> Package:
    path = file.parsed("path", _matching(_PATH, "the path of a .deb in its archive"))
    of = path.removesuffix(".deb").rpartition("_")[2]
    if of not in ("all", str(architecture)):
        raise file.error("path", f"is for {of}, not {architecture}")
    return Package(
        name=name,
        version=version,
        architecture=of,
        source=file.parsed("source", _matching(_WORD, "a name")),
        depends=tuple(str(item) for item in file.list("depends")),
        path=path,
        digest=file.parsed("digest", Digest),
        size=file.integer("size"),
    )


def _wheel_value(wheel: Wheel) -> dict[str, Any]:
    return {"file": wheel.file, "digest": wheel.digest}


def _read_wheel(name: str, version: str, _architecture: Architecture, file: Fields) -> Wheel:
    return Wheel(
        name=name,
        version=version,
        file=file.parsed("file", _wheel_name),
        uri="",
        digest=file.parsed("digest", Digest),
    )


def _wheel_name(text: str) -> str:
    utils.parse_wheel_filename(text)  # InvalidWheelFilename is a ValueError
    return text


def _architectures(fields: Fields, key: str) -> tuple[Architecture, ...]:
    try:
        return tuple(Architecture.parse(str(word)) for word in fields.list(key))
    except ValueError as error:
        raise fields.error(key, str(error)) from error


def _matching(pattern: re.Pattern[str], what: str) -> Any:
    def parse_word(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"{text!r} is not {what}")
        return text

    return parse_word


def _json(value: Any) -> str:
    return canonical_json(value).decode()
