"""The protocol over gRPC, asked of a real server with messages of our own; real clients are in tests/clients."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from snapedge_oip.proto import open_inference_pb2 as messages

from .serving import Server, place, server

Request = messages.ModelInferRequest
Input = messages.ModelInferRequest.InferInputTensor
Contents = messages.InferTensorContents


class Client:
    """Calls by name."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def __call__(self, method: str, request: Any) -> Any:
        answer = getattr(messages, type(request).__name__.replace("Request", "Response"))
        call: Callable[..., Any] = self._channel.unary_unary(
            f"/inference.GRPCInferenceService/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        return call(request, timeout=20)

    def refused(self, method: str, request: Any) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as caught:
            self(method, request)
        error: Any = caught.value
        return error.code(), error.details()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    directory: Path = tmp_path_factory.mktemp("models")
    for name in ("simple", "identity_int8", "identity_fp16", "identity_bytes", "identity_bool", "pick", "slow"):
        place(directory, name)
    with (
        server(directory, "--grpc-port", "0", "--max-body", "1MiB") as running,
        grpc.insecure_channel(f"127.0.0.1:{running.grpc_port()}") as channel,
    ):
        yield Client(channel)
        assert running.stop() == 0


def _input(name: str, datatype: str, shape: list[int], **contents: Any) -> Input:
    return Input(name=name, datatype=datatype, shape=shape, contents=Contents(**contents) if contents else None)


def _simple(**fields: Any) -> Request:
    inputs = [_input(name, "INT32", [1, 16], int_contents=range(16)) for name in ("INPUT0", "INPUT1")]
    return Request(**{"model_name": "simple", "inputs": inputs, **fields})


RAW = struct.pack("<16i", *range(16))
RAW_INPUTS = [_input(name, "INT32", [1, 16]) for name in ("INPUT0", "INPUT1")]


def test_health_and_metadata(client: Client) -> None:
    assert client("ServerLive", messages.ServerLiveRequest()).live
    assert client("ServerReady", messages.ServerReadyRequest()).ready
    assert client("ModelReady", messages.ModelReadyRequest(name="simple", version="1.0.0")).ready
    assert client("ServerMetadata", messages.ServerMetadataRequest()).name == "snapedge-onnx"
    metadata = client("ModelMetadata", messages.ModelMetadataRequest(name="simple"))
    assert (metadata.platform, list(metadata.versions), list(metadata.inputs[0].shape)) == (
        "onnx_onnxv1",
        ["1.0.0"],
        [-1, 16],
    )
    assert metadata.properties["digest"].startswith("sha256:")
    config = client("ModelConfig", messages.ModelConfigRequest(name="simple")).config
    assert (config.name, config.input[0].data_type, list(config.input[0].dims)) == (
        "simple",
        messages.TYPE_INT32,
        [-1, 16],
    )


@pytest.mark.parametrize("inputs", [{}, {"inputs": RAW_INPUTS, "raw_input_contents": [RAW, RAW]}])
def test_contents_and_raw_inputs_are_computed_alike(client: Client, inputs: Any) -> None:
    answer = client("ModelInfer", _simple(id="seven", **inputs))
    assert (answer.model_name, answer.model_version, answer.id) == ("simple", "1.0.0", "seven")
    assert [(output.name, output.datatype, list(output.shape)) for output in answer.outputs] == [
        ("OUTPUT0", "INT32", [1, 16]),
        ("OUTPUT1", "INT32", [1, 16]),
    ]
    assert struct.unpack("<16i", answer.raw_output_contents[0]) == tuple(range(0, 32, 2))
    assert answer.raw_output_contents[1] == bytes(64)


def test_a_subset_of_outputs(client: Client) -> None:
    answer = client("ModelInfer", _simple(outputs=[Request.InferRequestedOutputTensor(name="OUTPUT1")]))
    assert [output.name for output in answer.outputs] == ["OUTPUT1"]


@pytest.mark.parametrize(
    ("model", "tensor", "raw"),
    [
        ("identity_int8", _input("INPUT0", "INT8", [1, 2], int_contents=[-128, 127]), b"\x80\x7f"),
        ("identity_bool", _input("INPUT0", "BOOL", [1, 2], bool_contents=[True, False]), b"\x01\x00"),
        (
            "identity_bytes",
            _input("INPUT0", "BYTES", [1, 1], bytes_contents=["ü".encode()]),
            b"\x02\x00\x00\x00\xc3\xbc",
        ),
    ],
)
def test_contents_of_other_datatypes(client: Client, model: str, tensor: Input, raw: bytes) -> None:
    assert client("ModelInfer", Request(model_name=model, inputs=[tensor])).raw_output_contents[0] == raw


def test_fp16_comes_raw(client: Client) -> None:
    raw = struct.pack("<2e", 1.5, -2.0)
    tensor = _input("INPUT0", "FP16", [1, 2])
    answer = client("ModelInfer", Request(model_name="identity_fp16", inputs=[tensor], raw_input_contents=[raw]))
    assert answer.raw_output_contents[0] == raw


WRONG = {
    "no inputs": _simple(inputs=[]),
    "one input": _simple(inputs=[_input("INPUT0", "INT32", [1, 16], int_contents=range(16))]),
    "twice": _simple(inputs=[_input("INPUT0", "INT32", [1, 16], int_contents=range(16))] * 2),
    "unknown input": _simple(inputs=[_input("X", "INT32", [1, 16], int_contents=range(16))] * 2),
    "negative dimension": _simple(inputs=[_input("INPUT0", "INT32", [-1, 16], int_contents=range(16))]),
    "huge shape": _simple(inputs=[_input("INPUT0", "INT32", [2**60, 16], int_contents=range(16))]),
    "wrong datatype": _simple(inputs=[_input("INPUT0", "INT64", [1, 16], int64_contents=range(16))]),
    "wrong field": _simple(inputs=[_input("INPUT0", "INT32", [1, 16], int64_contents=range(16))]),
    "too few": _simple(inputs=[_input("INPUT0", "INT32", [1, 16], int_contents=[1])]),
    "raw count": _simple(inputs=RAW_INPUTS, raw_input_contents=[RAW]),
    "raw size": _simple(inputs=RAW_INPUTS, raw_input_contents=[RAW, RAW[:-1]]),
    "raw and contents": _simple(raw_input_contents=[RAW, RAW]),
    "unknown output": _simple(outputs=[Request.InferRequestedOutputTensor(name="X")]),
    "output twice": _simple(outputs=[Request.InferRequestedOutputTensor(name="OUTPUT0")] * 2),
    "out of range": Request(model_name="identity_int8", inputs=[_input("INPUT0", "INT8", [1, 1], int_contents=[128])]),
    "FP16 contents": Request(
        model_name="identity_fp16", inputs=[_input("INPUT0", "FP16", [1, 1], fp32_contents=[1.0])]
    ),
    "an input that cannot be computed": Request(
        model_name="pick", inputs=[_input("index", "INT64", [1], int64_contents=[7])]
    ),
}


@pytest.mark.parametrize("request_", WRONG.values(), ids=WRONG.keys())
def test_a_clients_mistake_is_an_invalid_argument(client: Client, request_: Request) -> None:
    code, details = client.refused("ModelInfer", request_)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("ModelInfer", _simple(model_name="nope")),
        ("ModelInfer", _simple(model_version="9")),
        ("ModelReady", messages.ModelReadyRequest(name="nope")),
        ("ModelMetadata", messages.ModelMetadataRequest(name="nope")),
        ("ModelStatistics", messages.ModelStatisticsRequest(name="nope")),
        ("RepositoryModelLoad", messages.RepositoryModelLoadRequest(model_name="nope")),
        ("RepositoryModelUnload", messages.RepositoryModelUnloadRequest(model_name="nope")),
    ],
)
def test_what_is_not_there_is_not_found(client: Client, method: str, request_: Any) -> None:
    assert client.refused(method, request_)[0] is grpc.StatusCode.NOT_FOUND


