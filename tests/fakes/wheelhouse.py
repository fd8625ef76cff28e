"""A folder of wheels that uv uses as its only index."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Wheelhouse:
    """Wheels made of a few files each."""

    root: Path
    _hashes: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def add(
        self,
        name: str,
        version: str,
        *,
        tag: str,
        files: Mapping[str, bytes],
        entry_points: str = "",
        record: Mapping[str, bytes] | None = None,
    ) -> Path:
        """Build a wheel. What RECORD is made from may differ from the files, as in a wheel that was tampered with."""
        self.root.mkdir(parents=True, exist_ok=True)
        info = f"{name}-{version}.dist-info"
        content = dict(files)
        content[f"{info}/METADATA"] = (
            f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\nLicense-Expression: MIT\n".encode()
        )
        content[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: false\nTag: {tag}\n".encode()
        if entry_points:
            content[f"{info}/entry_points.txt"] = entry_points.encode()
        rows = [f"{path},sha256={_sha256(data)},{len(data)}" for path, data in {**content, **(record or {})}.items()]
        content[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,"]).encode()
        wheel = self.root / f"{name}-{version}-{tag}.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for path, data in content.items():
                archive.writestr(zipfile.ZipInfo(path), data)
        self._hashes.setdefault((name, version), []).append(hashlib.sha256(wheel.read_bytes()).hexdigest())
        return wheel

    def lock(self, place: Path, extra: str = "") -> Path:
        """Write the lock of every wheel here."""
        lines = []
        for (name, version), hashes in sorted(self._hashes.items()):
            pins = " \\\n".join(f"    --hash=sha256:{digest}" for digest in hashes)
            lines.append(f"{name}=={version} \\\n{pins}\n")
        place.write_text("".join(lines) + extra)
        return place

    def environment(self, cache: Path) -> dict[str, str]:
        """What makes uv use this folder and nothing else."""
        return {"UV_OFFLINE": "1", "UV_NO_INDEX": "1", "UV_FIND_LINKS": str(self.root), "UV_CACHE_DIR": str(cache)}


def _sha256(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
