"""Requests that run together: who may, what comes of it, and that nobody pays for another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from snapedge_oip import batching
from snapedge_oip.batching import Asked, Batches, Batching, Outcome
from snapedge_oip.datatypes import DATATYPES, Array
from snapedge_oip.errors import BusyError, PredictionError
from snapedge_oip.models import Model
from snapedge_oip.pool import Pool
from snapedge_oip.requests import InferRequest
from snapedge_oip.signature import Signature, TensorSpec

from . import fakes


class Computing(fakes.Echo):
    """A session of one function from rows to rows, which keeps how many rows each run had."""

    def __init__(self, function: Callable[[Array], Array], shape: tuple[int, ...] = (-1, 2)) -> None:
        take = TensorSpec(name="x", datatype=DATATYPES["FP32"], shape=shape)
        give = TensorSpec(name="y", datatype=DATATYPES["FP32"], shape=shape)
        self.signature = Signature(inputs=(take,), outputs=(give,))
        self.function = function
        self.runs: list[int] = []

    def predict(self, inputs: dict[str, Array], outputs: Sequence[str]) -> Sequence[Array]:
        self.runs.append(len(inputs["x"]))
        return [self.function(inputs["x"]) for _ in outputs]


def _logarithm(rows: Array) -> Array:
    if rows.min() < 0:
        raise PredictionError("there is no logarithm", by_input=True)
    return np.log1p(rows)


def _rows(*values: float) -> Array:
    return np.array([[value, 2 * value] for value in values], np.float32)


def _request(session: fakes.Echo, rows: Array) -> InferRequest:
    signature = session.signature
    return InferRequest(None, {"x": rows}, signature.outputs, signature.every[False])


def _values(outcomes: Sequence[Outcome]) -> list[Any]:
    return [str(one) if isinstance(one, Exception) else one[0].tolist() for one in outcomes]


def test_each_gets_its_own_rows_of_one_run() -> None:
    session = Computing(lambda rows: rows * 2)
    asked = [_request(session, rows) for rows in (_rows(1), _rows(2, 3), _rows(4))]
    outcomes, rows = batching.together(session, asked)
    assert _values(outcomes) == [[[2, 4]], [[4, 8], [6, 12]], [[8, 16]]]
    assert (rows, session.runs) == (4, [4])


def test_one_bad_input_costs_its_own_request_only() -> None:
    session = Computing(_logarithm)
    outcomes, rows = batching.together(session, [_request(session, one) for one in (_rows(0), _rows(-1), _rows(0))])
    assert _values(outcomes) == [[[0, 0]], "there is no logarithm", [[0, 0]]]
    assert (rows, session.runs) == (0, [3, 1, 1, 1])


def test_a_model_without_a_row_for_each_row_runs_each_by_itself() -> None:
    session = Computing(lambda rows: rows.sum(axis=0, keepdims=True))
    outcomes, rows = batching.together(session, [_request(session, one) for one in (_rows(1, 2), _rows(5))])
    assert _values(outcomes) == [[[3, 6]], [[5, 10]]]
    assert rows == 0


@pytest.mark.parametrize(
    ("session", "samples", "expected"),
    [
        (Computing(lambda rows: rows * 2), [_rows(1), _rows(2)], None),
        (Computing(lambda rows: rows * 2), [_rows(1)], None),
        (
            Computing(lambda rows: rows - rows.mean(axis=0)),
            [_rows(1), _rows(2)],
            "output 'y' is another one where rows run together",
        ),
        (
            Computing(lambda rows: rows / max(rows.max(), 1)),
            [_rows(0.5, 3), _rows(9)],
            "output 'y' is another one where rows run together",
        ),
        (Computing(lambda rows: rows[:1]), [_rows(1), _rows(2)], "it does not give a row for each row"),
        (Computing(_logarithm), [_rows(-1)], "it cannot compute what it was tried with"),
        (Computing(lambda rows: rows), [], "there is no input to try it with"),
        (Computing(lambda rows: rows, (1, 2)), [_rows(1)], "the first dimension of 'x' is not free"),
    ],
)
def test_only_a_model_whose_rows_know_nothing_of_each_other_takes_part(
    session: Computing, samples: list[Array], expected: str | None
) -> None:
    assert batching.objection(session, [{"x": rows} for rows in samples]) == expected


class Waiters:
    """Requests for one model on an event loop."""

    def __init__(self, session: Computing, *, limit: int = 64, **rules: Any) -> None:
        self.session = session
        loop = asyncio.get_running_loop()
        self.pool = Pool(loop, workers=1, limit=limit)
        self.batches = Batches(loop, self.pool)
        rule = Batching(**{"rows": 4, "delay": 5.0} | rules)
        self.model: Model = replace(fakes.model(session), batching=rule)
        self.answers: dict[int, Any] = {}
        self.jobs: list[Any] = []

    def ask(self, rows: Array) -> None:
        number = len(self.jobs)
        asked = Asked(self.model, _request(self.session, rows), 0.0, 0.0, lambda outcome: _values([outcome])[0])
        self.jobs.append(self.batches.submit(asked, lambda answer: self.answers.update({number: answer})))

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.answers) < count:
                await asyncio.sleep(0.001)


def test_a_full_batch_does_not_wait() -> None:
    async def scenario() -> Waiters:
        waiters = Waiters(Computing(lambda rows: rows * 2))
        for value in range(8):
            waiters.ask(_rows(value))
        await waiters.until(8)
        return waiters

    waiters = asyncio.run(scenario())
    assert waiters.session.runs == [4, 4]
    assert waiters.answers == {value: [[2 * value, 4 * value]] for value in range(8)}
    counts = waiters.model.statistics
    assert (counts.succeeded, counts.rows, counts.executions, counts.batches[4][0]) == (8, 8, 2, 2)
    assert waiters.pool.in_flight == 0


def test_the_delay_ends_the_wait_and_shapes_that_differ_do_not_meet() -> None:
    async def scenario() -> Waiters:
        waiters = Waiters(Computing(lambda rows: rows, (-1, -1)), delay=0.05)
        waiters.ask(_rows(1))
        waiters.ask(np.zeros((1, 3), np.float32))
        waiters.ask(_rows(2))
        await waiters.until(3)
        return waiters

    waiters = asyncio.run(scenario())
    assert sorted(waiters.session.runs) == [1, 2]
    assert waiters.answers == {0: [[1, 2]], 1: [[0, 0, 0]], 2: [[2, 4]]}


def test_never_more_rows_than_the_limit() -> None:
    async def scenario() -> Waiters:
        waiters = Waiters(Computing(lambda rows: rows), delay=0.05)
        for values in ((1, 2, 3), (4, 5), (6, 7, 8, 9, 10), (11,)):
            waiters.ask(_rows(*values))
        await waiters.until(4)
        return waiters

    assert asyncio.run(scenario()).session.runs == [3, 2, 5, 1]


def test_who_waits_counts_as_in_flight_and_who_left_is_not_run() -> None:
    async def scenario() -> Waiters:
        waiters = Waiters(Computing(lambda rows: rows), limit=3, delay=0.05)
        for value in range(3):
            waiters.ask(_rows(value))
        with pytest.raises(BusyError):
            waiters.ask(_rows(9))
        waiters.jobs[1].abandoned = True
        await waiters.until(2)
        assert waiters.pool.in_flight == 0
        waiters.ask(_rows(4))
        waiters.jobs[3].abandoned = True
        await asyncio.sleep(0.2)
        return waiters

    waiters = asyncio.run(scenario())
    assert (waiters.session.runs, sorted(waiters.answers)) == ([2], [0, 2])
    assert waiters.pool.in_flight == 0


def test_a_defect_is_told_to_everybody_in_the_batch() -> None:
    def broken(_: Array) -> Array:
        raise ZeroDivisionError("defect")

    async def scenario() -> Waiters:
        waiters = Waiters(Computing(broken), rows=2)
        waiters.ask(_rows(1))
        waiters.ask(_rows(2))
        await waiters.until(2)
        return waiters

    waiters = asyncio.run(scenario())
    assert waiters.answers == {0: "defect", 1: "defect"}
    assert waiters.model.statistics.failed == 2
