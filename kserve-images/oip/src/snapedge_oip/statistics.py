"""What one model was asked so far: counts and times, for Triton's `/stats` and for Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from threading import Lock
from time import time

SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds of the latency histogram."""

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Upper bounds of the batch size histogram."""


class Statistics:
    """Counters of one model version. Times are seconds; a request counts once it is answered.

    Attributes:
        succeeded: requests answered with outputs.
        failed: requests answered with an error of the model's.
        failed_seconds: what those took.
        seconds: what the successful ones took, in all.
        input_seconds: of these, from bytes to arrays.
        queue_seconds: of these, waiting for other requests to run with.
        infer_seconds: of these, in the runtime.
        rows: inferences, counting each row of a batch.
        executions: runs of the model.
        last: wall clock of the last answer, 0 before the first.
        latencies: successful requests by `SECONDS`, the last beyond all of them.
        sizes: runs by `ROWS`.
        batches: runs of several requests together, by their rows: how many, and the seconds they took.
    """

    __slots__ = (
        "_lock",
        "batches",
        "executions",
        "failed",
        "failed_seconds",
        "infer_seconds",
        "input_seconds",
        "last",
        "latencies",
        "queue_seconds",
        "rows",
        "seconds",
        "sizes",
        "succeeded",
    )

    def __init__(self) -> None:
        self._lock = Lock()
        self.succeeded = self.failed = self.rows = self.executions = 0
        self.seconds = self.failed_seconds = self.input_seconds = self.infer_seconds = self.last = 0.0
        self.queue_seconds = 0.0
        self.batches: dict[int, tuple[int, float]] = {}
        self.latencies = [0] * (len(SECONDS) + 1)
        self.sizes = [0] * (len(ROWS) + 1)

    def run(self, rows: int, inside: float) -> None:
        """Counts a run of several requests together: its rows, and seconds in the runtime."""
        with self._lock:
            self.executions += 1
            self.sizes[bisect_left(ROWS, rows)] += 1
            count, seconds = self.batches.get(rows, (0, 0.0))
            self.batches[rows] = count + 1, seconds + inside

    def succeed(
        self, rows: int, into: float, inside: float, total: float, *, queued: float = 0.0, runs: int = 1
    ) -> None:
        """Counts a request that was answered.

        Args:
            rows: of its batch.
            into: seconds from bytes to arrays.
            inside: seconds in the runtime.
            total: seconds for the whole of it.
            queued: seconds in which it waited for others.
            runs: 0 if its run was counted by `run`.
        """
        with self._lock:
            self.succeeded += 1
            self.rows += rows
            self.seconds += total
            self.input_seconds += into
            self.infer_seconds += inside
            self.latencies[bisect_left(SECONDS, total)] += 1
            self.queue_seconds += queued
            if runs:
                self.executions += 1
                self.sizes[bisect_left(ROWS, rows)] += 1
            self.last = time()

    def fail(self, total: float) -> None:
        """Counts a request that the model or its signature refused."""
        with self._lock:
            self.failed += 1
            self.failed_seconds += total
            self.last = time()
