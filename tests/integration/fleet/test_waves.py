from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from snapedge_fleet.agent.agent import Agent
from snapedge_hooks.vocabulary import Architecture
from tests.fakes.fleetsite import NEEDS_ONNX, FleetSite, served_site
from tests.fakes.snapd import FakeSnapd, serving


@dataclass
class Edge:
    """A fleet of two groups: a lab on candidate, a factory on stable; every device with its own snapd and agent."""

    site: FleetSite
    snapds: dict[str, FakeSnapd] = field(default_factory=dict)
    agents: dict[str, Agent] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)

    def run(self, rounds: int = 12) -> None:
        """Time goes on: every agent that is not away does its round, then the leader ticks."""
        for _ in range(rounds):
            for name, agent in self.agents.items():
                if name not in self.away:
                    agent.cycle()
            self.site.tick()
            self.site.clock.wait(3)

    def versions(self, prefix: str) -> dict[str, str | None]:
        return {name: snapd.version("wine-rater") for name, snapd in self.snapds.items() if name.startswith(prefix)}

    def rollout(self, channel: str = "latest/stable") -> dict[str, Any]:
        tracks = self.site.call("status")["tracks"]
        found: dict[str, Any] = next(one["rollout"] for one in tracks if one["channel"] == channel)
        return found

    def rounds_until(self, phase: str, limit: int = 60) -> None:
        for _ in range(limit):
            if self.rollout()["phase"] == phase:
                return
            self.run(1)
        raise AssertionError(f"not {phase} after {limit} rounds: {self.rollout()}")


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    with ExitStack() as stack:
        site = stack.enter_context(served_site(tmp_path / "fleet"))
        site.call("group-add", name="lab", selector="site=lab", follows=["wine-rater=candidate"])
        site.call("group-add", name="factory", selector="site=factory", follows=["wine-rater=stable"])
        edge = Edge(site=site)
        for place, count in (("lab", 2), ("factory", 4)):
            for number in range(count):
                name, architecture = f"{place}-{number}", ("amd64", "arm64")[number % 2]
                snapd = FakeSnapd()
                socket = stack.enter_context(serving(snapd, tmp_path / f"{name}.socket"))
                claim = site.add_device(name, architecture, site=place)
                edge.snapds[name] = snapd
                edge.agents[name] = site.agent(name, socket, architecture=architecture, claim=claim)
        for agent in edge.agents.values():
            stack.callback(agent.close)
        edge.run(1)
        site.publish_runtime("1.0.0", "candidate")
        site.publish("wine-rater", "1.0.0", "candidate", runtime=NEEDS_ONNX)
        edge.run()
        yield edge


def promote(edge: Edge) -> dict[str, Any]:
    done: dict[str, Any] = edge.site.call("promote", snap="wine-rater", **{"from": "candidate", "to": "stable"})
    return done


def test_a_release_reaches_the_lab_and_after_promotion_the_factory_in_waves(edge: Edge) -> None:
    assert edge.versions("lab") == {"lab-0": "1.0.0", "lab-1": "1.0.0"}
    assert set(edge.versions("factory").values()) == {None}
    plan = promote(edge)
    assert plan["carried"] == {
        "snap": "snapedge-onnx",
        "version": "1.0.0",
        "reason": "wine-rater 1.0.0 needs onnx interface 1, 1.0 or newer, and latest/stable has none",
    }
    assert [(wave["name"], wave["by_architecture"]) for wave in plan["waves"]] == [
        ("canary", {"amd64": 1, "arm64": 1}),
        ("all", {"amd64": 1, "arm64": 1}),
    ]
    while "1.0.0" not in edge.versions("factory").values():
        edge.run(1)
    assert sorted(str(version) for version in edge.versions("factory").values()) == ["1.0.0", "1.0.0", "None", "None"]
    edge.rounds_until("complete")
    assert edge.versions("factory") == dict.fromkeys(edge.versions("factory"), "1.0.0")
    assert edge.site.call("drift") == []


