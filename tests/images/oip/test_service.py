from __future__ import annotations

import json

import pytest

from snapedge_oip.responses import Response
from snapedge_oip.service import Request, Service

from .fakes import Echo, model, service

BODY = json.dumps({"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1.5]}]}).encode()
INFER = Request(b"POST", b"/v2/models/echo/infer", {}, BODY)


def _answer(served: Service, target: bytes, method: bytes = b"GET") -> tuple[int, object]:
    response = served.answer(Request(method, target, {}, b""))
    assert isinstance(response, Response)
    return response.status, json.loads(response.body)


def test_a_quick_model_is_answered_at_once_and_a_slow_one_as_work() -> None:
    quick = service(model(Echo(x="FP32"))).answer(INFER)
    slow = service(model(Echo(x="FP32"), inline=False)).answer(INFER)
    assert isinstance(quick, Response)
    assert not isinstance(slow, Response)
    assert slow() == quick


def test_a_big_or_compressed_body_is_work_even_for_a_quick_model() -> None:
    served = service(model(Echo(x="FP32")))
    assert not isinstance(served.answer(INFER._replace(body=BODY + b" " * 40_000)), Response)
    assert not isinstance(served.answer(INFER._replace(headers={b"content-encoding": b"gzip"})), Response)


@pytest.mark.parametrize("expected", [("echo",), None])
def test_before_a_model_is_loaded_it_is_not_ready(expected: tuple[str, ...] | None) -> None:
    loading = service(None, expected=expected)
    assert _answer(loading, b"/v2/health/live")[0] == 200
    assert _answer(loading, b"/v2/health/ready")[0] == 503
    assert _answer(loading, b"/v2/models/echo/ready")[0] == 503
    response = loading.answer(INFER)
    assert isinstance(response, Response)
    assert response.status == 503
    assert (b"Retry-After", b"1") in response.headers


def test_a_model_that_is_not_expected_is_unknown_also_while_loading() -> None:
    assert _answer(service(None), b"/v2/models/other/ready")[0] == 404


def test_draining_is_not_ready_and_answers_on() -> None:
    served = service(model(Echo(x="FP32")))
    assert _answer(served, b"/v2/health/ready") == (200, {"ready": True})
    served.draining = True
    assert _answer(served, b"/v2/health/ready")[0] == 503
    assert _answer(served, b"/v2/models/echo/ready")[0] == 200
    assert isinstance(served.answer(INFER), Response)


def test_a_defect_costs_one_request() -> None:
    class Broken(Echo):
        def predict(self, inputs: object, outputs: object) -> list[object]:  # type: ignore[override]
            raise ZeroDivisionError

    response = service(model(Broken(x="FP32"))).answer(INFER)
    assert isinstance(response, Response)
    assert response.status == 500
    assert "its log says how" in json.loads(response.body)["error"]
