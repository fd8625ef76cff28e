"""Replays golden samples through the model's Service: the proof that the endpoint answers, and answers right.

The address is the Service's ClusterIP and port as the Service object says; `status.url` resolves nowhere on a device.

A Deployment counts its old pods as gone when they are told to go, but the node's proxy rules follow up to seconds
later, so that an old pod may still answer. An answer that is wrong, or of another version than was asked for, is
therefore believed only when it stays so for `TURNING` seconds.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from typing import Any

from .clock import Deadline
from .document import DocumentError, canonical_json
from .samples import Deviation, Sample, SampleSet, parse_answer, parse_refusal
from .situations import RefusedError
from .vocabulary import HealthCode
from .wire import Answer, TooLargeError, Wire, WireError

_TIMEOUT = 60.0
MAX_ANSWER = 16 * 1024 * 1024
SETTLING = 15.0
"""Seconds for which a Service of ready pods may still refuse: the node's proxy rules follow with a delay."""
TURNING = 5.0
"""Seconds for which a Service may still lead elsewhere: to the pods that were before, or, where its address is new, out
of the device to whoever answers there. kube-proxy writes rules once a second."""
_REPLAYS = 3
"""How often a sample that was slow is asked again: the fastest counts, since one answer may have met a busy device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a model answers.

    Attributes:
        url: of its Service, without a path.
        model: the name clients ask for.
        version: of the model that is to answer there; a server that is not ours may name another.
    """

    url: str
    model: str
    version: str


def endpoint(service: dict[str, Any], model: str, version: str) -> Endpoint | None:
    """The endpoint of KServe's Service object, or None while it has no address."""
    spec = service.get("spec", {})
    address, ports = spec.get("clusterIP"), spec.get("ports")
    if not isinstance(address, str) or address in ("", "None") or not isinstance(ports, list) or not ports:
        return None
    named = [port for port in ports if port.get("name") in ("http1", "http", model)] or ports
    host = f"[{address}]" if ":" in address else address
    return Endpoint(url=f"http://{host}:{named[0].get('port')}", model=model, version=version)


class _TryAgainError(Exception):
    """The endpoint did not answer the question, but may in a moment."""


class Probe:
    """Asks one endpoint."""

    def __init__(self, where: Endpoint, deadline: Deadline) -> None:
        self._where = where
        self._deadline = deadline
        self._wire = Wire(where.url, read_timeout=_TIMEOUT, total_timeout=_TIMEOUT)
        self._turned = Deadline.after(deadline.clock, min(TURNING, deadline.remaining))

    def replay(self, samples: SampleSet, *, max_latency_ms: int | None = None) -> float:
        """Ask every sample; the slowest one's time in milliseconds.

        Raises:
            RefusedError: an answer is wrong or too slow, or none came.
        """
        slowest = 0.0
        try:
            for sample in samples.samples:
                slowest = max(slowest, self._replay(sample, max_latency_ms))
        finally:
            self._wire.close()
        return slowest

    def _replay(self, sample: Sample, max_latency_ms: int | None) -> float:
        elapsed = self._ask_until_right(sample)
        if max_latency_ms is None or elapsed <= max_latency_ms:
            return elapsed
        for _ in range(_REPLAYS - 1):
            elapsed = min(elapsed, self._ask_until_right(sample))
        if elapsed > max_latency_ms:
            raise _refused(f"Sample {sample.name}: answered in {math.ceil(elapsed)} ms, {max_latency_ms} ms allowed")
        return elapsed

    def _ask_until_right(self, sample: Sample) -> float:
        while True:
            answer, elapsed = self._ask_until_settled(sample)
            problem = _problem(sample, answer)
            if self._turned.has_passed or (problem is None and _names(answer.body, self._where.version)):
                if problem is not None:
                    raise problem
                return elapsed
            # A new connection: one that is kept open stays with its pod.
            self._wire.close()
            self._turned.pause(0.25)

    def _ask_until_settled(self, sample: Sample) -> tuple[Answer, float]:
        settled = Deadline.after(self._deadline.clock, min(SETTLING, self._deadline.remaining))
        while True:
            try:
                return self._ask(sample)
            except _TryAgainError as error:
                if settled.has_passed:
                    raise _refused(f"Sample {sample.name}: {error}") from error
                settled.pause(0.25)

    def _ask(self, sample: Sample) -> tuple[Answer, float]:
        began = time.perf_counter()
        try:
            answer = self._wire.ask(
                "POST",
                f"/v2/models/{self._where.model}/infer",
                body=canonical_json(sample.request()),
                headers={"Content-Type": "application/json"},
                limit=MAX_ANSWER,
            )
        except TooLargeError as error:
            raise _refused(f"Sample {sample.name}: the endpoint {error}") from error
        except WireError as error:
            raise _TryAgainError(f"the endpoint {error}") from error
        elapsed = (time.perf_counter() - began) * 1000
        if answer.status in (502, 503, 504):
            raise _TryAgainError(f"the endpoint answers {answer.status}")
        return answer, elapsed


def _problem(sample: Sample, answer: Answer) -> RefusedError | None:
    if answer.status != 200:
        return _refused(f"Sample {sample.name}: answered {answer.status} {parse_refusal(answer.body)}".rstrip())
    try:
        deviations = sample.deviations(parse_answer(answer.body, what=f"answer to {sample.name}"))
    except DocumentError as error:
        return _refused(f"Sample {sample.name}: {error.brief}")
    return _wrong(deviations[0]) if deviations else None


def _names(answer: bytes, version: str) -> bool:
    """Whether an answer says that it comes from that version, or says nothing of one."""
    return str(json.loads(answer).get("model_version", version)) == version


def _wrong(deviation: Deviation) -> RefusedError:
    return _refused(f"Sample {deviation.sample}: {deviation.output} {deviation.problem}")


def _refused(brief: str) -> RefusedError:
    return RefusedError(
        HealthCode.GATE_FAILED,
        brief,
        resolution="train or convert the model again; the last good one goes on serving",
    )
