"""A load of gRPC requests: `python grpcload.py <port> <model> <elements> <connections> <seconds>`.

Runs in the environment that has Triton's messages, and prints what wrk would say, as JSON: requests, errors, p50 and
p99 in microseconds.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import time

import grpc.aio
from tritonclient.grpc import service_pb2, service_pb2_grpc


async def _ask(port: int, request: bytes, until: float, times: list[float]) -> int:
    errors = 0
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        message = service_pb2.ModelInferRequest.FromString(request)
        while (start := time.perf_counter()) < until:
            try:
                await stub.ModelInfer(message, timeout=30)
            except grpc.aio.AioRpcError:
                errors += 1
            times.append(time.perf_counter() - start)
    return errors


async def main(port: int, model: str, elements: int, connections: int, seconds: float) -> None:
    """Asks, and prints what came of it."""
    tensor = service_pb2.ModelInferRequest.InferInputTensor(name="INPUT0", datatype="FP32", shape=[1, elements])
    raw = struct.pack("<f", 0.5) * elements
    request = service_pb2.ModelInferRequest(model_name=model, inputs=[tensor], raw_input_contents=[raw])
    times: list[float] = []
    until = time.perf_counter() + seconds
    asked = [_ask(port, request.SerializeToString(), until, times) for _ in range(connections)]
    errors = sum(await asyncio.gather(*asked))
    times.sort()
    p50, p99 = (times[int(len(times) * part)] * 1e6 for part in (0.5, 0.99))
    print(json.dumps({"requests": len(times), "errors": errors, "p50": p50, "p99": p99}))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])))
