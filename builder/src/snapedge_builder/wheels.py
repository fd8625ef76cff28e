"""The one door to uv: which wheels an image takes, and their files.

The lock beside the server's project pins every wheel for every architecture by hash and names no index: uv finds them
where this host's uv is configured to. A resolution picks exactly one file for each requirement; installing checks its
sha256, and reading checks every file against the wheel's own RECORD.

    LockError                the lock cannot be used
    WheelMissingError        a locked version has no wheel for an architecture
    WheelCorruptError        a wheel, or a file of it, is not what its hash says
    WheelTooLargeError       a wheel unpacks to more than any wheel should
    WheelWithdrawnError      the index no longer has a file that is pinned
    IndexAwayError           the package index does not answer
    WheelsError              uv failed in a way not told apart here
"""

from __future__ import annotations

import base64
import csv
import hashlib
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging import tags, utils

from snapedge_hooks.document import Fields
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Architecture, Digest

from . import processes
from .cache import Cache, CacheFullError
from .errors import BuilderError
from .gates import Platform
from .patterns import matcher
from .trees import File, Slice, Tree, normal_path

SITE_PACKAGES = "usr/lib/snapedge/site-packages"
MAX_FILE = 4 << 30
"""The longest file of a wheel, in bytes; uv unpacks while it fetches, so nothing else is known of the wheel by then."""
_PACKAGE = "uv"
_RESOLVE_SECONDS = 300.0
_INSTALL_SECONDS = 1800.0
_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;\\]+)(?P<rest>.*)", re.DOTALL)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_MISSING = re.compile(r"(?:Because |and )([A-Za-z0-9._-]+)==(\S+) has no (?:usable |compatible )?wheels")
_LICENCE_EXPRESSION = re.compile(r"^License-Expression:[ \t]*(\S.*)$", re.MULTILINE)
_LICENCE = re.compile(r"^License:[ \t]*(\S.{0,80})$", re.MULTILINE)
_CLASSIFIER = re.compile(r"^Classifier: License :: (?:OSI Approved :: )?(.+)$", re.MULTILINE)
_NO_ROUTE = (
    "Request failed",
    "error sending request",
    "client error (Connect)",
    "dns error",
    "operation timed out",
    "network was disabled",
)
# What pip's and uv's bookkeeping, C compilers and type checkers read, and programs do not.
DROPPED = (
    "bin",
    "*.dist-info/RECORD",
    "*.dist-info/INSTALLER",
    "*.dist-info/REQUESTED",
    "*.dist-info/direct_url.json",
    "*.dist-info/uv_cache.json",
    "**/__pycache__",
    "**/*.pyc",
    "**/*.pyi",
    "**/*.pxd",
    "**/*.h",
    "**/*.a",
)


class WheelsError(BuilderError):
    """uv could not do what it was asked."""

    def __init__(self, what: str, messages: str, *, resolution: str = "") -> None:
        super().__init__(f"uv could not {what}: {_reason(messages)}", details=messages.strip(), resolution=resolution)


class LockError(BuilderError):
    """A requirements.lock cannot be used."""

    exit_code = ExitCode.REFUSED

    def __init__(self, lock: Path, problem: str) -> None:
        super().__init__(
            f"{lock.parent.name}/{lock.name}: {problem}",
            resolution="make it with `uv pip compile --universal --generate-hashes --no-emit-index-url`",
        )


class WheelMissingError(BuilderError):
    """A locked version has no wheel that runs on an architecture."""

    exit_code = ExitCode.REFUSED

    def __init__(self, requirement: str, platform: Platform, messages: str) -> None:
        python, glibc = ".".join(map(str, platform.python)), ".".join(map(str, platform.glibc))
        super().__init__(
            f"{requirement} has no wheel for {platform.architecture} (Python {python}, glibc {glibc})",
            details=messages.strip(),
            resolution=f"lock a version that has one, put a wheel built for {platform.architecture} into an index of "
            f"your own, or leave {platform.architecture} out of `architectures`",
        )
        self.requirement = requirement
        self.architecture = platform.architecture


class WheelWithdrawnError(BuilderError):
    """A file that was pinned earlier is no longer to be had."""

    def __init__(self, pin: Wheel) -> None:
        super().__init__(
            f"the index no longer has {pin.file} as it is pinned",
            resolution="run `builder lock --upgrade` for the runtime's folder, once its server's lock names a version "
            "that is there",
        )


