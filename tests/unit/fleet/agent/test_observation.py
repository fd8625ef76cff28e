"""What the agent makes of the health that snapd shows."""

import pytest

from snapedge_fleet.agent.memory import Memory, Origin
from snapedge_fleet.agent.observation import snap_documents
from snapedge_fleet.agent.plan import Desired
from snapedge_fleet.snapd import Health, InstalledSnap


def outcome(*, revision: str, status: str, proved: bool) -> str:
    """What is reported of a snap at x2 that shows this health."""
    installed = InstalledSnap(
        name="wine",
        active="x2",
        revisions=("x1", "x2"),
        version="1.0.0",
        health=Health(revision=revision, status=status, code="gate-failed", message="off"),
        is_held=False,
    )
    memory = Memory(agent="a")
    memory.origins["wine"] = {"x2": Origin(revision=3, version="1.0.0", sha3_384="0" * 96, is_confirmed=proved)}
    [document] = snap_documents(Desired(), {"wine": installed}, memory, {})
    found: str = document["outcome"]
    return found


@pytest.mark.parametrize(
    ("revision", "status", "proved", "expected"),
    [
        ("x2", "okay", False, "confirmed"),
        ("x2", "waiting", False, "waiting"),
        ("x2", "error", True, "failed"),
        ("unset", "okay", False, "confirmed"),
        ("unset", "waiting", True, "waiting"),
        ("unset", "error", False, "failed"),
        ("unset", "error", True, "confirmed"),
        ("x3", "error", True, "confirmed"),
        ("x3", "error", False, "waiting"),
    ],
)
def test_health_counts_for_the_revision_it_is_of(revision: str, status: str, proved: bool, expected: str) -> None:
    assert outcome(revision=revision, status=status, proved=proved) == expected
