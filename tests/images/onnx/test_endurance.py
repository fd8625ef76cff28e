"""Many connections, and many requests one after the other."""

from __future__ import annotations

import resource
import socket
from pathlib import Path

import pytest

from ...bench import soak
from .serving import place, server

IDLE = 10_000
REQUESTS = 60_000


def test_ten_thousand_idle_connections_cost_little_and_nobody_waits_for_them(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < IDLE + 500:
        pytest.skip(f"this process may open {hard} files, {IDLE + 500} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, IDLE + 500), hard))
    place(tmp_path, "simple")
    clients: list[socket.socket] = []
    try:
        with server(tmp_path, "--max-connections", str(IDLE + 100)) as running:
            before = running.memory()
            for _ in range(IDLE):
                clients.append(socket.create_connection(("127.0.0.1", running.port), timeout=20))
            assert running.get("/v2/models/simple/ready").status == 200
            told = running.get("/metrics").body.decode()
            assert f"snapedge_connections {IDLE + 1}" in told
            assert (running.memory() - before) / IDLE < 12_000
            for client in clients[:: IDLE // 10]:
                client.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
                assert client.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
            assert running.stop() == 0
    finally:
        for client in clients:
            client.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_requests_without_end_good_and_bad_take_no_memory(tmp_path: Path) -> None:
    place(tmp_path, "identity_fp32")
    with server(tmp_path) as running:
        assert soak.run(running.port, running.process.pid, REQUESTS, 4) is None