class WheelCorruptError(BuilderError):
    """What arrived, or what lies in uv's cache, is not what was pinned."""

    def __init__(self, wheel: str, problem: str) -> None:
        super().__init__(
            f"{wheel}: {problem}", resolution="run `uv cache clean`, then build again; if it stays, the index is wrong"
        )


class WheelTooLargeError(BuilderError):
    """A wheel unpacks to more than any wheel should."""

    exit_code = ExitCode.REFUSED

    def __init__(self, file: str, excess: str) -> None:
        super().__init__(
            f"{file} {excess}",
            resolution="do not use it; lock another version, or take it from another index",
        )


class IndexAwayError(WheelsError):
    """The package index does not answer."""

    exit_code = ExitCode.REMOTE_AWAY

    def __init__(self, what: str, messages: str) -> None:
        super().__init__(what, messages, resolution="try again; what was downloaded is kept")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """The one file that a requirement of the lock is met with on one platform.

    Attributes:
        name: normalised.
        version: of the project.
        file: the wheel's file name.
        uri: where it was offered; no part of its identity.
        digest: of the file.
    """

    name: str
    version: str
    file: str
    uri: str
    digest: Digest

    def to_value(self) -> dict[str, Any]:
        """The wheel as notes hold it."""
        return {"name": self.name, "version": self.version, "file": self.file, "uri": self.uri, "digest": self.digest}

    @classmethod
    def read(cls, fields: Fields) -> Wheel:
        """The wheel of such a note."""
        wheel = cls(
            name=fields.text("name"),
            version=fields.text("version"),
            file=fields.text("file"),
            uri=fields.text("uri"),
            digest=fields.parsed("digest", Digest),
        )
        fields.done()
        return wheel


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledWheel:
    """A wheel's files, with their place in the image."""

    wheel: Wheel
    tree: Tree
    licences: tuple[str, ...]


def read_lock(lock: Path) -> Mapping[tuple[str, str], frozenset[str]]:
    """The hashes a lock allows, by normalised name and version.

    Raises:
        LockError: it pins something by no hash, or names what is no pinned version.
    """
    allowed: dict[tuple[str, str], frozenset[str]] = {}
    try:
        text = lock.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LockError(lock, f"cannot be read: {error}") from error
    for entry in re.sub(r"\\\r?\n", " ", text).splitlines():
        line = entry.strip()
        if not line or line.startswith("#"):
            continue
        match = _REQUIREMENT.fullmatch(line)
        if match is None:
            raise LockError(lock, f"{line[:60]!r} is not a pinned version")
        hashes = frozenset(_HASH.findall(match["rest"]))
        if not hashes:
            raise LockError(lock, f"{match['name']} is not pinned by sha256")
        key = (utils.canonicalize_name(match["name"]), match["version"])
        allowed[key] = allowed.get(key, frozenset()) | hashes
    return allowed


def resolve(lock: Path, platform: Platform, *, environment: Mapping[str, str]) -> tuple[Wheel, ...]:
    """One wheel for each requirement of the lock that applies to the platform, sorted by name.

    Raises:
        LockError: the lock cannot be used.
        WheelMissingError: a requirement has none.
        WheelsError: uv or the index fails.
    """
    allowed = read_lock(lock)
    done = _uv(
        ["pip", "compile", "--quiet", "--no-deps", "--no-header", "--no-annotate", "--format", "pylock.toml"],
        [*_platform_options(platform), lock],
        seconds=_RESOLVE_SECONDS,
        environment=environment,
    )
    if done.status:
        missing = _MISSING.search(done.errors)
        if "network was disabled" not in done.errors and missing:
            raise WheelMissingError(f"{missing[1]} {missing[2]}", platform, done.errors)
        raise _failure("find the wheels", done.errors)
    ranks = {tag: rank for rank, tag in enumerate(_supported_tags(platform))}
    wheels: list[Wheel] = []
    for entry in tomllib.loads(done.output).get("packages", []):
        name, version = utils.canonicalize_name(entry["name"]), str(entry["version"])
        hashes = allowed.get((name, version), frozenset())
        offered = [
            (rank, wheel)
            for item in entry.get("wheels", [])
            if item.get("hashes", {}).get("sha256") in hashes
            for wheel in [_wheel(name, version, item)]
            for rank in [_rank(wheel.file, ranks)]
            if rank is not None
        ]
        if not offered:
            raise WheelMissingError(f"{name} {version}", platform, "no file that the lock's hashes allow")
        wheels.append(min(offered, key=lambda pair: (pair[0], pair[1].file))[1])
    return tuple(sorted(wheels, key=lambda wheel: wheel.name))


