"""What a task decides. The table of states and messages stands in docs/reference/states.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.decider import (
    NOTHING,
    ClearTimer,
    CloseAttempt,
    Decider,
    Decision,
    Moment,
    OpenAttempt,
    Send,
    SetTimer,
)
from goclaw_actors.messages import (
    CancelTask,
    CheckAttempt,
    CheckSlot,
    Enqueue,
    LoseAttempt,
    Release,
    ScheduleTask,
    SlotLeased,
    SlotRefused,
    TaskReported,
    TimerFired,
    WaitTask,
    Withdraw,
)
from goclaw_actors.task.retry import delay_s, may_retry
from goclaw_actors.task.state import (
    CANCELLING,
    COMPLETED,
    FINAL,
    FORM,
    PENDING,
    RETRYING,
    RUNNING,
    SCHEDULED,
    WAITING,
    Task,
    encode,
    evolve,
)
from goclaw_actors.work import AttemptToken, Outcome, Progress, StartAttempt, StopAttempt
from goclaw_events.facts import (
    AttemptFailed,
    AttemptLost,
    AttemptStarted,
    OutcomeRefused,
    ProgressReported,
    TaskCancelled,
    TaskCancelRequested,
    TaskCompleted,
    TaskFailed,
    TaskRequeued,
    TaskScheduled,
    TaskWaiting,
)
from goclaw_events.ids import lane_stream, workflow_stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_actors.contents import Contents
    from goclaw_events.plan import PlannedTask

TIMER: Final = "due"
LOST_TOO_OFTEN: Final = "lost_too_often"


class _Decide:
    """The decisions of a task, given the plans that tasks refer to."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._by_type: dict[type, Callable[[Task, Any, Moment], Decision]] = {
            ScheduleTask: _schedule,
            WaitTask: _wait,
            SlotLeased: self._start,
            SlotRefused: _slot_refused,
            Outcome: self._outcome,
            Progress: _progress,
            TimerFired: _timer,
            CheckAttempt: _check,
            CheckSlot: _check_slot,
            LoseAttempt: self._lose,
            CancelTask: _cancel,
        }

    def __call__(self, task: Task, message: Any, moment: Moment) -> Decision:
        return self._by_type[type(message)](task, message, moment)

    def _planned(self, task: Task) -> PlannedTask:
        assert task.definition is not None, "a task that runs was scheduled"
        plan = self._contents.plan(task.definition)
        return plan.tasks[plan.index[task.task_id]]

    def _start(self, task: Task, _message: SlotLeased, moment: Moment) -> Decision:
        if task.status != SCHEDULED:
            return Decision((), (_release(task),))
        fact, effects = self._attempt(task, moment, moment.number)
        return Decision((fact,), (), effects)

    def _attempt(
        self, task: Task, moment: Moment, number: int
    ) -> tuple[AttemptStarted, tuple[object, ...]]:
        """Start the next attempt; `number` is the position that its fact will take."""
        planned = self._planned(task)
        attempt = task.attempt + 1
        start = StartAttempt(
            task.stream,
            task.run_id,
            task.task_id,
            task.generation,
            attempt,
            AttemptToken(moment.partition, moment.era, number),
            planned.agent,
            task.params,
            planned.timeout_s,
        )
        opened = OpenAttempt(number, attempt, moment.holder)
        return AttemptStarted(attempt, number, moment.holder), (opened, start)

    def _outcome(self, task: Task, outcome: Outcome, moment: Moment) -> Decision:
        token = outcome.token.number
        current = _is_current(task, outcome.token, moment)
        if not current or task.status not in (RUNNING, CANCELLING):
            if current and task.status != SCHEDULED:
                return NOTHING  # the same outcome, delivered again
            return Decision((OutcomeRefused(token, outcome.status),))
        closed = (CloseAttempt(token),)
        if outcome.status == COMPLETED:
            fact = TaskCompleted(task.attempt, token, outcome.result)
            return _end(task, (fact,), COMPLETED, closed, result=outcome.result)
        if task.status == CANCELLING:
            cancelled = TaskCancelled("", outcome.abandoned)
            return _end(task, (cancelled,), "cancelled", closed)
        return self._failed(task, outcome, moment, closed)

    def _failed(
        self, task: Task, outcome: Outcome, moment: Moment, closed: tuple[object, ...]
    ) -> Decision:
        policy = self._planned(task).retry
        failures = task.failures + 1
        code = outcome.code or "agent_cancelled"
        due_ns = None
        if may_retry(policy, code, failures, retryable=outcome.retryable):
            seed = f"{task.stream}/{task.generation}"
            due_ns = moment.now_ns + int(delay_s(policy, failures, seed) * 1e9)
        failed = AttemptFailed(
            task.attempt,
            outcome.token.number,
            code,
            outcome.message,
            outcome.trace,
            outcome.abandoned,
            due_ns,
        )
        if due_ns is None:
            ended = TaskFailed(code, outcome.message)
            return _end(task, (failed, ended), "failed", closed, error=[code, outcome.message])
        return Decision((failed,), (_release(task),), (*closed, SetTimer(TIMER, due_ns)))

    def _lose(self, task: Task, message: LoseAttempt, moment: Moment) -> Decision:
        if message.token != task.token or task.status not in (RUNNING, CANCELLING):
            return Decision((), (), (CloseAttempt(message.token),))
        lost = AttemptLost(task.attempt, task.token, task.holder, message.stopped)
        closed = (CloseAttempt(task.token),)
        if task.status == CANCELLING:
            return _end(task, (lost, TaskCancelled("", abandoned=False)), "cancelled", closed)
        if task.lost >= message.lost_max and not message.stopped:
            reason = f"{task.lost + 1} attempts were lost with the process that ran them"
            failed = TaskFailed(LOST_TOO_OFTEN, reason)
            return _end(task, (lost, failed), "failed", closed, error=[LOST_TOO_OFTEN, reason])
        fact, effects = self._attempt(task, moment, moment.number + 1)
        return Decision((lost, fact), (), (*closed, *effects))


