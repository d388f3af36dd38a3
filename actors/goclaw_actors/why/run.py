"""Why a run has not ended, or a task of it not begun: down to what comes next, wherever that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.messages import ScheduleMore, StopMore
from goclaw_actors.pathing import ConcludeChange, ScheduleActive, ScheduleReady
from goclaw_actors.statuses import ACTIVE, PENDING, STATUS_NAMES
from goclaw_actors.why.owned import Owned
from goclaw_actors.why.reason import DEPENDENCY, GIVEN_UP, RUN, RUN_STOPPING, STATE, Reason
from goclaw_actors.why.room import on_its_way
from goclaw_actors.why.sight import state_of
from goclaw_actors.why.task import nothing
from goclaw_actors.workflow.state import FINAL, RUNNING

if TYPE_CHECKING:
    from goclaw_actors.task.state import Task
    from goclaw_actors.why.owned import Below
    from goclaw_actors.why.sight import Sight
    from goclaw_actors.workflow.state import Run

NEEDS_MAX: Final = 8
DEPTH_MAX: Final = 12
"""Below so many needs of needs, the tasks that hold up the rest are named at once."""


class WhyRun(Owned):
    """One run that is looked at; each task of it is explained once."""

    def __init__(self, sight: Sight, run: Run, tasks_max: int, below: Below) -> None:
        super().__init__(sight, run, tasks_max, below)
        self._run = run
        self._explained: set[int] = set()

    def whole(self) -> Reason:
        """Return why the run has not ended."""
        run, stream = self._run, self._stream
        since = self._sight.begun_ns(self._stream)
        status = run.held if run.held and run.status == RUNNING else run.status
        details = {"name": run.name, "status": status, "tasks": len(run.statuses),
                   "ended": run.ended, "active": run.active}  # fmt: skip
        if run.status in FINAL:
            return self.over(stream, run.status, run.error and list(run.error))
        if self._sight.is_given_up(stream):
            return Reason(GIVEN_UP, stream, since, 0, details)
        because = tuple(self.task(index) for index in self.active())
        if not run.active:
            because = (self._idle(),)
        return Reason(RUN, stream, since, run.deadline_ns, details, (), because)

    def _idle(self) -> Reason:
        for body in self._sight.coming(self._stream):
            return on_its_way(self._sight, self._stream, self._stream, body)
        return nothing(self._stream, "no task of it is active, and it has not ended")

    def task(self, index: int, depth: int = 0) -> Reason:
        """Return why a task has not ended."""
        status, stream = self._run.statuses[index], self.name(index)
        if status == PENDING:
            return self._pending(index, depth)
        if status != ACTIVE:
            task: Task | None = state_of(self._sight, stream)
            error = None if task is None else task.error
            return self.over(stream, STATUS_NAMES[status], error)
        if self._sight.is_given_up(self._stream):
            return Reason(GIVEN_UP, stream, 0, 0, {"actor": self._stream})
        return self.active_task(index, stream)

    def generation(self, index: int) -> int:
        """Return in which generation a task is."""
        path = self._run.path
        return 0 if path is None else path.generations.get(index, 0)

    def to_begin(self, index: int, stream: str) -> Reason | None:
        """Return what the run is about to do with a task that was not told to begin yet."""
        for body in self._sight.coming(self._stream):
            more = isinstance(body, ScheduleMore) and index in body.tasks
            more = more or isinstance(body, (ScheduleReady, ScheduleActive, ConcludeChange))
            if more or (isinstance(body, StopMore) and body.start <= index):
                return on_its_way(self._sight, stream, self._stream, body)
        if self._run.path is not None and self._run.path.changing is not None:
            return Reason(STATE, stream, 0, 0, {"status": "in a run whose path is being changed"})
        if self._run.held:
            return Reason(STATE, stream, 0, 0, {"status": f"in a run that is {self._run.held}"})
        return None

    # -- what has not --------------------------------------------------------------------------

    def _pending(self, index: int, depth: int) -> Reason:
        run, stream = self._run, self.name(index)
        since = self._sight.begun_ns(self._stream)
        if run.status != RUNNING:
            stopping = {"status": run.status, "reason": run.reason}
            return Reason(RUN_STOPPING, stream, since, 0, stopping)
        if self._plan.mapped is not None:
            most = self._plan.mapped.foreach.parallel
            said = {"status": f"behind the {most} items that may be at work at a time"}
            return Reason(STATE, stream, since, 0, said)
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
