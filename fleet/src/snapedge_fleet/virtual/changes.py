"""A change while it runs: the state of its tasks, and which one is next.

Rules kept here, which are snapd's:
  - tasks of a lane run in order; lanes are apart from one another;
  - a task that fails aborts its lane: what was not begun is put on Hold, what is Done is undone, last first;
  - a change's status is the first of `_ORDER` that any of its tasks has, so a rolled-back change is in Error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from .tasks import ChangePlan, TaskKind, TaskPlan


class Status(StrEnum):
    """Status of a task or change, in snapd's words."""

    DO = "Do"
    DOING = "Doing"
    DONE = "Done"
    UNDO = "Undo"
    UNDOING = "Undoing"
    UNDONE = "Undone"
    ERROR = "Error"
    HOLD = "Hold"

    @property
    def is_ready(self) -> bool:
        """True when nothing more will happen."""
        return self in (Status.DONE, Status.UNDONE, Status.ERROR, Status.HOLD)


_ORDER: Final = (
    Status.UNDOING,
    Status.UNDO,
    Status.DOING,
    Status.DO,
    Status.ERROR,
    Status.UNDONE,
    Status.DONE,
    Status.HOLD,
)
_LOG_LINES: Final = 50


class Direction(StrEnum):
    """What is to happen to a task."""

    DO = "do"
    UNDO = "undo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The next thing to do in a change."""

    task: Task
    direction: Direction


@dataclass(slots=True, kw_only=True)
class Task:
    """A planned task and how far it is."""

    id: str
    plan: TaskPlan
    status: Status = Status.DO
    log: list[str] = field(default_factory=list)
    spawned: str
    ready: str = ""
    error: str = ""
    memory: dict[str, Any] = field(default_factory=dict)

    def note(self, line: str) -> None:
        """Adds a line to the log, of which the newest are kept."""
        self.log.append(line)
        del self.log[:-_LOG_LINES]

    def as_response(self) -> dict[str, Any]:
        """The task as GET /v2/changes tells it."""
        done = 1 if self.status.is_ready else 0
        response: dict[str, Any] = {
            "id": self.id,
            "kind": self.plan.kind.value,
            "summary": self.plan.summary,
            "status": self.status.value,
            "progress": {"label": "", "done": done, "total": 1},
            "spawn-time": self.spawned,
        }
        if self.log:
            response["log"] = list(self.log)
        if self.ready:
            response["ready-time"] = self.ready
        return response


@dataclass(slots=True, kw_only=True)
class Change:
    """A plan that was taken up."""

    id: str
    kind: str
    summary: str
    snaps: tuple[str, ...]
    tasks: list[Task]
    spawned: str
    ready: str = ""

    @property
    def status(self) -> Status:
        """Where the change as a whole is."""
        held = {task.status for task in self.tasks}
        return next((status for status in _ORDER if status in held), Status.DONE)

    @property
    def is_ready(self) -> bool:
        """True when nothing more will happen."""
        return all(task.status.is_ready for task in self.tasks)

    @property
    def error(self) -> str:
        """What failed, summed up as snapd does; empty where nothing did."""
        failed = [task for task in self.tasks if task.status is Status.ERROR]
        if not failed:
            return ""
        lines = "\n".join(f"- {task.plan.summary} ({task.error})" for task in failed)
        return f"cannot perform the following tasks:\n{lines}"

    def next_step(self) -> Step | None:
        """What to do next, lane by lane; None when the change is ready.

        A task found Doing or Undoing was cut off by a restart and is taken up again, as snapd does.
        """
        for lane in dict.fromkeys(task.plan.lane for task in self.tasks):
            tasks = [task for task in self.tasks if task.plan.lane == lane]
            for task in reversed(tasks):
                if task.status in (Status.UNDO, Status.UNDOING):
                    return Step(task=task, direction=Direction.UNDO)
            for task in tasks:
                if task.status in (Status.DO, Status.DOING):
                    return Step(task=task, direction=Direction.DO)
        return None

    def abort_lane(self, lane: int) -> None:
        """Turns the lane round: what is done is to be undone, what was not begun never will be."""
        for task in self.tasks:
            if task.plan.lane != lane:
                continue
            if task.status is Status.DONE:
                task.status = Status.UNDO
            elif task.status is Status.DO:
                task.status = Status.HOLD

    def abort(self) -> None:
        """Turns every lane round that is not finished."""
        for lane in {task.plan.lane for task in self.tasks if not task.status.is_ready}:
            self.abort_lane(lane)

    def append(self, tasks: Iterable[Task]) -> None:
        """Adds tasks that a hook asked for, behind all others."""
        self.tasks.extend(tasks)

    def as_response(self) -> dict[str, Any]:
        """The change as GET /v2/changes tells it."""
        response: dict[str, Any] = {
            "id": self.id,
            "kind": self.kind,
            "summary": self.summary,
            "status": self.status.value,
            "tasks": [task.as_response() for task in self.tasks],
            "ready": self.is_ready,
            "spawn-time": self.spawned,
        }
        if self.error:
            response["err"] = self.error
        if self.ready:
            response["ready-time"] = self.ready
        if self.snaps:
            response["data"] = {"snap-names": list(self.snaps)}
        return response

    def to_json(self) -> dict[str, Any]:
        """The change as the state file keeps it; what writes it must take dataclasses, as orjson does."""
        return {
            "id": self.id,
            "kind": self.kind,
            "summary": self.summary,
            "snaps": list(self.snaps),
            "spawned": self.spawned,
            "ready": self.ready,
            "tasks": self.tasks,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Change:
        """The change that `to_json` wrote."""
        return cls(
            id=document["id"],
            kind=document["kind"],
            summary=document["summary"],
            snaps=tuple(document["snaps"]),
            spawned=document["spawned"],
            ready=document["ready"],
            tasks=[_task(one) for one in document["tasks"]],
        )


def begin(plan: ChangePlan, *, number: int, first_task: int, now: str) -> Change:
    """The change that carries out `plan`; its tasks are numbered from `first_task`."""
    return Change(
        id=str(number),
        kind=plan.kind,
        summary=plan.summary,
        snaps=plan.snaps,
        tasks=[Task(id=str(first_task + offset), plan=task, spawned=now) for offset, task in enumerate(plan.tasks)],
        spawned=now,
        ready="" if plan.tasks else now,
    )


def _task(document: Mapping[str, Any]) -> Task:
    plan = document["plan"]
    return Task(
        **{
            **document,
            "status": Status(document["status"]),
            "plan": TaskPlan(**{**plan, "kind": TaskKind(plan["kind"])}),
        }
    )