def _is_current(task: Task, token: AttemptToken, moment: Moment) -> bool:
    """Tell whether a token is that of the task's last attempt, in the history that is written now.

    Where a log was cut or restored numbers are given again, in another era: what was started in
    the one before is not told apart by its number.
    """
    return token.number == task.token and token.era == moment.era


def _schedule(task: Task, message: ScheduleTask, _moment: Moment) -> Decision:
    if task.status != PENDING:
        return NOTHING
    enqueue = Send(lane_stream(message.lane), Enqueue(task.stream, message.priority, at_head=False))
    return Decision((TaskScheduled(*message),), (enqueue,))


def _wait(task: Task, message: WaitTask, _moment: Moment) -> Decision:
    if task.status != PENDING:
        return NOTHING
    return Decision((TaskWaiting(*message),), (), (SetTimer(TIMER, message.due_ns),))


def _slot_refused(task: Task, message: SlotRefused, _moment: Moment) -> Decision:
    if task.status != SCHEDULED:
        return NOTHING
    text = f"lane {task.lane} did not take the task in: {message.reason}"
    return _end(
        task, (TaskFailed(message.reason, text),), "failed", slot=False,
        error=[message.reason, text],
    )  # fmt: skip


def _progress(task: Task, progress: Progress, moment: Moment) -> Decision:
    token = progress.token
    if not _is_current(task, token, moment) or task.status not in (RUNNING, CANCELLING):
        return NOTHING
    return Decision((ProgressReported(token.number, progress.fraction, progress.message),))


def _timer(task: Task, _message: TimerFired, _moment: Moment) -> Decision:
    if task.status == WAITING:
        return _end(task, (TaskCompleted(0, 0, None),), COMPLETED, slot=False)
    if task.status == RETRYING:
        enqueue = Enqueue(task.stream, task.priority, at_head=True)
        return Decision((TaskRequeued(task.attempt + 1),), (Send(lane_stream(task.lane), enqueue),))
    return NOTHING


def _cancel(task: Task, message: CancelTask, moment: Moment) -> Decision:
    if task.status in FINAL or task.status == CANCELLING:
        return NOTHING
    if message.queued_only and task.status not in (PENDING, SCHEDULED):
        return NOTHING
    if task.status == RUNNING:
        stop = _stop(task.token, message.reason, moment)
        return Decision((TaskCancelRequested(message.reason),), (), (stop,))
    cancelled = (TaskCancelled(message.reason, abandoned=False),)
    effects = (ClearTimer(TIMER, task.due_ns),) if task.due_ns else ()
    decision = _end(task, cancelled, "cancelled", effects, slot=False)
    if task.status != SCHEDULED:
        return decision
    withdraw = Send(lane_stream(task.lane), Withdraw(task.stream))
    return decision._replace(sends=(withdraw, *decision.sends))


def _check(task: Task, message: CheckAttempt, moment: Moment) -> Decision:
    """Stop an attempt again whose stop may never have left, or that is not the current one."""
    if message.token == task.token and task.status == RUNNING:
        return NOTHING
    return Decision((), (), (_stop(message.token, "stopped before", moment),))


def _check_slot(task: Task, _message: CheckSlot, _moment: Moment) -> Decision:
    """Give a slot back again, if the lane did not hear that it was given back."""
    needed = task.status in (SCHEDULED, RUNNING, CANCELLING)
    return NOTHING if needed or not task.lane else Decision((), (_release(task),))


def _stop(token: int, reason: str, moment: Moment) -> StopAttempt:
    return StopAttempt(AttemptToken(moment.partition, moment.era, token), reason)


def _release(task: Task) -> Send:
    return Send(lane_stream(task.lane), Release(task.stream))


def _end(
    task: Task,
    facts: tuple[object, ...],
    status: str,
    effects: tuple[object, ...] = (),
    *,
    result: Any = None,
    error: list[str] | None = None,
    slot: bool = True,
) -> Decision:
    """End the task: give the slot back and tell the run."""
    report = TaskReported(task.task_id, task.generation, status, result, error)
    sends = (Send(workflow_stream(task.run_id), report),)
    return Decision(facts, (_release(task), *sends) if slot else sends, effects)


def _is_final(task: Task) -> bool:
    return task.status in FINAL


def task_decider(contents: Contents) -> Decider[Task]:
    """Return the task as a value."""
    return Decider(Task, _Decide(contents), evolve, _is_final, encode, FORM)
