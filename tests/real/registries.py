"""The registry that MicroK8s runs, and the virtual device's, each with nothing in it."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import requests

from snapedge_fleet.virtual.registry import Registry

from .loopthread import LoopThread


def is_installed() -> bool:
    """Whether Debian's docker-registry is here."""
    return shutil.which("docker-registry") is not None


@contextlib.contextmanager
def docker_registry(folder: Path) -> Iterator[str]:
    """`address:port` of a docker-registry that allows deletion, as MicroK8s' does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    configuration = folder / "registry.yml"
    configuration.write_text(
        "version: 0.1\n"
        "log: {level: warn}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/registry}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '{address}'}}\n"
    )
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(configuration)], stdout=log, stderr=log)
    try:
        _await(address, process)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=20)


@contextlib.contextmanager
def virtual_registry(folder: Path) -> Iterator[str]:
    """`address:port` of a virtual device's registry."""
    with LoopThread() as loop:
        registry = Registry(folder, "127.0.0.1", 0)
        loop.run(registry.start())
        try:
            yield registry.host
        finally:
            loop.run(registry.stop())


def _await(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            requests.get(f"http://{address}/v2/", timeout=5).close()
        except requests.ConnectionError:
            assert process.poll() is None, "docker-registry ended"
            assert time.monotonic() < deadline, "docker-registry does not answer"
            time.sleep(0.05)
        else:
            return
