"""A device over real protocols, in memory."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.edge import EdgeDevice


@pytest.fixture
def device(tmp_path: Path) -> Iterator[EdgeDevice]:
    with EdgeDevice(tmp_path) as made:
        yield made
