"""Killed at any request that changes something, the next run converges, and the one after it has nothing to do."""

import itertools

import pytest

from tests.fakes.edge import NAME, EdgeDevice, runtime_image


def kill_at(device: EdgeDevice, name: str, nth: int) -> bool:
    """Run a hook and kill it when its nth changing request arrives; False when it ended before."""
    count = itertools.count(1)
    process = device.start(name)

    def count_down(request: str) -> None:
        if not request.startswith(("GET", "HEAD")) and next(count) == nth:
            process.kill()
            process.wait()

    device.registry.on_request = device.kube.on_request = count_down
    code = process.wait(timeout=60)
    device.registry.on_request = device.kube.on_request = lambda request: None
    return code < 0


@pytest.mark.parametrize("nth", range(1, 9))
def test_a_refresh_killed_anywhere_is_finished_by_the_service(device: EdgeDevice, nth: int) -> None:
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    device.serves(device.install("1.0.0", runtime), runtime)
    assert device.run("install") == 0
    digest = device.serves(device.install("1.1.0", runtime), runtime)
    assert kill_at(device, "post-refresh", nth)
    assert device.run("converge") == 0
    assert device.health() == "okay"
    assert str(device.kube.service_image(NAME)).endswith(digest)
    device.registry.requests.clear()
    device.kube.requests.clear()
    assert device.run("converge") == 0
    assert (device.registry.wrote(), device.kube.wrote()) == ([], [])


@pytest.mark.parametrize("nth", [1, 5, 8])
def test_an_undone_refresh_killed_anywhere_is_put_right_by_the_old_revision(device: EdgeDevice, nth: int) -> None:
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    good = device.serves(device.install("1.0.0", runtime), runtime)
    assert device.run("install") == 0
    device.serves(device.install("1.1.0", runtime), runtime, terminated=(1, "Error", "broken"))
    kill_at(device, "post-refresh", nth)
    device.revision -= 1
    assert device.run("converge") == 0
    assert device.health() == "okay"
    assert str(device.kube.service_image(NAME)).endswith(good)
