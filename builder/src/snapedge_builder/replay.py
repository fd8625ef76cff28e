"""Golden samples asked through an endpoint, and how far each output is from what was expected.

Unlike the gate on a device, this goes on after the first wrong answer: a person wants to see them all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from snapedge_hooks.document import DocumentError, canonical_json
from snapedge_hooks.errors import ExitCode
from snapedge_hooks.samples import Deviation, ExpectedTensor, Sample, SampleSet, parse_answer, parse_refusal
from snapedge_hooks.wire import Wire, WireError

from .errors import BuilderError

MAX_ANSWER = 256 * 1024 * 1024
_TIMEOUT_SECONDS = 120.0
_REFUSED = "-"
"""In place of an output's name where the whole request was refused."""


class EndpointLostError(BuilderError):
    """The endpoint stopped answering."""

    exit_code = ExitCode.REMOTE_AWAY

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: the endpoint {problem}", resolution="see the server's log, then try again")


class Asker(Protocol):
    """A way to ask an endpoint."""

    def __call__(self, path: str, body: bytes) -> tuple[int, bytes]:
        """The status and body of the answer to a POST of JSON.

        Raises:
            BuilderError: none came.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputError:
    """How far one output was off, over all samples.

    Attributes:
        output: its name.
        answers: how many of its answers could be compared.
        largest: the largest |got - want| of all elements; infinite where no number says it; None without an answer.
        sample: where that was.
        tolerance: absolute and relative, of that sample.
    """

    output: str
    answers: int
    largest: float | None
    sample: str
    tolerance: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What asking every sample showed.

    Attributes:
        samples: how many were asked.
        outputs: in the order in which the samples name them.
        deviations: what was wrong; empty when everything was right.
        milliseconds: of each answer, in order.
    """

    samples: int
    outputs: tuple[OutputError, ...]
    deviations: tuple[Deviation, ...]
    milliseconds: tuple[float, ...]

    @property
    def passed(self) -> bool:
        """Whether every answer was right."""
        return not self.deviations

    @property
    def wrong_samples(self) -> int:
        """How many samples have a wrong answer."""
        return len({deviation.sample for deviation in self.deviations})


@dataclass(slots=True)
class _Tally:
    """One output's error so far."""

    expected: ExpectedTensor
    answers: int = 0
    largest: float | None = None
    sample: str = ""

    def add(self, sample: Sample, expected: ExpectedTensor, error: float) -> None:
        self.answers += 1
        if self.largest is None or error > self.largest:
            self.largest, self.sample, self.expected = error, sample.name, expected

    def result(self) -> OutputError:
        return OutputError(
            output=self.expected.tensor.name,
            answers=self.answers,
            largest=self.largest,
            sample=self.sample,
            tolerance=(self.expected.atol, self.expected.rtol),
        )


@dataclass(slots=True)
class _Replaying:
    """A replay under way."""

    outputs: dict[str, _Tally] = field(default_factory=dict)
    deviations: list[Deviation] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)


def replay(ask: Asker, model: str, samples: SampleSet) -> Replay:
    """Ask an endpoint every sample.

    Args:
        ask: sends a request to it.
        model: the name it serves under.
        samples: what to ask.

    Raises:
        EndpointLostError: it stopped answering.
    """
    so_far = _Replaying()
    for sample in samples.samples:
        for expected in sample.outputs:
            so_far.outputs.setdefault(expected.tensor.name, _Tally(expected))
        _ask(ask, model, sample, so_far)
    return Replay(
        samples=len(samples.samples),
        outputs=tuple(tally.result() for tally in so_far.outputs.values()),
        deviations=tuple(so_far.deviations),
        milliseconds=tuple(so_far.milliseconds),
    )


def request_body(sample: Sample) -> bytes:
    """The body that asks a sample."""
    return canonical_json(sample.request())


def infer_path(model: str) -> str:
    """Where a model is asked."""
    return f"/v2/models/{model}/infer"


@contextmanager
def over_http(url: str, *, is_alive: Callable[[], None]) -> Iterator[Asker]:
    """Ways to ask an endpoint that this host reaches.

    Args:
        url: of the endpoint, without a path.
        is_alive: raises where the server behind the endpoint is known to be gone.
    """
    wire = Wire(url, read_timeout=_TIMEOUT_SECONDS, total_timeout=_TIMEOUT_SECONDS)

    def ask(path: str, body: bytes) -> tuple[int, bytes]:
        try:
            answer = wire.ask("POST", path, body=body, headers={"Content-Type": "application/json"}, limit=MAX_ANSWER)
        except WireError as error:
            is_alive()
            raise EndpointLostError(path, str(error)) from error
        return answer.status, answer.body

    try:
        yield ask
    finally:
        wire.close()


def _ask(ask: Asker, model: str, sample: Sample, so_far: _Replaying) -> None:
    began = time.perf_counter()
    status, body = ask(infer_path(model), request_body(sample))
    so_far.milliseconds.append((time.perf_counter() - began) * 1000)
    if status != 200:
        so_far.deviations.append(_refused(sample, f"was answered {status} {parse_refusal(body)}".rstrip()))
        return
    try:
        outputs = parse_answer(body, what=f"answer to {sample.name}")
    except DocumentError as error:
        so_far.deviations.append(_refused(sample, error.brief))
        return
    so_far.deviations.extend(sample.deviations(outputs))
    expected = {item.tensor.name: item for item in sample.outputs}
    for name, distance in sample.errors(outputs).items():
        so_far.outputs[name].add(sample, expected[name], distance)


def _refused(sample: Sample, problem: str) -> Deviation:
    return Deviation(sample=sample.name, output=_REFUSED, max_error=None, tolerance=0.0, problem=problem)
