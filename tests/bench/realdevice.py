"""`make bench-device-real`: what a device costs on real snapd, registry, Kubernetes API, kubelet, containerd and runc.

Needs root on Debian 12; the first time it builds the rigs of tests/real. A client asks all the time, every 10 ms. What
took how long is read from snapd's tasks and from what the hooks said in the journal.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from snapedge_hooks.vocabulary import Architecture
from tests.real import shippedsnaps, snapvariants
from tests.real.cluster import Cluster
from tests.real.edgedevice import EdgeDevice
from tests.real.kserve_controller import KServeController
from tests.real.predictions import Questioner
from tests.real.servedmodel import MK8S, OUTPUT
from tests.real.shippedsnaps import MODEL, ShippedSnaps

from .device import MODEL_BYTES, Line

ROUNDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What a hook said, each line with its second.

    Attributes:
        start: seconds from when snapd started it to its first line.
        lines: what it said.
    """

    start: float
    lines: tuple[tuple[float, str], ...]

    @property
    def began(self) -> float:
        """The second at which snapd started it."""
        return self.lines[0][0] - self.start

    @property
    def ended(self) -> float:
        """The second of its last line."""
        return self.lines[-1][0]

    def at(self, start: str) -> float:
        """The second of the first line that starts so."""
        return next(second for second, line in self.lines if line.startswith(start))

    @property
    def push(self) -> float:
        """Seconds of pushing."""
        return self.at("do   apply") - self.at("do   push-layer")

    @property
    def pod(self) -> float:
        """Seconds of waiting for the new pod."""
        return self.at("do   replay-samples") - self.at("do   wait-ready")


class Bench:
    """A device and a cluster, up, with nothing on them."""

    def __init__(self, device: EdgeDevice, cluster: Cluster, snaps: ShippedSnaps, folder: Path) -> None:
        self._device = device
        self._cluster = cluster
        self._snaps = snaps
        self._folder = folder
        self._whole = snapvariants.whole(snaps.first, snaps.runtime, folder)

    def measure(self, rounds: int) -> Iterator[Line]:
        """The table's lines."""
        firsts = [self._first_install() for _ in range(rounds)]
        yield _line("first install, whole runtime pushed, pod, samples", firsts, 10.0)
        self._install_shared()
        with Questioner(
            self._cluster.service_address(f"{MODEL}-predictor"), MODEL, OUTPUT, shippedsnaps.samples()
        ) as client:
            goods = [self._refresh(number) for number in range(rounds)]
            start = statistics.median(story.start for _, story in goods)
            bads = [self._bad_refresh(start) for _ in range(rounds)]
        yield _line("refresh, whole change, strict gate, pod, samples", [seconds for seconds, _ in goods], 4.0)
        hooks = [story for _, story in goods]
        yield _line("its hook", [each.ended - each.began for each in hooks], 4.0)
        yield _line("push of a changed model of 1 MiB, docker-registry", [each.push for each in hooks], 0.1)
        overheads = [each.ended - each.began - each.push - each.pod for each in hooks]
        yield _line("hook, push and pod start left out", overheads, 1.0)
        yield _line("verdict on a bad model", [each.at("do   restore") - each.began for each in bads], 5.0)
        yield _line("old one proved again after it", [each.ended - each.at("do   restore") for each in bads], 2.0)
        idle = [self._idle() for _ in range(rounds)]
        yield _line("convergence with nothing to do, CPU", [cpu for cpu, _ in idle], 0.4)
        peak = max(peak for _, peak in idle) / 1e6
        yield Line(what="convergence with nothing to do, memory", measured=peak, bar=40.0, unit="MB")
        wrong = float(len(client.complaints))
        yield Line(what=f"failed or wrong of {client.right} answers", measured=wrong, bar=0.5, unit="")
        for complaint in client.complaints[:10]:
            print(complaint, file=sys.stderr)

    def _first_install(self) -> float:
        """Seconds of installing and connecting a snap with its runtime inside, with nothing of it anywhere."""
        self._device.reset()
        self._cluster.wipe_registry()
        self._cluster.forget_images()
        self._device.offer_microk8s(self._cluster.config)
        began = time.monotonic()
        snapd = self._device.snapd
        _done(snapd.sideload(self._whole).status)
        _done(snapd.connect(MODEL, *MK8S).status)
        snapd.await_health(MODEL, "okay")
        return time.monotonic() - began

    def _install_shared(self) -> None:
        self._device.reset()
        self._cluster.wipe_registry()
        self._device.offer_microk8s(self._cluster.config)
        for snap in (self._snaps.runtime, self._snaps.first):
            _done(self._device.snapd.sideload(snap).status)
        for name in (shippedsnaps.RUNTIME, MODEL):
            _done(self._device.snapd.connect(name, *MK8S).status)
        self._device.snapd.await_health(MODEL, "okay")

    def _refresh(self, number: int) -> tuple[float, Story]:
        """Seconds of a change to a model that no part has seen yet, and what its hook said."""
        extra = os.urandom(MODEL_BYTES)
        snap = snapvariants.grown(self._snaps.first, self._folder, f"1.0.{number + 1}", extra)
        began = time.monotonic()
        _done(self._device.snapd.sideload(snap).status)
        seconds = time.monotonic() - began
        changes = self._device.snapd.get(f"/v2/changes?select=ready&for={MODEL}")
        tasks = max(changes, key=lambda change: int(change["id"]))["tasks"]
        index = next(place for place, task in enumerate(tasks) if "post-refresh" in task["summary"])
        started = max(_second(task["ready-time"]) for task in tasks[:index])
        lines = self._said()
        return seconds, Story(start=lines[0][0] - started, lines=lines)

    def _bad_refresh(self, start: float) -> Story:
        """What the hook said of a bad model; undone, snapd's tasks no longer tell when the hook began."""
        if self._device.snapd.sideload(self._snaps.bad).status != "Error":
            raise SystemExit("a bad model was taken")
        story = Story(start=start, lines=self._said())
        self._device.run_service(MODEL, "converge")
        return story

    def _said(self) -> tuple[tuple[float, str], ...]:
        """By the post-refresh hook that ran last."""
        tag = f"snap.{MODEL}.hook.post-refresh"
        found: list[dict[str, Any]] = [
            json.loads(line) for line in self._device.execute("journalctl", "-o", "json", "-t", tag).splitlines()
        ]
        last = [entry for entry in found if entry["SYSLOG_PID"] == found[-1]["SYSLOG_PID"]]
        return tuple((int(entry["__REALTIME_TIMESTAMP"]) / 1e6, str(entry["MESSAGE"])) for entry in last)

    def _idle(self) -> tuple[float, float]:
        """CPU seconds and bytes of memory of the service when there is nothing to do."""
        unit = f"snap.{MODEL}.converge.service"
        self._device.execute("systemctl", "reset-failed", unit)
        self._device.execute("systemctl", "restart", "--no-block", unit)
        deadline = time.monotonic() + 20
        while (process := _service()) is None:
            if time.monotonic() > deadline:
                raise SystemExit("the service does not start")
            time.sleep(0.01)
        found = None
        while (now := _measured(process)) is not None:
            found = now
            time.sleep(0.005)
        if found is None:
            raise SystemExit("the service ended too soon to be measured")
        return found


