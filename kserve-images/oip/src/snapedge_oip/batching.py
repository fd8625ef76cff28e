"""Dynamic batching: requests for one model that come at nearly the same time run together. Off unless asked for.

Rules:

1. A model takes part only if its inputs and outputs have a free first dimension and it answered, before it was ready,
   inputs together as it answered them alone (`objection`). So a model that looks across its rows never takes part.
2. Together are run requests whose tensors have the same shape behind the first dimension, and never more rows than the
   limit; a request that has that many rows by itself runs alone.
3. The first request waits for others no longer than the delay. Full is full: then nobody waits.
4. Where a run fails, or does not give a row for each row, every request is run by itself: a request never pays for
   another one's input.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .adapter import Session
from .datatypes import BYTES, Array
from .errors import PredictionError
from .pool import Job, Pool
from .requests import InferRequest

if TYPE_CHECKING:
    from .models import Model

_TRIED = 4
_RTOL, _ATOL = 1e-5, 1e-6
"""What the order of additions may change between a run of one row and one of several, in FP32."""

Inputs = dict[str, Array]
Outcome = Sequence[Array] | Exception
"""The arrays of a request's outputs, or why there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """How requests are put together.

    Attributes:
        rows: most in one run.
        delay: seconds that the first request waits for others.
    """

    rows: int
    delay: float


class Asked(NamedTuple):
    """A request that may run together with others.

    Attributes:
        model: what it is for; it has `batching`.
        request: what is asked.
        began: when it came in, by `perf_counter`.
        parsing: seconds it took from bytes to arrays.
        answer: makes the protocol's answer of an outcome.
    """

    model: Model
    request: InferRequest
    began: float
    parsing: float
    answer: Callable[[Outcome], Any]


class Waiting(Job[Any]):
    """A request that waits for others."""

    __slots__ = ("asked", "rows", "since")

    def __init__(self, asked: Asked, rows: int, done: Callable[[Any], None]) -> None:
        super().__init__(lambda: None, done)
        self.asked = asked
        self.rows = rows
        self.since = perf_counter()


class _Batch:
    __slots__ = ("rows", "timer", "waiting")

    def __init__(self) -> None:
        self.waiting: list[Waiting] = []
        self.rows = 0
        self.timer: asyncio.TimerHandle | None = None


class Batches:
    """The requests that wait for others; lives on the event loop, and computes in the pool."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: Pool) -> None:
        self._loop = loop
        self._pool = pool
        self._batches: dict[tuple[Any, ...], _Batch] = {}

    def submit(self, asked: Asked, done: Callable[[Any], None]) -> Job[Any]:
        """Lets a request wait for others; `done` is called on the event loop.

        Raises:
            BusyError: too much is in flight.
        """
        batching = asked.model.batching
        assert batching is not None, "the model takes part"
        self._pool.hold()
        inputs = asked.request.inputs
        waiting = Waiting(asked, _rows(inputs), done)
        key = (id(asked.model), *((name, inputs[name].shape[1:]) for name in sorted(inputs)))
        batch = self._batches.get(key)
        if batch is not None and batch.rows + waiting.rows > batching.rows:
            self._run(key)
            batch = None
        if batch is None:
            batch = self._batches[key] = _Batch()
            batch.timer = self._loop.call_later(batching.delay, self._run, key)
        batch.waiting.append(waiting)
        batch.rows += waiting.rows
        if batch.rows >= batching.rows:
            self._run(key)
        return waiting

    def _run(self, key: tuple[Any, ...]) -> None:
        batch = self._batches.pop(key)
        assert batch.timer is not None
        batch.timer.cancel()
        wanted = [waiting for waiting in batch.waiting if not waiting.abandoned]
        self._pool.release(len(batch.waiting) - len(wanted))
        if wanted:
            self._pool.run_held(lambda: _answers(wanted), lambda answers: _tell(wanted, answers), len(wanted))


