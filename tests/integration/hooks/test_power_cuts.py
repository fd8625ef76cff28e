"""Killed at any request, whether it asks or changes, the next run converges, and the one after it has nothing to do."""

import itertools
from typing import Any

import pytest

from tests.fakes.edge import NAME, EdgeDevice, runtime_image


def kill_at(device: EdgeDevice, name: str, nth: int) -> bool:
    """Run a hook and kill -9 it when its nth request arrives, before it is answered; False when it ended before."""
    count = itertools.count(1)
    process = device.start(name)

    def count_down(request: str) -> None:
        if next(count) == nth:
            process.kill()
            process.wait()

    device.registry.on_request = device.kube.on_request = count_down
    code = process.wait(timeout=60)
    device.registry.on_request = device.kube.on_request = lambda request: None
    return code < 0


def converges(device: EdgeDevice, image: str) -> None:
    """Running the service brings the device there, and running it again changes nothing."""
    assert device.run("converge") == 0
    assert device.health() == "okay"
    assert str(device.kube.service_image(NAME)).endswith(image)
    device.registry.requests.clear()
    device.kube.requests.clear()
    assert device.run("converge") == 0
    assert (device.registry.wrote(), device.kube.wrote()) == ([], [])


@pytest.mark.parametrize("failing", [False, True], ids=["good", "bad"])
def test_a_refresh_killed_at_any_request_is_finished_or_undone(device: EdgeDevice, failing: bool) -> None:
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    good = device.serves(device.install("1.0.0", runtime), runtime)
    assert device.run("install") == 0
    for nth in itertools.count(1):
        program: dict[str, Any] = {"terminated": (1, "Error", "broken")} if failing else {}
        image = device.serves(device.install(f"1.{nth}.0", runtime), runtime, **program)
        killed = kill_at(device, "post-refresh", nth)
        if failing:
            # The revision before is current again, under the number that snapd gave it.
            device.revision -= 1
            converges(device, good)
            (device.folder / f"data-{device.revision + 1}").rename(device.folder / f"old-data-{nth}")
            (device.folder / f"snap-{device.revision + 1}").rename(device.folder / f"old-snap-{nth}")
        else:
            converges(device, image)
        if not killed:
            break
    assert nth > (12 if failing else 20)
