"""What our server adds to `session.run`, without sockets: one number, microseconds for a request.

Runs in the environment of the ONNX image: `python -m tests.bench.overhead <folder of models>`. A connection is fed the
request that the bench sends, again and again, and writes into nothing; the model alone is timed beside it. The best of
several rounds counts, since everything else on a machine only adds.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import uvloop

from snapedge_oip import loading, settings
from snapedge_oip.connection import Connection
from snapedge_oip.front import Front
from snapedge_oip.limits import Limits
from snapedge_oip.models import Repository
from snapedge_oip.pool import Pool
from snapedge_oip.service import Service
from snapedge_onnx.runtime import OnnxRuntime

from .servers import NAME, PATH

ROUNDS, REQUESTS = 30, 2000


class _Nowhere(asyncio.Transport):
    def write(self, data: object) -> None:
        pass

    def is_closing(self) -> bool:
        return False


def _best(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(REQUESTS):
            work()
        best = min(best, (time.process_time() - start) / REQUESTS)
    return best * 1e6


async def main(folder: str) -> None:
    """Prints the overhead."""
    loop = asyncio.get_running_loop()
    chosen = settings.parse("bench", ["--model-dir", folder], {})
    repository = Repository()
    refusal = loading.Loader(OnnxRuntime(), chosen, 1, repository).load_all()
    assert refusal is None, refusal
    service = Service(repository, name="bench", version="1", max_body=chosen.max_body)
    front = Front(loop, service, Pool(loop, workers=1, limit=8), Limits.of(chosen))
    connection = Connection(front)
    connection.connection_made(_Nowhere())
    values = [index / 13 for index in range(13)]
    tensor = {"name": "INPUT0", "shape": [1, 13], "datatype": "FP32", "data": values}
    body = json.dumps({"inputs": [tensor]}).encode()
    request = f"POST {PATH} HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    model = repository.find(NAME)
    assert model is not None
    inputs = {"INPUT0": np.array([values], np.float32)}
    alone = _best(lambda: model.session.predict(inputs, ["OUTPUT0"]))
    print(f"{_best(lambda: connection.data_received(request)) - alone:.1f}")


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
