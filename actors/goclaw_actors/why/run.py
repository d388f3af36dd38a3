"""Why a run has not ended, or a task of it not begun: down to what comes next, wherever that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.answering import AwaitTask
from goclaw_actors.messages import (
    CancelTask,
    ScheduleMore,
    ScheduleTask,
    StopMore,
    SubmitRun,
    TaskReported,
    WaitTask,
)
from goclaw_actors.pathing import ConcludeChange, ScheduleActive, ScheduleReady
from goclaw_actors.saga.state import ENDED as SAGA_ENDED
from goclaw_actors.statuses import ACTIVE, PENDING, STATUS_NAMES
from goclaw_actors.task.state import PENDING as NOT_SCHEDULED
from goclaw_actors.why.reason import (
    CHILD_RUN,
    DEPENDENCY,
    ENDED,
    GIVEN_UP,
    RUN,
    RUN_STOPPING,
    SAGA,
    STATE,
    Reason,
)
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
from goclaw_actors.workflow.state import FINAL, RUNNING
from goclaw_events.ids import is_saga, owner_stream, plain_id, task_stream, workflow_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw_actors.task.state import Task
    from goclaw_actors.why.sight import Sight
    from goclaw_actors.workflow.state import Run

TASKS_MAX: Final = 16
"""So many active tasks of a run are explained; all are counted."""
NEEDS_MAX: Final = 8
DEPTH_MAX: Final = 12
"""Below so many needs of needs, the tasks that hold up the rest are named at once."""


def explain(
    sight: Sight, run_id: str, task_id: str | None = None, *, tasks_max: int = TASKS_MAX
) -> Reason | None:
    """Return why a run has not ended, or a task of it; None: there is no such run, or task."""
    actor = sight.actor(workflow_stream(run_id))
    if actor is None or actor.state.plan is None:
        return None
    known = _Run(sight, run_id, actor.state, tasks_max)
    if task_id is None:
        return known.whole()
    index = actor.state.plan.index.get(task_id)
    return None if index is None else known.task(index)


class _Run:
    """One run that is looked at; each task of it is explained once."""

    def __init__(self, sight: Sight, run_id: str, run: Run, tasks_max: int) -> None:
        assert run.plan is not None, "a run that is there was submitted"
        self._sight = sight
        self._run = run
        self._plan = run.plan
        self._stream = workflow_stream(run_id)
        self._tasks_max = tasks_max
        self._explained: set[int] = set()

    def whole(self) -> Reason:
        """Return why the run has not ended."""
        run, stream = self._run, self._stream
        since = self._sight.begun_ns(self._stream)
        details = {"name": run.name, "status": run.status, "tasks": len(run.statuses),
                   "ended": run.ended, "active": run.active}  # fmt: skip
        if run.status in FINAL:
            return self._over(stream, run.status, run.error and list(run.error))
        if self._sight.is_given_up(stream):
            return Reason(GIVEN_UP, stream, since, 0, details)
        because = tuple(self.task(index) for index in self._active())
        if not run.active:
            because = (self._idle(),)
        return Reason(RUN, stream, since, run.deadline_ns, details, (), because)

    def _over(self, subject: str, status: str, error: Any) -> Reason:
        actor = self._sight.actor(subject)
        ended_ns = 0 if actor is None else self._sight.time_ns(subject, actor.number)
        return Reason(ENDED, subject, ended_ns, 0, {"status": status, "error": error})

    def _active(self) -> Iterator[int]:
        statuses, index = self._run.statuses, -1
        for _ in range(self._tasks_max):
            index = statuses.find(ACTIVE, index + 1)
            if index < 0:
                return
            yield index

    def _idle(self) -> Reason:
        for body in self._sight.coming(self._stream):
            return on_its_way(self._sight, self._stream, self._stream, body)
        return nothing(self._stream, "no task of it is active, and it has not ended")

    def _name(self, index: int) -> str:
        return task_stream(self._run.run_id, self._plan.tasks[index].id)

    def task(self, index: int, depth: int = 0) -> Reason:
        """Return why a task has not ended."""
        status, stream = self._run.statuses[index], self._name(index)
        if status == PENDING:
            return self._pending(index, depth)
        if status != ACTIVE:
            task: Task | None = state_of(self._sight, stream)
            error = None if task is None else task.error
            return self._over(stream, STATUS_NAMES[status], error)
        if self._sight.is_given_up(self._stream):
            return Reason(GIVEN_UP, stream, 0, 0, {"actor": self._stream})
        return self._active_task(index, stream)

    # -- what has begun ------------------------------------------------------------------------

    def _active_task(self, index: int, stream: str) -> Reason:
        task: Task | None = state_of(self._sight, stream)
        path = self._run.path
        generation = 0 if path is None else path.generations.get(index, 0)
        if task is None or task.status == NOT_SCHEDULED or task.generation < generation:
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
        for body in self._sight.coming(self._stream):
            more = isinstance(body, ScheduleMore) and index in body.tasks
            more = more or isinstance(body, (ScheduleReady, ScheduleActive, ConcludeChange))
            if more or (isinstance(body, StopMore) and body.start <= index):
                return on_its_way(self._sight, stream, self._stream, body)
        if self._run.path is not None and self._run.path.changing is not None:
            return Reason(STATE, stream, 0, 0, {"status": "in a run whose path is being changed"})
        if self._run.held:
            return Reason(STATE, stream, 0, 0, {"status": f"in a run that is {self._run.held}"})
        return nothing(
            stream, "the run began it, and it was never told", self._sight.begun_ns(self._stream)
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
        if is_saga(run_id):
            found = _saga(sight, stream)
        else:
            found = explain(sight, run_id, tasks_max=self._tasks_max)
        if found is not None and found.kind != ENDED:
            return found
        for body in sight.coming(stream):
            if isinstance(body, SubmitRun):
                return on_its_way(sight, task.stream, stream, body)
        if found is None:
            return nothing(task.stream, f"run {run_id} was never begun")
        return nothing(task.stream, f"run {run_id} has ended, and it was never told")

    # -- what has not --------------------------------------------------------------------------

    def _pending(self, index: int, depth: int) -> Reason:
        run, stream = self._run, self._name(index)
        since = self._sight.begun_ns(self._stream)
        if run.status != RUNNING:
            stopping = {"status": run.status, "reason": run.reason}
            return Reason(RUN_STOPPING, stream, since, 0, stopping)
        needs = self._unmet(index)
        names = [self._plan.tasks[need].id for need in needs[:NEEDS_MAX]]
        details: dict[str, Any] = {"needs": names, "unmet": len(needs)}
        if index in self._explained:
            return Reason(DEPENDENCY, stream, since, 0, {**details, "above": True})
        self._explained.add(index)
        if depth >= DEPTH_MAX:
            needs, details["through"] = self._fronts(index)
        because = tuple(self.task(need, depth + 1) for need in needs[:NEEDS_MAX])
        return Reason(DEPENDENCY, stream, since, 0, details, (), because)

    def _unmet(self, index: int) -> list[int]:
        statuses = self._run.statuses
        return [n for n in self._plan.tasks[index].needs if statuses[n] in (PENDING, ACTIVE)]

    def _fronts(self, index: int) -> tuple[list[int], int]:
        """Return the active tasks that a task waits for, and through how many others."""
        found: list[int] = []
        seen, left = {index}, [index]
        while left:
            for need in self._unmet(left.pop()):
                if need not in seen:
                    seen.add(need)
                    (found if self._run.statuses[need] == ACTIVE else left).append(need)
        return found, len(seen) - len(found) - 1


def _saga(sight: Sight, stream: str) -> Reason | None:
    """Return how a saga is that a task stands for; None: it never began."""
    actor = sight.actor(stream)
    if actor is None or actor.state.plan is None:
        return None
    status = actor.state.status
    kind = ENDED if status in SAGA_ENDED else SAGA
    details = {"name": actor.state.name, "status": status}
    return Reason(kind, stream, sight.begun_ns(stream), 0, details)
