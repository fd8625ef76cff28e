from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .serving import SIGNATURES, Server, place, server


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server of every model that can be served, shared by the tests that do not change it."""
    directory: Path = tmp_path_factory.mktemp("models")
    for name in SIGNATURES.keys() - {"sequence", "too_new"}:
        place(directory, name)
    with server(directory) as running:
        yield running
