"""Rigs for the tests, each brought up once and taken down without a trace."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from snapedge_hooks.vocabulary import Architecture

from . import leftovers, shippedsnaps
from .buildkit import BuildKit
from .cluster import Cluster
from .edgedevice import EdgeDevice
from .kserve_controller import KServeController
from .rig import RigError
from .shippedsnaps import ShippedSnaps

_HERE = Path(__file__).parent
_TIMEOUT = 600
KEEP = bool(os.environ.get("SNAPEDGE_RIGS_KEEP"))
"""Rigs that are up are used as they are, and stay up: for who writes tests."""
_absent = pytest.StashKey[list[str]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.real)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(_TIMEOUT))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for reason in config.stash.get(_absent, []):
        terminalreporter.section("NOT TESTED: a rig could not start", sep="!", red=True, bold=True)
        terminalreporter.write_line(reason, red=True)


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Set up before every rig and torn down after all of them."""
    before = leftovers.inventory()
    yield
    if KEEP:
        return
    left = leftovers.left_since(before)
    assert not left, "rigs left behind:\n  " + "\n  ".join(sorted(left))


def give_up(config: pytest.Config, reason: str) -> NoReturn:
    """Fail where the gate runs, and say loudly elsewhere what is not tested."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    config.stash.setdefault(_absent, []).append(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def edge_device(pytestconfig: pytest.Config, nothing_left_behind: None) -> Iterator[EdgeDevice]:
    """A device with nothing but the bases installed; tests remove what they install."""
    device = EdgeDevice("test1")
    try:
        if not KEEP:
            device.clean()
        device.up()
    except RigError as error:
        _clean(device)
        give_up(pytestconfig, str(error))
    yield device
    if not KEEP:
        device.clean()


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config, nothing_left_behind: None) -> Iterator[Cluster]:
    """A cluster in which nothing runs."""
    found = Cluster()
    try:
        if not KEEP:
            found.clean()
        found.up()
    except RigError as error:
        _clean(found)
        give_up(pytestconfig, str(error))
    yield found
    if not KEEP:
        found.clean()


@pytest.fixture(scope="session")
def buildkit(pytestconfig: pytest.Config, nothing_left_behind: None) -> Iterator[BuildKit]:
    """BuildKit with an empty cache, which `docker buildx` in this process finds."""
    found = BuildKit()
    try:
        if not KEEP:
            found.clean()
        found.up()
    except RigError as error:
        _clean(found)
        give_up(pytestconfig, str(error))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in found.environment.items():
            patch.setenv(name, value)
        yield found
    if not KEEP:
        found.clean()


@pytest.fixture(scope="session")
def kserve(cluster: Cluster) -> Iterator[KServeController]:
    """Something that makes Deployments of InferenceServices, as KServe's controller does."""
    with KServeController(cluster.config) as controller:
        yield controller


@pytest.fixture(scope="session")
def shipped_snaps(tmp_path_factory: pytest.TempPathFactory) -> ShippedSnaps:
    """The snaps that a person would build, for this machine."""
    architecture = Architecture.of_machine(platform.machine())
    return shippedsnaps.build_all(tmp_path_factory.mktemp("snaps"), str(architecture))


def _clean(part: EdgeDevice | Cluster | BuildKit) -> None:
    try:
        part.clean()
    except RigError as error:
        print(f"and it could not be taken down: {error}")
