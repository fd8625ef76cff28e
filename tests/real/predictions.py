"""A client that asks every ten milliseconds, on a new connection each time, and forgets no answer."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from types import TracebackType
from typing import Any

INTERVAL = 0.01
TIMEOUT = 5.0


class PredictionError(Exception):
    """No answer, or one that is no prediction."""


def predict(address: str, model: str, request: dict[str, Any]) -> dict[str, Any]:
    """The outputs of one infer request, by name.

    Raises:
        PredictionError: it failed.
    """
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", f"/v2/models/{model}/infer", json.dumps(request), headers)
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise PredictionError(f"{response.status} {body[:200].decode(errors='replace')}")
        return {output["name"]: output["data"] for output in json.loads(body)["outputs"]}
    except (OSError, http.client.HTTPException) as error:
        raise PredictionError(f"{type(error).__name__}: {error}") from error
    finally:
        connection.close()


class Questioner:
    """Asks golden samples in turn while its `with` block lasts.

    Attributes:
        right: how many were answered as they should be.
        complaints: every failed or wrong answer, with the second it came at.
        slowest: seconds of the slowest right answer.
    """

    def __init__(self, address: str, model: str, output: str, samples: list[dict[str, Any]]) -> None:
        self.right = 0
        self.slowest = 0.0
        self.complaints: list[str] = []
        self._address = address
        self._model = model
        self._output = output
        self._samples = samples
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._ask_on)

    def __enter__(self) -> Questioner:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def _ask_on(self) -> None:
        started = due = time.monotonic()
        for sample in itertools.cycle(self._samples):
            self._ask(sample, time.monotonic() - started)
            # Late answers are not caught up with: the pace is one question each interval at most.
            due = max(due + INTERVAL, time.monotonic())
            if self._stopping.wait(due - time.monotonic()):
                return

    def _ask(self, sample: dict[str, Any], second: float) -> None:
        expected = next(one["data"] for one in sample["expect"]["outputs"] if one["name"] == self._output)
        asked = time.monotonic()
        try:
            found = predict(self._address, self._model, sample["request"])[self._output]
        except PredictionError as error:
            self.complaints.append(f"{second:.2f} s: {error}")
            return
        if found == expected:
            self.right += 1
            self.slowest = max(self.slowest, time.monotonic() - asked)
        else:
            self.complaints.append(f"{second:.2f} s: {sample['name']} is {found}, not {expected}")
