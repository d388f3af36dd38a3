"""What a task decides. The table of states and messages stands in docs/reference/states.md."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.decider import (
    NOTHING,
    Accepted,
    CloseAttempt,
    Decider,
    Decision,
    Moment,
    OpenAttempt,
    Send,
    SetTimer,
)
from goclaw_actors.messages import (
    AskAgain,
    CancelTask,
    CheckAttempt,
    CheckSlot,
    ChildEnded,
    Enqueue,
    KeyEnded,
    KeyGranted,
    KeyRefused,
    KeyShared,
    KeyTaken,
    LoseAttempt,
    ReturnRoom,
    ScheduleTask,
    SlotLeased,
    SlotRedirected,
    SlotRefused,
    TimerFired,
    WaitTask,
)
from goclaw_actors.signalling import EndSignals, HoldWork, ResumeWork, SendSignal, WithdrawSignal
from goclaw_actors.task import child, hearing, holding, voting
from goclaw_actors.task.ending import (
    ASKING,
    TIMER,
    TOTAL,
    cleared,
    end,
    release,
    time_out,
)
from goclaw_actors.task.hold import HELD, INTERRUPTING
from goclaw_actors.task.keyed import claim, key_ended, key_refused, key_taken, share
from goclaw_actors.task.limited import ask_later, is_uncounted
from goclaw_actors.task.limits import QUEUE, TIMEOUT, after_ns, left_s, overdue, waited
from goclaw_actors.task.retry import delay_s, may_retry
from goclaw_actors.task.signals import without_attempt
from goclaw_actors.task.state import (
    ATTEMPTED,
    CANCELLING,
    CHILD,
    COMPLETED,
    FINAL,
    FORM,
    PENDING,
    RETRYING,
    SCHEDULED,
    WAITING,
    Task,
    encode,
    evolve,
)
from goclaw_actors.task.stopping import (
    again_reported,
    cancel,
    check,
    check_slot,
    returned,
    slot_refused,
)
from goclaw_actors.work import (
    RETURNED,
    AttemptToken,
    Consumed,
    Outcome,
    Progress,
    Saved,
    StartAttempt,
)
from goclaw_events.errors import CodedError
from goclaw_events.facts import (
    AttemptFailed,
    AttemptLost,
    AttemptStarted,
    ChildStarted,
    OutcomeRefused,
    ProgressReported,
    TaskAdmitted,
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
    TaskRedirected,
    TaskRequeued,
    TaskResumed,
    TaskScheduled,
    TaskWaiting,
)
from goclaw_events.ids import lane_stream, workflow_stream
from goclaw_events.value import BlobRef

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_actors.contents import Contents
    from goclaw_actors.task.signals import Signals
    from goclaw_events.plan import PlannedTask

LOST_TOO_OFTEN: Final = "lost_too_often"
GONE: Final = "gone"
LEASE_S: Final = 30.0
"""Of an attempt that need not give signs of life."""


class _Decide:
    """The decisions of a task, given the plans that tasks refer to."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._by_type: dict[type, Callable[[Task, Any, Moment], Decision]] = {
            ScheduleTask: self._schedule,
            WaitTask: _wait,
            KeyGranted: self._admit,
            KeyShared: share,
            KeyRefused: key_refused,
            KeyEnded: key_ended,
            KeyTaken: key_taken,
            SlotLeased: self._start,
            SlotRefused: slot_refused,
            SlotRedirected: self._redirect,
            AskAgain: self._ask_again,
            Outcome: self._outcome,
            ChildEnded: self._child_ended,
            Progress: _progress,
            TimerFired: self._timer,
            CheckAttempt: check,
            CheckSlot: check_slot,
            LoseAttempt: self._lose,
            CancelTask: cancel,
            SendSignal: self._signal,
            WithdrawSignal: hearing.withdraw,
            EndSignals: hearing.end,
            HoldWork: holding.hold,
            ResumeWork: self._resume,
            Consumed: hearing.consumed,
            Saved: hearing.saved,
            **voting.decisions(contents),
        }

    def __call__(self, task: Task, message: Any, moment: Moment) -> Decision:
        decision = self._by_type[type(message)](task, message, moment)
        return decision if task.signals is None else hearing.with_farewell(task, decision, moment)

    def _planned(self, task: Task, definition: BlobRef | None = None) -> PlannedTask:
        ref = definition or task.definition
        assert ref is not None, "a task that runs was scheduled"
        plan = self._contents.plan(ref)
        return plan.tasks[plan.index[task.task_id]]

    def _schedule(self, task: Task, message: ScheduleTask, moment: Moment) -> Decision:
        if task.status in FINAL:
            return again_reported(task)
        if task.status != PENDING:
            return NOTHING
        timeouts = self._planned(task, message.definition).timeouts
        total_ns = after_ns(moment.now_ns, timeouts.total_s)
        asks_now = message.lane and message.unique is None and task.hold is None
        queue_ns = after_ns(moment.now_ns, timeouts.queue_s) if asks_now else 0
        due = (message.deadline_ns, total_ns, queue_ns)
        fact = TaskScheduled(
            *message[:5],
            *due,
            child=message.child,
            tenant=message.tenant,
            key=message.key,
            unique=message.unique,
        )
        timers = [SetTimer(TOTAL, total_ns)] if total_ns else []
        if message.unique is not None:
            return Decision((fact,), (claim(task, message.unique),), timers)
        if task.hold is not None:
            return Decision((fact, holding.held(task)), (), timers)
        if message.lane:
            asks = self._enqueue(task, message, message.definition, at_head=False)
            if queue_ns:
                timers.append(SetTimer(QUEUE, queue_ns))
            return Decision((fact,), (asks,), timers)
        evolve(scheduled := Task(task.stream), fact)
        decision = self._start_child(scheduled, moment)
        return Decision((fact, *decision.facts), decision.sends, (*timers, *decision.effects))

    def _admit(self, task: Task, _message: KeyGranted, moment: Moment) -> Decision:
        """Go on now that the task has its key."""
        if task.status not in ASKING:
            return NOTHING
        if task.hold is not None:
            return Decision((TaskAdmitted(), holding.held(task)))
        if not task.lane:
            fact = TaskAdmitted()
            evolve(admitted := copy(task), fact)
            decision = self._start_child(admitted, moment)
            return decision._replace(facts=(fact, *decision.facts))
        queue_ns = after_ns(moment.now_ns, self._planned(task).timeouts.queue_s)
        timers = (SetTimer(QUEUE, queue_ns),) if queue_ns else ()
        asks = self._enqueue(task, task, None, at_head=False)
        return Decision((TaskAdmitted(queue_ns),), (asks,), timers)

    def _start(self, task: Task, _message: SlotLeased, moment: Moment) -> Decision:
        if task.status != SCHEDULED:
            return Decision((), (release(task),))
        forgotten = cleared((QUEUE, task.queue_due_ns))
        if task.child is not None:
            decision = self._start_child(task, moment)
            if isinstance(decision.facts[0], ChildStarted):
                # who waits holds no slot: what runs below may need it
                decision = decision._replace(sends=(release(task), *decision.sends))
            return decision._replace(effects=(*forgotten, *decision.effects))
        if 0 < task.ends_ns <= moment.now_ns:
            return time_out(task, overdue(task, self._planned(task)), slot=True)
        fact, effects = self._attempt(task, moment, moment.number, task.signals)
        return Decision((fact, *hearing.overdue(task.signals, moment)), (), (*forgotten, *effects))

    def _attempt(
        self, task: Task, moment: Moment, number: int, signals: Signals | None
    ) -> tuple[AttemptStarted, tuple[object, ...]]:
        """Start the next attempt; `number` is the position that its fact will take.

        `signals` are what was said to the task as it stands when the attempt starts.
        """
        planned = self._planned(task)
        attempt = task.attempt + 1
        timeout_s, timeout_of = left_s(task, planned, moment.now_ns)
        start = StartAttempt(
            task.stream,
            task.run_id,
            task.task_id,
            task.generation,
            attempt,
            AttemptToken(moment.partition, moment.era, number),
            planned.agent,
            task.params,
            timeout_s,
            planned.kind,
            timeout_of,
            planned.timeouts.heartbeat_s,
            task.lane,
        )
        if signals is not None:
            start = self._with_signals(task, signals, start, moment)
        lease_s = planned.timeouts.heartbeat_s or LEASE_S
        opened = OpenAttempt(number, attempt, moment.holder, after_ns(moment.now_ns, lease_s))
        return AttemptStarted(attempt, number, moment.holder), (opened, start)

    def _with_signals(
        self, task: Task, signals: Signals, start: StartAttempt, moment: Moment
    ) -> StartAttempt:
        """Give an attempt what was said to the task: its parameters as they are now, messages."""
        params: Any = task.params
        if signals.patch:
            whole = self._contents.value(params) if isinstance(params, BlobRef) else params
            params = {**(whole or {}), **signals.patch}
        ready = signals.ready(moment.now_ns)
        return start._replace(params=params, signals=ready, state=signals.state)

    def _signal(self, task: Task, message: SendSignal, moment: Moment) -> Decision:
        refused = hearing.refused_unbegun(task, message)
        if refused is not None:
            return Decision(reply=refused)
        planned = self._planned(task, message.definition)
        return hearing.take(task, message, planned, self._contents, moment)

    def _start_child(self, task: Task, moment: Moment) -> Decision:
        """Submit the run that the task stands for, or fail if it cannot be."""
        assert task.child is not None, "the run said which"
        plan, depth, children = task.child
        timeout_s = self._planned(task).timeout_s
        order = child.Order(plan, depth, children, task.params, task.ends_ns, timeout_s)
        try:
            fact, send = child.start(task, task.generation, order, self._contents, moment)
        except CodedError as error:
            error_of = [error.code, str(error)]
            return end(task, (TaskFailed(*error_of),), "failed", error=error_of)
        return Decision((fact,), (send,))

    def _child_ended(self, task: Task, message: ChildEnded, moment: Moment) -> Decision:
        waits = task.status in (CHILD, CANCELLING) or holding.is_held_child(task)
        if message.run_id != task.child_run or not waits:
            return NOTHING
        return self._ended(task, child.outcome_of(task, message, moment), moment, ())

    def _outcome(self, task: Task, outcome: Outcome, moment: Moment) -> Decision:
        token = outcome.token.number
        if outcome.status == RETURNED:
            if token not in task.kept or outcome.token.era != moment.era:
                return NOTHING
            return returned(task, token, outcome.code or RETURNED)
        current = hearing.is_current(task, outcome.token, moment)
        if not current or task.status not in ATTEMPTED:
            if current and task.status != SCHEDULED:
                return NOTHING  # the same outcome, delivered again
            return Decision((OutcomeRefused(token, outcome.status),))
        closed = () if outcome.abandoned else (CloseAttempt(token),)
        return self._ended(task, outcome, moment, closed)

    def _ended(
        self, task: Task, outcome: Outcome, moment: Moment, closed: tuple[object, ...]
    ) -> Decision:
        """Take what an attempt, or a child, came to."""
        if outcome.status == COMPLETED:
            fact = TaskCompleted(task.attempt, outcome.token.number, outcome.result)
            return end(task, (fact,), COMPLETED, closed, result=outcome.result)
        if task.status == CANCELLING:
            cancelled = TaskCancelled("", outcome.abandoned)
            return end(task, (cancelled,), "cancelled", closed, kept=outcome.abandoned)
        if task.status == INTERRUPTING:
            return holding.stopped(task, outcome, closed)
        return self._failed(task, outcome, moment, closed)

    def _failed(
        self, task: Task, outcome: Outcome, moment: Moment, closed: tuple[object, ...]
    ) -> Decision:
        planned = self._planned(task)
        if is_uncounted(task, outcome):
            asks = self._enqueue(task, task, None, at_head=True)
            later = ask_later(task, outcome, moment, closed, asks, planned.timeouts.queue_s)
            return later if task.hold is None else holding.also_held(task, later, closed)
        policy = planned.retry
        failures = task.failures + 1
        code = outcome.code or "agent_cancelled"
        message, due_ns = outcome.message, None
        if may_retry(policy, code, failures, retryable=outcome.retryable):
            seed = f"{task.stream}/{task.generation}"
            wait_s = delay_s(policy, failures, seed, outcome.retry_after_s)
            due_ns = moment.now_ns + int(wait_s * 1e9)
            if 0 < task.ends_ns <= due_ns:
                due_ns = None
                message = f"{message} (no time is left for another attempt)"
        failed = AttemptFailed(
            task.attempt,
            outcome.token.number,
            code,
            message,
            outcome.trace,
            outcome.abandoned,
            due_ns,
        )
        if due_ns is None:
            ended = TaskFailed(code, message)
            error = [code, message]
            kept = outcome.abandoned
            return end(task, (failed, ended), "failed", closed, error=error, kept=kept)
        sends = (release(task, kept=outcome.abandoned),) if task.lane else ()
        if task.hold is not None:
            return Decision((failed, holding.held(task)), sends, closed)
        return Decision((failed,), sends, (*closed, SetTimer(TIMER, due_ns)))

    def _lose(self, task: Task, message: LoseAttempt, moment: Moment) -> Decision:
        if message.token in task.kept:
            return returned(task, message.token, GONE)
        if message.token != task.token or task.status not in ATTEMPTED:
            return Decision((), (), (CloseAttempt(message.token),))
        lost = AttemptLost(task.attempt, task.token, task.holder, message.stopped)
        return self._lost(task, lost, message.lost_max, moment)

    def _lost(self, task: Task, lost: AttemptLost, lost_max: int, moment: Moment) -> Decision:
        """Make another attempt in the place of one that was lost, if there is to be one."""
        closed = (CloseAttempt(task.token),)
        if task.status == CANCELLING:
            return end(task, (lost, TaskCancelled("", abandoned=False)), "cancelled", closed)
        if task.hold is not None:
            return holding.lost(task, lost)
        if task.lost >= lost_max and not lost.stopped:
            reason = f"{task.lost + 1} attempts were lost with the process that ran them"
            failed = TaskFailed(LOST_TOO_OFTEN, reason)
            return end(task, (lost, failed), "failed", closed, error=[LOST_TOO_OFTEN, reason])
        if 0 < task.ends_ns <= moment.now_ns:
            text = overdue(task, self._planned(task))
            ended = TaskFailed(TIMEOUT, text)
            return end(task, (lost, ended), "failed", closed, error=[TIMEOUT, text])
        left = task.signals and without_attempt(task.signals, task.attempt)
        fact, effects = self._attempt(task, moment, moment.number + 1, left)
        expired = hearing.overdue(left, moment)
        return Decision((lost, fact, *expired), (), (*closed, *effects))

    def _timer(self, task: Task, message: TimerFired, moment: Moment) -> Decision:
        if message.id == TIMER and task.status == WAITING:
            return end(task, (TaskCompleted(0, 0, None),), COMPLETED, slot=False)
        if message.id == TIMER and task.status == RETRYING:
            return self._again(task, moment)
        queue_over = 0 < task.queue_due_ns <= moment.now_ns
        if message.id == QUEUE and task.status == SCHEDULED and queue_over:
            return time_out(task, waited(task, self._planned(task)))
        # what runs has the same limit where it runs, and a child a deadline of its own
        total_over = 0 < task.total_due_ns <= moment.now_ns
        waits = task.status in (SCHEDULED, RETRYING, *ASKING) or task.status in HELD
        if message.id == TOTAL and waits and total_over and not holding.is_held_child(task):
            return time_out(task, overdue(task, self._planned(task)))
        return hearing.timer(task, message.id, moment)

    def _resume(self, task: Task, message: ResumeWork, moment: Moment) -> Decision:
        """Let a task go on where it stood still."""
        refused = holding.refused_resume(task)
        if refused is not None:
            return Decision(reply=refused)
        hold, state = task.hold, holding.goes_on_as(task)
        assert hold is not None, "else it is refused"
        accepted, queue_ns = Accepted(task.task_id), 0
        sends: tuple[Send, ...] = ()
        effects: tuple[object, ...] = ()
        if task.status not in HELD:
            return Decision((TaskResumed(state, message.sender),), reply=accepted)
        if state == SCHEDULED:
            sends = (self._enqueue(task, task, None, at_head=task.attempt > 0),)
            queue_ns = after_ns(moment.now_ns, self._planned(task).timeouts.queue_s)
            effects = (SetTimer(QUEUE, queue_ns),) if queue_ns else ()
        elif state == CHILD:
            below = message._replace(task="", command="", definition=None, of_run=False)
            sends = (Send(workflow_stream(task.child_run), below),)
        elif state == WAITING:
            effects = (SetTimer(TIMER, hold.wake_ns),)
        fact = TaskResumed(state, message.sender, queue_ns)
        if state != RETRYING:
            return Decision((fact,), sends, effects, accepted)
        begun = self._start_child(task, moment)
        return begun._replace(facts=(fact, *begun.facts), reply=accepted)

    def _again(self, task: Task, moment: Moment) -> Decision:
        """Make another attempt after a backoff."""
        if not task.lane:
            return self._start_child(task, moment)
        asks = self._enqueue(task, task, None, at_head=True)
        queue_ns = after_ns(moment.now_ns, self._planned(task).timeouts.queue_s)
        timers = (SetTimer(QUEUE, queue_ns),) if queue_ns else ()
        fact = TaskRequeued(task.attempt + 1, queue_ns)
        return Decision((fact,), (asks,), timers)

    def _redirect(self, task: Task, message: SlotRedirected, _moment: Moment) -> Decision:
        """Ask the lane that a full one named."""
        if task.status != SCHEDULED:
            return NOTHING
        fact = TaskRedirected(message.lane)
        evolve(asks := copy(task), fact)
        return Decision((fact,), (self._enqueue(asks, asks, None, at_head=False),))

    def _ask_again(self, task: Task, message: AskAgain, _moment: Moment) -> Decision:
        """Take the place that the lane keeps for the task, or give it back."""
        if task.status == SCHEDULED and task.lane == message.lane:
            enqueue = self._enqueue(task, task, None, at_head=False)
            let_in = enqueue.body._replace(let_in=True)
            return Decision((), (enqueue._replace(body=let_in),))
        back = ReturnRoom(workflow_stream(task.run_id), 1)
        return Decision((), (Send(lane_stream(message.lane), back),))

    def _enqueue(
        self, task: Task, said: Task | ScheduleTask, definition: BlobRef | None, *, at_head: bool
    ) -> Send:
        """Return what asks the lane for a slot; `said` is what knows the lane and for whom."""
        slot = self._planned(task, definition).slot
        shared = said.lane.startswith("/")
        ref = definition or task.definition
        workflow = self._contents.plan(ref).name if shared and ref is not None else ""
        asks = (said.tenant, workflow, said.key, slot.units, slot.cost, task.hops)
        return Send(lane_stream(said.lane), Enqueue(task.stream, said.priority, at_head, *asks))


def _wait(task: Task, message: WaitTask, _moment: Moment) -> Decision:
    if task.status in FINAL:
        return again_reported(task)
    if task.status != PENDING:
        return NOTHING
    if task.hold is not None:
        return Decision((TaskWaiting(*message), holding.held(task)))
    return Decision((TaskWaiting(*message),), (), (SetTimer(TIMER, message.due_ns),))


def _progress(task: Task, progress: Progress, moment: Moment) -> Decision:
    token = progress.token
    if not hearing.is_current(task, token, moment) or task.status not in ATTEMPTED:
        return NOTHING
    return Decision((ProgressReported(token.number, progress.fraction, progress.message),))


def _is_final(task: Task) -> bool:
    return task.status in FINAL


def task_decider(contents: Contents) -> Decider[Task]:
    """Return the task as a value."""
    return Decider(Task, _Decide(contents), evolve, _is_final, encode, FORM)
