"""Why a saga has not ended, or a step of it not begun, or not been undone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.compensating import TaskRested
from goclaw_actors.lending import Enqueue
from goclaw_actors.messages import ScheduleMore, SlotLeased, SlotRefused, StopMore
from goclaw_actors.redriving import REDRIVE
from goclaw_actors.saga.state import AWAITING, CREATED, FAILED, FINAL, RUNNING
from goclaw_actors.statuses import ACTIVE, PENDING, STATUS_NAMES
from goclaw_actors.why.owned import Owned
from goclaw_actors.why.reason import DEPENDENCY, GIVEN_UP, LANE, PERSON, REST, SAGA, UNWINDS, Reason
from goclaw_actors.why.room import on_its_way
from goclaw_actors.why.sight import state_of
from goclaw_actors.why.task import Waiter, nothing, queued
from goclaw_events.ids import lane_stream

if TYPE_CHECKING:
    from goclaw_actors.saga.state import Saga
    from goclaw_actors.task.state import Task
    from goclaw_actors.why.owned import Below
    from goclaw_actors.why.sight import Sight

STEPS_MAX: Final = 8
"""So many steps that hold up another one are explained; all are counted."""


class WhySaga(Owned):
    """One saga that is looked at; each step of it is explained once."""

    def __init__(self, sight: Sight, saga: Saga, tasks_max: int, below: Below) -> None:
        super().__init__(sight, saga, tasks_max, below)
        self._saga = saga
        self._explained: set[int] = set()

    def whole(self) -> Reason:
        """Return why the saga has not ended."""
        saga, stream = self._saga, self._stream
        if saga.status in FINAL or saga.status == FAILED:
            error = None if saga.error is None else list(saga.error)
            over = self.over(stream, saga.status, error)
            return over._replace(because=(self._person(),)) if saga.status == FAILED else over
        since = self._sight.begun_ns(stream)
        details = {"name": saga.name, "status": saga.status, "tasks": len(saga.statuses),
                   "ended": saga.ended, "active": saga.active, "cause": saga.cause}  # fmt: skip
        if self._sight.is_given_up(stream):
            return Reason(GIVEN_UP, stream, since, 0, details)
        return Reason(SAGA, stream, since, saga.deadline_ns, details, (), self._because())

    def _because(self) -> tuple[Reason, ...]:
        saga = self._saga
        if saga.status == AWAITING:
            return (self._person(),)
        if saga.status == CREATED:
            return (self._slot(),)
        found = [self.active_task(index, self.name(index)) for index in self.active()]
        if saga.status != RUNNING:
            left = self._tasks_max - len(found)
            found += [self._rest(index) for index in sorted(saga.unrest)[:left]]
        return tuple(found) or (self._idle(),)

    def _person(self) -> Reason:
        """Return that only a person can go on."""
        saga = self._saga
        steps = sorted(self._id(step) for step in saga.failures)
        if saga.status == AWAITING:
            ready = [step for step, left in enumerate(saga.left) if not left]
            steps = [self._id(step) for step in ready if not saga.unwound[step]]
        details: dict[str, Any] = {"status": saga.status, "steps": steps}
        details |= {"lane": REDRIVE} if saga.planned is not None else {}
        return Reason(PERSON, self._stream, 0, 0, details)

    def _idle(self) -> Reason:
        for body in self._sight.coming(self._stream):
            return on_its_way(self._sight, self._stream, self._stream, body)
        return nothing(self._stream, "no task of it is active, and it has not ended")

    def _slot(self) -> Reason:
        """Explain a saga that waits for its turn among others."""
        sight, saga, stream = self._sight, self._saga, lane_stream(self._saga.lane)
        since, below = sight.begun_ns(self._stream), {"lane": saga.lane}
        for body in sight.coming(self._stream):
            if isinstance(body, (SlotLeased, SlotRefused)):
                return on_its_way(sight, self._stream, self._stream, body)
        if not saga.lane:
            return nothing(self._stream, "it was never told to begin", since)
        if sight.is_given_up(stream):
            given_up = (Reason(GIVEN_UP, stream),)
            return Reason(LANE, self._stream, since, 0, below, (), given_up)
        lane = state_of(sight, stream)
        if lane is not None and self._stream in lane.queued:
            return queued(sight, Waiter(self._stream, saga.lane, 0), lane, since)
        for body in sight.coming(stream):
            if isinstance(body, Enqueue) and body.task == self._stream:
                way = on_its_way(sight, self._stream, stream, body)
                return Reason(LANE, self._stream, since, 0, below, (), (way,))
        return nothing(self._stream, f"lane {saga.lane} does not know that it waits", since)

    # -- its steps -----------------------------------------------------------------------------

    def task(self, index: int) -> Reason:
        """Return why a task has not ended; an action says what becomes of its step."""
        saga, stream = self._saga, self.name(index)
        step = saga.shape.step_of[index]
        if self._sight.is_given_up(self._stream):
            return Reason(GIVEN_UP, stream, 0, 0, {"actor": self._stream})
        if saga.statuses[index] == ACTIVE:
            return self.active_task(index, stream)
        if self._is_settled(index, step):
            return self._settled(index, stream)
        if self._goes_back:
            return self._undone(step)
        waits = saga.status == RUNNING and saga.is_action(index)
        return self._held_up(step) if waits else self.whole()

    @property
    def _goes_back(self) -> bool:
        return self._saga.status not in (CREATED, RUNNING)

    def _is_settled(self, index: int, step: int) -> bool:
        """Tell whether nothing more becomes of a task, nor of the step whose action it is."""
        saga = self._saga
        if saga.status in FINAL or (self._goes_back and saga.unwound[step]):
            return True
        if saga.statuses[index] == PENDING:
            return self._goes_back and saga.is_action(index)
        return not (self._goes_back and saga.is_action(index))

    def _settled(self, index: int, stream: str) -> Reason:
        status, error = self._saga.statuses[index], None
        if status == PENDING:
            return self.over(stream, "pending", ["saga_goes_back", "it will not begin any more"])
        task: Task | None = state_of(self._sight, stream)
        if task is not None:
            error = task.error
        return self.over(stream, STATUS_NAMES[status], error)

    def _held_up(self, step: int) -> Reason:
        """Explain a step by those that it needs."""
        steps, statuses = self._saga.shape.steps, self._saga.statuses
        needs = [need for need in steps[step].needs if statuses[steps[need].action] in _OPEN]
        return self._through(DEPENDENCY, step, steps[step].action, needs)

    def _undone(self, step: int) -> Reason:
        """Explain a step that is to be undone, or passed over; the saga goes back."""
        saga, planned = self._saga, self._saga.shape.steps[step]
        undo = planned.compensation
        for index in (planned.action, undo):
            if index >= 0 and saga.statuses[index] == ACTIVE:
                return self.active_task(index, self.name(index))
        left = [other for other in saga.shape.dependents[step] if not saga.unwound[other]]
        if left:
            return self._through(UNWINDS, step, planned.action, left)
        if planned.action in saga.unrest:
            return self._rest(planned.action)
        asks = step in saga.failures or (planned.policy == "manual" and not saga.approved)
        return self._person()._replace(subject=self.name(planned.action)) if asks else self._idle()

    def _through(self, kind: str, step: int, index: int, others: list[int]) -> Reason:
        names = [self._id(other) for other in others[:STEPS_MAX]]
        details: dict[str, Any] = {"needs": names, "unmet": len(others)}
        subject, since = self.name(index), self._sight.begun_ns(self._stream)
        if step in self._explained:
            return Reason(kind, subject, since, 0, {**details, "above": True})
        self._explained.add(step)
        action = self._saga.shape.steps
        because = (self.task(action[other].action) for other in others[:STEPS_MAX])
        return Reason(kind, subject, since, 0, details, (), tuple(because))

    def _rest(self, index: int) -> Reason:
        """Explain a step whose code may still run."""
        stream = self.name(index)
        task: Task | None = state_of(self._sight, stream)
        if task is not None and task.kept:
            since = self._sight.time_ns(stream, task.kept[0])
            return Reason(REST, stream, since, 0, {"attempts": len(task.kept)})
        name = self._plan.tasks[index].id
        for body in self._sight.coming(self._stream):
            if isinstance(body, TaskRested) and body.task == name:
                return on_its_way(self._sight, stream, self._stream, body)
        return nothing(stream, "its code has ended, and its saga was never told")

    def _id(self, step: int) -> str:
        return self._plan.tasks[self._saga.shape.steps[step].action].id

    def to_begin(self, index: int, stream: str) -> Reason | None:
        """Return what the saga is about to do with a task that was not told to begin yet."""
        for body in self._sight.coming(self._stream):
            more = isinstance(body, ScheduleMore) and index in body.tasks
            if more or (isinstance(body, StopMore) and body.start <= index):
                return on_its_way(self._sight, stream, self._stream, body)
        return None


_OPEN: Final = frozenset({PENDING, ACTIVE})
