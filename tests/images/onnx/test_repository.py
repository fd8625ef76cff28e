"""Loading, unloading, versions, and what is told of a model besides its metadata."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from .serving import Answer, Server, place, refused, server

ROW = {"name": "INPUT0", "shape": [1, 16], "datatype": "INT32", "data": list(range(16))}
SIMPLE = {"inputs": [ROW, ROW | {"name": "INPUT1"}]}


def _post(running: Server, path: str, body: bytes = b"") -> Answer:
    return running.ask("POST", path, body)


def _versions(directory: Path, *versions: str) -> Path:
    folder = directory / "simple"
    for version in versions:
        inner = place(directory / "staged" / version, "simple", version=version)
        shutil.move(inner, folder / version)
    shutil.rmtree(directory / "staged")
    return folder


def test_a_model_is_unloaded_and_loaded_again(tmp_path: Path) -> None:
    place(tmp_path, "simple")
    place(tmp_path, "pick")
    with server(tmp_path) as running:
        assert _post(running, "/v2/repository/index").json == [
            {"name": "pick", "version": "1.0.0", "state": "READY", "reason": ""},
            {"name": "simple", "version": "1.0.0", "state": "READY", "reason": ""},
        ]
        gone = _post(running, "/v2/repository/models/simple/unload", b'{"parameters":{"unload_dependents":false}}')
        assert (gone.status, gone.json) == (200, {"name": "simple", "unload": True})
        assert running.get("/v2/models/simple/ready").status == 503
        assert running.infer("simple", SIMPLE).status == 503
        assert running.get("/v2/health/ready").status == 200
        assert _post(running, "/v2/repository/index", b'{"ready":true}').json == [
            {"name": "pick", "version": "1.0.0", "state": "READY", "reason": ""}
        ]
        assert _post(running, "/v2/repository/index").json[1] == {
            "name": "simple",
            "version": "1.0.0",
            "state": "UNAVAILABLE",
            "reason": "unloaded",
        }
        back = _post(running, "/v2/repository/models/simple/load", b"{}")
        assert (back.status, back.json) == (200, {"name": "simple", "load": True})
        assert running.infer("simple", SIMPLE).status == 200


def test_a_model_that_came_later_is_loaded_and_a_broken_one_leaves_the_old_one_serving(tmp_path: Path) -> None:
    place(tmp_path, "simple")
    with server(tmp_path) as running:
        place(tmp_path, "pick")
        assert running.get("/v2/models/pick").status == 404
        assert _post(running, "/v2/repository/models/pick/load").status == 200
        assert running.get("/v2/models/pick/ready").status == 200
        (tmp_path / "simple" / "model.onnx").write_bytes(b"broken")
        answer = _post(running, "/v2/repository/models/simple/load")
        assert answer.status == 400
        assert answer.json["error"].startswith("failed to load 'simple': ")
        assert running.infer("simple", SIMPLE).status == 200


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v2/repository/models/nope/load", b"", 404),
        ("/v2/repository/models/nope/unload", b"", 404),
        ("/v2/repository/models/simple/load", b"{", 400),
        ("/v2/repository/models/simple/load", b"[]", 400),
        ("/v2/repository/models/simple/load", b'{"parameters":{"config":"{}"}}', 400),
        ("/v2/repository/models/simple/load", b'{"parameters":[]}', 400),
        ("/v2/repository/index", b"{", 400),
        ("/v2/repository/index", b"[" * 100_000, 400),
        ("/v2/repository/models/simple/nope", b"", 404),
        ("/v2/repository/models//load", b"", 404),
    ],
)
def test_wrong_repository_requests_are_the_clients_mistakes(
    running: Server, path: str, body: bytes, status: int
) -> None:
    answer = _post(running, path, body)
    assert answer.status == status
    assert list(answer.json) == ["error"]


def test_the_repository_is_asked_by_post(running: Server) -> None:
    assert running.get("/v2/repository/index").status == 405


def test_the_highest_version_is_the_default_and_each_is_served(tmp_path: Path) -> None:
    _versions(tmp_path, "1.9.0", "1.10.0", "0.3")
    with server(tmp_path) as running:
        assert running.get("/v2/models/simple").json["versions"] == ["0.3", "1.9.0", "1.10.0"]
        assert running.infer("simple", SIMPLE).json["model_version"] == "1.10.0"
        body = json.dumps(SIMPLE).encode()
        for version in ("1.9.0", "0.3"):
            answer = _post(running, f"/v2/models/simple/versions/{version}/infer", body)
            assert answer.json["model_version"] == version
        assert [entry["version"] for entry in _post(running, "/v2/repository/index").json] == ["0.3", "1.9.0", "1.10.0"]
        missing = running.get("/v2/models/simple/versions/2")
        assert missing.status == 404
        assert "has version '0.3', '1.9.0', '1.10.0', not '2'" in missing.json["error"]


def test_a_file_names_the_default_version(tmp_path: Path) -> None:
    folder = _versions(tmp_path, "1", "2")
    (folder / "default-version").write_text("1\n")
    with server(tmp_path) as running:
        assert running.infer("simple", SIMPLE).json["model_version"] == "1"


def test_a_default_that_is_not_there_and_versions_of_two_names_are_refused(tmp_path: Path) -> None:
    folder = _versions(tmp_path, "1", "2")
    (folder / "default-version").write_text("3")
    code, message, _ = refused(tmp_path)
    assert (code, message and "names version '3', which is not there" in message["reason"]) == (3, True)
    (folder / "default-version").unlink()
    place(tmp_path / "simple", "pick")
    code, message, _ = refused(tmp_path)
    assert (code, message and "versions must have one name" in message["reason"]) == (3, True)


def test_configuration_and_statistics_in_tritons_words(tmp_path: Path) -> None:
    place(tmp_path, "simple")
    with server(tmp_path) as running:
        config = running.get("/v2/models/simple/config").json
        assert (config["name"], config["max_batch_size"]) == ("simple", 0)
        assert config["input"][0] == {"name": "INPUT0", "data_type": "TYPE_INT32", "dims": [-1, 16]}
        rows = [tensor | {"shape": [3, 16], "data": [1] * 48} for tensor in SIMPLE["inputs"]]
        assert running.infer("simple", SIMPLE).status == 200
        assert running.infer("simple", {"inputs": rows}).status == 200
        assert running.infer("simple", {}).status == 400
        stats = running.get("/v2/models/simple/stats").json["model_stats"][0]
        assert (stats["name"], stats["version"], stats["inference_count"], stats["execution_count"]) == (
            "simple",
            "1.0.0",
            4,
            2,
        )
        assert stats["inference_stats"]["success"]["count"] == 2
        assert stats["inference_stats"]["fail"]["count"] == 1
        assert stats["inference_stats"]["compute_infer"]["ns"] > 0
        assert running.get("/v2/models/stats").json["model_stats"][0]["name"] == "simple"


def test_metrics_count_by_model_and_version(tmp_path: Path) -> None:
    place(tmp_path, "simple")
    with server(tmp_path) as running:
        running.infer("simple", SIMPLE)
        running.infer("simple", {})
        answer = running.get("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = answer.body.decode().splitlines()
    labels = 'model="simple",version="1.0.0"'
    for line in (
        f'snapedge_requests_total{{{labels},result="success"}} 1',
        f'snapedge_requests_total{{{labels},result="error"}} 1',
        f'snapedge_request_seconds_bucket{{{labels},le="+Inf"}} 1',
        f"snapedge_request_seconds_count{{{labels}}} 1",
        f'snapedge_batch_size_bucket{{{labels},le="1"}} 1',
        f"snapedge_model_ready{{{labels}}} 1",
        "snapedge_in_flight 0",
        "snapedge_connections 1",
    ):
        assert line in lines, answer.body.decode()
    families = [line.split()[2] for line in lines if line.startswith("# TYPE ")]
    assert len(families) == len(set(families))


V1: dict[str, tuple[str, Any, Any]] = {
    "rows of the only input": ("identity_fp32", {"instances": [[1.5, 2.0], [3.0, 4.0]]}, [[1.5, 2.0], [3.0, 4.0]]),
    "KServe's inputs": ("identity_fp32", {"inputs": [[1, 2]]}, [[1.0, 2.0]]),
    "rows as objects": ("identity_int64", {"instances": [{"INPUT0": [1]}, {"INPUT0": [2]}]}, [[1], [2]]),
    "strings": ("identity_bytes", {"instances": [["a", "ü"]]}, [["a", "ü"]]),
    "several inputs": (
        "simple",
        {"instances": [{"INPUT0": [2] * 16, "INPUT1": [1] * 16}]},
        [{"OUTPUT0": [3] * 16, "OUTPUT1": [1] * 16}],
    ),
    "columns": (
        "simple",
        {"inputs": {"INPUT0": [[2] * 16], "INPUT1": [[1] * 16]}},
        [{"OUTPUT0": [3] * 16, "OUTPUT1": [1] * 16}],
    ),
    "numbers that are not finite": ("logarithm", {"instances": [0.0, None]}, ["-Infinity", None]),
}


@pytest.mark.parametrize(("model", "body", "predictions"), V1.values(), ids=V1.keys())
def test_v1_predicts(running: Server, model: str, body: Any, predictions: Any) -> None:
    answer = _post(running, f"/v1/models/{model}:predict", json.dumps(body).encode())
    assert (answer.status, answer.json) == (200, {"predictions": predictions})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"instances":[]}',
        b'{"instances":3}',
        b'{"instances":[[1,2]],"inputs":[[1,2]]}',
        b'{"instances":[[1,2],[3]]}',
        b'{"instances":["a"]}',
        b'{"instances":[["a","b"]]}',
        b'{"instances":[{"INPUT0":[1]},{"x":[1]}]}',
        b'{"instances":[{"INPUT0":[1]},[1]]}',
        b'{"instances":[{"x":[1]}]}',
        b'{"inputs":{}}',
        b'{"inputs":{"INPUT0":3}}',
        b'{"instances":' + b"[" * 100 + b"]" * 100 + b"}",
        b'{"instances":' + b"[" * 100_000,
        b'{"instances":[[true,false]]}',
    ],
)
def test_a_wrong_v1_body_is_400(running: Server, body: bytes) -> None:
    answer = _post(running, "/v1/models/identity_fp32:predict", body)
    assert answer.status == 400, answer.body
    assert list(answer.json) == ["error"]


def test_v1_lists_and_tells_status(running: Server) -> None:
    assert running.get("/v1/models").json == running.get("/v2/models").json
    assert running.get("/v1/models/simple").json == {"name": "simple", "ready": True}
    for path in ("/v1/models/nope", "/v1/models/simple:nope", "/v1/models/", "/v1/models/simple/versions/", "/v1/x"):
        assert running.get(path).status == 404, path
    assert _post(running, "/v1/models/nope:predict", b"{}").status == 404
    assert running.get("/v1/models/simple:predict").status == 405
