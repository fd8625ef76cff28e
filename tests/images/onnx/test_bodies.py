"""Bodies on their way in: heads that are known already, and bodies too large to be copied."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from .serving import Server, place, server

COUNT = 150_000
VALUES = np.arange(COUNT, dtype="<f4")
SMALL = {"inputs": [{"name": "INPUT0", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}]}


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of a model that answers with its input."""
    directory = tmp_path_factory.mktemp("models")
    place(directory, "identity_fp32")
    with server(directory, "--max-body", "4MiB", "--request-timeout", "1s") as running:
        yield running


def _message(body: bytes, *headers: str) -> bytes:
    lines = ["POST /v2/models/identity_fp32/infer HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _plain(document: object) -> bytes:
    return _message(json.dumps(document).encode())


def _binary(pad: int = 0) -> bytes:
    tensor = {
        "name": "INPUT0",
        "shape": [1, COUNT],
        "datatype": "FP32",
        "parameters": {"binary_data_size": VALUES.nbytes},
    }
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode() + b" " * pad
    return _message(text + VALUES.tobytes(), f"Inference-Header-Content-Length: {len(text)}")


class Client:
    """Reads one answer after the other from a connection."""

    def __init__(self, running: Server) -> None:
        self.socket = socket.create_connection(("127.0.0.1", running.port), timeout=20)
        self._stream = self.socket.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self.socket.close()

    def answer(self) -> tuple[int, bytes, bytes]:
        """Status, JSON and tensors."""
        status = int(self._stream.readline().split()[1])
        headers = dict(line.rstrip().lower().split(b": ") for line in iter(self._stream.readline, b"\r\n"))
        body = self._stream.read(int(headers[b"content-length"]))
        split = int(headers.get(b"inference-header-content-length", len(body)))
        return status, body[:split], body[split:]


def test_the_same_head_again_is_answered_by_its_own_body(echo: Server) -> None:
    with Client(echo) as client:
        for number in range(10, 40):
            wanted = [float(number), 2.0]
            client.socket.sendall(_plain({"inputs": [SMALL["inputs"][0] | {"data": wanted}]}))
            status, text, _ = client.answer()
            assert (status, json.loads(text)["outputs"][0]["data"]) == (200, wanted)


def test_a_known_head_may_come_in_pieces_and_with_others_behind_it(echo: Server) -> None:
    one = _plain(SMALL)
    with Client(echo) as client:
        for _ in range(3):
            client.socket.sendall(one)
            assert client.answer()[0] == 200
        for cut in (5, one.index(b"\r\n\r\n") + 4, len(one) - 1):
            client.socket.sendall(one[:cut])
            time.sleep(0.05)
            client.socket.sendall(one[cut:])
            assert client.answer()[0] == 200
        client.socket.sendall(one * 3 + b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert [client.answer()[0] for _ in range(4)] == [200] * 4


def test_a_known_head_with_another_length_of_body_is_read_by_the_parser(echo: Server) -> None:
    one = _plain(SMALL)
    with Client(echo) as client:
        client.socket.sendall(one)
        assert client.answer()[0] == 200
        client.socket.sendall(one + b"rubbish")
        assert [client.answer()[0], client.answer()[0]] == [200, 400]


def test_a_head_that_closes_the_connection_closes_it_each_time(echo: Server) -> None:
    body = json.dumps(SMALL).encode()
    for _ in range(3):
        with Client(echo) as client:
            client.socket.sendall(_message(body, "Connection: close"))
            assert client.answer()[0] == 200
            assert client.socket.recv(1) == b""


@pytest.mark.parametrize("pad", range(5))
def test_a_large_tensor_comes_back_as_it_went_wherever_it_begins(echo: Server, pad: int) -> None:
    with Client(echo) as client:
        for _ in range(3):
            client.socket.sendall(_binary(pad))
            status, _, tensor = client.answer()
            assert (status, tensor) == (200, VALUES.tobytes())


def test_a_large_body_may_come_in_pieces_and_with_others_behind_it(echo: Server) -> None:
    message = _binary(1) + _plain(SMALL) + _binary(2)
    with Client(echo) as client:
        sender = threading.Thread(target=_send_in_pieces, args=(client.socket, message, 9_973))
        sender.start()
        first, second, third = client.answer(), client.answer(), client.answer()
        sender.join()
        client.socket.sendall(_plain(SMALL))
        fourth = client.answer()
    assert (first[2], third[2]) == (VALUES.tobytes(), VALUES.tobytes())
    assert [json.loads(text)["outputs"][0]["data"] for _, text, _ in (second, fourth)] == [[1.0, 2.0]] * 2


def _send_in_pieces(client: socket.socket, message: bytes, size: int) -> None:
    for start in range(0, len(message), size):
        client.sendall(message[start : start + size])


def test_a_large_json_or_compressed_body_is_read(echo: Server) -> None:
    document = {"inputs": [{"name": "INPUT0", "shape": [1, COUNT], "datatype": "FP32", "data": VALUES.tolist()}]}
    text = json.dumps(document).encode()
    noise = np.random.default_rng(1).random(40_000, dtype=np.float32)
    noisy = {"inputs": [{"name": "INPUT0", "shape": [1, 40_000], "datatype": "FP32", "data": noise.tolist()}]}
    packed = gzip.compress(json.dumps(noisy).encode())
    assert len(packed) > 64 * 1024
    with Client(echo) as client:
        client.socket.sendall(_message(text))
        status, answer, _ = client.answer()
        assert (status, json.loads(answer)["outputs"][0]["data"]) == (200, VALUES.tolist())
        client.socket.sendall(_message(packed, "Content-Encoding: gzip"))
        status, answer, _ = client.answer()
        assert status == 200
        assert np.array_equal(np.array(json.loads(answer)["outputs"][0]["data"], np.float32), noise)


def test_a_large_body_that_stops_is_408_and_one_that_ends_costs_nothing(echo: Server) -> None:
    message = _binary()
    with Client(echo) as client:
        client.socket.sendall(message[: 200 * 1024])
        client.socket.shutdown(socket.SHUT_WR)
    with Client(echo) as client:
        client.socket.settimeout(60)
        # By its size it has four seconds more than the one that the limit leaves.
        length = 70 * 1024
        client.socket.sendall(_message(b"x" * length)[:-1])
        status, text, _ = client.answer()
        assert status == 408
        assert "too long to arrive" in json.loads(text)["error"]
        client.socket.sendall(b"x")
        assert client.socket.recv(1) == b""
    assert echo.infer("identity_fp32", SMALL).status == 200


def test_promised_bodies_hold_no_memory(echo: Server) -> None:
    def promise(client: socket.socket) -> None:
        client.sendall(b"POST /v2/models/identity_fp32/infer HTTP/1.1\r\nContent-Length: 4000000\r\n\r\n{")

    clients = [socket.create_connection(("127.0.0.1", echo.port), timeout=20) for _ in range(100)]
    before = echo.memory()
    try:
        for client in clients:
            promise(client)
        assert echo.infer("identity_fp32", SMALL).status == 200
        assert echo.memory() - before < 20_000_000
    finally:
        for client in clients:
            client.close()


def test_more_than_is_held_at_a_time_is_503(tmp_path: Path) -> None:
    place(tmp_path, "identity_fp32")
    with server(tmp_path, "--max-body", "1MiB") as running:
        head = b"POST /v2/models/identity_fp32/infer HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n"
        waiting = [Client(running) for _ in range(2)]
        try:
            for client in waiting:
                client.socket.sendall(head + b"x" * 999_999)
            time.sleep(0.3)
            with Client(running) as client:
                client.socket.sendall(head + b"x" * 999_999)
                status, text, _ = client.answer()
                assert (status, json.loads(text)["error"]) == (503, "too much is being sent")
            for client in waiting:
                client.socket.sendall(b"x")
                assert client.answer()[0] == 400
        finally:
            for client in waiting:
                client.__exit__()