def locate(
    pins: Sequence[Wheel], platform: Platform, *, environment: Mapping[str, str], scratch: Path
) -> tuple[Wheel, ...]:
    """Pinned wheels, with where they are offered now; sorted by name.

    Raises:
        WheelWithdrawnError: one is not offered any more.
        WheelsError: uv or the index fails.
    """
    if not pins:
        return ()
    lock = scratch / "pins.lock"
    lock.write_text("".join(f"{pin.name}=={pin.version} --hash=sha256:{pin.digest.hex}\n" for pin in pins))
    try:
        return resolve(lock, platform, environment=environment)
    except WheelMissingError as error:
        name = utils.canonicalize_name(error.requirement.partition(" ")[0])
        raise WheelWithdrawnError(next((pin for pin in pins if pin.name == name), pins[0])) from error


def install(
    wheels: Sequence[Wheel],
    platform: Platform,
    *,
    prune: Sequence[str],
    environment: Mapping[str, str],
    scratch: Path,
    cache: Cache,
) -> tuple[InstalledWheel, ...]:
    """The wheels' files; their bytes stay below `scratch`, which must outlive the trees.

    Raises:
        WheelCorruptError: a file's sha256 is another.
        WheelTooLargeError: a file of one is longer than any should be; it was not unpacked to its end.
        WheelsError: uv or the index fails.
    """
    if not wheels:
        return ()
    lock, target = scratch / "pylock.toml", scratch / "site-packages"
    with cache.guard():
        lock.write_text(_pylock(wheels), encoding="utf-8")
    done = _uv(
        ["pip", "install", "--quiet", "--no-deps", "--no-compile-bytecode", "--target", target],
        [*_platform_options(platform), "--requirement", lock],
        seconds=_INSTALL_SECONDS,
        environment=environment,
        file_bytes=MAX_FILE,
    )
    if done.status:
        if done.says_too_large:
            named = re.search(r"`([^`\s]+)`", done.errors)
            raise WheelTooLargeError(
                named[1] if named else "a wheel", f"unpacks to a file of more than {MAX_FILE} bytes"
            )
        if done.says_no_room:
            raise CacheFullError(cache.root)
        mismatch = re.search(r"Hash mismatch for `?([^`\s]+)`?", done.errors)
        if mismatch:
            raise WheelCorruptError(mismatch[1], "what the index gave has another sha256 than was pinned")
        raise _failure("install the wheels", done.errors)
    is_dropped = matcher([*DROPPED, *prune])
    return tuple(_installed(wheel, target, is_dropped) for wheel in wheels)


def _uv(
    command: list[str | Path],
    rest: Sequence[str | Path],
    *,
    seconds: float,
    environment: Mapping[str, str],
    file_bytes: int | None = None,
) -> processes.Outcome:
    tool = processes.find("uv", package=_PACKAGE, folders=[Path(sys.prefix).parent / ".tools" / "bin"])
    fixed = {"UV_NO_INSTALLER_METADATA": "1", "UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1"}
    return processes.run(
        [tool, *command, *rest],
        package=_PACKAGE,
        seconds=seconds,
        environment={**environment, **fixed},
        file_bytes=file_bytes,
    )


def _platform_options(platform: Platform) -> list[str]:
    return [
        "--python-platform",
        f"{platform.architecture.kernel_machine}-manylinux_{platform.glibc[0]}_{platform.glibc[1]}",
        "--python-version",
        f"{platform.python[0]}.{platform.python[1]}",
        # Else uv may build a source distribution, for this host and not for the platform.
        "--only-binary",
        ":all:",
    ]


def _supported_tags(platform: Platform) -> Iterator[tags.Tag]:
    machine = platform.architecture.kernel_machine
    oldest = 17 if platform.architecture is Architecture.ARM64 else 5
    legacy = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
    platforms: list[str] = []
    for minor in range(platform.glibc[1], oldest - 1, -1):
        platforms.append(f"manylinux_{platform.glibc[0]}_{minor}_{machine}")
        if minor in legacy:
            platforms.append(f"{legacy[minor]}_{machine}")
    platforms.append(f"linux_{machine}")
    interpreter = f"cp{platform.python[0]}{platform.python[1]}"
    yield from tags.cpython_tags(platform.python, abis=[interpreter], platforms=platforms)
    yield from tags.compatible_tags(platform.python, interpreter=interpreter, platforms=platforms)


