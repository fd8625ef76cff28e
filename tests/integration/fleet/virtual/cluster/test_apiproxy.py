"""Services asked through the API, as the real one lets its clients in."""

from __future__ import annotations

import pytest

from .device import ISVC, Device, inference_service
from .image import push, server_image

SERVICES = "/api/v1/namespaces/default/services"


@pytest.fixture
def served(device: Device) -> str:
    """A model that is up; the port of its Service."""
    reference = push(device.registry.host, "wine", server_image("one"))
    device.apply(f"{ISVC}/wine", inference_service("wine", reference)).raise_for_status()
    path = "/apis/apps/v1/namespaces/default/deployments/wine-predictor"
    device.wait_for(lambda: device.session.get(device.url + path, timeout=5).status_code, lambda code: code == 200)
    device.wait_for(lambda: device.get(path)["status"].get("availableReplicas"), bool)
    return str(device.get(f"{SERVICES}/wine-predictor")["spec"]["ports"][0]["port"])


def test_a_request_reaches_a_pod_with_its_path_and_its_answer_comes_back(device: Device, served: str) -> None:
    for name in (f"http:wine-predictor:{served}", f"wine-predictor:{served}", "wine-predictor"):
        answer = device.session.get(f"{device.url}{SERVICES}/{name}/proxy/v2/health/ready?a=b", timeout=10)
        assert (answer.status_code, answer.json()["answer"]) == (200, "one")


def test_what_is_not_there_is_told_by_the_api_itself(device: Device, served: str) -> None:
    for name, code, message in (
        ("nothing:80", 404, 'services "nothing" not found'),
        ("wine-predictor:1", 503, 'no service port "1" found for service "wine-predictor"'),
    ):
        answer = device.session.get(f"{device.url}{SERVICES}/{name}/proxy/", timeout=10)
        assert (answer.status_code, answer.json()["kind"], answer.json()["message"]) == (code, "Status", message)


def test_a_service_without_a_ready_pod_is_unavailable(device: Device) -> None:
    reference = f"{device.registry.host}/none@sha256:{'0' * 64}"
    device.apply(f"{ISVC}/wine", inference_service("wine", reference)).raise_for_status()
    path = f"{device.url}{SERVICES}/wine-predictor"
    device.wait_for(lambda: device.session.get(path, timeout=5).status_code, lambda code: code == 200)
    answer = device.session.get(f"{path}/proxy/", timeout=10)
    assert (answer.status_code, answer.json()["message"]) == (
        503,
        'no endpoints available for service "wine-predictor"',
    )
