"""Every public call of Triton's clients is made against the server: answered, or refused where it is not served."""

from __future__ import annotations

import asyncio
import queue
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

httpclient: ModuleType = pytest.importorskip("tritonclient.http")
grpcclient: ModuleType = pytest.importorskip("tritonclient.grpc")
httpaio: ModuleType = pytest.importorskip("tritonclient.http.aio")
grpcaio: ModuleType = pytest.importorskip("tritonclient.grpc.aio")
tritonutils: ModuleType = pytest.importorskip("tritonclient.utils")

FIRST = np.arange(16, dtype=np.int32).reshape(1, 16)
SECOND = np.ones((1, 16), dtype=np.int32)

NOT_SERVED: dict[str, tuple[Any, ...]] = {
    "get_cuda_shared_memory_status": (),
    "get_system_shared_memory_status": (),
    "register_cuda_shared_memory": ("region", b"aGFuZGxl", 0, 64),
    "register_system_shared_memory": ("region", "/key", 64),
    "unregister_cuda_shared_memory": (),
    "unregister_system_shared_memory": (),
    "get_log_settings": (),
    "get_trace_settings": (),
    "update_log_settings": ({},),
    "update_trace_settings": (),
}
"""Memory of the client's machine, and settings of a running server: a pod shares neither with its clients."""


def _inputs(module: ModuleType) -> list[Any]:
    inputs = []
    for name, values in (("INPUT0", FIRST), ("INPUT1", SECOND)):
        tensor = module.InferInput(name, [1, 16], "INT32")
        tensor.set_data_from_numpy(values)
        inputs.append(tensor)
    return inputs


def _right(result: Any) -> None:
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), FIRST + SECOND)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(client, id=client.__module__)
        for client in (
            httpclient.InferenceServerClient,
            grpcclient.InferenceServerClient,
            httpaio.InferenceServerClient,
            grpcaio.InferenceServerClient,
            httpclient.InferInput,
            httpclient.InferRequestedOutput,
            httpclient.InferResult,
            httpclient.InferAsyncRequest,
            grpcclient.InferResult,
        )
    ],
)
def test_no_public_call_is_left_out(kind: type) -> None:
    made = "".join(path.read_text() for path in Path(__file__).parent.glob("test_tritonclient*.py"))
    public = {name for name in dir(kind) if not name.startswith("_")} - NOT_SERVED.keys()
    assert {name for name in public if not re.search(rf"\.{name}\b", made)} == set()


@pytest.mark.parametrize("call", sorted(NOT_SERVED))
def test_what_is_not_served_is_refused(call: str, http_url: str, grpc_url: str) -> None:
    for module, url in ((httpclient, http_url), (grpcclient, grpc_url)):
        with module.InferenceServerClient(url) as client:
            with pytest.raises(tritonutils.InferenceServerException) as caught:
                getattr(client, call)(*NOT_SERVED[call])
            assert caught.value.message()
            assert client.is_server_live()


def test_a_tensor_in_shared_memory_is_refused(http_url: str, grpc_url: str) -> None:
    for module, url in ((httpclient, http_url), (grpcclient, grpc_url)):
        tensors = _inputs(module)
        tensors[0].set_shared_memory("region", 64)
        output = module.InferRequestedOutput("OUTPUT0")
        output.set_shared_memory("region", 64)
        with module.InferenceServerClient(url) as client:
            with pytest.raises(tritonutils.InferenceServerException, match="shared memory"):
                client.infer("simple", tensors)
            with pytest.raises(tritonutils.InferenceServerException, match="shared memory"):
                client.infer("simple", _inputs(module), outputs=[output])
            output.unset_shared_memory()
            _right(client.infer("simple", _inputs(module), outputs=[output]))


def test_request_objects_say_what_they_are_and_may_be_given_another_shape(http_url: str) -> None:
    tensor = httpclient.InferInput("INPUT0", [1, 3], "FP32")
    assert (tensor.name(), tensor.datatype(), list(tensor.shape())) == ("INPUT0", "FP32", [1, 3])
    assert httpclient.InferRequestedOutput("OUTPUT0").name() == "OUTPUT0"
    tensor.set_shape([2, 2])
    tensor.set_data_from_numpy(np.arange(4, dtype=np.float32).reshape(2, 2))
    with httpclient.InferenceServerClient(http_url) as client:
        result = client.infer("identity_fp32", [tensor])
    assert result.as_numpy("OUTPUT0").tolist() == [[0, 1], [2, 3]]


