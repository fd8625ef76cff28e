from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.fleetsite import NEEDS_ONNX, FleetSite, served_site
from tests.fakes.snapd import FakeSnapd, serving


@pytest.fixture
def site(tmp_path: Path) -> Iterator[FleetSite]:
    with served_site(tmp_path / "fleet") as found:
        found.call("group-add", name="lab", selector="site=lab", follows=["wine-rater=candidate"])
        yield found


@pytest.fixture
def snapd() -> FakeSnapd:
    return FakeSnapd()


@pytest.fixture
def socket(tmp_path: Path, snapd: FakeSnapd) -> Iterator[Path]:
    with serving(snapd, tmp_path / "snapd.socket") as path:
        yield path


def shown(site: FleetSite, name: str = "d1") -> dict[str, tuple[str, str, str]]:
    found = site.call("device-show", device=name)
    return {one["snap"]: (one["version"], one["outcome"], one["code"]) for one in found["snaps"]}


def test_the_runtime_comes_first_then_the_model_both_held_and_connected(
    site: FleetSite, snapd: FakeSnapd, socket: Path
) -> None:
    site.publish_runtime("1.0.0", "candidate")
    site.publish("wine-rater", "1.0.0", "candidate", runtime=NEEDS_ONNX, plugs=("mk8s",))
    agent = site.agent("d1", socket, claim=site.add_device("d1", site="lab"))
    agent.cycle()
    assert snapd.orders == []
    site.tick()
    site.tick()
    site.clock.wait(20)
    agent.cycle()
    assert snapd.orders == [
        "install snapedge-onnx 1.0.0",
        "hold snapedge-onnx",
        "install wine-rater 1.0.0",
        "hold wine-rater",
        "connect wine-rater:mk8s",
    ]
    assert shown(site) == {"snapedge-onnx": ("1.0.0", "confirmed", ""), "wine-rater": ("1.0.0", "confirmed", "")}


def test_a_second_round_does_nothing_again(site: FleetSite, snapd: FakeSnapd, socket: Path) -> None:
    site.publish("wine-rater", "1.0.0", "candidate")
    agent = site.agent("d1", socket, claim=site.add_device("d1", site="lab"))
    site.tick()
    site.tick()
    agent.cycle()
    before = list(snapd.orders)
    site.clock.wait(30)
    agent.cycle()
    assert snapd.orders == before


def installed(site: FleetSite, snapd: FakeSnapd, socket: Path) -> object:
    site.publish("wine-rater", "1.0.0", "candidate")
    agent = site.agent("d1", socket, claim=site.add_device("d1", site="lab"))
    site.tick()
    site.tick()
    agent.cycle()
    for _ in range(3):
        site.clock.wait(10)
        site.tick()
    assert snapd.version("wine-rater") == "1.0.0"
    return agent
