"""What a task decides. The table of states and messages stands in docs/reference/states.md."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.adjusting import AdjustTask, LeftQueue
from goclaw_actors.answering import AnswerTask, AwaitTask, DecideTask
from goclaw_actors.collecting import CollectorDone
from goclaw_actors.compensating import RetryTask
from goclaw_actors.decider import (
    NOTHING,
    Accepted,
    Bound,
    Decider,
    Decision,
    Moment,
    Send,
    SetTimer,
)
from goclaw_actors.letters import BuryTask
from goclaw_actors.messages import (
    AskAgain,
    CancelTask,
    CheckAttempt,
    CheckSlot,
    ChildEnded,
    KeyEnded,
    KeyGranted,
    KeyRefused,
    KeyShared,
    KeyTaken,
    LoseAttempt,
    ScheduleTask,
    SlotLeased,
    SlotRedirected,
    SlotRefused,
    TaskReported,
    TimerFired,
    WaitTask,
)
from goclaw_actors.pathing import DropTask, StandAside, TellResult
from goclaw_actors.signalling import EndSignals, HoldWork, ResumeWork, SendSignal, WithdrawSignal
from goclaw_actors.task import (
    answering,
    deciding,
    dying,
    gathering,
    hearing,
    holding,
    spawning,
    stepping,
    voting,
    yielding,
)
from goclaw_actors.task.adjusting import Adjusting, tell_limit
from goclaw_actors.task.asking import Asking, leave
from goclaw_actors.task.attempts import Attempts
from goclaw_actors.task.bounded import grows
from goclaw_actors.task.ending import (
    ASKING,
    TIMER,
    TOTAL,
    UNREADY,
    cleared,
    end,
    report,
    time_out,
)
from goclaw_actors.task.hold import HELD
from goclaw_actors.task.keyed import claim, key_ended, key_refused, key_taken, share
from goclaw_actors.task.limits import QUEUE, after_ns, overdue, waited
from goclaw_actors.task.outcomes import Outcomes
from goclaw_actors.task.state import (
    ATTEMPTED,
    CANCELLED,
    CHILD,
    COLLECTING,
    COMPLETED,
    FAILED,
    FINAL,
    FORM,
    PENDING,
    RETRYING,
    SCHEDULED,
    WAITING,
    Task,
    encode,
    evolve,
    in_generation,
)
from goclaw_actors.task.stopping import (
    again_reported,
    cancel,
    check,
    check_slot,
)
from goclaw_actors.task.terms import asked_for, moves
from goclaw_actors.task.terms import total_ns as total_of
from goclaw_actors.work import (
    Consumed,
    Outcome,
    Progress,
    Saved,
    Stepped,
)
from goclaw_events.envelope import maker
from goclaw_events.facts import (
    ProgressReported,
    TaskAdmitted,
    TaskCompleted,
    TaskResumed,
    TaskRetried,
    TaskScheduled,
    TaskWaiting,
)
from goclaw_events.ids import owner_stream
from goclaw_events.value import BlobRef

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_actors.contents import Contents
    from goclaw_events.value import Value

_DECISION: Final = maker(Decision, 4)
_SCHEDULED: Final = maker(TaskScheduled, len(ScheduleTask._fields) + 1)


class _Decide:
    """The decisions of a task, given the plans that tasks refer to."""

    def __init__(self, contents: Contents) -> None:
        self._asking = asking = Asking(contents)
        self._attempts = attempts = Attempts(asking)
        outcomes = Outcomes(attempts)
        adjusting = Adjusting(asking)
        self._by_type: dict[type, Callable[[Task, Any, Moment], Decision]] = {
            ScheduleTask: self._schedule,
            WaitTask: _wait,
            AwaitTask: lambda task, message, _: answering.begin(task, message),
            AnswerTask: lambda task, said, moment: answering.answer(task, said, moment, contents),
            DecideTask: lambda task, said, moment: deciding.decide(task, said, moment, contents),
            KeyGranted: lambda task, _, moment: self._admit(task, ASKING, moment),
            CollectorDone: lambda task, _, moment: self._admit(task, (COLLECTING,), moment),
            KeyShared: share,
            KeyRefused: key_refused,
            KeyEnded: key_ended,
            KeyTaken: key_taken,
            SlotLeased: attempts.start,
            SlotRefused: adjusting.refused,
            SlotRedirected: asking.redirect,
            AskAgain: asking.ask_again,
            Outcome: outcomes.outcome,
            ChildEnded: outcomes.child_ended,
            Progress: _progress,
            TimerFired: self._timer,
            CheckAttempt: self._check,
            CheckSlot: check_slot,
            LoseAttempt: outcomes.lose,
            CancelTask: cancel,
            TaskReported: self._spawned_ended,
            SendSignal: self._signal,
            WithdrawSignal: hearing.withdraw,
            EndSignals: hearing.end,
            AdjustTask: adjusting.adjust,
            LeftQueue: adjusting.left,
            HoldWork: _hold,
            ResumeWork: self._resume,
            Consumed: hearing.consumed,
            Saved: hearing.saved,
            RetryTask: self._retry,
            BuryTask: dying.bury,
            Stepped: lambda task, said, now: stepping.stepped(task, said, asking.contents, now),
            **voting.decisions(contents),
            StandAside: yielding.stand_aside,
            TellResult: yielding.tell_result,
            DropTask: yielding.drop,
        }

    def __call__(self, task: Task, message: Any, moment: Moment) -> Decision:
        decision = self._by_type[type(message)](task, message, moment)
        if task.signals is not None:
            decision = hearing.with_farewell(task, decision, moment)
        return decision if task.steps is None else spawning.put_off(task, decision)

    def _schedule(self, task: Task, message: ScheduleTask, moment: Moment) -> Decision:
        if task.status != PENDING:
            task = in_generation(task, message.generation)
            if task.status in FINAL:
                return again_reported(task)
            if task.status != PENDING:
                return NOTHING
        planned = self._asking.planned(task, message.definition)
        total_ns = after_ns(moment.now_ns, planned.timeouts.total_s)
        if task.adjusted:
            message, total_ns = asked_for(task, message), total_of(task, total_ns)
        waits_first = message.unique is not None or message.collect is not None
        asks_now = message.lane and not waits_first and task.hold is None
        queue_ns = after_ns(moment.now_ns, planned.timeouts.queue_s) if asks_now else 0
        limits = (total_ns, queue_ns)
        fact = _SCHEDULED(message[:6] + limits + message[6:11])
        timers = [SetTimer(TOTAL, total_ns)] if total_ns else []
        if waits_first:
            return Decision((fact,), (self._first(task, message, moment),), timers)
        if task.hold is not None:
            return Decision((fact, holding.held(task)), (), timers)
        if message.lane:
            asks = self._asking.enqueue(task, message, planned, at_head=False)
            if queue_ns:
                timers.append(SetTimer(QUEUE, queue_ns))
            return _DECISION(((fact,), (asks,), timers, None))
        evolve(scheduled := copy(task), fact)
        decision = self._attempts.start_child(scheduled, moment)
        return Decision((fact, *decision.facts), decision.sends, (*timers, *decision.effects))

    def _first(self, task: Task, message: ScheduleTask, moment: Moment) -> Send:
        """Return what asks for that which the task has to have before it asks its lane."""
        if message.unique is not None:
            return claim(task, message.unique)
        return gathering.ask(task, message, self._asking.contents, moment)

    def _admit(self, task: Task, states: tuple[str, ...], moment: Moment) -> Decision:
        """Go on from one of `states` now that the task has its key, or what it collects."""
        if task.status not in states:
            return NOTHING
        if task.hold is not None:
            return Decision((TaskAdmitted(), holding.held(task)))
        if not task.lane:
            fact = TaskAdmitted()
            evolve(admitted := copy(task), fact)
            decision = self._attempts.start_child(admitted, moment)
            return decision._replace(facts=(fact, *decision.facts))
        planned = self._asking.planned(task)
        queue_ns = after_ns(moment.now_ns, planned.timeouts.queue_s)
        timers = (SetTimer(QUEUE, queue_ns),) if queue_ns else ()
        asks = self._asking.enqueue(task, task, planned, at_head=False)
        return Decision((TaskAdmitted(queue_ns),), (asks,), timers)

    def _spawned_ended(self, task: Task, message: TaskReported, moment: Moment) -> Decision:
        """Take in how a spawned task ended; go on, if the handler waits for no other."""
        fact = spawning.reported(task, message)
        if fact is None:
            return NOTHING
        if not spawning.is_awake(task, (fact.key,)):
            return spawning.end_reported(task, fact)
        again = self._attempts.again(task, moment)
        effects = (*cleared((TIMER, task.due_ns)), *again.effects)
        return again._replace(facts=(fact, *again.facts), effects=effects)

    def _retry(self, task: Task, message: RetryTask, moment: Moment) -> Decision:
        """Begin the attempts of a task that failed anew, with the key that they had.

        One that was cancelled is a compensation that a bug struck: its saga takes that as failure.
        """
        if task.definition is None:
            if message.order is None:  # of an older log
                return again_reported(task)
            return self._begin_late(task, message.order, moment)
        if task.status not in (FAILED, CANCELLED):
            known = report(task, task.status, task.result, task.error)
            return Decision((), (known,)) if task.status in FINAL else NOTHING
        planned = self._asking.planned(task)
        total_ns = after_ns(moment.now_ns, planned.timeouts.total_s)
        queue_ns = after_ns(moment.now_ns, planned.timeouts.queue_s) if task.lane else 0
        due = ((TOTAL, total_ns), (QUEUE, queue_ns))
        timers = tuple(SetTimer(name, due_ns) for name, due_ns in due if due_ns)
        fact = TaskRetried(total_ns, queue_ns)
        if task.lane:
            asks = self._asking.enqueue(task, task, planned, at_head=False)
            return Decision((fact,), (asks,), timers)
        evolve(retried := copy(task), fact)
        decision = self._attempts.start_child(retried, moment)
        effects = (*timers, *decision.effects)
        return decision._replace(facts=(fact, *decision.facts), effects=effects)

    def _begin_late(self, task: Task, order: Value, moment: Moment) -> Decision:
        """Begin a compensation whose order a bug took; its saga had it cancelled then."""
        said: Any = self._asking.contents.value(order) if isinstance(order, BlobRef) else order
        unbegun = copy(task)
        unbegun.status = PENDING
        begun = self._schedule(unbegun, ScheduleTask(*said), moment)
        again = () if task.status == PENDING else (TaskRetried(),)
        return begun._replace(facts=(*again, *begun.facts))

    def _signal(self, task: Task, message: SendSignal, moment: Moment) -> Decision:
        refused = hearing.refused_unbegun(task, message)
        if refused is not None:
            return Decision(reply=refused)
        planned = self._asking.planned(task, message.definition)
        return hearing.take(task, message, planned, self._asking.contents, moment)

    def _check(self, task: Task, message: CheckAttempt, moment: Moment) -> Decision:
        decision = check(task, message, moment)
        if task.adjusted is None or message.token != task.token:
            return decision
        limit = tell_limit(task, self._asking.planned(task), moment)
        return decision._replace(effects=(*decision.effects, *limit))

    def _timer(self, task: Task, message: TimerFired, moment: Moment) -> Decision:
        if message.id == TIMER:
            return self._due(task, moment)
        queue_over = 0 < task.queue_due_ns <= moment.now_ns
        if message.id == QUEUE and task.status == SCHEDULED and queue_over:
            return time_out(task, waited(task, self._asking.planned(task)))
        # what runs has the same limit where it runs, and a child a deadline of its own
        total_over = 0 < task.total_due_ns <= moment.now_ns
        waits = task.status in (SCHEDULED, RETRYING, WAITING, *UNREADY) or task.status in HELD
        if message.id == TOTAL and waits and total_over and not holding.is_held_child(task):
            return time_out(task, overdue(task, self._asking.planned(task)))
        return hearing.timer(task, message.id, moment)

    def _due(self, task: Task, moment: Moment) -> Decision:
        """Wake a task that waits; one of another generation is not meant."""
        is_early = task.generation and task.due_ns > moment.now_ns
        if is_early or task.status not in (WAITING, RETRYING):
            return NOTHING
        if task.status == RETRYING or task.attempt:
            return self._attempts.again(task, moment)
        if task.awaits is not None:
            return answering.overdue(task)
        return end(task, (TaskCompleted(0, 0, None),), COMPLETED, slot=False)

    def _resume(self, task: Task, message: ResumeWork, moment: Moment) -> Decision:
        """Let a task go on where it stood still, with what it spawned."""
        return spawning.with_spawned(task, message, self._resumed(task, message, moment))

    def _resumed(self, task: Task, message: ResumeWork, moment: Moment) -> Decision:
        refused = holding.refused_resume(task, message.sender)
        if refused is not None:
            return Decision(reply=refused)
        hold, state = task.hold, holding.goes_on_as(task)
        assert hold is not None, "else it is refused"
        accepted, queue_ns = Accepted(task.task_id), 0
        sends: tuple[Send, ...] = ()
        effects: tuple[object, ...] = ()
        if task.status not in HELD:
            told = holding.tell_pause(task, moment, is_on=False)
            return Decision((TaskResumed(state, message.sender),), (), told, accepted)
        if state == SCHEDULED:
            planned = self._asking.planned(task)
            at_head = task.attempt > 0
            # where it moves, its place in the queue may still be there
            asks = self._asking.enqueue(task, task, planned, at_head=at_head)
            sends = (leave(task, task.lane),) if moves(task) and not task.leaving else (asks,)
            queue_ns = after_ns(moment.now_ns, planned.timeouts.queue_s)
            effects = (SetTimer(QUEUE, queue_ns),) if queue_ns else ()
        elif state == CHILD:
            below = message._replace(task="", command="", definition=None, of_run=False)
            sends = (Send(owner_stream(task.child_run), below),)
        elif state == WAITING and hold.wake_ns:
            effects = (SetTimer(TIMER, hold.wake_ns),)
        fact = TaskResumed(state, message.sender, queue_ns)
        if task.answer is not None:  # it came meanwhile
            return answering.resume(task, fact)._replace(reply=accepted)
        if state == WAITING and task.awaited and not spawning.waits(task, task.awaited):
            again = self._attempts.again(task, moment)
            return again._replace(facts=(fact, *again.facts), reply=accepted)
        if state != RETRYING:
            return Decision((fact,), sends, effects, accepted)
        begun = self._attempts.start_child(task, moment)
        return begun._replace(facts=(fact, *begun.facts), reply=accepted)


def _wait(task: Task, message: WaitTask, _moment: Moment) -> Decision:
    task = in_generation(task, message.generation)
    if task.status in FINAL:
        return again_reported(task)
    if task.status != PENDING:
        return NOTHING
    if task.hold is not None:
        return Decision((TaskWaiting(*message), holding.held(task)))
    return Decision((TaskWaiting(*message),), (), (SetTimer(TIMER, message.due_ns),))


def _hold(task: Task, message: HoldWork, moment: Moment) -> Decision:
    return spawning.with_spawned(task, message, holding.hold(task, message, moment))


def _progress(task: Task, progress: Progress, moment: Moment) -> Decision:
    token = progress.token
    if not hearing.is_current(task, token, moment) or task.status not in ATTEMPTED:
        return NOTHING
    if moment.full is not None:
        return NOTHING  # nothing is lost with it
    return Decision((ProgressReported(token.number, progress.fraction, progress.message),))


def _is_final(task: Task) -> bool:
    return task.status in FINAL


def task_decider(contents: Contents) -> Decider[Task]:
    """Return the task as a value."""
    bound: Bound[Task] = Bound(grows)
    return Decider(Task, _Decide(contents), evolve, _is_final, encode, FORM, bound=bound)
