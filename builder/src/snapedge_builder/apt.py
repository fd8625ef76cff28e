"""The one door to apt: which packages a base needs, and their files.

apt runs with folders of its own inside the build cache, for any architecture, as any user: it reads the host's
mirrors, keys, credentials and `Acquire` settings and changes nothing of the host's. Its solver decides, its methods
download, its keys are what is trusted; package files are then known by their sha256 alone, and taken from the cache
where they are. A file's place is its path in an archive: whichever of the host's mirrors has it there will do.

    AptError                    apt failed in a way not told apart here
      PackagesUnknownError      the suite does not have a package that was asked for
      MirrorsAwayError          no answer from the mirrors
      PackageWithdrawnError     the mirrors no longer have a file, or have another in its place
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

from snapedge_hooks.document import Fields
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.vocabulary import Architecture, Digest

from . import processes, sources
from .cache import Cache, CacheFullError
from .errors import BuilderError

_PACKAGE = "apt"
_UPDATE_SECONDS = 300.0
_SOLVE_SECONDS = 60.0
_DOWNLOAD_SECONDS = 1800.0
_HELPER = Path("/usr/lib/apt/apt-helper")
_HOST_FOLDERS = {
    "trusted": "Dir::Etc::trusted/f",
    "trustedparts": "Dir::Etc::trustedparts/d",
    "netrc": "Dir::Etc::netrc/f",
    "netrcparts": "Dir::Etc::netrcparts/d",
    "sourcelist": "Dir::Etc::sourcelist/f",
    "sourceparts": "Dir::Etc::sourceparts/d",
}
_URI = re.compile(r"'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+)(?: (?P<hash>\S*))?")
_AWAY = (
    "Could not resolve",
    "Could not connect",
    "Unable to connect",
    "Connection failed",
    "Connection timed out",
    "Temporary failure",
)
_GONE = (
    *("404  Not Found", "404 Not Found", "410  Gone", "File not found", "No such file or directory"),
    *("Hash Sum mismatch", "Size mismatch"),
)


class AptError(BuilderError):
    """apt could not do what it was asked."""

    def __init__(self, what: str, messages: str) -> None:
        super().__init__(f"apt could not {what}: {_first_error(messages)}", details=messages.strip())


class PackagesUnknownError(AptError):
    """The suite has no such package."""

    exit_code = ExitCode.REFUSED

    def __init__(self, names: Sequence[str], suite: str, architecture: Architecture) -> None:
        BuilderError.__init__(
            self,
            f"suite {suite} has no package {', '.join(names)} for {architecture}",
            resolution="correct base.packages in runtime.yaml",
        )


class MirrorsAwayError(AptError):
    """The mirrors do not answer."""

    exit_code = ExitCode.REMOTE_AWAY

    def __init__(self, what: str, messages: str) -> None:
        BuilderError.__init__(
            self,
            f"no answer from the package mirrors, needed to {what}: {_first_error(messages)}",
            details=messages.strip(),
            resolution="try again; what was downloaded is kept",
        )


class PackageWithdrawnError(AptError):
    """A file that was resolved earlier is no longer to be had as it was."""

    def __init__(self, file: str, messages: str, *, pinned: bool = False) -> None:
        BuilderError.__init__(
            self,
            f"the mirrors no longer have {file} as it {'is pinned' if pinned else 'was resolved'}: "
            f"{_first_error(messages)}",
            details=messages.strip(),
            resolution="run `builder lock --upgrade` for the runtime's folder, or give this host's apt a mirror that "
            "still has it"
            if pinned
            else "build with --refresh to resolve the base anew",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One Debian package a base is made of.

    Attributes:
        name: of the binary package.
        version: Debian's, epoch included.
        architecture: of the file: `all` or the base's own.
        source: of the source package.
        depends: names of what it depends on, first alternatives only.
        path: of the file in its archive; no part of its identity.
        digest: of the file.
        size: of the file, in bytes.
    """

    name: str
    version: str
    architecture: str
    source: str
    depends: tuple[str, ...]
    path: str
    digest: Digest
    size: int

    @property
    def file(self) -> str:
        """What the file is called."""
        return f"{self.name}_{self.version}_{self.architecture}.deb"

    def to_value(self) -> dict[str, Any]:
        """The package as notes hold it."""
        return {
            "name": self.name,
            "version": self.version,
            "architecture": self.architecture,
            "source": self.source,
            "depends": list(self.depends),
            "path": self.path,
            "digest": self.digest,
            "size": self.size,
        }

    @classmethod
    def read(cls, fields: Fields) -> Package:
        """The package of such a note."""
        package = cls(
            name=fields.text("name"),
            version=fields.text("version"),
            architecture=fields.text("architecture"),
            source=fields.text("source"),
            depends=tuple(fields.list("depends")),
            path=fields.text("path"),
            digest=fields.parsed("digest", Digest),
            size=fields.integer("size"),
        )
        fields.done()
        return package


