"""A service that is told to look anew does so in the process that it is, however early or often it is told."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from snapedge_builder.devicelib import device_files
from tests.fakes.edge import EdgeDevice, runtime_image


@contextmanager
def service(device: EdgeDevice) -> Iterator[subprocess.Popen[bytes]]:
    """The converge service of the current revision as snapd starts it, killed in the end."""
    shim = device.folder / "converge"
    shim.write_bytes(source("bin/converge"))
    shim.chmod(0o755)
    process = device.start_program(str(shim))
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def source(path: str) -> bytes:
    """A file that every snap carries."""
    found = next(file.source for file in device_files() if file.path == path)
    assert isinstance(found, bytes)
    return found


def reload(device: EdgeDevice, process: subprocess.Popen[bytes]) -> int:
    """What systemd does for `snapctl restart --reload`."""
    environment = device.environment() | {"PATH": os.environ["PATH"], "MAINPID": str(process.pid)}
    return subprocess.run(["sh", "-c", source("bin/reload")], env=environment, check=False).returncode


def await_that(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def waits(device: EdgeDevice, code: str) -> bool:
    calls = [call for call in device.calls() if call.startswith("set-health")]
    return bool(calls) and calls[-1].startswith(f"set-health --code={code} ")


def ready_device(device: EdgeDevice, *, connected: bool) -> None:
    runtime, files = runtime_image()
    device.push_runtime(runtime, files)
    device.serves(device.install("1.0.0", runtime, connected=connected), runtime)


def test_a_service_that_waits_takes_new_settings_at_once_and_stays_the_process_it_is(device: EdgeDevice) -> None:
    ready_device(device, connected=False)
    with service(device) as process:
        await_that(lambda: waits(device, "no-slot"))
        device.set(registry="127.0.0.1:1")
        assert reload(device, process) == 0
        await_that(lambda: waits(device, "registry-down"))
        assert process.poll() is None


def test_told_before_it_listens_it_goes_on(device: EdgeDevice) -> None:
    ready_device(device, connected=False)
    with service(device) as process:
        # Not without end: each time that it is told it begins again, on a busy machine for ever.
        for _ in range(20):
            reload(device, process)
        assert process.poll() is None
        await_that(lambda: waits(device, "no-slot"))


def test_told_again_and_again_it_ends_with_the_last_settings(device: EdgeDevice) -> None:
    ready_device(device, connected=True)
    with service(device) as process:
        for port in range(30080, 30090):
            device.set(node_port=port)
            assert reload(device, process) == 0
            time.sleep(0.05)
        assert process.wait(timeout=30) == 0
    service_port = device.kube.objects["/api/v1/namespaces/default/services/wine-snapedge"]["spec"]["ports"][0]
    assert service_port["nodePort"] == 30089
    assert device.health() == "okay"


def test_a_service_that_has_just_ended_is_no_failure(device: EdgeDevice) -> None:
    ready_device(device, connected=False)
    with service(device) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert reload(device, process) == 0


def test_it_lives_long_enough_for_systemd_to_start_it_as_often_as_it_ends(device: EdgeDevice) -> None:
    """Five starts in ten seconds are allowed."""
    ready_device(device, connected=True)
    assert device.run("converge") == 0
    assert sum(device.clock.slept) >= 2.5