def test_what_this_server_does_not_serve_is_unimplemented(client: Client) -> None:
    assert client.refused("SystemSharedMemoryStatus", messages.ServerLiveRequest())[0] is grpc.StatusCode.UNIMPLEMENTED


def test_a_message_beyond_the_limit_is_refused(client: Client) -> None:
    tensor = _input("INPUT0", "INT8", [1, 2 << 20])
    request = Request(model_name="identity_int8", inputs=[tensor], raw_input_contents=[bytes(2 << 20)])
    assert client.refused("ModelInfer", request)[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_models_are_unloaded_and_loaded(client: Client) -> None:
    client("RepositoryModelUnload", messages.RepositoryModelUnloadRequest(model_name="slow"))
    assert not client("ModelReady", messages.ModelReadyRequest(name="slow")).ready
    tensor = _input("rounds", "INT64", [1], int64_contents=[1])
    request = Request(model_name="slow", inputs=[tensor])
    assert client.refused("ModelInfer", request)[0] is grpc.StatusCode.UNAVAILABLE
    client("RepositoryModelLoad", messages.RepositoryModelLoadRequest(model_name="slow"))
    states = {model.name: model.state for model in client("RepositoryIndex", messages.RepositoryIndexRequest()).models}
    assert states["slow"] == "READY"
    assert len(client("ModelInfer", request).raw_output_contents[0]) == 4
    stats = client("ModelStatistics", messages.ModelStatisticsRequest(name="slow")).model_stats[0]
    assert (stats.inference_count, stats.inference_stats.success.count) == (1, 1)


def test_without_the_flag_there_is_no_grpc(running: Server) -> None:
    process = Path(f"/proc/{running.process.pid}")
    assert "grpc" not in (process / "maps").read_text()