def _service() -> Path | None:
    """The process of the converge service, as this machine sees it."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cmdline").read_bytes().endswith(b"snapedge_hooks\0converge\0"):
                return entry
        except OSError:
            continue
    return None


def _measured(process: Path) -> tuple[float, float] | None:
    """CPU seconds and peak bytes of memory of a process so far; None when it has ended."""
    try:
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        status = (process / "status").read_text()
    except OSError:
        return None
    high = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    if not high:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), int(high[0]) * 1024.0


def _second(text: str) -> float:
    """Of a time as snapd writes it, with up to nine digits behind the second."""
    whole, _, rest = text.partition(".")
    digits = rest.rstrip("Z").partition("+")[0]
    return datetime.fromisoformat(whole.rstrip("Z") + "+00:00").timestamp() + float(f"0.{digits or 0}")


def _done(status: str) -> None:
    if status != "Done":
        raise SystemExit(f"a change ended with {status}")


def _line(what: str, seconds: list[float], bar: float) -> Line:
    spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
    return Line(what=f"{what} ({spread})", measured=statistics.median(seconds), bar=bar, unit="s")


def main() -> int:
    """Print the table. The exit code: 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description="What a device costs on real parts.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    device, cluster = EdgeDevice("bench"), Cluster()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        snaps = shippedsnaps.build_all(folder, str(Architecture.of_machine(platform.machine())))
        cluster.up()
        stack.callback(cluster.clean)
        device.up()
        stack.callback(device.clean)
        stack.enter_context(KServeController(cluster.config))
        holds = True
        for line in Bench(device, cluster, snaps, folder).measure(rounds):
            print(line, flush=True)
            holds = holds and line.holds
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