def test_results_can_be_read_as_messages(http_url: str, grpc_url: str) -> None:
    with httpclient.InferenceServerClient(http_url) as client:
        result = client.infer("simple", _inputs(httpclient), request_id="r")
        assert result.get_output("OUTPUT0")["datatype"] == "INT32"
        assert (result.get_response()["id"], result.get_response()["model_name"]) == ("r", "simple")
    with grpcclient.InferenceServerClient(grpc_url) as client:
        result = client.infer("simple", _inputs(grpcclient), request_id="r")
        assert result.get_output("OUTPUT0").datatype == "INT32"
        assert result.get_response(as_json=True)["id"] == "r"


def test_a_request_may_travel_by_other_means(http_url: str) -> None:
    import urllib.request

    for client in (httpclient.InferenceServerClient, httpaio.InferenceServerClient):
        body, length = client.generate_request_body(_inputs(httpclient), request_id="1")
        request = urllib.request.Request(
            f"http://{http_url}/v2/models/simple/infer", body, {"Inference-Header-Content-Length": str(length)}
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            content = answer.read()
            split = int(answer.headers["Inference-Header-Content-Length"])
        _right(client.parse_response_body(content, header_length=split))
        _right(httpclient.InferResult.from_response_body(content, header_length=split))


def test_plugins_of_the_client_change_its_headers(http_url: str, grpc_url: str) -> None:
    for module, url in ((httpclient, http_url), (grpcclient, grpc_url)):
        from tritonclient._plugin import InferenceServerClientPlugin

        class Named(InferenceServerClientPlugin):  # type: ignore[misc]
            def __call__(self, request: Any) -> None:
                request.headers["x-request-id"] = "from-a-plugin"

        with module.InferenceServerClient(url) as client:
            plugin = Named()
            client.register_plugin(plugin)
            assert client.plugin() is plugin
            _right(client.infer("simple", _inputs(module)))
            client.unregister_plugin()
            assert client.plugin() is None


def test_http_async_requests_are_collected(http_url: str) -> None:
    client = httpclient.InferenceServerClient(http_url, concurrency=2)
    try:
        _right(client.async_infer("simple", _inputs(httpclient)).get_result(block=True, timeout=20))
    finally:
        client.close()


def test_a_grpc_stream_answers_in_order_and_outlives_a_mistake(grpc_url: str) -> None:
    done: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    with grpcclient.InferenceServerClient(grpc_url) as client:
        client.start_stream(lambda result, error: done.put((result, error)))
        for number in range(4):
            client.async_stream_infer("simple", _inputs(grpcclient), request_id=str(number))
        client.async_stream_infer("wrong_model_name", _inputs(grpcclient), request_id="wrong")
        client.async_stream_infer("simple", _inputs(grpcclient), request_id="last")
        found = [done.get(timeout=20) for _ in range(6)]
        client.stop_stream()
    assert [result.get_response().id for result, error in found if error is None] == ["0", "1", "2", "3", "last"]
    for result, error in found:
        if error is None:
            _right(result)
    (error,) = [error for _, error in found if error is not None]
    assert "there is no model 'wrong_model_name'" in error.message()


@pytest.mark.parametrize("aio", [httpaio, grpcaio], ids=["http", "grpc"])
def test_every_call_of_the_aio_clients(aio: ModuleType, http_url: str, grpc_url: str) -> None:
    module, url = (httpclient, http_url) if aio is httpaio else (grpcclient, grpc_url)
    as_json = {} if aio is httpaio else {"as_json": True}

    async def ask() -> None:
        async with aio.InferenceServerClient(url) as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert (await client.get_server_metadata(**as_json))["name"] == "snapedge-onnx"
            assert (await client.get_model_metadata("simple", **as_json))["name"] == "simple"
            config = await client.get_model_config("simple", **as_json)
            assert config.get("config", config)["name"] == "simple"
            assert (await client.get_inference_statistics("simple", **as_json))["model_stats"]
            assert await client.get_model_repository_index(**as_json)
            await client.unload_model("pick")
            assert not await client.is_model_ready("pick")
            await client.load_model("pick")
            assert await client.is_model_ready("pick")
            _right(await client.infer("simple", _inputs(module), request_id="1"))
            for call, arguments in NOT_SERVED.items():
                with pytest.raises(tritonutils.InferenceServerException):
                    await getattr(client, call)(*arguments)

    asyncio.run(ask())


def test_an_aio_grpc_stream(grpc_url: str) -> None:
    async def requests() -> Any:
        for number in range(3):
            yield {"model_name": "simple", "inputs": _inputs(grpcclient), "request_id": str(number)}

    async def ask() -> list[str]:
        ids = []
        async with grpcaio.InferenceServerClient(grpc_url) as client:
            async for result, error in client.stream_infer(requests()):
                assert error is None
                _right(result)
                ids.append(result.get_response().id)
        return ids

    assert asyncio.run(ask()) == ["0", "1", "2"]
