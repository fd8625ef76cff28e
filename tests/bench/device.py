"""`make bench-device`: what the hooks cost on a device, against the bars; pods start at once.

Each measurement runs a hook or service as a process of its own, as snapd does, over the real protocols against a
registry and an API in memory: the numbers hold for the hooks and the wire, not for a registry's disk or a pod's start.
"""

from __future__ import annotations

import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.edge import NAME, EdgeDevice, runtime_image

ROUNDS = 5
MODEL_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One process.

    Attributes:
        seconds: from its start to its end.
        cpu: seconds of user and system time.
        peak: bytes of memory, at the last request it made.
        push: seconds from its first request to the registry to the last write there, the manifest; 0 without a write.
    """

    seconds: float
    cpu: float
    peak: int
    push: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the table."""

    what: str
    measured: float
    bar: float
    unit: str

    @property
    def holds(self) -> bool:
        """Whether the bar is met."""
        return self.measured < self.bar

    def __str__(self) -> str:
        """As the table shows it."""
        missed = "" if self.holds else "  MISSED"
        return f"{self.what:<50} {self.measured:>8.3f} {self.unit:<2}  bar {self.bar:>5.1f}{missed}"


def run(device: EdgeDevice, name: str) -> Run:
    """Run a hook or service and measure it."""
    peaks: list[int] = []
    registry: list[tuple[float, bool]] = []
    began = time.perf_counter()
    process = device.start(name)

    def note(request: str) -> None:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        peaks.append(0 if found is None else int(found[1]) * 1024)

    def note_registry(request: str) -> None:
        note(request)
        registry.append((time.perf_counter(), not request.startswith(("GET", "HEAD"))))

    device.kube.on_request, device.registry.on_request = note, note_registry
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    device.kube.on_request = device.registry.on_request = lambda request: None
    if process.returncode:
        raise SystemExit(f"{name} left with exit code {process.returncode}")
    writes = [at for at, wrote in registry if wrote]
    push = writes[-1] - registry[0][0] if writes else 0.0
    return Run(seconds=seconds, cpu=usage.ru_utime + usage.ru_stime, peak=max(peaks, default=0), push=push)


def measure(device: EdgeDevice) -> Iterator[Line]:
    """The table's lines."""
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)

    def revision(version: str) -> None:
        model = {f"mnt/models/{NAME}/weights": os.urandom(MODEL_BYTES)}
        device.serves(device.install(version, runtime, extra=model), runtime)

    revision("1.0.0")
    first = run(device, "install")
    yield Line(what="install hook, pod start left out", measured=first.seconds - first.push, bar=1.0, unit="s")
    refreshes = []
    for number in range(ROUNDS):
        revision(f"1.{number + 1}.0")
        refreshes.append(run(device, "post-refresh"))
    yield Line(
        what="post-refresh hook, push and pod start left out",
        measured=statistics.median(each.seconds - each.push for each in refreshes),
        bar=1.0,
        unit="s",
    )
    yield Line(
        what="push of a changed model of 1 MiB, loopback",
        measured=statistics.median(each.push for each in refreshes),
        bar=0.1,
        unit="s",
    )
    idle = [run(device, "converge") for _ in range(ROUNDS)]
    yield Line(
        what="convergence with nothing to do, CPU",
        measured=statistics.median(each.cpu for each in idle),
        bar=0.4,
        unit="s",
    )
    yield Line(
        what="convergence with nothing to do, memory",
        measured=max(each.peak for each in idle) / 1e6,
        bar=40.0,
        unit="MB",
    )


def main() -> int:
    """Print the table. The exit code: 1 when a bar is missed."""
    with tempfile.TemporaryDirectory() as folder, EdgeDevice(Path(folder)) as device:
        lines = list(measure(device))
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0 if all(line.holds for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
