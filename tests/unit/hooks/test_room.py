"""Room is what nodes can allocate less what is asked of them, and three times the bytes to push."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from snapedge_hooks import quantities, room
from snapedge_hooks.payload import Service
from snapedge_hooks.room import NodeRoom, Room
from snapedge_hooks.vocabulary import UpdateStrategy

MIB = 1024**2
APP = "isvc.wine-predictor"


def pod(cpu: str, memory: str, *, app: str = "other", phase: str = "Running") -> dict[str, Any]:
    resources = {"requests": {"cpu": cpu, "memory": memory}}
    return {
        "metadata": {"labels": {"app": app}},
        "spec": {"nodeName": "edge", "containers": [{"resources": resources}]},
        "status": {"phase": phase},
    }


def test_requests_of_pods_that_run_are_taken_off(tmp_path: Path) -> None:
    node = {"metadata": {"name": "edge"}, "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "10"}}}
    pods = [pod("500m", "256Mi", app=APP), pod("250m", "128Mi"), pod("1", "512Mi", phase="Succeeded")]
    found = room.measure(tmp_path, [node], pods, APP)
    assert found.own_pods == 1
    assert found.nodes == (
        NodeRoom(
            cpu=Fraction(5, 4),
            memory=Fraction(640 * MIB),
            pods=8,
            given_back=(Fraction(1, 2), Fraction(256 * MIB)),
        ),
    )


def of(memory: int, *, own_pods: int = 1, back: int = 0, disk: int = 10**12) -> Room:
    node = NodeRoom(
        cpu=Fraction(4), memory=Fraction(memory * MIB), pods=50, given_back=(Fraction(0), Fraction(back * MIB))
    )
    return Room(nodes=(node,), disk=disk, own_pods=own_pods)


@pytest.mark.parametrize(
    ("service", "there", "fits"),
    [
        (Service(), of(256), True),
        (Service(), of(255), False),
        (Service(replicas=8), of(512), True),
        (Service(replicas=8), of(511), False),
        (Service(replicas=8), of(512, own_pods=0), False),
        (Service(update=UpdateStrategy.RECREATE), of(0, back=256), True),
        (Service(update=UpdateStrategy.SURGE), of(0, back=256), False),
        (Service(), Room(nodes=None, disk=10**12), True),
    ],
)
def test_a_surge_needs_a_quarter_and_a_recreation_its_own_back(service: Service, there: Room, fits: bool) -> None:
    assert (room.shortage(service, there, 0) is None) is fits


def test_a_disk_must_hold_three_copies_and_a_reserve() -> None:
    assert room.shortage(Service(), of(1000, disk=364 * MIB), 100 * MIB) is None
    assert room.shortage(Service(), of(1000, disk=363 * MIB), 100 * MIB) == "disk has 363Mi free, 364Mi needed"
    assert room.shortage(Service(), of(1000, disk=0), 0) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("500m", Fraction(1, 2)),
        ("0.5", Fraction(1, 2)),
        ("1Ki", 1024),
        ("1k", 1000),
        ("1e3", 1000),
        (2, 2),
        ("1Gi", 2**30),
    ],
)
def test_a_quantity_is_a_number(text: object, number: Fraction) -> None:
    assert quantities.parse(text) == number


@pytest.mark.parametrize("text", ["", "x", "1 Gi", "1KiB", "--1", None])
def test_anything_else_is_none(text: object) -> None:
    with pytest.raises(ValueError, match="is not a Kubernetes quantity"):
        quantities.parse(text)