def together(session: Session, requests: Sequence[InferRequest]) -> tuple[list[Outcome], int]:
    """The outcome of each request, and the rows of the one run; 0 where each had to run by itself."""
    if len(requests) > 1:
        asked = {spec.name for request in requests for spec in request.outputs}
        names = [name for name in session.signature.output_names if name in asked]
        inputs = {name: np.concatenate([request.inputs[name] for request in requests]) for name in requests[0].inputs}
        total = _rows(inputs)
        try:
            arrays = dict(zip(names, session.predict(inputs, names), strict=True))
        except PredictionError:
            arrays = {}
        if arrays and all(values.shape[:1] == (total,) for values in arrays.values()):
            outcomes: list[Outcome] = []
            start = 0
            for request in requests:
                end = start + _rows(request.inputs)
                outcomes.append([arrays[spec.name][start:end] for spec in request.outputs])
                start = end
            return outcomes, total
    return [_alone(session, request) for request in requests], 0


def objection(session: Session, samples: Sequence[Inputs]) -> str | None:
    """Why requests for a model must not run together; None where nothing speaks against it.

    Args:
        session: of the model.
        samples: inputs that the model can compute, of its golden samples; made up where there are none.
    """
    signature = session.signature
    for spec in (*signature.inputs, *signature.outputs):
        if spec.shape[:1] != (-1,):
            return f"the first dimension of {spec.name!r} is not free"
    outputs = signature.outputs
    flags = signature.every[False]
    tried = [sample for sample in samples if len({len(values) for values in sample.values()}) == 1][:_TRIED]
    if not tried:
        return "there is no input to try it with"
    for index, sample in enumerate(tried):
        partner = next((other for other in tried[index + 1 :] if _fit(sample, other)), _contrast(sample))
        requests = [InferRequest(None, inputs, outputs, flags) for inputs in (partner, sample)]
        alone = [_alone(session, request) for request in requests]
        both, rows = together(session, requests)
        if any(isinstance(outcome, Exception) for outcome in alone):
            return "it cannot compute what it was tried with"
        if not rows:
            return "it does not give a row for each row"
        for found, wanted in zip(both, alone, strict=True):
            assert not isinstance(found, Exception)
            assert not isinstance(wanted, Exception)
            for spec, one, other in zip(outputs, found, wanted, strict=True):
                if not _equal(one, other):
                    return f"output {spec.name!r} is another one where rows run together"
    return None


def _answers(waiting: Sequence[Waiting]) -> list[Any]:
    """What became of a batch, in the protocol's answers; in a worker."""
    model = waiting[0].asked.model
    start = perf_counter()
    outcomes: list[Outcome]
    try:
        outcomes, rows = together(model.session, [one.asked.request for one in waiting])
    except Exception as error:  # noqa: BLE001  # whoever asked must hear of it, and says what kind of failure it is
        outcomes, rows = [error] * len(waiting), 0
    inside = perf_counter() - start
    counts = model.statistics
    if rows:
        counts.run(rows, inside)
    answers = []
    for one, outcome in zip(waiting, outcomes, strict=True):
        asked = one.asked
        answers.append(asked.answer(outcome))
        total = perf_counter() - asked.began
        if isinstance(outcome, Exception):
            counts.fail(total)
        else:
            counts.succeed(one.rows, asked.parsing, inside, total, queued=start - one.since, runs=0 if rows else 1)
    return answers


def _tell(waiting: Sequence[Waiting], answers: Sequence[Any]) -> None:
    for one, answer in zip(waiting, answers, strict=True):
        if not one.abandoned:
            one.done(answer)


def _alone(session: Session, request: InferRequest) -> Outcome:
    try:
        return session.predict(request.inputs, [spec.name for spec in request.outputs])
    except PredictionError as error:
        return error


def _rows(inputs: Inputs) -> int:
    return len(next(iter(inputs.values())))


def _fit(one: Inputs, other: Inputs) -> bool:
    return all(values.shape[1:] == other[name].shape[1:] for name, values in one.items()) and any(
        not np.array_equal(values[:1], other[name][:1]) for name, values in one.items()
    )


def _contrast(inputs: Inputs) -> Inputs:
    """Rows that differ from the ones given."""
    return {
        name: np.full_like(values, "") if values.dtype == BYTES.dtype else np.zeros_like(values)
        for name, values in inputs.items()
    }


def _equal(one: Array, other: Array) -> bool:
    if one.shape != other.shape:
        return False
    if one.dtype.kind == "f":
        return bool(np.allclose(one, other, rtol=_RTOL, atol=_ATOL, equal_nan=True))
    return bool(np.array_equal(one, other))