def test_a_bad_model_stops_at_its_canaries_and_nobody_else_sees_it(edge: Edge) -> None:
    promote(edge)
    edge.rounds_until("complete")
    edge.site.publish(
        "wine-rater", "1.1.0", "candidate", runtime=NEEDS_ONNX, behaviours={Architecture.ARM64: "refused"}
    )
    edge.site.call("group-set", name="lab", unfollow=["wine-rater"])
    promote(edge)
    edge.rounds_until("halted")
    reason = edge.rollout()["reason"]
    assert reason.startswith("1 of 2 devices failed: factory-")
    assert reason.endswith("wine-rater 1.1.0: gate-failed: sample row-3: label is off by 1")
    edge.run(6)
    assert edge.versions("factory") == dict.fromkeys(edge.versions("factory"), "1.0.0")
    seen = [name for name, snapd in edge.snapds.items() if "install wine-rater 1.1.0" in snapd.orders]
    assert len(seen) == 2
    back = [name for name, snapd in edge.snapds.items() if "revert wine-rater" in snapd.orders]
    assert len(back) == 1, "snapd undid the one itself; the agent reverted the other, which had confirmed"
    assert edge.site.call("drift") == []


def test_a_new_release_supersedes_a_halted_one(edge: Edge) -> None:
    edge.site.publish("wine-rater", "1.1.0", "candidate", behaviour="refused", runtime=NEEDS_ONNX)
    promote(edge)
    edge.rounds_until("halted")
    edge.site.publish("wine-rater", "1.2.0", "candidate", runtime=NEEDS_ONNX)
    promote(edge)
    edge.rounds_until("complete")
    assert edge.versions("factory") == dict.fromkeys(edge.versions("factory"), "1.2.0")


def test_a_device_that_never_comes_back_holds_nobody_up(edge: Edge) -> None:
    edge.away = {"factory-2"}
    edge.site.clock.wait(60)
    edge.run(2)
    promote(edge)
    edge.rounds_until("complete")
    assert edge.versions("factory") == {
        "factory-0": "1.0.0",
        "factory-1": "1.0.0",
        "factory-2": None,
        "factory-3": "1.0.0",
    }
    assert [one["device"] for one in edge.site.call("drift")] == ["factory-2", "factory-2"]
    edge.away = set()
    edge.run(2)
    assert edge.versions("factory")["factory-2"] == "1.0.0"


def test_a_canary_that_leaves_before_it_asks_is_replaced(edge: Edge) -> None:
    promote(edge)
    edge.site.tick()
    canaries = [
        one["device"]
        for one in edge.site.call("status")["devices"]
        if one["group"] == "factory" and one["architecture"] == "amd64" and one["snaps"]
    ]
    edge.away = set(canaries)
    edge.rounds_until("complete", limit=120)
    others = {name for name in edge.versions("factory") if name not in edge.away}
    assert {name for name, version in edge.versions("factory").items() if version == "1.0.0"} == others
    actions = [entry["action"] for entry in edge.site.call("history", subject="wine-rater")]
    assert "widen" in actions


def test_rollback_of_a_first_release_takes_it_away_again(edge: Edge) -> None:
    promote(edge)
    edge.rounds_until("complete")
    edge.site.call("rollback", snap="wine-rater", channel="stable")
    edge.run(8)
    assert set(edge.versions("factory").values()) == {None}


def test_pause_holds_the_waves_and_resume_lets_them_go_on(edge: Edge) -> None:
    promote(edge)
    edge.run(1)
    edge.site.call("pause", snap="wine-rater", channel="stable")
    edge.run(10)
    assert sorted(str(version) for version in edge.versions("factory").values()) == ["1.0.0", "1.0.0", "None", "None"]
    edge.site.call("resume", snap="wine-rater")
    edge.rounds_until("complete")


def test_a_held_device_stays_and_follows_again(edge: Edge) -> None:
    edge.site.call("hold", device="factory-1", why="on the bench")
    promote(edge)
    edge.rounds_until("complete")
    assert edge.versions("factory")["factory-1"] is None
    edge.site.call("unhold", device="factory-1")
    edge.run(4)
    assert edge.versions("factory")["factory-1"] == "1.0.0"


def test_the_audit_chain_holds_over_all_of_it(edge: Edge) -> None:
    promote(edge)
    edge.rounds_until("complete")
    assert edge.site.call("audit-verify")["entries"] > 10
