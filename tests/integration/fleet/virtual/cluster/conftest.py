from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .device import Device
from .image import sandbox


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    if sandbox() is None:
        pytest.skip("bubblewrap is not installed")
    device = Device(tmp_path)
    try:
        yield device
    finally:
        device.close()
