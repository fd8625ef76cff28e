from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .rundevice import RunDevice


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path is short enough for sockets, whatever the test's name."""
    folder = Path(tempfile.mkdtemp(prefix="sn-"))
    yield folder
    for tree in folder.rglob("*"):
        if tree.is_dir() and not tree.is_symlink():
            tree.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture
def device(short_path: Path) -> Iterator[RunDevice]:
    with RunDevice(short_path) as running:
        yield running
