"""Each call of Triton's Python clients as its example programs make it."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

# Loudly: these tests run in an environment that has the clients, or not at all.
httpclient: ModuleType = pytest.importorskip("tritonclient.http")
grpcclient: ModuleType = pytest.importorskip("tritonclient.grpc")
httpaio: ModuleType = pytest.importorskip("tritonclient.http.aio")
grpcaio: ModuleType = pytest.importorskip("tritonclient.grpc.aio")
tritonutils: ModuleType = pytest.importorskip("tritonclient.utils")

FIRST = np.arange(16, dtype=np.int32).reshape(1, 16)
SECOND = np.ones((1, 16), dtype=np.int32)


@pytest.fixture(params=["http", "grpc"])
def module(request: pytest.FixtureRequest) -> ModuleType:
    return httpclient if request.param == "http" else grpcclient


@pytest.fixture
def url(module: ModuleType, http_url: str, grpc_url: str) -> str:
    return http_url if module is httpclient else grpc_url


def _inputs(module: ModuleType, **options: Any) -> list[Any]:
    inputs = []
    for name, values in (("INPUT0", FIRST), ("INPUT1", SECOND)):
        tensor = module.InferInput(name, [1, 16], "INT32")
        tensor.set_data_from_numpy(values, **options)
        inputs.append(tensor)
    return inputs


def _outputs(module: ModuleType, **options: Any) -> list[Any]:
    return [module.InferRequestedOutput(name, **options) for name in ("OUTPUT0", "OUTPUT1")]


def _right(result: Any) -> None:
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), FIRST + SECOND)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), FIRST - SECOND)


def test_infer(module: ModuleType, url: str) -> None:
    with module.InferenceServerClient(url) as client:
        _right(client.infer("simple", _inputs(module), outputs=_outputs(module), request_id="7", model_version=""))
        _right(client.infer("simple", _inputs(module)))
        result = client.infer("simple", _inputs(module), outputs=_outputs(module)[:1], request_id="7")
        assert result.as_numpy("OUTPUT1") is None
        _right(client.infer("simple", _inputs(module), model_version="1.0.0"))


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_http_binary_and_compressed(http_url: str, binary_in: bool, binary_out: bool, compression: str | None) -> None:
    with httpclient.InferenceServerClient(http_url) as client:
        result = client.infer(
            "simple",
            _inputs(httpclient, binary_data=binary_in),
            outputs=_outputs(httpclient, binary_data=binary_out),
            request_compression_algorithm=compression,
            response_compression_algorithm=compression,
            headers={"x-request-id": "a"},
            query_params={"a": 1},
        )
        _right(result)


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_grpc_compressed(grpc_url: str, compression: str | None) -> None:
    with grpcclient.InferenceServerClient(grpc_url) as client:
        _right(client.infer("simple", _inputs(grpcclient), compression_algorithm=compression, client_timeout=20))


def test_request_objects_are_used_again(module: ModuleType, url: str) -> None:
    inputs, outputs = _inputs(module), _outputs(module)
    with module.InferenceServerClient(url) as client:
        for _ in range(3):
            _right(client.infer("simple", inputs, outputs=outputs))
        inputs[0].set_data_from_numpy(SECOND)
        result = client.infer("simple", inputs, outputs=outputs)
        np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), SECOND + SECOND)


def test_strings(module: ModuleType, url: str) -> None:
    values = np.array([["a", "", "grüße"]], dtype=object)
    tensor = module.InferInput("INPUT0", values.shape, "BYTES")
    with module.InferenceServerClient(url) as client:
        for given in (values, np.char.encode(values.astype(str), "utf-8").astype(object)):
            tensor.set_data_from_numpy(given)
            result = client.infer("identity_bytes", [tensor]).as_numpy("OUTPUT0")
            assert [item.decode() for item in result.ravel()] == ["a", "", "grüße"]


@pytest.mark.parametrize(
    "kind", ["int8", "int16", "int64", "uint8", "uint16", "uint32", "uint64", "fp16", "fp32", "fp64", "bool"]
)
def test_every_datatype(module: ModuleType, url: str, kind: str) -> None:
    dtype = {"fp16": np.float16, "fp32": np.float32, "fp64": np.float64, "bool": np.bool_}.get(kind) or np.dtype(kind)
    values = np.array([[0, 1, 1]], dtype=dtype)
    tensor = module.InferInput("INPUT0", [1, 3], tritonutils.np_to_triton_dtype(values.dtype))
    tensor.set_data_from_numpy(values)
    with module.InferenceServerClient(url) as client:
        np.testing.assert_array_equal(client.infer(f"identity_{kind}", [tensor]).as_numpy("OUTPUT0"), values)


def test_health_metadata_configuration_statistics(module: ModuleType, url: str) -> None:
    options = {"as_json": True} if module is grpcclient else {}
    with module.InferenceServerClient(url) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("simple")
        assert client.is_model_ready("simple", "1.0.0")
        assert client.get_server_metadata(**options)["name"] == "snapedge-onnx"
        assert client.get_model_metadata("simple", **options)["inputs"][0]["name"] == "INPUT0"
        config = client.get_model_config("simple", **options)
        assert config.get("config", config)["name"] == "simple"
        client.infer("simple", _inputs(module))
        stats = client.get_inference_statistics("simple", **options)["model_stats"]
        assert len(stats) == 1
        assert int(stats[0]["inference_stats"]["success"]["count"]) >= 1
        assert len(client.get_inference_statistics(**options)["model_stats"]) > 10
        with pytest.raises(tritonutils.InferenceServerException):
            client.get_model_metadata("wrong_model_name")


def test_model_control(module: ModuleType, url: str) -> None:
    with module.InferenceServerClient(url) as client:
        client.load_model("pick")
        assert client.is_model_ready("pick")
        client.unload_model("pick")
        assert not client.is_model_ready("pick")
        index = client.get_model_repository_index(**({"as_json": True} if module is grpcclient else {}))
        entries = index["models"] if isinstance(index, dict) else index
        assert {entry["name"]: entry["state"] for entry in entries}["pick"] == "UNAVAILABLE"
        client.load_model("pick")
        assert client.is_model_ready("pick")
        with pytest.raises(tritonutils.InferenceServerException, match="failed to load"):
            client.load_model("wrong_model_name")
        with pytest.raises(tritonutils.InferenceServerException, match="come from its folder"):
            client.load_model("pick", config="{}")


def test_mistakes_reach_the_caller_in_words(module: ModuleType, url: str) -> None:
    tensor = module.InferInput("INPUT0", [1, 15], "INT32")
    tensor.set_data_from_numpy(FIRST[:, :15].copy())
    refused = pytest.raises(tritonutils.InferenceServerException, match=r"the model takes \[-1, 16\]")
    with module.InferenceServerClient(url) as client, refused:
        client.infer("simple", [tensor, _inputs(module)[1]])


def test_http_async(http_url: str) -> None:
    with httpclient.InferenceServerClient(http_url, concurrency=4) as client:
        pending = [client.async_infer("simple", _inputs(httpclient)) for _ in range(8)]
        for request in pending:
            _right(request.get_result())


def test_grpc_async(grpc_url: str) -> None:
    done: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    with grpcclient.InferenceServerClient(grpc_url) as client:
        for _ in range(8):
            client.async_infer("simple", _inputs(grpcclient), lambda result, error: done.put((result, error)))
        for _ in range(8):
            result, error = done.get(timeout=20)
            assert error is None
            _right(result)


@pytest.mark.parametrize("aio", [httpaio, grpcaio], ids=["http", "grpc"])
def test_aio(aio: ModuleType, http_url: str, grpc_url: str) -> None:
    module, url = (httpclient, http_url) if aio is httpaio else (grpcclient, grpc_url)

    async def ask() -> None:
        client = aio.InferenceServerClient(url)
        try:
            assert await client.is_server_ready()
            assert await client.is_model_ready("simple")
            results = await asyncio.gather(*(client.infer("simple", _inputs(module)) for _ in range(4)))
            for result in results:
                _right(result)
        finally:
            await client.close()

    asyncio.run(ask())


def test_grpc_keepalive_and_channel_arguments(grpc_url: str) -> None:
    keepalive = grpcclient.KeepAliveOptions(
        keepalive_time_ms=10_000, keepalive_timeout_ms=5_000, keepalive_permit_without_calls=True
    )
    with grpcclient.InferenceServerClient(grpc_url, keepalive_options=keepalive) as client:
        _right(client.infer("simple", _inputs(grpcclient)))
    arguments = [("grpc.lb_policy_name", "round_robin"), ("grpc.max_send_message_length", 1 << 20)]
    with grpcclient.InferenceServerClient(grpc_url, channel_args=arguments) as client:
        _right(client.infer("simple", _inputs(grpcclient)))


@pytest.mark.parametrize("explicit", ["int", "bytes"])
def test_grpc_explicit_contents(grpc_url: str, explicit: str) -> None:
    """The examples that write the messages themselves."""
    import grpc
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    contents: dict[str, Callable[[], Any]] = {
        "int": lambda: service_pb2.InferTensorContents(int_contents=range(16)),
        "bytes": lambda: service_pb2.InferTensorContents(bytes_contents=[b"a", b"b"]),
    }
    tensor = service_pb2.ModelInferRequest().InferInputTensor
    with grpc.insecure_channel(grpc_url) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        if explicit == "int":
            inputs = [
                tensor(name=name, datatype="INT32", shape=[1, 16], contents=contents["int"]())
                for name in ("INPUT0", "INPUT1")
            ]
            answer = stub.ModelInfer(service_pb2.ModelInferRequest(model_name="simple", inputs=inputs))
            assert np.frombuffer(answer.raw_output_contents[0], "<i4").tolist() == list(range(0, 32, 2))
        else:
            inputs = [tensor(name="INPUT0", datatype="BYTES", shape=[1, 2], contents=contents["bytes"]())]
            answer = stub.ModelInfer(service_pb2.ModelInferRequest(model_name="identity_bytes", inputs=inputs))
            assert tritonutils.deserialize_bytes_tensor(answer.raw_output_contents[0]).tolist() == [b"a", b"b"]
