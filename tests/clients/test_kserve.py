"""KServe's own clients, REST (V1 and V2) and gRPC."""

from __future__ import annotations

import asyncio
from types import ModuleType
from typing import Any

import numpy as np
import pytest

kserve: ModuleType = pytest.importorskip("kserve")
infertype: ModuleType = pytest.importorskip("kserve.protocol.infer_type")

VALUES = np.arange(16, dtype=np.int32).reshape(1, 16)


def _request(*, binary: bool) -> Any:
    inputs = []
    for name in ("INPUT0", "INPUT1"):
        tensor = kserve.InferInput(name=name, shape=[1, 16], datatype="INT32")
        tensor.set_data_from_numpy(VALUES, binary_data=binary)
        inputs.append(tensor)
    outputs = [infertype.RequestedOutput(name, {"binary_data": binary}) for name in ("OUTPUT0", "OUTPUT1")]
    return kserve.InferRequest(model_name="simple", infer_inputs=inputs, request_outputs=outputs, request_id="7")


@pytest.mark.parametrize("binary", [False, True])
def test_rest_v2(http_url: str, binary: bool) -> None:
    async def ask() -> Any:
        client = kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2", timeout=20))
        try:
            base = f"http://{http_url}"
            assert await client.is_server_live(base)
            assert await client.is_server_ready(base)
            assert await client.is_model_ready(base, "simple")
            return await client.infer(base, _request(binary=binary), model_name="simple")
        finally:
            await client.close()

    response = asyncio.run(ask())
    assert response.id == "7"
    np.testing.assert_array_equal(response.outputs[0].as_numpy(), VALUES + VALUES)
    np.testing.assert_array_equal(response.outputs[1].as_numpy(), VALUES - VALUES)


def test_rest_v1(http_url: str) -> None:
    async def ask() -> Any:
        client = kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v1", timeout=20))
        try:
            base = f"http://{http_url}"
            assert await client.is_model_ready(base, "identity_fp32")
            return await client.infer(base, {"instances": [[1.5, 2.0]]}, model_name="identity_fp32")
        finally:
            await client.close()

    assert asyncio.run(ask()) == {"predictions": [[1.5, 2.0]]}


@pytest.mark.parametrize("binary", [False, True])
def test_grpc(grpc_url: str, binary: bool) -> None:
    async def ask() -> Any:
        client = kserve.InferenceGRPCClient(url=grpc_url, timeout=20)
        try:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready("simple")
            return await client.infer(_request(binary=binary))
        finally:
            await client.close()

    response = asyncio.run(ask())
    np.testing.assert_array_equal(response.outputs[0].as_numpy(), VALUES + VALUES)