@dataclass(frozen=True, slots=True, kw_only=True)
class HostApt:
    """What this host's apt is configured with, as far as it concerns a base.

    Attributes:
        entries: its sources.
        acquire: its `Acquire` settings, as lines of apt.conf.
        folders: where its keys and credentials are.
    """

    entries: tuple[sources.SourceEntry, ...]
    acquire: tuple[str, ...]
    folders: tuple[tuple[str, str], ...]


def read_host() -> HostApt:
    """This host's apt configuration.

    Raises:
        ToolMissingError: there is no apt here.
    """
    names = [part for name, key in _HOST_FOLDERS.items() for part in (name, key)]
    shell = processes.run(["apt-config", "shell", *names], package=_PACKAGE, seconds=30)
    dump = processes.run(["apt-config", "dump", "--format", '%F "%v";%n'], package=_PACKAGE, seconds=30)
    for outcome in (shell, dump):
        if outcome.status:
            raise AptError("read its own configuration", outcome.errors)
    folders = dict(re.findall(r"^(\w+)='(.*)'$", shell.output, re.MULTILINE))
    files = [Path(folders["sourcelist"])] if "sourcelist" in folders else []
    parts = Path(folders.get("sourceparts", "/nonexistent"))
    if parts.is_dir():
        files += sorted(path for path in parts.iterdir() if path.suffix in (".list", ".sources"))
    return HostApt(
        entries=tuple(sources.read_sources(files)),
        acquire=tuple(line for line in dump.output.splitlines() if _carries_over(line)),
        folders=tuple(
            (name, folders[name]) for name in ("trusted", "trustedparts", "netrc", "netrcparts") if name in folders
        ),
    )


def _carries_over(line: str) -> bool:
    """Whether a setting of the host concerns how files are fetched, and not what its own apt keeps of them."""
    if not line.startswith("Acquire::") or line.endswith(' "";'):
        return False
    return not line.startswith(
        ("Acquire::IndexTargets", "Acquire::Changelogs", "Acquire::GzipIndexes", "Acquire::Languages")
    )


