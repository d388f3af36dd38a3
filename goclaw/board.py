"""What is known of a run while it goes on, folded from its facts: for whoever watches."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from goclaw.logs import rfc3339
from goclaw_events import facts
from goclaw_events.ids import is_spawned
from goclaw_projections.states import RUN_ENDED, TASK_ENDED, run_after, task_after

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from goclaw_events.plan import Plan
    from goclaw_projections.subscription import Recorded

ACTIVE: Final = frozenset({"running", "cancelling", "retrying", "waiting"})


@dataclass(slots=True)
class TaskLine:
    """A task as it is shown; `note` says in a few words what is special about it."""

    status: str = "pending"
    attempt: int = 0
    started_ns: int | None = None
    ended_ns: int | None = None
    note: str = ""

    @property
    def took_s(self) -> float | None:
        """Return how long an ended task took, from its first attempt's start."""
        if self.started_ns is None or self.ended_ns is None:
            return None
        return (self.ended_ns - self.started_ns) / 1e9


class RunBoard:
    """One run: its tasks in the order of the plan, and how many there are of each status.

    `tasks` never gains or loses a key, so a thread may read while another one applies facts: where
    a change of the run's path adds tasks, or a task spawns some, another mapping takes its place,
    with them at the end.
    """

    def __init__(self, run_id: str, plan: Plan, since_ns: int) -> None:
        self.run_id = run_id
        self.plan = plan
        self.status = "running"
        self.since_ns = since_ns
        self.now_ns = since_ns
        self.tasks = {task.id: TaskLine() for task in plan.tasks}
        self.counts: Counter[str] = Counter(pending=len(self.tasks))
        self.steps = _steps(plan)

    @property
    def has_ended(self) -> bool:
        """Tell whether the run is over."""
        return self.status in RUN_ENDED

    @property
    def done(self) -> int:
        """Return how many tasks have ended, however."""
        return sum(self.counts[status] for status in TASK_ENDED)

    def seed(self, status: str, tasks: Mapping[str, Sequence[Any]]) -> None:
        """Begin with what was recorded before anybody watched.

        Of each task: status, attempts, when it began and ended (ns or None).
        """
        self.status = status
        for task_id, (task_status, attempts, started_ns, ended_ns) in tasks.items():
            line = self._line(task_id)
            line.attempt = attempts
            line.started_ns, line.ended_ns = started_ns, ended_ns
            self._set(line, task_status)

    def apply(self, recorded: Recorded) -> TaskLine | None:
        """Apply a fact of the run or of one of its tasks; return the task that it changed.

        What concerns a task that has ended is passed over: it was seen already.
        """
        fact, time_ns = recorded.fact, recorded.time_ns
        self.now_ns = max(self.now_ns, time_ns)
        kind, _, rest = recorded.stream.partition("/")
        if kind == "workflow":
            if isinstance(fact, facts.TaskEnded):
                return self._end_unbegun(fact, time_ns)
            self._apply_run(fact, time_ns)
            return None
        task_id = rest.partition("/")[2]
        line = self._line(task_id) if is_spawned(task_id) else self.tasks.get(task_id)
        if line is None or line.status in TASK_ENDED:
            return None
        if isinstance(fact, facts.TaskDropped) and line.status == "pending":
            return None  # its next generation is shown already
        self._apply_task(line, fact, time_ns)
        return line

    def _line(self, task_id: str) -> TaskLine:
        """Return the line of a task, a new one for one that was spawned since."""
        line = self.tasks.get(task_id)
        if line is None:
            line = TaskLine()
            self.tasks = {**self.tasks, task_id: line}
            self.counts["pending"] += 1
        return line

    def _apply_run(self, fact: Any, time_ns: int) -> None:
        if isinstance(fact, facts.TasksSkipped):
            for task_id in fact.tasks:
                line = self.tasks[task_id]
                line.ended_ns, line.note = time_ns, fact.reason
                self._set(line, "skipped")
        elif isinstance(fact, facts.PathChanged):
            self._apply_path(fact, time_ns)
        status = run_after(self.status, fact)
        if status is None or self.has_ended:
            return
        self.status = status
        if status in RUN_ENDED:
            for line in self.tasks.values():
                if line.status not in TASK_ENDED:
                    self._set(line, "cancelled")

    def _end_unbegun(self, fact: facts.TaskEnded, time_ns: int) -> TaskLine | None:
        """Let a task fail that could not begin: of any other its own facts have said so."""
        self.status = run_after(self.status, fact) or self.status
        line = self.tasks.get(fact.task)
        if fact.status != "failed" or line is None or line.status in TASK_ENDED:
            return None
        line.ended_ns = time_ns
        line.note = "" if fact.error is None else ": ".join(fact.error)
        self._set(line, "failed")
        return line

    def _apply_path(self, fact: facts.PathChanged, time_ns: int) -> None:
        new = {task: TaskLine() for task in fact.added if task not in self.tasks}
        self.tasks = {**self.tasks, **new}
        self.counts["pending"] += len(new)
        reopened = set(fact.reopened)
        for task, line in self.tasks.items():
            if task.partition("/")[0] in reopened:
                self._set(line, "pending")
                line.started_ns = line.ended_ns = None
        for task, how, _ in fact.skips:
            line = self.tasks[task]
            if task in fact.skipped and line.status not in TASK_ENDED:
                line.ended_ns, line.note = time_ns, str(how)
                self._set(line, "skipped")

    def _apply_task(self, line: TaskLine, fact: Any, time_ns: int) -> None:
        status = task_after(fact)
        match fact:
            case facts.AttemptStarted():
                line.attempt = fact.attempt
                line.started_ns = line.started_ns or time_ns
                line.note = ""
            case facts.ProgressReported():
                share = "" if fact.fraction is None else f"{fact.fraction:.0%} "
                line.note = (share + fact.message).strip()
            case facts.AttemptFailed():
                line.note = f"{fact.code}: {fact.message}"
            case facts.AttemptLost():
                line.note = "lost with its process, starts again"
            case facts.AttemptLimited():
                line.note = f"rate limited: {fact.message}"
            case facts.AttemptSlept():
                line.note = f"asleep until {rfc3339(fact.due_ns)}"
            case facts.TaskFailed() | facts.TaskDied():
                line.note = f"{fact.code}: {fact.message}"
            case facts.TaskCompleted():
                line.note = ""
            case facts.TaskCancelled() | facts.TaskDropped():
                line.note = fact.reason
        if status is not None:
            if status in TASK_ENDED:
                line.ended_ns = time_ns
            self._set(line, status)

    def _set(self, line: TaskLine, status: str) -> None:
        self.counts[line.status] -= 1
        self.counts[status] += 1
        line.status = status


def _steps(plan: Plan) -> list[int]:
    """Return for each task how many tasks stand in a row before it, at most."""
    steps: list[int] = []
    for task in plan.tasks:
        steps.append(1 + max((steps[need] for need in task.needs), default=-1))
    return steps
