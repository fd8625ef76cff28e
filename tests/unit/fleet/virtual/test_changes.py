"""A change's steps: what is undone, what is put on hold, and how it is told."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from hypothesis import given
from hypothesis import strategies as st

from snapedge_fleet.virtual import changes
from snapedge_fleet.virtual.changes import Change, Direction, Status
from snapedge_fleet.virtual.tasks import ChangePlan, TaskKind, TaskPlan

NOW = "2026-01-01T00:00:00Z"


def change_of(lanes: Sequence[int]) -> Change:
    planned = tuple(
        TaskPlan(kind=TaskKind.PREPARE_SNAP, summary=f"task {number}", snap="toy", lane=lane)
        for number, lane in enumerate(lanes)
    )
    plan = ChangePlan(kind="install-snap", summary="Install", snaps=("toy",), tasks=planned)
    return changes.begin(plan, number=7, first_task=1, now=NOW)


def carry_out(change: Change, failing: set[str]) -> list[str]:
    """Does what a change asks for, tasks of those summaries failing; returns the steps."""
    steps = []
    while (step := change.next_step()) is not None:
        steps.append(f"{step.direction} {step.task.plan.summary}")
        if step.direction is Direction.UNDO:
            step.task.status = Status.UNDONE
        elif step.task.plan.summary in failing:
            step.task.status, step.task.error = Status.ERROR, "it broke"
            change.abort_lane(step.task.plan.lane)
        else:
            step.task.status = Status.DONE
    return steps


def test_what_was_done_is_undone_last_first() -> None:
    change = change_of([1, 1, 1, 1])
    assert carry_out(change, {"task 2"}) == ["do task 0", "do task 1", "do task 2", "undo task 1", "undo task 0"]
    assert [task.status for task in change.tasks] == [Status.UNDONE, Status.UNDONE, Status.ERROR, Status.HOLD]
    assert change.status is Status.ERROR
    assert change.error == "cannot perform the following tasks:\n- task 2 (it broke)"


def test_one_lane_that_fails_leaves_the_others_alone() -> None:
    change = change_of([1, 1, 2, 2])
    carry_out(change, {"task 1"})
    assert [task.status for task in change.tasks] == [Status.UNDONE, Status.ERROR, Status.DONE, Status.DONE]


def test_a_task_cut_off_by_a_restart_is_done_again() -> None:
    change = change_of([1, 1])
    change.tasks[0].status = Status.DOING
    again = Change.from_json(orjson.loads(orjson.dumps(change.to_json())))
    assert carry_out(again, set()) == ["do task 0", "do task 1"]


def test_an_undo_cut_off_by_a_restart_goes_on() -> None:
    change = change_of([1, 1, 1])
    change.tasks[0].status, change.tasks[1].status, change.tasks[2].status = Status.UNDO, Status.UNDOING, Status.ERROR
    again = Change.from_json(orjson.loads(orjson.dumps(change.to_json())))
    assert carry_out(again, set()) == ["undo task 1", "undo task 0"]


def test_abort_turns_what_is_done_round_and_holds_the_rest() -> None:
    change = change_of([1, 1, 1])
    change.tasks[0].status = Status.DONE
    change.abort()
    assert carry_out(change, set()) == ["undo task 0"]
    assert [task.status for task in change.tasks] == [Status.UNDONE, Status.HOLD, Status.HOLD]
    assert change.status is Status.UNDONE


def test_a_change_without_tasks_is_done_at_once() -> None:
    change = change_of([])
    assert change.as_response() == {
        "id": "7",
        "kind": "install-snap",
        "summary": "Install",
        "status": "Done",
        "tasks": [],
        "ready": True,
        "spawn-time": NOW,
        "ready-time": NOW,
        "data": {"snap-names": ["toy"]},
    }


@given(lanes=st.lists(st.integers(1, 3), max_size=8), failing=st.sets(st.integers(0, 7)))
def test_every_change_comes_to_an_end_with_each_lane_whole_or_undone(lanes: list[int], failing: set[int]) -> None:
    change = change_of(lanes)
    carry_out(change, {f"task {number}" for number in failing})
    assert change.is_ready
    for lane in set(lanes):
        held = [task.status for task in change.tasks if task.plan.lane == lane]
        assert all(one is Status.DONE for one in held) or Status.DONE not in held
