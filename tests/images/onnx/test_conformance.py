"""The protocol, as a client sees it: each row of what is right to answer, asked of a real server."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import numpy as np
import pytest

from .serving import Server

ROW = {"name": "INPUT0", "shape": [1, 16], "datatype": "INT32", "data": list(range(16))}
OTHER = ROW | {"name": "INPUT1", "data": [1] * 16}
SIMPLE = {"inputs": [ROW, OTHER]}
NUMBER = {"inputs": [{"name": "INPUT0", "shape": [1, 1], "datatype": "FP32", "data": [0.5]}]}


def _with(change: dict[str, Any]) -> dict[str, Any]:
    return {"inputs": [ROW | change, OTHER]}


def _framed(document: Any, *tensors: bytes) -> tuple[bytes, dict[str, str]]:
    text = json.dumps(document).encode()
    return b"".join((text, *tensors)), {"Inference_Header_Content_Length": str(len(text))}


@pytest.mark.parametrize("path", ["/v2", "/v2/", "/v2?x=1"])
def test_server_metadata(running: Server, path: str) -> None:
    answer = running.get(path)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    extensions = ["binary_tensor_data", "model_repository", "model_configuration", "statistics"]
    assert answer.json == {"name": "snapedge-onnx", "version": "1.0.0", "extensions": extensions}


def test_health_and_lists(running: Server) -> None:
    assert running.get("/v2/health/live").json == {"live": True}
    assert running.get("/v2/health/ready").json == {"ready": True}
    assert "simple" in running.get("/v2/models").json["models"]
    assert running.get("/v2/models/simple/ready").json == {"name": "simple", "ready": True}
    assert running.get("/v2/models/simple/versions/1.0.0/ready").status == 200


def test_model_metadata_comes_from_the_model_and_tells_what_was_proved(running: Server) -> None:
    metadata = running.get("/v2/models/simple").json
    properties = metadata.pop("properties")
    assert metadata == {
        "name": "simple",
        "versions": ["1.0.0"],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": n, "datatype": "INT32", "shape": [-1, 16]} for n in ("INPUT0", "INPUT1")],
        "outputs": [{"name": n, "datatype": "INT32", "shape": [-1, 16]} for n in ("OUTPUT0", "OUTPUT1")],
    }
    assert properties.pop("digest").startswith("sha256:")
    assert properties.pop("engine").startswith("onnxruntime 1.")
    assert properties == {
        "version": "1.0.0",
        "runtime": "onnx 1.0.0",
        "gate": "strict",
        "golden_samples": "none",
        "golden_samples_checked": "0",
    }


def test_infer_without_id_has_none(running: Server) -> None:
    assert running.infer("simple", SIMPLE).json == {
        "model_name": "simple",
        "model_version": "1.0.0",
        "outputs": [
            {"name": "OUTPUT0", "datatype": "INT32", "shape": [1, 16], "data": list(range(1, 17))},
            {"name": "OUTPUT1", "datatype": "INT32", "shape": [1, 16], "data": list(range(-1, 15))},
        ],
    }


def test_id_is_echoed_in_body_and_header(running: Server) -> None:
    answer = running.infer("simple", SIMPLE | {"id": "seven"}, X_Request_Id="abc")
    assert answer.json["id"] == "seven"
    assert answer.headers["X-Request-Id"] == "abc"


def test_nested_data_and_a_subset_of_outputs(running: Server) -> None:
    request = _with({"shape": [2, 16], "data": [list(range(16))] * 2})
    request["inputs"][1] = OTHER | {"shape": [2, 16], "data": [[1] * 16] * 2}
    answer = running.infer("simple", request | {"outputs": [{"name": "OUTPUT1"}]})
    assert answer.json["outputs"] == [
        {"name": "OUTPUT1", "datatype": "INT32", "shape": [2, 16], "data": list(range(-1, 15)) * 2}
    ]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_wrong_method_names_the_right_ones(running: Server, method: str) -> None:
    answer = running.ask(method, "/v2/models/simple")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert "error" in answer.json


def test_infer_is_for_post(running: Server) -> None:
    answer = running.get("/v2/models/simple/infer")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


def test_head_has_no_body(running: Server) -> None:
    answer = running.ask("HEAD", "/v2/health/live")
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "13")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v2/health",
        "/v2/models/",
        "/v2/models/nope",
        "/v2/models/nope/ready",
        "/v2/models/simple/",
        "/v2/models/simple/versions/2",
        "/v2/models/simple/versions/2/ready",
        "/v2/models/simple/versions//ready",
        "/v2/models/%ff",
        "/v2//models",
        "/" + "x" * 1000,
    ],
)
def test_what_is_not_there_is_404_with_an_error(running: Server, path: str) -> None:
    answer = running.get(path)
    assert answer.status == 404
    assert list(answer.json) == ["error"]


def test_infer_for_an_unknown_model_is_404(running: Server) -> None:
    assert running.infer("nope", SIMPLE).status == 404


BAD: dict[str, Any] = {
    "malformed JSON": b"{bad",
    "empty body": b"",
    "not an object": b"[]",
    "deeply nested": b"[" * 100_000,
    "no inputs": {},
    "inputs empty": {"inputs": []},
    "inputs no list": {"inputs": {"name": "INPUT0"}},
    "inputs of numbers": {"inputs": [1, 2]},
    "one input missing": {"inputs": [ROW]},
    "one input twice": {"inputs": [ROW, ROW, OTHER]},
    "unknown input": {"inputs": [ROW, OTHER, OTHER | {"name": "INPUT2"}]},
    "input without a name": {"inputs": [ROW, {**OTHER, "name": None}]},
    "unhashable name": {"inputs": [ROW | {"name": ["INPUT0"]}, OTHER]},
    "shape and count differ": _with({"data": [1, 2, 3]}),
    "negative dimension": _with({"shape": [-1, 16]}),
    "huge dimension": _with({"shape": [2**62, 16]}),
    "dimension beyond 64 bits": _with({"shape": [2**80, 16]}),
    "boolean dimension": _with({"shape": [True, 16]}),
    "fraction as dimension": _with({"shape": [1.0, 16]}),
    "shape no list": _with({"shape": 16}),
    "no shape": _with({"shape": None}),
    "wrong rank": _with({"shape": [16]}),
    "wrong fixed dimension": _with({"shape": [1, 15], "data": [1] * 15}),
    "unknown datatype": _with({"datatype": "INT33"}),
    "unhashable datatype": _with({"datatype": ["INT32"]}),
    "wrong datatype": _with({"datatype": "INT64"}),
    "strings for numbers": _with({"data": ["1"] * 16}),
    "fractions for whole numbers": _with({"data": [1.5] * 16}),
    "booleans for numbers": _with({"data": [True] * 16}),
    "null for whole numbers": _with({"data": [None] * 16}),
    "out of range": _with({"data": [2**31] * 16}),
    "data no list": _with({"data": "0123456789abcdef"}),
    "uneven data": _with({"data": [[1] * 8, [1] * 7]}),
    "data nested too deep": _with({"data": [[[1] * 16]]}),
    "objects as data": _with({"data": [{}] * 16}),
    "no data": {"inputs": [{k: v for k, v in ROW.items() if k != "data"}, OTHER]},
    "parameters no object": _with({"parameters": 3}),
    "unknown output": SIMPLE | {"outputs": [{"name": "nope"}]},
    "output twice": SIMPLE | {"outputs": [{"name": "OUTPUT0"}, {"name": "OUTPUT0"}]},
    "outputs no list": SIMPLE | {"outputs": "OUTPUT0"},
    "outputs of numbers": SIMPLE | {"outputs": [1]},
    "classification": SIMPLE | {"outputs": [{"name": "OUTPUT0", "parameters": {"classification": 2}}]},
    "binary_data no boolean": SIMPLE | {"outputs": [{"name": "OUTPUT0", "parameters": {"binary_data": 1}}]},
    "binary_data_output no boolean": SIMPLE | {"parameters": {"binary_data_output": "yes"}},
    "request parameters no object": SIMPLE | {"parameters": []},
    "id no string": SIMPLE | {"id": 7},
    "binary data without a header": _with({"parameters": {"binary_data_size": 64}, "data": None}),
}


@pytest.mark.parametrize("request_", BAD.values(), ids=BAD.keys())
def test_a_clients_mistake_is_400_with_an_error(running: Server, request_: Any) -> None:
    answer = running.infer("simple", request_)
    assert answer.status == 400, answer.body
    assert list(answer.json) == ["error"]
    assert len(answer.json["error"]) < 400


def test_json_is_read_whatever_the_content_type_says(running: Server) -> None:
    assert running.infer("simple", SIMPLE, Content_Type="text/plain").status == 200


def test_a_version_that_is_there_is_served(running: Server) -> None:
    body = json.dumps(SIMPLE).encode()
    assert running.ask("POST", "/v2/models/simple/versions/1.0.0/infer", body).status == 200
    assert running.ask("POST", "/v2/models/simple/versions/9/infer", body).status == 404


def test_binary_in_and_out(running: Server) -> None:
    first, second = np.arange(16, dtype="<i4"), np.full(16, 2, dtype="<i4")
    tensors = [
        {"name": name, "shape": [1, 16], "datatype": "INT32", "parameters": {"binary_data_size": 64}}
        for name in ("INPUT0", "INPUT1")
    ]
    document = {"inputs": tensors, "parameters": {"binary_data_output": True}, "id": "b"}
    body, headers = _framed(document, first.tobytes(), second.tobytes())
    answer = running.infer("simple", body, **headers)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    length = int(answer.headers["Inference-Header-Content-Length"])
    head = json.loads(answer.body[:length])
    assert head["id"] == "b"
    assert [output["parameters"] for output in head["outputs"]] == [{"binary_data_size": 64}] * 2
    numbers = np.frombuffer(answer.body[length:], dtype="<i4")
    np.testing.assert_array_equal(numbers, np.concatenate([first + second, first - second]))


def test_an_outputs_own_word_wins_over_the_requests(running: Server) -> None:
    outputs = [{"name": "OUTPUT0", "parameters": {"binary_data": False}}, {"name": "OUTPUT1"}]
    answer = running.infer("simple", SIMPLE | {"outputs": outputs, "parameters": {"binary_data_output": True}})
    length = int(answer.headers["Inference-Header-Content-Length"])
    first, second = json.loads(answer.body[:length])["outputs"]
    assert first["data"] == list(range(1, 17))
    assert second["parameters"] == {"binary_data_size": 64}
    assert len(answer.body) == length + 64


@pytest.mark.parametrize("length", ["99999999", "-1", "x", "1e3", "9" * 30, "10"])
def test_a_header_length_that_cannot_be_is_400(running: Server, length: str) -> None:
    answer = running.infer("simple", SIMPLE, Inference_Header_Content_Length=length)
    assert answer.status == 400
    assert list(answer.json) == ["error"]


@pytest.mark.parametrize(
    ("size", "tail"),
    [(64, 60), (60, 64), (64, 65), (-1, 64), (2**70, 64), (True, 64), ("64", 64), (0, 0)],
)
def test_binary_sizes_that_do_not_fit_are_400(running: Server, size: Any, tail: int) -> None:
    tensor = {"name": "INPUT0", "shape": [1, 16], "datatype": "INT32", "parameters": {"binary_data_size": size}}
    body, headers = _framed({"inputs": [tensor, OTHER]}, bytes(tail))
    assert running.infer("simple", body, **headers).status == 400


VALUES: dict[str, list[Any]] = {
    "BOOL": [True, False],
    **{f"INT{bits}": [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": [0, 2**bits - 1] for bits in (8, 16, 32, 64)},
    "FP32": [0.1, -3.4e38],
    "FP64": [0.1, -1.7e308],
    "BYTES": ["", "grüße\x00"],
}


@pytest.mark.parametrize("datatype", VALUES)
def test_every_datatype_returns_unchanged_as_json(running: Server, datatype: str) -> None:
    tensor = {"name": "INPUT0", "shape": [1, 2], "datatype": datatype, "data": VALUES[datatype]}
    output = running.infer(f"identity_{datatype.lower()}", {"inputs": [tensor]}).json["outputs"][0]
    assert output == {"name": "OUTPUT0", "datatype": datatype, "shape": [1, 2], "data": VALUES[datatype]}


@pytest.mark.parametrize("datatype", [*VALUES, "FP16"])
def test_every_datatype_returns_unchanged_as_binary_data(running: Server, datatype: str) -> None:
    if datatype == "BYTES":
        raw = b"\x00\x00\x00\x00" + b"\x03\x00\x00\x00a\x00b"
    else:
        kind = {"BOOL": "?", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}.get(datatype)
        kind = kind or ("<u" if datatype[0] == "U" else "<i") + str(int(datatype.lstrip("UINT")) // 8)
        raw = np.array(VALUES.get(datatype, [1.5, -2.0]), dtype=kind).tobytes()
    parameters = {"binary_data_size": len(raw)}
    tensor = {"name": "INPUT0", "shape": [1, 2], "datatype": datatype, "parameters": parameters}
    body, headers = _framed({"inputs": [tensor], "parameters": {"binary_data_output": True}}, raw)
    answer = running.infer(f"identity_{datatype.lower()}", body, **headers)
    assert answer.status == 200, answer.body
    assert answer.body.endswith(raw)
    assert len(answer.body) == int(answer.headers["Inference-Header-Content-Length"]) + len(raw)


def test_fp16_does_not_travel_as_json(running: Server) -> None:
    tensor = {"name": "INPUT0", "shape": [1, 2], "datatype": "FP16", "data": [1.0, 2.0]}
    assert running.infer("identity_fp16", {"inputs": [tensor]}).status == 400


def test_a_bool_byte_is_0_or_1(running: Server) -> None:
    tensor = {"name": "INPUT0", "shape": [1, 1], "datatype": "BOOL", "parameters": {"binary_data_size": 1}}
    body, headers = _framed({"inputs": [tensor]}, b"\x02")
    assert running.infer("identity_bool", body, **headers).status == 400


def test_onnx_strings_are_utf8(running: Server) -> None:
    raw = b"\x02\x00\x00\x00\xff\xfe"
    parameters = {"binary_data_size": len(raw)}
    tensor = {"name": "INPUT0", "shape": [1, 1], "datatype": "BYTES", "parameters": parameters}
    body, headers = _framed({"inputs": [tensor]}, raw)
    assert running.infer("identity_bytes", body, **headers).status == 400


@pytest.mark.parametrize("raw", [b"\x05\x00\x00\x00ab", b"\xff\xff\xff\xffab", b"\x00\x00", b"", b"\x01\x00\x00\x00ab"])
def test_broken_bytes_elements_are_400(running: Server, raw: bytes) -> None:
    parameters = {"binary_data_size": len(raw)}
    tensor = {"name": "INPUT0", "shape": [1, 1], "datatype": "BYTES", "parameters": parameters}
    body, headers = _framed({"inputs": [tensor]}, raw)
    assert running.infer("identity_bytes", body, **headers).status == 400


def test_raw_binary_request_is_one_input_in_a_batch_of_one(running: Server) -> None:
    raw = np.array([1.5, 2.5, 3.5], dtype="<f4").tobytes()
    answer = running.infer("identity_fp32", raw, Inference_Header_Content_Length="0")
    length = int(answer.headers["Inference-Header-Content-Length"])
    assert json.loads(answer.body[:length])["outputs"][0]["shape"] == [1, 3]
    assert answer.body[length:] == raw


def test_raw_binary_string_is_the_whole_body(running: Server) -> None:
    answer = running.infer("identity_bytes", b"hello", Inference_Header_Content_Length="0")
    assert answer.body.endswith(b"\x05\x00\x00\x00hello")


@pytest.mark.parametrize(("model", "raw"), [("simple", bytes(64)), ("identity_fp32", b"abc")])
def test_raw_binary_that_does_not_fit_is_400(running: Server, model: str, raw: bytes) -> None:
    assert running.infer(model, raw, Inference_Header_Content_Length="0").status == 400


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda body: zlib.compress(body, wbits=-15)),
        ("identity", bytes),
        ("GZIP", gzip.compress),
    ],
)
def test_requests_come_compressed(running: Server, encoding: str, encode: Any) -> None:
    body = encode(json.dumps(SIMPLE).encode())
    assert running.infer("simple", body, Content_Encoding=encoding).status == 200


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("gzip", b"no gzip", 400),
        ("gzip", gzip.compress(json.dumps(SIMPLE).encode())[:-4], 400),
        ("gzip", gzip.compress(json.dumps(SIMPLE).encode()) + b"x", 400),
        ("br", b"x", 415),
        ("gzip, gzip", b"x", 415),
        ("gzip", gzip.compress(bytes(65 * 2**20)), 413),
    ],
)
def test_broken_or_unknown_encodings_are_refused(running: Server, encoding: str, body: bytes, status: int) -> None:
    answer = running.infer("simple", body, Content_Encoding=encoding)
    assert answer.status == status
    assert "error" in answer.json


@pytest.mark.parametrize(
    ("accepted", "given", "decode"),
    [
        ("gzip", "gzip", gzip.decompress),
        ("deflate", "deflate", zlib.decompress),
        ("gzip;q=0, deflate;q=0.5", "deflate", zlib.decompress),
        ("br", None, bytes),
        ("gzip;q=x", None, bytes),
    ],
)
def test_responses_leave_compressed_where_asked(running: Server, accepted: str, given: str | None, decode: Any) -> None:
    tensor = {"name": "INPUT0", "shape": [1, 1000], "datatype": "FP32", "data": [0.5] * 1000}
    answer = running.infer("identity_fp32", {"inputs": [tensor]}, Accept_Encoding=accepted)
    assert answer.headers.get("Content-Encoding") == given
    assert json.loads(decode(answer.body))["outputs"][0]["data"] == [0.5] * 1000


def test_numbers_that_are_not_finite_have_words_in_json_both_ways(running: Server) -> None:
    data = [0.0, -1.0, 1.0, "Infinity", None, "NaN"]
    tensor = {"name": "x", "shape": [6], "datatype": "FP32", "data": data}
    answer = running.infer("logarithm", {"inputs": [tensor]})
    assert answer.json["outputs"][0]["data"] == ["-Infinity", None, 0.0, "Infinity", None, None]


def test_literal_nan_is_no_json(running: Server) -> None:
    body = b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[NaN]}]}'
    assert running.infer("logarithm", body).status == 400


def test_an_input_that_the_model_cannot_compute_is_the_clients_mistake(running: Server) -> None:
    tensor = {"name": "index", "shape": [1], "datatype": "INT64", "data": [7]}
    answer = running.infer("pick", {"inputs": [tensor]})
    assert answer.status == 400
    assert "cannot compute this input" in answer.json["error"]


def test_an_empty_batch_is_computed(running: Server) -> None:
    tensors = [{"name": n, "shape": [0, 16], "datatype": "INT32", "data": []} for n in ("INPUT0", "INPUT1")]
    answer = running.infer("simple", {"inputs": tensors})
    assert (answer.status, answer.json["outputs"][0]["data"]) == (200, [])
