"""What runs and sagas have in common: tasks that have begun, and what each of them waits for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol, TypeAlias

from goclaw_actors.answering import AwaitTask
from goclaw_actors.messages import CancelTask, ScheduleTask, SubmitRun, TaskReported, WaitTask
from goclaw_actors.statuses import ACTIVE
from goclaw_actors.task.state import PENDING as NOT_SCHEDULED
from goclaw_actors.why.reason import CHILD_RUN, ENDED, Reason
from goclaw_actors.why.room import on_its_way
from goclaw_actors.why.sight import state_of
from goclaw_actors.why.task import (
    explain_task,
    has_ended,
    is_told_of_child,
    nothing,
    since_ns,
    waits_for_child,
)
from goclaw_events.ids import owner_stream, plain_id, task_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from goclaw_actors.task.state import Task
    from goclaw_actors.why.sight import Sight
    from goclaw_events.plan import Plan

    Below: TypeAlias = Callable[[Sight, str, int], Reason | None]


class Owner(Protocol):
    """Whoever has tasks: a run or a saga; `statuses` by plan index."""

    run_id: str
    status: str
    statuses: bytearray
    active: int
    plan: Plan | None


class Owned(ABC):
    """The tasks of a run, or of a saga, that is looked at.

    `below` explains whoever a task stands for.
    """

    def __init__(
        self,
        sight: Sight,
        owner: Owner,
        tasks_max: int,
        below: Below,
    ) -> None:
        assert owner.plan is not None, "who is there was submitted"
        self._sight = sight
        self._owner = owner
        self._plan = owner.plan
        self._stream = owner_stream(owner.run_id)
        self._tasks_max = tasks_max
        self._below = below

    @abstractmethod
    def whole(self) -> Reason:
        """Return why it has not ended."""

    @abstractmethod
    def task(self, index: int) -> Reason:
        """Return why a task has not ended."""

    def spawned(self, task_id: str) -> Reason | None:
        """Return why a task that another one spawned has not ended; None: there is none."""
        task: Task | None = state_of(self._sight, task_stream(self._owner.run_id, task_id))
        if task is None:
            return None
        if has_ended(task):
            return self.over(task.stream, task.status, task.error)
        return explain_task(self._sight, task, "")

    def generation(self, index: int) -> int:  # noqa: ARG002 - who has others says so
        """Return in which generation a task is."""
        return 0

    @abstractmethod
    def to_begin(self, index: int, stream: str) -> Reason | None:
        """Return what the owner is about to do with a task that was not told to begin yet."""

    def over(self, subject: str, status: str, error: Any) -> Reason:
        """Return that something has ended, and how."""
        actor = self._sight.actor(subject)
        ended_ns = 0 if actor is None else self._sight.time_ns(subject, actor.number)
        return Reason(ENDED, subject, ended_ns, 0, {"status": status, "error": error})

    def active(self) -> Iterator[int]:
        """Yield the active tasks, as many as are explained."""
        statuses, index = self._owner.statuses, -1
        for _ in range(self._tasks_max):
            index = statuses.find(ACTIVE, index + 1)
            if index < 0:
                return
            yield index

    def name(self, index: int) -> str:
        """Return the stream of a task."""
        return task_stream(self._owner.run_id, self._plan.tasks[index].id)

    def active_task(self, index: int, stream: str) -> Reason:
        """Explain a task that was begun, and has not ended."""
        task: Task | None = state_of(self._sight, stream)
        if task is None or task.status == NOT_SCHEDULED or task.generation < self.generation(index):
            return self._to_be_told(index, stream)
        if has_ended(task):
            return self._to_be_reported(index, stream)
        if waits_for_child(task):
            return self._child(task)
        return explain_task(self._sight, task, self._plan.tasks[index].agent)

    def _to_be_told(self, index: int, stream: str) -> Reason:
        """Explain a task that the run has begun, and that has not recorded it."""
        for body in self._sight.coming(stream):
            if isinstance(body, (ScheduleTask, WaitTask, AwaitTask, CancelTask)):
                return on_its_way(self._sight, stream, stream, body)
        found = self.to_begin(index, stream)
        if found is not None:
            return found
        return nothing(
            stream, "it was begun, and was never told", self._sight.begun_ns(self._stream)
        )

    def _to_be_reported(self, index: int, stream: str) -> Reason:
        """Explain a task that has ended, and whose run has not recorded it."""
        name = self._plan.tasks[index].id
        for body in self._sight.coming(self._stream):
            if isinstance(body, TaskReported) and body.task == name:
                return on_its_way(self._sight, stream, self._stream, body)
        return nothing(stream, "it has ended, and its run was never told")

    def _child(self, task: Task) -> Reason:
        sight, stream = self._sight, owner_stream(task.child_run)
        since = since_ns(sight, task)
        details = {"run_id": plain_id(task.child_run), "attempt": task.attempt}
        told = is_told_of_child(sight, task)
        if told is not None:
            below = on_its_way(sight, stream, task.stream, told)
        else:
            below = self._run_of(task.child_run, task)
        return Reason(CHILD_RUN, task.stream, since, 0, details, (), (below,))

    def _run_of(self, run_id: str, task: Task) -> Reason:
        sight, stream = self._sight, owner_stream(run_id)
        found = self._below(sight, run_id, self._tasks_max)
        if found is not None and found.kind != ENDED:
            return found
        for body in sight.coming(stream):
            if isinstance(body, SubmitRun):
                return on_its_way(sight, task.stream, stream, body)
        if found is None:
            return nothing(task.stream, f"run {run_id} was never begun")
        return nothing(task.stream, f"run {run_id} has ended, and it was never told")
