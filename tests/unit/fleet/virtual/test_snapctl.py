"""What snapctl prints and refuses; the device behind it is a plain object."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from snapedge_fleet.virtual import snapctl
from snapedge_fleet.virtual.snapctl import ServiceLine, Session, SnapctlError, UnsuccessfulError


@dataclass
class Toy:
    """A snap with one plug, one service and some configuration."""

    kept: dict[str, Any] = field(default_factory=lambda: {"serve": {"registry": "localhost:32000", "node-port": 30080}})
    connected: bool = False
    reports: list[str] = field(default_factory=list)
    controlled: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    def config(self, instance: str) -> dict[str, Any]:
        return self.kept

    def has_endpoint(self, instance: str, name: str) -> bool:
        return name == "mk8s"

    def is_connected(self, instance: str, name: str) -> bool:
        return self.connected

    def service_lines(self, instance: str) -> list[ServiceLine]:
        return [
            ServiceLine(name="toy.converge", enabled=True, active=False),
            ServiceLine(name="toy.drift", enabled=True, active=True, notes="timer-activated"),
        ]

    def keep(self, session: Session) -> None:
        self.kept = {**self.kept, **session.patch}
        if session.report is not None:
            self.reports.append(session.report.status.value)

    async def control_services(self, instance: str, action: str, services: Sequence[str]) -> None:
        self.controlled.append((action, tuple(services)))


def call(*arguments: str, toy: Toy | None = None, session: Session | None = None, hook: str = "install") -> str:
    session = session if session is not None else Session(cookie="c", instance="toy", hook=hook)
    return asyncio.run(snapctl.run(session, toy if toy is not None else Toy(), arguments))


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (("get", "serve.registry"), "localhost:32000\n"),
        (("get", "-t", "serve.registry"), '"localhost:32000"\n'),
        (("get", "serve.node-port"), "30080\n"),
        (("get", "-d", "serve.node-port"), '{\n\t"serve.node-port": 30080\n}\n'),
        (("get", "serve"), '{\n\t"node-port": 30080,\n\t"registry": "localhost:32000"\n}\n'),
        (("get", "nothing"), "\n"),
        (("get", "-t", "nothing"), "null\n"),
        (("get", "-d", "nothing"), "{}\n"),
        (("get", "nothing", "serve.node-port"), '{\n\t"serve.node-port": 30080\n}\n'),
        (
            ("services",),
            "Service       Startup  Current   Notes\n"
            "toy.converge  enabled  inactive  -\n"
            "toy.drift     enabled  active    timer-activated\n",
        ),
        (("system-mode",), "system-mode: run\nseed-loaded: true\n"),
    ],
)
def test_calls_print_what_snapd_prints(arguments: tuple[str, ...], printed: str) -> None:
    assert call(*arguments) == printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("get",), "get which option?"),
        (("get", "-d", "-t", "a"), "cannot use -d and -t together"),
        (("set",), "set which option?"),
        (("set", "a"), 'invalid configuration: "a" (want key=value)'),
        (("set", "serve.registry.x=1"), 'snap "toy" option "serve.registry" is not a map'),
        (("set-health",), "the required argument `<status>` was not provided"),
        (("set-health", "error"), 'when status is not "okay", message is required'),
        (("is-connected",), "the required argument `<plug|slot>` was not provided"),
        (("is-connected", "x"), 'snap "toy" has no plug or slot named "x"'),
        (("start", "toy.nothing"), 'unknown service: "toy.nothing"'),
        (("restart",), "the required argument `<service> (at least 1 argument)` was not provided"),
        (
            ("reboot",),
            "Unknown command `reboot'. Please specify one command of: get, is-connected, restart, services, set, "
            "set-health, start, stop, system-mode, unset or version",
        ),
        ((), "internal error: snapctl cannot run without args"),
    ],
)
def test_calls_are_refused_in_snapds_words(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(SnapctlError) as caught:
        call(*arguments)
    assert caught.value.brief == message


def test_a_hook_sees_what_it_set_before_it_is_kept() -> None:
    toy, session = Toy(), Session(cookie="c", instance="toy", hook="configure")
    call("set", "serve.gate=strict", toy=toy, session=session)
    assert call("get", "serve.gate", toy=toy, session=session) == "strict\n"
    assert "gate" not in toy.kept["serve"]
    call("unset", "serve.gate", toy=toy, session=session)
    assert call("get", "serve.gate", toy=toy, session=session) == "\n"


def test_health_of_a_hook_waits_for_its_end_and_that_of_a_service_does_not() -> None:
    toy, session = Toy(), Session(cookie="c", instance="toy", hook="install")
    call("set-health", "waiting", "connect the cluster", "--code=no-slot", toy=toy, session=session)
    assert toy.reports == []
    assert session.report is not None
    assert (session.report.status.value, session.report.code) == ("waiting", "no-slot")
    call("set-health", "--code", "no-slot", "waiting", "connect the cluster", toy=toy, hook="")
    assert toy.reports == ["waiting"]


def test_services_are_controlled_after_a_hook_and_at_once_from_a_service() -> None:
    toy, session = Toy(), Session(cookie="c", instance="toy", hook="configure")
    call("restart", "toy.converge", toy=toy, session=session)
    call("stop", "--disable", "toy", toy=toy, session=session)
    assert toy.controlled == []
    assert session.queued == [("restart", ("toy.converge",)), ("stop --disable", ("toy.converge", "toy.drift"))]
    call("start", "--enable", "toy.drift", toy=toy, hook="")
    assert toy.controlled == [("start --enable", ("toy.drift",))]


def test_a_plug_that_is_not_connected_answers_with_its_exit_status() -> None:
    with pytest.raises(UnsuccessfulError) as caught:
        call("is-connected", "mk8s")
    assert caught.value.code == 1
    assert call("is-connected", "mk8s", toy=Toy(connected=True)) == ""