def _rank(file: str, ranks: Mapping[tags.Tag, int]) -> int | None:
    try:
        found = utils.parse_wheel_filename(file)[3]
    except utils.InvalidWheelFilename:
        return None
    return min((ranks[tag] for tag in found if tag in ranks), default=None)


def _wheel(name: str, version: str, item: Mapping[str, Any]) -> Wheel:
    uri = str(item.get("url") or item.get("path") or "")
    return Wheel(
        name=name,
        version=version,
        file=str(item.get("name") or uri.rpartition("/")[2].partition("#")[0]).replace("%2B", "+"),
        uri=uri,
        digest=Digest(f"sha256:{item['hashes']['sha256']}"),
    )


def _pylock(wheels: Sequence[Wheel]) -> str:
    lines = ['lock-version = "1.0"', 'created-by = "snapedge"']
    for wheel in wheels:
        place = "url" if "://" in wheel.uri else "path"
        lines += [
            "[[packages]]",
            f"name = {_quoted(wheel.name)}",
            f"version = {_quoted(wheel.version)}",
            f"wheels = [{{ name = {_quoted(wheel.file)}, {place} = {_quoted(wheel.uri)}, "
            f'hashes = {{ sha256 = "{wheel.digest.hex}" }} }}]',
        ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _installed(wheel: Wheel, target: Path, is_dropped: Any) -> InstalledWheel:
    record = _record_of(wheel, target)
    tree = Tree()
    with record.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file) if row]
    for name, checksum, *_ in rows:
        path = normal_path(name, origin=wheel.file)
        if is_dropped(path):
            continue
        place = target / path
        if place.is_symlink() or not place.is_file():
            raise WheelCorruptError(wheel.file, f"{path} is listed and is no file")
        stat = place.stat()
        _check_file(wheel, place, path, checksum)
        tree.add(
            f"{SITE_PACKAGES}/{path}",
            File(
                content=Slice(path=place, offset=0, size=stat.st_size),
                executable=bool(stat.st_mode & 0o111),
                origin=wheel.name,
            ),
        )
    metadata = (record.parent / "METADATA").read_text(encoding="utf-8", errors="replace")
    return InstalledWheel(wheel=wheel, tree=tree, licences=licences_in(metadata))


def _record_of(wheel: Wheel, target: Path) -> Path:
    for record in target.glob("*.dist-info/RECORD"):
        name, _, version = record.parent.name.removesuffix(".dist-info").partition("-")
        if utils.canonicalize_name(name) == wheel.name and version:
            return record
    raise WheelCorruptError(wheel.file, "installs no RECORD")


def _check_file(wheel: Wheel, place: Path, path: str, checksum: str) -> None:
    """Compare with RECORD: uv links files out of its cache, where something may have written to them."""
    algorithm, _, expected = checksum.partition("=")
    if algorithm != "sha256":
        return
    with place.open("rb") as file:
        found = base64.urlsafe_b64encode(hashlib.file_digest(file, "sha256").digest()).rstrip(b"=").decode()
    if found != expected.rstrip("="):
        raise WheelCorruptError(wheel.file, f"{path} is not what the wheel's RECORD says")


def licences_in(metadata: str) -> tuple[str, ...]:
    """What a wheel's METADATA says of its licences."""
    head = metadata.partition("\n\n")[0]
    for pattern in (_LICENCE_EXPRESSION, _CLASSIFIER, _LICENCE):
        found = pattern.findall(head)
        if found:
            return tuple(sorted({text.strip() for text in found}))
    return ()


def _failure(what: str, messages: str) -> WheelsError:
    if any(sign in messages for sign in _NO_ROUTE):
        return IndexAwayError(what, messages)
    return WheelsError(what, messages)


def _reason(messages: str) -> str:
    lines = [line.strip() for line in messages.splitlines() if line.strip()]
    causes = [line.removeprefix("cause: ") for line in lines if line.startswith("cause: ")]
    return (causes or lines or ["no reason given"])[-1].removeprefix("error: ")
