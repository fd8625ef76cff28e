"""A Debian package repository in a folder, as apt reads it: real .deb files, Packages and Release."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from snapedge_builder.apt import HostApt
from snapedge_builder.sources import SourceEntry


@dataclass
class DebRepository:
    """Packages of suite `bookworm`, component `main`."""

    root: Path
    _stanzas: dict[str, list[str]] = field(default_factory=lambda: {"amd64": [], "arm64": []})

    def add(
        self,
        name: str,
        version: str,
        *,
        architecture: str,
        files: Mapping[str, bytes | str],
        depends: Sequence[str] = (),
    ) -> Path:
        """Build a package; a file given as text is a symbolic link to it. Returns the .deb."""
        tree = self.root / "work" / f"{name}_{version}_{architecture}"
        control = tree / "DEBIAN"
        control.mkdir(parents=True)
        fields = f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: x <x@localhost>\n"
        if depends:
            fields += f"Depends: {', '.join(depends)}\n"
        fields += "Description: a test\n"
        (control / "control").write_text(fields)
        for path, content in files.items():
            place = tree / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                place.symlink_to(content)
            else:
                place.write_bytes(content)
        pool = self.root / "pool"
        pool.mkdir(exist_ok=True)
        deb = pool / f"{name}_{version.replace(':', '%3a')}_{architecture}.deb"
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(deb)],
            check=True,
            capture_output=True,
        )
        data = deb.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        stanza = f"{fields}Filename: pool/{deb.name}\nSize: {len(data)}\nSHA256: {digest}\n"
        for index in ("amd64", "arm64") if architecture == "all" else (architecture,):
            self._stanzas[index].append(stanza)
        return deb

    def publish(self) -> None:
        """Write the indices."""
        suite = self.root / "dists" / "bookworm"
        sums: list[str] = []
        for architecture, stanzas in self._stanzas.items():
            folder = suite / "main" / f"binary-{architecture}"
            folder.mkdir(parents=True, exist_ok=True)
            text = "\n".join(stanzas).encode()
            for name, data in (("Packages", text), ("Packages.gz", gzip.compress(text, mtime=0))):
                (folder / name).write_bytes(data)
                relative = (folder / name).relative_to(suite)
                sums.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} {relative}")
        header = (
            "Origin: Test\nSuite: bookworm\nCodename: bookworm\nArchitectures: amd64 arm64\nComponents: main\n"
            "Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n"
        )
        (suite / "Release").write_text(header + "\n".join(sums) + "\n")

    def host(self, *, uri: str = "") -> HostApt:
        """The configuration of a host whose apt has this repository."""
        entry = SourceEntry(
            uris=(uri or f"copy:{self.root}",),
            suites=("bookworm",),
            components=("main",),
            options=(("Trusted", "yes"),),
        )
        return HostApt(entries=(entry,), acquire=('Acquire::Retries "0";',), folders=())
