"""What answers behind a Service while its pods are exchanged is believed only when it is the one that was asked for."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.fakes.edge import FakeClock
from tests.fakes.model import Answer, FakeModel

from snapedge_hooks.clock import Deadline
from snapedge_hooks.probe import TURNING, Endpoint, Probe
from snapedge_hooks.samples import SampleSet
from snapedge_hooks.situations import RefusedError

TENSOR = {"shape": [1], "datatype": "INT64"}
SAMPLES = SampleSet.parse(
    json.dumps(
        {
            "format": 1,
            "samples": [
                {
                    "name": f"row-{row}",
                    "request": {"inputs": [{"name": "x", "data": [row], **TENSOR}]},
                    "expect": {"outputs": [{"name": "label", "data": [2], **TENSOR}]},
                }
                for row in range(3)
            ],
        }
    ).encode()
)


@pytest.fixture
def model() -> Iterator[FakeModel]:
    made = FakeModel()
    yield made
    made.close()


def says(label: int, version: str | None) -> Answer:
    """A program that answers every request with that label, and names its version unless it has none."""
    outputs = [{"name": "label", "data": [label], **TENSOR}]
    document: dict[str, Any] = {"model_name": "wine", "outputs": outputs}
    return lambda _: (200, document if version is None else document | {"model_version": version})


def turning(model: FakeModel, old: Answer, new: Answer, after: int) -> None:
    """Let the Service lead to the old pod for so many requests."""
    model.answer = lambda request: (old if len(model.requests) <= after else new)(request)


def replay(model: FakeModel, clock: FakeClock) -> None:
    where = Endpoint(url=f"http://127.0.0.1:{model.port}", model="wine", version="1.1.0")
    Probe(where, Deadline.after(clock, 100)).replay(SAMPLES)


def test_a_wrong_answer_of_the_old_pod_is_not_held_against_the_new_one(model: FakeModel) -> None:
    turning(model, says(0, "1.0.0"), says(2, "1.1.0"), after=4)
    replay(model, FakeClock())
    assert len(model.requests) == 4 + 3


def test_who_answers_before_the_way_to_a_new_address_is_there_is_not_the_model(model: FakeModel) -> None:
    turning(model, lambda _: (404, {}), says(2, "1.1.0"), after=4)
    replay(model, FakeClock())
    assert len(model.requests) == 4 + 3


def test_a_refusal_that_stays_is_believed(model: FakeModel) -> None:
    model.answer = lambda _: (404, {"error": "no model wine"})
    clock = FakeClock()
    with pytest.raises(RefusedError, match="row-0: answered 404 no model wine"):
        replay(model, clock)
    assert sum(clock.slept) == pytest.approx(TURNING)


def test_a_right_answer_of_the_old_pod_proves_nothing(model: FakeModel) -> None:
    turning(model, says(2, "1.0.0"), says(0, "1.1.0"), after=4)
    with pytest.raises(RefusedError, match="row-0"):
        replay(model, FakeClock())


def test_an_answer_that_stays_wrong_is_believed(model: FakeModel) -> None:
    model.answer = says(0, "1.1.0")
    clock = FakeClock()
    with pytest.raises(RefusedError, match="row-0"):
        replay(model, clock)
    assert sum(clock.slept) == pytest.approx(TURNING)


@pytest.mark.parametrize("version", [None, "1.1.0"])
def test_a_right_answer_is_taken_at_once(model: FakeModel, version: str | None) -> None:
    model.answer = says(2, version)
    clock = FakeClock()
    replay(model, clock)
    assert clock.slept == []
    assert len(model.requests) == 3


def test_a_server_that_names_another_version_is_taken_when_it_stays_so(model: FakeModel) -> None:
    model.answer = says(2, "1")
    clock = FakeClock()
    replay(model, clock)
    assert sum(clock.slept) == pytest.approx(TURNING)