class Apt:
    """apt for one suite and architecture, with its folders in the cache."""

    def __init__(
        self, host: HostApt, *, suite: str, architecture: Architecture, cache: Cache, pinned: bool = False
    ) -> None:
        """Choose the sources.

        Args:
            host: whose sources they are.
            suite: of Debian.
            architecture: of the packages.
            cache: that holds apt's folders, and the files.
            pinned: whether packages to fetch come from a lock: what to do about one that is gone depends on it.

        Raises:
            SourcesError: the host has none for the suite.
        """
        self.suite = suite
        self.architecture = architecture
        self._cache = cache
        self._host = host
        self._pinned = pinned
        self._entries = sources.select(host.entries, suite=suite, architecture=architecture)
        self._root = cache.root / "apt" / f"{suite}-{architecture}"

    @property
    def sources(self) -> str:
        """The sources, as apt is given them: part of what a resolution follows from."""
        return "\n".join(entry.stanza(self.architecture) for entry in self._entries)

    def resolve(self, names: Sequence[str]) -> tuple[Package, ...]:
        """Ask the mirrors which packages these names stand for now, with all they depend on, sorted by name.

        Raises:
            AptError: the mirrors are away, a name is unknown, or the dependencies cannot be met.
        """
        self._prepare()
        updated = self._run("apt-get", "-qq", "-o", "APT::Update::Error-Mode=any", "update", seconds=_UPDATE_SECONDS)
        self._check(updated, "read the package lists")
        asked = self._run(
            "apt-get",
            "-q",
            "install",
            "--yes",
            "--no-install-recommends",
            "--print-uris",
            *names,
            seconds=_SOLVE_SECONDS,
        )
        unknown = re.findall(r"Unable to locate package (\S+)", asked.errors)
        unknown += re.findall(r"Package '?([^'\s]+)'? has no installation candidate", asked.errors)
        if unknown:
            raise PackagesUnknownError(unknown, self.suite, self.architecture)
        unmet = [line.strip() for line in asked.output.splitlines() if "Depends: " in line]
        if asked.status and unmet:
            raise AptError("resolve the packages", "\n".join(f"E: {line}" for line in unmet))
        self._check(asked, "resolve the packages")
        offers = [match.groupdict() for match in map(_URI.match, asked.output.splitlines()) if match]
        wanted = [_identity(offer["file"]) for offer in offers]
        shown = self._run(
            "apt-cache", "show", *(f"{name}={version}" for name, version in wanted), seconds=_SOLVE_SECONDS
        )
        self._check(shown, "show the packages")
        for index in self._root.glob("*pkgcache.bin"):
            index.unlink(missing_ok=True)  # 70 MB that apt makes from the lists in a second
        stanzas = {(fields["Package"], fields["Version"]): fields for fields in sources.stanzas(shown.output)}
        found = [
            Package(
                name=name,
                version=version,
                architecture=fields["Architecture"],
                source=fields.get("Source", name).partition(" ")[0],
                depends=_dependencies(f"{fields.get('Pre-Depends', '')},{fields.get('Depends', '')}"),
                path=fields["Filename"],
                digest=Digest(f"sha256:{fields['Sha256']}"),
                size=int(offer["size"]),
            )
            for offer, (name, version) in zip(offers, wanted, strict=True)
            for fields in [stanzas[name, version]]
        ]
        return tuple(sorted(found, key=lambda package: package.name))

    def alone(self) -> contextlib.AbstractContextManager[None]:
        """Hold these folders of apt's: one of its programs at a time works in them."""
        return self._cache.alone("apt", Digest.of(f"{self.suite} {self.architecture}".encode()))

    def fetch(self, packages: Iterable[Package]) -> None:
        """Have the packages' files in the cache; those that are there, whole, are not asked for.

        Raises:
            AptError: a file cannot be had, or is not what was resolved.
        """
        with self.alone():
            self._fetch(packages)

    def _fetch(self, packages: Iterable[Package]) -> None:
        missing = [package for package in packages if self._cache.find_blob(package.digest) is None]
        if not missing:
            return
        self._prepare()
        # Names by digest, in a folder that stays: a download that was cut off goes on where it ended.
        partial = self._root / "partial"
        tried: list[processes.Outcome] = []
        for base in dict.fromkeys(uri.rstrip("/") for entry in self._entries for uri in entry.uris):
            requests: list[str | Path] = []
            for package in missing:
                name = package.digest.hex
                requests += [f"{base}/{quote(package.path)}", partial / name, f"SHA256:{name}"]
            tried.append(self._run(str(_HELPER), "-qq", "download-file", *requests, seconds=_DOWNLOAD_SECONDS))
            missing = [package for package in missing if not self._adopt(partial / package.digest.hex, package)]
            if not missing:
                return
        self._refuse(missing[0], tried)

    def _refuse(self, package: Package, tried: Sequence[processes.Outcome]) -> NoReturn:
        """Say why a package was not had from any mirror: one that is away may have it, and counts first."""
        for outcome in tried:
            if not any(sign in outcome.errors for sign in _GONE):
                self._check(outcome, f"fetch {package.file}")
        for outcome in tried:
            if any(sign in outcome.errors for sign in _AWAY):
                raise MirrorsAwayError(f"fetch {package.file}", outcome.errors)
        errors = tried[-1].errors if tried[-1].status else "it has another sha256"
        raise PackageWithdrawnError(package.file, errors, pinned=self._pinned)

    def _adopt(self, path: Path, package: Package) -> bool:
        """Whether the downloaded file is what was resolved, and now in the cache."""
        path.with_name(path.name + ".FAILED").unlink(missing_ok=True)
        if not path.is_file() or path.stat().st_size != package.size:
            return False
        if self._cache.adopt(path, package.digest) is None:
            path.unlink()
            return False
        return True

    def _prepare(self) -> None:
        with self._cache.guard():
            for folder in ("lists/partial", "archives/partial", "etc/sources", "etc/none", "partial"):
                (self._root / folder).mkdir(parents=True, exist_ok=True)
            (self._root / "status").write_bytes(b"")
            (self._root / "etc/sources/base.sources").write_text(self.sources, encoding="utf-8")
            (self._root / "etc/apt.conf").write_text(self._configuration(), encoding="utf-8")

    def _configuration(self) -> str:
        root = str(self._root)
        nothing, none = f"{root}/etc/nothing", f"{root}/etc/none"
        ours = {
            "APT::Architecture": str(self.architecture),
            "APT::Sandbox::User": "",
            "APT::Install-Recommends": "false",
            "APT::Get::AllowUnauthenticated": "false",
            "Dir::State": root,
            "Dir::State::status": f"{root}/status",
            "Dir::State::lists": f"{root}/lists",
            "Dir::Cache": root,
            "Dir::Cache::archives": f"{root}/archives",
            "Dir::Etc::main": nothing,
            "Dir::Etc::parts": none,
            "Dir::Etc::sourcelist": nothing,
            "Dir::Etc::sourceparts": f"{root}/etc/sources",
            "Dir::Etc::preferences": nothing,
            "Dir::Etc::preferencesparts": none,
            "Acquire::Languages": "none",
            "Acquire::GzipIndexes": "true",
            "Acquire::Retries": "3",
            **{f"Dir::Etc::{name}": path for name, path in self._host.folders},
        }
        lines = [f'{name} "{value}";' for name, value in ours.items()]
        lines.append(f'APT::Architectures {{ "{self.architecture}"; }};')
        return "\n".join([*lines, *self._host.acquire]) + "\n"

    def _run(self, *arguments: str | Path, seconds: float) -> processes.Outcome:
        configuration = {"APT_CONFIG": str(self._root / "etc/apt.conf"), "DEBIAN_FRONTEND": "noninteractive"}
        return processes.run(arguments, package=_PACKAGE, seconds=seconds, environment=configuration)

    def _check(self, outcome: processes.Outcome, what: str) -> None:
        if not outcome.status:
            return
        if outcome.says_no_room:
            raise CacheFullError(self._cache.root)
        if any(sign in outcome.errors for sign in _AWAY):
            raise MirrorsAwayError(what, outcome.errors)
        raise AptError(what, outcome.errors)


def _identity(file: str) -> tuple[str, str]:
    name, version, _ = file.rsplit("/", 1)[-1].split("_", 2)
    return name, version.replace("%3a", ":").replace("%3A", ":")


def _dependencies(text: str) -> tuple[str, ...]:
    names = [re.split(r"[\s(|:\[]", clause.strip(), maxsplit=1)[0] for clause in text.split(",")]
    return tuple(sorted({name for name in names if name}))


def _first_error(messages: str) -> str:
    for line in messages.splitlines():
        if line.startswith("E: "):
            return line[3:].strip()
    return messages.strip().splitlines()[-1].strip() if messages.strip() else "no reason given"
