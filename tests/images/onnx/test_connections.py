"""HTTP itself: pipelining, limits, slow clients, a stop under load."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .serving import PYTHONPATH, Server, place, server

LONG = 60_000
"""Rounds of the slow model: more than a second."""

LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"


@contextmanager
def _socket(running: Server) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as client:
        yield client


def _everything(client: socket.socket) -> bytes:
    pieces = []
    while piece := client.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def _post(model: str, document: object, *headers: str) -> bytes:
    body = json.dumps(document).encode()
    lines = [f"POST /v2/models/{model}/infer HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _rounds(count: int) -> dict[str, object]:
    return {"inputs": [{"name": "rounds", "shape": [1], "datatype": "INT64", "data": [count]}]}


def _statuses(answers: bytes) -> list[int]:
    return [int(line.split()[1]) for line in answers.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")] + [
        int(piece[:3]) for piece in answers.split(b"}HTTP/1.1 ")[1:]
    ]


def test_pipelined_requests_are_answered_in_their_order(running: Server) -> None:
    picks = [
        {"id": str(number), "inputs": [{"name": "index", "shape": [1], "datatype": "INT64", "data": [number % 3]}]}
        for number in range(50)
    ]
    slow = _rounds(3) | {"id": "slow"}
    requests = [_post("slow", slow)] + [_post("pick", pick) for pick in picks]
    with _socket(running) as client:
        client.sendall(b"".join(requests))
        client.shutdown(socket.SHUT_WR)
        answers = _everything(client)
    ids = [json.loads(b'"' + piece.split(b'"')[0] + b'"') for piece in answers.split(b'"id":"')[1:]]
    assert ids == ["slow", *(str(number) for number in range(50))]


def test_a_request_may_come_byte_by_byte(running: Server) -> None:
    with _socket(running) as client:
        for byte in LIVE:
            client.sendall(bytes([byte]))
        assert client.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")


def test_http_1_0_is_answered_and_closed(running: Server) -> None:
    with _socket(running) as client:
        client.sendall(b"GET /v2/health/live HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert b"Connection: close\r\n" in _everything(client)


def test_expect_100_continue_is_met(running: Server) -> None:
    body = json.dumps(_rounds(1)).encode()
    head = f"POST /v2/models/slow/infer HTTP/1.1\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    with _socket(running) as client:
        client.sendall(head.encode())
        assert client.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert client.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_chunked_body_is_read(running: Server) -> None:
    body = json.dumps(_rounds(1)).encode()
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    with _socket(running) as client:
        client.sendall(b"POST /v2/models/slow/infer HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
        assert client.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET /v2 HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /v2/models/simple/infer HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v2/models/simple/infer HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /v2/models/simple/infer HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
        b"POST /v2/models/simple/infer HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_not_http_is_400_and_closed(running: Server, nonsense: bytes) -> None:
    with _socket(running) as client:
        client.sendall(nonsense)
        answer = _everything(client)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b'{"error":' in answer


def test_an_upgrade_is_answered_as_plain_http_and_closed(running: Server) -> None:
    with _socket(running) as client:
        client.sendall(b"GET /v2/health/live HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
        assert b'{"live":true}' in _everything(client)


def test_limits_answer_413_and_431(tmp_path: Path) -> None:
    place(tmp_path, "simple")
    with server(tmp_path, "--max-body", "1KiB", "--max-header", "1KiB") as running:
        post = b"POST /v2/models/simple/infer HTTP/1.1\r\n"
        for request, status in (
            (post + b"Content-Length: 1025\r\n\r\n", 413),
            (post + b"Content-Length: 1025\r\n\r\n" + bytes(1025), 413),
            (post + b"Content-Length: 99999999999999999999\r\n\r\n", 400),
            (post + b"Transfer-Encoding: chunked\r\n\r\n401\r\n" + bytes(0x401), 413),
            (post + b"X: " + b"y" * 2000 + b"\r\n\r\n", 431),
            (b"GET /" + b"y" * 2000, 431),
            (post + b"X: y\r\n" * 500, 431),
        ):
            with _socket(running) as client:
                client.sendall(request[:600])
                time.sleep(0.05)
                client.sendall(request[600:])
                assert _statuses(_everything(client)) == [status], request[:80]
        assert running.get("/v2/health/live").status == 200


def test_a_full_house_lets_an_idle_connection_go_and_refuses_when_none_is(tmp_path: Path) -> None:
    place(tmp_path, "simple")
    with server(tmp_path, "--max-connections", "2") as running, _socket(running) as first, _socket(running) as second:
        first.sendall(LIVE)
        first.recv(4096)
        time.sleep(0.05)  # the event loop's clock counts milliseconds, and the order must be clear
        second.sendall(LIVE)
        second.recv(4096)
        assert running.get("/v2/health/live").status == 200
        assert first.recv(1) == b""
        second.sendall(LIVE[:30])
        with _socket(running) as third:
            third.sendall(LIVE[:30])
            time.sleep(0.1)
            answer = running.get("/v2/health/live")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")


def test_slow_and_idle_clients_are_let_go(tmp_path: Path) -> None:
    place(tmp_path, "simple")
    flags = ("--request-timeout", "500ms", "--idle-timeout", "500ms")
    with server(tmp_path, *flags) as running, _socket(running) as slow, _socket(running) as idle:
        slow.sendall(LIVE[:20])
        assert _statuses(_everything(slow)) == [408]
        assert _everything(idle) == b""


def test_too_much_in_flight_is_503_and_health_answers_meanwhile(tmp_path: Path) -> None:
    place(tmp_path, "slow")
    with server(tmp_path, "--max-in-flight", "2", "--threads", "1") as running:
        # Warmed up with 0 rounds the model looks quick; one slow answer moves it to the workers.
        running.infer("slow", _rounds(20_000))
        with _socket(running) as first, _socket(running) as second:
            for client in (first, second):
                client.sendall(_post("slow", _rounds(LONG)))
            time.sleep(0.2)
            start = time.monotonic()
            assert running.get("/v2/health/live").status == 200
            waited = time.monotonic() - start
            answer = running.infer("slow", _rounds(1))
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
            assert first.recv(4096).startswith(b"HTTP/1.1 200")
            assert second.recv(4096).startswith(b"HTTP/1.1 200")
        print(f"health answered in {waited * 1000:.1f} ms beside two long inferences")


def test_sigterm_drains_without_a_dropped_request(tmp_path: Path) -> None:
    place(tmp_path, "simple")
    tensor = {"shape": [1, 16], "datatype": "INT32", "data": [1] * 16}
    request = {"inputs": [tensor | {"name": "INPUT0"}, tensor | {"name": "INPUT1"}]}
    failures: list[str] = []
    answered = [0]
    stop = threading.Event()
    with server(tmp_path, "--drain", "1s") as running:

        def ask() -> None:
            while not stop.is_set():
                try:
                    status = running.infer("simple", request).status
                except OSError as error:
                    failures.append(repr(error))
                    return
                if status != 200:
                    failures.append(str(status))
                answered[0] += 1

        clients = [threading.Thread(target=ask) for _ in range(3)]
        for client in clients:
            client.start()
        time.sleep(0.3)
        running.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        ready = running.get("/v2/health/ready")
        assert (ready.status, ready.headers["Connection"]) == (503, "close")
        assert running.get("/v2/health/live").status == 200
        time.sleep(0.3)
        stop.set()
        for client in clients:
            client.join(10)
        assert running.process.wait(10) == 0
    assert failures == []
    assert answered[0] > 50


def test_what_is_in_flight_when_the_port_closes_is_answered(tmp_path: Path) -> None:
    place(tmp_path, "slow")
    with server(tmp_path, "--drain", "0s") as running, _socket(running) as client:
        client.sendall(_post("slow", _rounds(LONG)))
        time.sleep(0.3)
        running.process.send_signal(signal.SIGTERM)
        assert client.recv(4096).startswith(b"HTTP/1.1 200")
        assert running.process.wait(10) == 0


def test_start_and_memory_are_told(tmp_path: Path) -> None:
    place(tmp_path, "simple")
    start = time.monotonic()
    with server(tmp_path) as running:
        ready = time.monotonic() - start
        print(f"first answer after {ready:.2f} s, {running.memory() / 2**20:.0f} MiB resident")


def test_nothing_phones_home_and_no_thread_is_there_for_nothing(tmp_path: Path) -> None:
    place(tmp_path / "models", "simple")
    with server(tmp_path / "models", "--threads", "1", environment={"HOME": str(tmp_path)}) as running:
        process = Path(f"/proc/{running.process.pid}")
        sockets = [link for link in (process / "fd").iterdir() if str(link.readlink()).startswith("socket:")]
        # The listener and the loop's own pair; the connection that asked for readiness may still be on its way out.
        assert len(sockets) <= 4
        deadline = time.monotonic() + 5
        while len(list((process / "task").iterdir())) > 1:
            assert time.monotonic() < deadline, "a thread stays"
            time.sleep(0.02)  # the loading thread is on its way out
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    place(tmp_path, "simple")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [sys.executable, "-P", "-m", "snapedge_onnx", "--model-dir", str(tmp_path), "--bind", "127.0.0.1"]
        command += ["--http-port", str(taken.getsockname()[1])]
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=30, check=False, env={"PYTHONPATH": PYTHONPATH}
        )
    assert ended.returncode == 2
    assert "cannot listen on 127.0.0.1" in ended.stderr


@pytest.mark.parametrize(
    ("flags", "environment"), [(["--gate", "lax"], {}), (["--nope"], {}), ([], {"SNAPEDGE_THREADS": "many"})]
)
def test_a_wrong_flag_or_variable_is_a_usage_error(flags: list[str], environment: dict[str, str]) -> None:
    command = [sys.executable, "-P", "-m", "snapedge_onnx", "--model-dir", "/nope", *flags]
    variables = {"PYTHONPATH": PYTHONPATH, **environment}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=variables)
    assert ended.returncode == 2
    assert "usage: snapedge_onnx" in ended.stderr
