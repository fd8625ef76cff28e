"""Real clients against the real server: `make test-clients`.

They run in an environment of the clients' own; `SNAPEDGE_SERVER_PYTHON` names the one that has the server's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..images.onnx.serving import SIGNATURES, Server, place, server


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server of every model, on both protocols."""
    directory: Path = tmp_path_factory.mktemp("models")
    for name in SIGNATURES.keys() - {"sequence", "too_new"}:
        place(directory, name)
    with server(directory, "--grpc-port", "0") as running:
        yield running


@pytest.fixture(scope="session")
def http_url(running: Server) -> str:
    return f"127.0.0.1:{running.port}"


@pytest.fixture(scope="session")
def grpc_url(running: Server) -> str:
    return f"127.0.0.1:{running.grpc_port()}"
