"""A run whose tasks the test plays."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from goclaw_actors.decider import ClearOpen, RunEnded, SetOpen
from goclaw_actors.lending import DeclareLane
from goclaw_actors.messages import (
    CancelTask,
    ScheduleMore,
    ScheduleTask,
    StopMore,
    SubmitRun,
    TaskReported,
    WaitTask,
)
from goclaw_actors.workflow import workflow_decider
from goclaw_actors.workflow.draft import SENDS_MAX
from goclaw_events.facts import TasksSkipped
from tests.actors.given import Scenario, Shelf, plan_of

if TYPE_CHECKING:
    from goclaw_actors.decider import Decision
    from goclaw_actors.workflow import Run

STREAM = "workflow/r"
LARGE = 100


class Play:
    """Play the tasks of one run: hear what the run says, report back in any order.

    `active` are the tasks that were told to run and have not reported; `log` is what happened.
    """

    def __init__(self, tasks: dict[str, Any], given: Any = None, **head: Any) -> None:
        self.shelf = Shelf()
        self.plan = plan_of(tasks, **head)
        self.ref = self.shelf.put_plan(self.plan)
        self.run: Scenario[Run] = Scenario(
            workflow_decider(self.shelf), STREAM, large=len(tasks) > LARGE
        )
        self.to_self: deque[Any] = deque()
        self.active: dict[str, Any] = {}
        self.cancelled: list[str] = []
        self.lanes: list[DeclareLane] = []
        self.ended: dict[str, str] = {}
        self.ends: list[RunEnded] = []
        self.effects: list[Any] = []
        self.submitted = self.tell(
            SubmitRun(self.ref, "w", {} if given is None else given, {}, b"d", None, "")
        )

    @property
    def status(self) -> str:
        """Return the state of the run."""
        return self.run.state.status

    def tell(self, message: Any) -> Decision:
        """Give the run a message, and then all that it tells itself."""
        first = self._turn(message)
        while self.to_self:
            self._turn(self.to_self.popleft())
        return first

    def _turn(self, message: Any) -> Decision:
        decision = self.run.when(message)
        assert len(decision.sends) <= SENDS_MAX + 2 + len(self.plan.lanes)
        for target, body, fresh, _ in decision.sends:
            self._hear(target, body, fresh=fresh)
        self.effects += decision.effects
        self.ends += [effect for effect in decision.effects if isinstance(effect, RunEnded)]
        return decision

    def _hear(self, target: str, body: Any, *, fresh: bool) -> None:
        if isinstance(body, (ScheduleMore, StopMore)):
            assert target == STREAM
            self.to_self.append(body)
        elif isinstance(body, DeclareLane):
            self.lanes.append(body)
        else:
            self._hear_of_task(target.removeprefix("task/r/"), body, fresh=fresh)

    def _hear_of_task(self, task: str, body: Any, *, fresh: bool) -> None:
        if isinstance(body, CancelTask):
            assert not fresh
            if body.queued_only and self.active.get(task) is not None:
                return  # it has begun, and is waited for
            self.cancelled.append(task)
            self.active.setdefault(task, None)  # one that was never told still answers
            return
        assert isinstance(body, (ScheduleTask, WaitTask))
        assert task not in self.active, f"{task} was told to run twice"
        assert task not in self.ended, f"{task} ended before it was told to run"
        planned = self.plan.tasks[self.plan.index[task]]
        for need in planned.needs:
            name = self.plan.tasks[need].id
            assert name in self.ended or name in self.skipped, f"{task} runs before {name}"
        self.active[task] = body

    @property
    def skipped(self) -> dict[str, str]:
        """Return the skipped tasks, with why."""
        return {
            task: fact.reason
            for fact in self.run.facts
            if isinstance(fact, TasksSkipped)
            for task in fact.tasks
        }

    def report(
        self, task: str, status: str = "completed", result: Any = None, code: str = "boom"
    ) -> Decision:
        """Let an active task end."""
        del self.active[task]
        self.ended[task] = status
        error = [code, "why"] if status == "failed" else None
        return self.tell(TaskReported(task, 0, status, result, error))


def check_end(play: Play) -> None:
    """Check what holds of every run that ended."""
    assert len(play.ends) == 1
    assert play.ends[0].status == play.status
    at_once = play.submitted.effects[-1] == play.ends[0]
    assert play.effects.count(SetOpen("run", "w")) == (0 if at_once else 1)
    assert play.effects.count(ClearOpen()) == 1
    assert play.run.state.active == 0
    assert play.run.encoded() == play.run.replayed()
