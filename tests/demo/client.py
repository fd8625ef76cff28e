"""A client that never stops asking: one thread for each device, one question after another, every answer checked."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

PAUSE_SECONDS = 0.05
TIMEOUT_SECONDS = 10.0


@dataclass(slots=True)
class Tally:
    """What one device answered.

    Attributes:
        asked: requests sent.
        failed: requests without a 200, with the reason of each.
        wrong: answers with another cultivar than the true one, each in words.
        slowest: seconds of the slowest right answer.
    """

    asked: int = 0
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0.0


def ask(url: str, model: str, inputs: list[dict[str, Any]]) -> dict[str, Any]:
    """One infer request on a connection of its own.

    Raises:
        OSError, http.client.HTTPException: no answer.
        ValueError: an answer that is not 200 or no JSON.
    """
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port or 80, timeout=TIMEOUT_SECONDS)
    try:
        body = json.dumps({"inputs": inputs})
        connection.request("POST", f"/v2/models/{model}/infer", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        data = response.read()
        if response.status != http.client.OK:
            raise ValueError(f"{response.status} {data[:200].decode(errors='replace')}")
        answer: dict[str, Any] = json.loads(data)
        return answer
    finally:
        connection.close()


class TirelessClient:
    """Asks every device all the while. A context manager: asking ends with the block."""

    def __init__(
        self, endpoints: Mapping[str, str], model: str, samples: Iterable[Mapping[str, Any]], output: str
    ) -> None:
        self._model = model
        self._output = output
        self._questions = [
            (sample["request"]["inputs"], next(o["data"] for o in sample["expect"]["outputs"] if o["name"] == output))
            for sample in samples
        ]
        self.tallies = {device: Tally() for device in endpoints}
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._keep_asking, args=(device, url), daemon=True, name=f"asks-{device}")
            for device, url in endpoints.items()
        ]

    def __enter__(self) -> TirelessClient:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=TIMEOUT_SECONDS + 1)

    @property
    def asked(self) -> int:
        """Requests sent so far to all devices."""
        return sum(tally.asked for tally in self.tallies.values())

    @property
    def complaints(self) -> list[str]:
        """Every failed or wrong answer so far, with its device."""
        return [f"{device}: {text}" for device, tally in self.tallies.items() for text in (*tally.failed, *tally.wrong)]

    @property
    def slowest(self) -> float:
        """Seconds of the slowest right answer of all devices."""
        return max((tally.slowest for tally in self.tallies.values()), default=0.0)

    def _keep_asking(self, device: str, url: str) -> None:
        tally = self.tallies[device]
        while not self._stop.is_set():
            inputs, truth = self._questions[tally.asked % len(self._questions)]
            begun = time.monotonic()
            tally.asked += 1
            try:
                answer = ask(url, self._model, inputs)
                got = next(output["data"] for output in answer["outputs"] if output["name"] == self._output)
            except (OSError, http.client.HTTPException, ValueError, KeyError, StopIteration) as error:
                tally.failed.append(f"{type(error).__name__}: {error}")
            else:
                if got != truth:
                    tally.wrong.append(f"{self._output} {got}, not {truth}")
                tally.slowest = max(tally.slowest, time.monotonic() - begun)
            self._stop.wait(PAUSE_SECONDS)
