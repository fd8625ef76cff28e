"""The watch: the timer asks some golden samples of what serves, others the next time, and health tells what drifted."""

from typing import Any

import pytest

from tests.fakes.edge import NAME, EdgeDevice, runtime_image, samples_json
from tests.fakes.kube import Program
from tests.fakes.model import labels

SAMPLES = {f"mnt/models/{NAME}/samples.json": samples_json(count=20)}


@pytest.fixture
def image(device: EdgeDevice) -> str:
    """What serves; it has 20 golden samples."""
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    made = device.serves(device.install("1.0.0", runtime, extra=SAMPLES), runtime)
    assert device.run("install") == 0
    return made


def test_an_install_asks_every_sample_and_the_timer_eight(device: EdgeDevice, image: str) -> None:
    assert len(device.model.requests) == 20
    device.model.requests.clear()
    assert device.run("drift") == 0
    assert len(device.model.requests) == 8


def test_a_drift_is_found_when_its_sample_has_its_turn_and_told_until_it_is_over(
    device: EdgeDevice, image: str
) -> None:
    asked = iter(range(10**6))

    def wrong_from_the_tenth_on(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return labels(2 if next(asked) < 10 else 6)(request)

    device.kube.programs[image] = Program(answer=wrong_from_the_tenth_on)
    assert device.run("drift") == 0
    assert device.health() == "okay"
    for _ in range(2):
        assert device.run("drift") == 0
        assert device.health().startswith("--code=gate-failed error Sample row-")
        assert "label is off by 4" in device.health()
    assert str(device.kube.service_image(NAME)).endswith(image)
    device.kube.programs[image] = Program(answer=labels(2))
    assert device.run("drift") == 0
    assert device.health() == "okay"


def test_what_changed_is_proved_whole(device: EdgeDevice, image: str) -> None:
    del device.kube.objects[f"/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/{NAME}"]
    device.model.requests.clear()
    assert device.run("drift") == 0
    assert len(device.model.requests) == 20
