"""The package sources of this host, and those of them that a base is built from.

Rules:

1. No mirror is named in this project: what the host's own apt is configured with is used, in both of its notations
   (sources.list(5)), options and keys included.
2. Of those, entries for SUITE, SUITE-updates and SUITE-security that offer the component `main`: that leaves out other
   publishers, who name their own components.
3. An entry limited to other architectures is used only where no entry is open to the one wanted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from snapedge_hooks.vocabulary import Architecture

from .errors import BuilderError

_ONE_LINE = re.compile(
    r"(?P<type>deb|deb-src)\s+(?:\[(?P<options>[^]]*)\]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)(?P<rest>.*)"
)
_OPTION_FIELDS = {
    "arch": "Architectures",
    "lang": "Languages",
    "target": "Targets",
    "pdiffs": "PDiffs",
    "by-hash": "By-Hash",
    "allow-insecure": "Allow-Insecure",
    "allow-weak": "Allow-Weak",
    "allow-downgrade-to-insecure": "Allow-Downgrade-To-Insecure",
    "trusted": "Trusted",
    "signed-by": "Signed-By",
    "check-valid-until": "Check-Valid-Until",
    "valid-until-min": "Valid-Until-Min",
    "valid-until-max": "Valid-Until-Max",
    "check-date": "Check-Date",
    "date-max-future": "Date-Max-Future",
    "inrelease-path": "InRelease-Path",
    "snapshot": "Snapshot",
}
_PLAIN_FIELDS = frozenset({"Types", "Uris", "Suites", "Components", "Architectures", "Enabled"})
MAIN = "main"


class SourcesError(BuilderError):
    """This host's apt has no source for the suite a base is declared with."""

    def __init__(self, suite: str, known: Iterable[str]) -> None:
        listed = ", ".join(sorted(set(known))) or "none"
        super().__init__(
            f"this host's apt has no source for suite {suite!r} (it has {listed})",
            resolution=f"add one to /etc/apt/sources.list.d, or declare a base suite that is there; "
            f"entries must offer the component {MAIN!r}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceEntry:
    """One place packages come from.

    Attributes:
        uris: its addresses.
        suites: that it is asked for.
        components: such as `main`.
        architectures: that it is limited to; empty means no limit.
        options: all other fields, in deb822 spelling, their values verbatim.
    """

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    architectures: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()

    def stanza(self, architecture: Architecture) -> str:
        """The entry in deb822, for one architecture."""
        lines = [
            "Types: deb",
            f"URIs: {' '.join(self.uris)}",
            f"Suites: {' '.join(self.suites)}",
            f"Components: {' '.join(self.components)}",
            f"Architectures: {architecture}",
        ]
        lines += [f"{name}:{value}" if value.startswith("\n") else f"{name}: {value}" for name, value in self.options]
        return "\n".join(lines) + "\n"


def parse_one_line(text: str) -> Iterator[SourceEntry]:
    """The binary package entries of a `.list` file; what apt would not understand is left to apt to complain about."""
    for line in text.splitlines():
        match = _ONE_LINE.match(line.strip())
        if match is None or match["type"] != "deb":
            continue
        options: dict[str, str] = {}
        for option in (match["options"] or "").split():
            name, equals, value = option.partition("=")
            field = _OPTION_FIELDS.get(name.lower())
            if equals and field:
                options[field] = value.replace(",", " ")
        yield SourceEntry(
            uris=(match["uri"],),
            suites=(match["suite"],),
            components=tuple(match["rest"].partition("#")[0].split()),
            architectures=tuple(options.pop("Architectures", "").split()),
            options=tuple(sorted(options.items())),
        )


def parse_deb822(text: str) -> Iterator[SourceEntry]:
    """The binary package entries of a `.sources` file."""
    for fields in stanzas(text):
        plain = {name: value.split() for name, value in fields.items() if name in _PLAIN_FIELDS}
        if "deb" not in plain.get("Types", []) or fields.get("Enabled", "yes").strip().lower() in ("no", "false", "0"):
            continue
        yield SourceEntry(
            uris=tuple(plain.get("Uris", [])),
            suites=tuple(plain.get("Suites", [])),
            components=tuple(plain.get("Components", [])),
            architectures=tuple(plain.get("Architectures", [])),
            options=tuple(sorted((name, value) for name, value in fields.items() if name not in _PLAIN_FIELDS)),
        )


def stanzas(text: str) -> Iterator[Mapping[str, str]]:
    """The stanzas of deb822 text, field names capitalised alike; continuation lines stay as they are."""
    fields: dict[str, str] = {}
    name = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if fields:
                yield fields
            fields, name = {}, ""
        elif line[0] in " \t":
            if name:
                fields[name] += "\n" + line
        else:
            key, colon, value = line.partition(":")
            name = "-".join(part.capitalize() for part in key.strip().split("-")) if colon else ""
            if name:
                fields[name] = value.strip()


def read_sources(files: Iterable[Path]) -> list[SourceEntry]:
    """The entries of the host's source files; one that is gone or unreadable is as absent as apt would find it."""
    found: list[SourceEntry] = []
    for path in files:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, PermissionError, NotADirectoryError):
            continue
        found.extend(parse_deb822(text) if path.suffix == ".sources" else parse_one_line(text))
    return found


def select(entries: Iterable[SourceEntry], *, suite: str, architecture: Architecture) -> tuple[SourceEntry, ...]:
    """The entries a base of that suite and architecture is built from, by the rules above.

    Raises:
        SourcesError: none offers the suite itself.
    """
    every = list(entries)
    wanted = (suite, f"{suite}-updates", f"{suite}-security")
    offered = [entry for entry in every if MAIN in entry.components and any(name in wanted for name in entry.suites)]
    open_ones = [entry for entry in offered if not entry.architectures or str(architecture) in entry.architectures]
    found: list[SourceEntry] = []
    for name in wanted:
        candidates = [entry for entry in open_ones if name in entry.suites]
        candidates = candidates or [entry for entry in offered if name in entry.suites]
        for entry in candidates:
            chosen = SourceEntry(uris=entry.uris, suites=(name,), components=entry.components, options=entry.options)
            if chosen not in found:
                found.append(chosen)
    if not any(entry.suites == (suite,) for entry in found):
        raise SourcesError(suite, (name for entry in every for name in entry.suites))
    return tuple(found)
