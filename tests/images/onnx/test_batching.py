"""Dynamic batching, from the socket: the same answers, in fewer runs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from .serving import Server, place, server


def _pick(index: int, **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "index", "shape": [1], "datatype": "INT64", "data": [index]}]} | more


@pytest.fixture(scope="module")
def batched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that waits long enough for requests to meet."""
    directory = tmp_path_factory.mktemp("models")
    place(directory, "pick")
    place(directory, "identity_bytes")
    place(directory, "slow")
    with server(directory, "--max-batch-size", "4", "--max-batch-delay", "300ms", "--grpc-port", "0") as running:
        yield running


def _stats(running: Server, model: str) -> Any:
    return running.get(f"/v2/models/{model}/stats").json["model_stats"][0]


def test_requests_that_meet_run_together_and_each_gets_its_own_answer(batched: Server) -> None:
    before = _stats(batched, "pick")
    alone = [batched.infer("pick", _pick(index)).json["outputs"] for index in range(3)]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda n: batched.infer("pick", _pick(n % 3, id=str(n))), range(8)))
    assert [answer.json["id"] for answer in answers] == [str(number) for number in range(8)]
    assert [answer.json["outputs"] for answer in answers] == [alone[number % 3] for number in range(8)]
    after = _stats(batched, "pick")
    assert after["inference_count"] - before["inference_count"] == 11
    assert after["execution_count"] - before["execution_count"] <= 3 + 4
    assert after["inference_stats"]["queue"]["ns"] > before["inference_stats"]["queue"]["ns"]
    assert max(batch["batch_size"] for batch in after["batch_stats"]) > 1


def test_a_mistake_among_them_is_its_own(batched: Server) -> None:
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda index: batched.infer("pick", _pick(index)), (0, 99, 1, 2)))
    assert [answer.status for answer in answers] == [200, 400, 200, 200]
    assert "error" in answers[1].json


def test_v1_binary_and_strings_take_part(batched: Server) -> None:
    with ThreadPoolExecutor(4) as threads:
        predicted = threads.submit(batched.ask, "POST", "/v1/models/pick:predict", b'{"instances": [1]}')
        raw = threads.submit(batched.infer, "pick", (2).to_bytes(8, "little"), Inference_Header_Content_Length="0")
        texts = [
            {"inputs": [{"name": "INPUT0", "shape": [1, 1], "datatype": "BYTES", "data": [text]}]} for text in "ab"
        ]
        strings = [threads.submit(batched.infer, "identity_bytes", text) for text in texts]
        picked = batched.infer("pick", _pick(1)).json["outputs"][0]["data"]
        assert predicted.result().json == {"predictions": picked}
        assert raw.result().status == 200
        assert [one.result().json["outputs"][0]["data"] for one in strings] == [["a"], ["b"]]


def test_what_does_not_fit_is_refused_at_once(batched: Server) -> None:
    assert batched.infer("pick", {"inputs": []}).status == 400
    assert batched.infer("pick", b"{").status == 400


def test_config_metadata_and_metrics_tell_it(batched: Server) -> None:
    config = batched.get("/v2/models/pick/config").json
    assert (config["max_batch_size"], config["dynamic_batching"]) == (4, {"max_queue_delay_microseconds": 300000})
    assert config["input"][0]["dims"] == []
    assert batched.get("/v2/models/pick").json["properties"]["batching"] == "on"
    slow = batched.get("/v2/models/slow").json
    assert slow["properties"]["batching"] == "off: the first dimension of 'rounds' is not free"
    assert batched.get("/v2/models/slow/config").json["max_batch_size"] == 0
    text = batched.get("/metrics").body.decode()
    assert 'snapedge_queue_seconds_total{model="pick",version="1.0.0"}' in text


def test_without_the_flag_nothing_waits_and_metadata_does_not_speak_of_it(running: Server) -> None:
    assert "batching" not in running.get("/v2/models/pick").json["properties"]
    assert running.get("/v2/models/pick/config").json["max_batch_size"] == 0
