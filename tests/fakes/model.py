"""An inference endpoint in memory: a Service whose pods can be exchanged."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]


class FakeModel:
    """Answers `/v2/models/<name>/infer` as its current program does; 503 without one."""

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.requests: list[str] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *args: Any) -> None:
                return

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                fake.requests.append(self.path)
                status, document = (503, {"error": "no pod"}) if fake.answer is None else fake.answer(json.loads(body))
                data = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def labels(*data: int, shape: tuple[int, ...] = (1,)) -> Answer:
    """A program that answers every request with one output, `label`."""

    def answer(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        outputs = [{"name": "label", "shape": list(shape), "datatype": "INT64", "data": list(data)}]
        return 200, {"model_name": "wine", "outputs": outputs}

    return answer
