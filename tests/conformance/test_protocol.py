"""Each row of the protocol: what is asked, and what is right to answer."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Answer, Target

ROW: dict[str, Any] = {"name": "INPUT0", "shape": [1, 16], "datatype": "INT32", "data": list(range(16))}
OTHER: dict[str, Any] = ROW | {"name": "INPUT1", "data": [1] * 16}
SIMPLE: dict[str, Any] = {"inputs": [ROW, OTHER]}
RAW = struct.pack("<16i", *range(16)) + struct.pack("<16i", *[1] * 16)

Check = Callable[[Target], None]
CHECKS: dict[str, Check] = {}


def row(name: str) -> Callable[[Check], Check]:
    def keep(check: Check) -> Check:
        CHECKS[name] = check
        return check

    return keep


def refused(answer: Answer, *statuses: int) -> None:
    assert answer.status in statuses, f"answered {answer.status} {answer.body[:60]!r}"
    assert answer.error, f"no error object: {answer.body[:60]!r}"


def outputs(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, f"answered {answer.status} {answer.body[:60]!r}"
    return {output["name"]: output for output in json.loads(answer.body)["outputs"]}


def fine(answer: Answer) -> None:
    found = outputs(answer)
    flat = found["OUTPUT0"]["data"]
    flat = flat[0] if isinstance(flat[0], list) else flat
    assert flat == list(range(1, 17)), flat
    assert (found["OUTPUT0"]["datatype"], found["OUTPUT0"]["shape"]) == ("INT32", [1, 16])


def _framed(document: Any, tail: bytes) -> tuple[bytes, dict[str, str]]:
    text = json.dumps(document).encode()
    headers = {"Inference_Header_Content_Length": str(len(text)), "Content_Type": "application/octet-stream"}
    return text + tail, headers


def _binary(**fields: Any) -> dict[str, Any]:
    tensors = [
        {"name": name, "shape": [1, 16], "datatype": "INT32", "parameters": {"binary_data_size": 64}}
        for name in ("INPUT0", "INPUT1")
    ]
    return {"inputs": tensors, **fields}


for path, name in (("/v2/health/live", "live"), ("/v2/health/ready", "ready"), ("/v2/models/{m}/ready", "model ready")):

    @row(name)
    def _(target: Target, path: str = path) -> None:
        assert target.ask("GET", path.format(m=target.model)).status == 200


for path in ("/v2", "/v2/"):

    @row(f"server metadata {path}")
    def _(target: Target, path: str = path) -> None:
        answer = target.ask("GET", path)
        assert answer.status == 200, answer.status
        assert {"name", "version", "extensions"} <= json.loads(answer.body).keys()


@row("model metadata names every tensor")
def _(target: Target) -> None:
    found = json.loads(target.ask("GET", f"/v2/models/{target.model}").body)
    assert found["platform"], "no platform"
    assert {tensor["name"]: (tensor["datatype"], tensor["shape"]) for tensor in found["inputs"]} == {
        "INPUT0": ("INT32", [-1, 16]),
        "INPUT1": ("INT32", [-1, 16]),
    }
    assert [tensor["name"] for tensor in found["outputs"]] == ["OUTPUT0", "OUTPUT1"]


for path in ("", "/ready"):

    @row(f"unknown model{path or ' metadata'}")
    def _(target: Target, path: str = path) -> None:
        refused(target.ask("GET", f"/v2/models/nope{path}"), 404)


@row("unknown model infer")
def _(target: Target) -> None:
    body = json.dumps(SIMPLE).encode()
    refused(target.ask("POST", "/v2/models/nope/infer", body, {"Content-Type": "application/json"}), 404)


@row("unknown path")
def _(target: Target) -> None:
    refused(target.ask("GET", "/v2/nope/nope"), 404)


@row("wrong method")
def _(target: Target) -> None:
    refused(target.ask("GET", f"/v2/models/{target.model}/infer"), 405)


@row("JSON infer")
def _(target: Target) -> None:
    fine(target.infer(SIMPLE))


@row("JSON without a Content-Type")
def _(target: Target) -> None:
    fine(target.infer(SIMPLE, Content_Type=""))


@row("nested data")
def _(target: Target) -> None:
    fine(target.infer({"inputs": [tensor | {"data": [tensor["data"]]} for tensor in SIMPLE["inputs"]]}))


@row("batch of two")
def _(target: Target) -> None:
    doubled = [tensor | {"shape": [2, 16], "data": tensor["data"] * 2} for tensor in SIMPLE["inputs"]]
    assert outputs(target.infer({"inputs": doubled}))["OUTPUT0"]["shape"] == [2, 16]


@row("id is echoed")
def _(target: Target) -> None:
    assert json.loads(target.infer(SIMPLE | {"id": "seven"}).body).get("id") == "seven"


@row("no id is invented")
def _(target: Target) -> None:
    answer = target.infer(SIMPLE)
    assert answer.status == 200, answer.status
    assert not json.loads(answer.body).get("id"), "an id"


@row("output subset")
def _(target: Target) -> None:
    assert list(outputs(target.infer(SIMPLE | {"outputs": [{"name": "OUTPUT1"}]}))) == ["OUTPUT1"]


@row("gzip request")
def _(target: Target) -> None:
    fine(target.infer(gzip.compress(json.dumps(SIMPLE).encode()), Content_Encoding="gzip"))


@row("binary in, JSON out")
def _(target: Target) -> None:
    wanted = [{"name": name, "parameters": {"binary_data": False}} for name in ("OUTPUT0", "OUTPUT1")]
    body, headers = _framed(_binary(outputs=wanted), RAW)
    fine(target.infer(body, **headers))


@row("binary in and out")
def _(target: Target) -> None:
    body, headers = _framed(_binary(parameters={"binary_data_output": True}), RAW)
    answer = target.infer(body, **headers)
    assert answer.status == 200, f"answered {answer.status} {answer.body[:60]!r}"
    length = int(answer.headers["inference-header-content-length"])
    assert answer.headers.get("content-type") == "application/octet-stream", answer.headers.get("content-type")
    assert struct.unpack("<16i", answer.body[length : length + 64]) == tuple(range(1, 17))


@row("raw binary request")
def _(target: Target) -> None:
    raw = struct.pack("<3f", 1.5, 2.5, 3.5)
    headers = {"Inference-Header-Content-Length": "0", "Content-Type": "application/octet-stream"}
    answer = target.ask("POST", f"/v2/models/{target.identity}/infer", raw, headers)
    assert answer.status == 200, f"answered {answer.status} {answer.body[:60]!r}"
    assert answer.body.endswith(raw)


@row("binary header longer than the body")
def _(target: Target) -> None:
    refused(target.infer(SIMPLE, Inference_Header_Content_Length="99999"), 400)


@row("binary size beyond the body")
def _(target: Target) -> None:
    body, headers = _framed(_binary(), RAW[:-4])
    refused(target.infer(body, **headers), 400)


@row("version that is not there")
def _(target: Target) -> None:
    refused(target.ask("GET", f"/v2/models/{target.model}/versions/999"), 404)


@row("load of an unknown model")
def _(target: Target) -> None:
    refused(
        target.ask("POST", "/v2/repository/models/nope/load", b"{}", {"Content-Type": "application/json"}), 400, 404
    )


@row("repository index")
def _(target: Target) -> None:
    answer = target.ask("POST", "/v2/repository/index", b"{}", {"Content-Type": "application/json"})
    assert answer.status == 200, answer.status
    assert target.model in [entry["name"] for entry in json.loads(answer.body)]


def _with(change: dict[str, Any]) -> dict[str, Any]:
    return {"inputs": [ROW | change, OTHER]}


MISTAKES: dict[str, Any] = {
    "malformed JSON": b"{bad",
    "empty body": b"",
    "not an object": b"[]",
    "deeply nested": b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "no inputs": {},
    "inputs empty": {"inputs": []},
    "input missing": {"inputs": [ROW]},
    "input twice": {"inputs": [ROW, ROW, OTHER]},
    "wrong input name": {"inputs": [ROW | {"name": "X"}, OTHER]},
    "shape and count differ": _with({"data": [1, 2, 3]}),
    "negative dimension": _with({"shape": [-1, 16]}),
    "huge dimension": _with({"shape": [2**62, 16]}),
    "wrong rank": _with({"shape": [16]}),
    "unknown datatype": _with({"datatype": "INT33"}),
    "wrong datatype": _with({"datatype": "FP32"}),
    "strings for numbers": _with({"data": ["a"] * 16}),
    "out of range": _with({"data": [2**31] * 16}),
    "uneven data": _with({"data": [[1] * 8, [1] * 7]}),
    "unknown output": SIMPLE | {"outputs": [{"name": "nope"}]},
    "FP16 as JSON": _with({"datatype": "FP16", "data": [1.0] * 16}),
}
for mistake, document in MISTAKES.items():

    @row(f"400: {mistake}")
    def _(target: Target, document: Any = document) -> None:
        refused(target.infer(document), 400)


@row("alive after all of it")
def _(target: Target) -> None:
    fine(target.infer(SIMPLE))


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
def test_protocol(target: Target, check: Check) -> None:
    check(target)
