"""Layers for tests that need a real tar but no real program."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping


def layer_tar(files: Mapping[str, bytes], *, mode: int = 0o644) -> bytes:
    """An uncompressed tar, the same bytes every time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.mode = mode
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
