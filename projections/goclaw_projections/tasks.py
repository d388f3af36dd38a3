"""The view `tasks`: one row for each task of a run that has anything to tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, assert_never

from goclaw_events import facts
from goclaw_events.ids import is_spawned
from goclaw_events.value import unpack
from goclaw_projections.served import ServedRows
from goclaw_projections.states import TASK_ENDED, task_after

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from goclaw_projections.projection import ReadFrame, ReadTurn
    from goclaw_projections.rows import Rows
    from goclaw_projections.store import ViewStore


class TaskError(NamedTuple):
    """Why a task, or its last attempt, failed."""

    code: str
    message: str


class TaskProgress(NamedTuple):
    """How far the handler said it is; `fraction` from 0.0 to 1.0, or None."""

    fraction: float | None
    message: str


class TaskView(NamedTuple):
    """What is known of a task in its current generation.

    `status`: pending, scheduled, running, waiting, retrying, paused, interrupting, interrupted,
    cancelling, dead, completed, failed, cancelled or skipped. `started_at_ns` is the start of the
    first attempt, `completed_at_ns` the end, however it ended. `wake_ns`: when a wait or a backoff
    is over.
    `reason`: why it was skipped, cancelled, or stands still. `result_number`: the number, in the
    run's partition, of the fact that holds the result (None: there is none). `child`: the id of the
    run that the task submitted last.
    """

    status: str
    generation: int = 0
    attempts: int = 0
    lane: str = ""
    scheduled_at_ns: int | None = None
    started_at_ns: int | None = None
    completed_at_ns: int | None = None
    wake_ns: int | None = None
    error: TaskError | None = None
    progress: TaskProgress | None = None
    reason: str | None = None
    result_number: int | None = None
    child: str | None = None

    @property
    def has_ended(self) -> bool:
        """Tell whether the task is over."""
        return self.status in TASK_ENDED


PENDING: Final = TaskView("pending")

# A row, in place changed: the fields of TaskView in order.
(
    _STATUS, _GENERATION, _ATTEMPTS, _LANE, _SCHEDULED, _STARTED, _COMPLETED, _WAKE, _ERROR,
    _PROGRESS, _REASON, _RESULT, _CHILD,
) = range(13)  # fmt: skip


class TasksProjection:
    """Fold the facts of task streams into rows `<run id>/<task id>`."""

    name = "tasks"
    version = 4

    def apply(self, frame: ReadFrame, rows: Rows) -> None:
        """Change the rows by one frame."""
        time_ns = frame.time_ns
        for turn in frame.turns:
            if turn.kind == "task":
                key = turn.name
                row = rows.get(key) if turn.seq > 1 else None
                if row is None:
                    row = list(PENDING)
                number = turn.number
                for fact in turn.facts:
                    _evolve(row, fact, time_ns, number)
                    number += 1
                rows.put(key, row, final=row[_STATUS] in TASK_ENDED)
            else:
                for fact in turn.facts:
                    if isinstance(fact, facts.TasksSkipped):
                        _skip(turn, fact.tasks, fact.reason, time_ns, rows)
                    elif isinstance(fact, facts.PathChanged):
                        _change(turn, fact, time_ns, rows)
                    elif isinstance(fact, facts.TaskEnded):
                        if fact.status == "failed":
                            _fail_unbegun(turn, fact, time_ns, rows)
                    elif isinstance(fact, facts.StreamPoisoned):
                        _poison(fact, time_ns, rows)

    def reads(self, frame: ReadFrame, rows: Rows) -> Iterator[str]:  # noqa: ARG002 - all are named
        """Yield the tasks that began before."""
        for turn in frame.turns:
            if turn.seq > 1 and turn.kind == "task":
                yield turn.name


def _skip(turn: ReadTurn, tasks: Iterable[str], reason: str, time_ns: int, rows: Rows) -> None:
    for task in tasks:
        row = list(PENDING)
        row[_STATUS], row[_COMPLETED], row[_REASON] = "skipped", time_ns, reason
        rows.put(f"{turn.run_id}/{task}", row, final=True)


def _change(turn: ReadTurn, fact: facts.PathChanged, time_ns: int, rows: Rows) -> None:
    """Show what a change of the path skipped, and what is to begin again."""
    how = {task: how for task, how, _ in fact.skips}
    for task in fact.skipped:
        _skip(turn, [task], how[task], time_ns, rows)
    for task in fact.reopened:
        key = f"{turn.run_id}/{task}"
        before = rows.get(key)
        row = list(PENDING)
        row[_GENERATION] = 1 + (0 if before is None else before[_GENERATION])
        rows.put(key, row)


def _fail_unbegun(turn: ReadTurn, fact: facts.TaskEnded, time_ns: int, rows: Rows) -> None:
    """Show what could not begin: only its run says that it failed, it has no facts of its own."""
    key = f"{turn.run_id}/{fact.task}"
    row = rows.get(key) or list(PENDING)
    if row[_STATUS] not in TASK_ENDED:
        row[_GENERATION] = fact.generation
        _end(row, "failed", time_ns)
        row[_ERROR] = fact.error
        rows.put(key, row, final=True)


def _poison(fact: facts.StreamPoisoned, time_ns: int, rows: Rows) -> None:
    kind, _, key = fact.stream.partition("/")
    if kind == "task":
        row = rows.get(key) or list(PENDING)
        if row[_STATUS] not in TASK_ENDED:
            _end(row, "failed", time_ns)
            row[_ERROR] = [fact.code, fact.message]
            rows.put(key, row)


def _evolve(row: list[Any], fact: facts.TaskFact, time_ns: int, number: int) -> None:
    match fact:
        case facts.TaskScheduled():
            waits = fact.collect is not None
            _open(row, "waiting" if waits else "scheduled", fact.generation, time_ns)
            row[_LANE] = fact.lane
        case facts.AttemptStarted():
            row[_STATUS], row[_ATTEMPTS], row[_WAKE] = "running", fact.attempt, None
            if row[_STARTED] is None:
                row[_STARTED] = time_ns
        case facts.AttemptSlept():
            row[_STATUS], row[_WAKE] = "waiting", fact.due_ns
        case facts.TaskCompleted():
            _end(row, "completed", time_ns)
            row[_ERROR], row[_RESULT] = None, number
        case facts.TaskFailed():
            _end(row, "failed", time_ns)
            row[_ERROR] = list(fact)
        case facts.TaskCancelled():
            _end(row, "cancelled", time_ns)
            row[_REASON] = fact.reason
        case facts.TaskDropped():
            if row[_STATUS] != "pending":  # else its next generation is shown already
                _end(row, "skipped", time_ns)
                row[_REASON] = fact.reason
        case (
            facts.TaskInterruptRequested()
            | facts.TaskInterrupted()
            | facts.TaskPaused()
            | facts.TaskResumed()
        ):
            _hold(row, fact)
        case (
            facts.SignalAccepted()
            | facts.SignalConsumed()
            | facts.SignalEnded()
            | facts.StateSaved()
            | facts.TaskAdjusted()
            | facts.StepRecorded()
            | facts.StepsUnused()
            | facts.TaskAnswered()
        ):
            pass
        case _:
            _evolve_rarer(row, fact, time_ns)


_Rarer: TypeAlias = (
    facts.TaskWaiting
    | facts.TaskAwaiting
    | facts.ChildStarted
    | facts.ProgressReported
    | facts.AttemptFailed
    | facts.AttemptLost
    | facts.AttemptLimited
    | facts.TaskRequeued
    | facts.TaskRetried
    | facts.TaskJoined
    | facts.TaskAdmitted
    | facts.TaskRedirected
    | facts.TaskMoved
    | facts.TaskCancelRequested
    | facts.EndPutOff
    | facts.OutcomeRefused
    | facts.AttemptReturned
    | facts.TaskDied
)


def _evolve_rarer(row: list[Any], fact: _Rarer, time_ns: int) -> None:
    match fact:
        case facts.TaskWaiting() | facts.TaskAwaiting():
            _open(row, "waiting", fact.generation, time_ns)
            row[_WAKE] = fact.due_ns or None
        case facts.ChildStarted():
            row[_STATUS], row[_ATTEMPTS], row[_WAKE] = "waiting", fact.attempt, None
            row[_CHILD] = fact.run_id
            if row[_STARTED] is None:
                row[_STARTED] = time_ns
        case facts.ProgressReported():
            row[_PROGRESS] = [fact.fraction, fact.message]
        case facts.AttemptFailed() | facts.TaskDied():
            _failed(row, fact)
        case facts.AttemptLimited():
            row[_STATUS], row[_WAKE] = "scheduled", fact.until_ns
        case (
            facts.AttemptLost()
            | facts.TaskRequeued()
            | facts.TaskRetried()
            | facts.TaskAdmitted()
            | facts.TaskJoined()
            | facts.EndPutOff()
        ):
            waits = isinstance(fact, facts.TaskJoined | facts.EndPutOff)
            row[_STATUS], row[_WAKE] = "waiting" if waits else "scheduled", None
            row[_COMPLETED] = None
        case facts.TaskRedirected() | facts.TaskMoved():
            row[_LANE] = fact.lane
        case facts.TaskCancelRequested():
            row[_STATUS], row[_REASON] = "cancelling", fact.reason
        case facts.OutcomeRefused() | facts.AttemptReturned():
            pass
        case _:
            assert_never(fact)


def _failed(row: list[Any], fact: facts.AttemptFailed | facts.TaskDied) -> None:
    row[_ERROR] = [fact.code, fact.message]
    if isinstance(fact, facts.TaskDied):
        row[_STATUS], row[_WAKE] = "dead", None
    elif fact.retry_due_ns is not None:
        row[_STATUS], row[_WAKE] = "retrying", fact.retry_due_ns


def _hold(row: list[Any], fact: facts.TaskHoldFact) -> None:
    status = task_after(fact)
    if status is not None:
        row[_STATUS], row[_WAKE] = status, None
    row[_REASON] = None if isinstance(fact, facts.TaskResumed) else fact.reason
    if isinstance(fact, facts.TaskInterrupted) and fact.error is not None:
        row[_ERROR] = fact.error


def _open(row: list[Any], status: str, generation: int, time_ns: int) -> None:
    row[:] = PENDING
    row[_STATUS], row[_GENERATION], row[_SCHEDULED] = status, generation, time_ns


def _end(row: list[Any], status: str, time_ns: int) -> None:
    row[_STATUS], row[_COMPLETED], row[_WAKE] = status, time_ns, None


class TasksReader:
    """Answer questions about the tasks of a run. Any thread; sees what the runner has written."""

    def __init__(self, store: ViewStore) -> None:
        self._rows = ServedRows(store, "tasks")

    def get(self, run_id: str, task_id: str) -> TaskView | None:
        """Return a task that has a row, or None."""
        data = self._rows.get(f"{run_id}/{task_id}")
        return None if data is None else _view(data)

    def recorded(self, run_id: str) -> Iterator[tuple[str, TaskView]]:
        """Yield the tasks of a run that have rows, in order of id."""
        prefix = f"{run_id}/"
        for key, data in self._rows.scan(prefix):
            yield key[len(prefix) :], _view(data)

    def tasks_of(
        self, run_id: str, plan_task_ids: Iterable[str], *, run_ended: bool
    ) -> dict[str, TaskView]:
        """Return every task of the plan, in its order, and then those that were spawned.

        A task without a row is pending; once the run has ended it was cancelled before it began.
        """
        missing = PENDING._replace(status="cancelled") if run_ended else PENDING
        recorded = dict(self.recorded(run_id))
        found = {task: recorded.get(task, missing) for task in plan_task_ids}
        return found | {task: row for task, row in recorded.items() if is_spawned(task)}


def _view(data: bytes) -> TaskView:
    row = unpack(data)
    if row[_ERROR] is not None:
        row[_ERROR] = TaskError(*row[_ERROR])
    if row[_PROGRESS] is not None:
        row[_PROGRESS] = TaskProgress(*row[_PROGRESS])
    return TaskView(*row)
