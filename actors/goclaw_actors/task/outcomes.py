"""What becomes of a task when an attempt of it, or the run that it stands for, is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from goclaw_actors.decider import NOTHING, CloseAttempt, Decision, Moment, SetTimer
from goclaw_actors.task import child, dying, hearing, holding, stepping, terms
from goclaw_actors.task.asking import leave
from goclaw_actors.task.bounded import no_further
from goclaw_actors.task.dying import LOST_TOO_OFTEN
from goclaw_actors.task.ending import TIMER, end, release
from goclaw_actors.task.hold import INTERRUPTING
from goclaw_actors.task.limited import ask_later, is_uncounted
from goclaw_actors.task.limits import TIMEOUT, overdue
from goclaw_actors.task.retry import delay_s, may_retry
from goclaw_actors.task.signals import without_attempt
from goclaw_actors.task.state import ATTEMPTED, CANCELLING, CHILD, COMPLETED, SCHEDULED, Task
from goclaw_actors.task.stopping import returned
from goclaw_actors.work import RETURNED, SLEPT, Outcome
from goclaw_events.envelope import maker
from goclaw_events.facts import (
    AttemptFailed,
    AttemptLost,
    OutcomeRefused,
    TaskCancelled,
    TaskCompleted,
    TaskMoved,
)

if TYPE_CHECKING:
    from goclaw_actors.messages import ChildEnded, LoseAttempt
    from goclaw_actors.task.attempts import Attempts

_CLOSE: Final = maker(CloseAttempt, 1)
_COMPLETED: Final = maker(TaskCompleted, 3)
GONE: Final = "gone"


class Outcomes:
    """What follows, given how attempts begin."""

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts
        self._asking = attempts.asking

    def outcome(self, task: Task, outcome: Outcome, moment: Moment) -> Decision:
        """Take what an attempt came to, unless it is not the current one."""
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
        closed = () if outcome.abandoned else (_CLOSE((token,)),)
        return self._ended(task, outcome, moment, closed)

    def child_ended(self, task: Task, message: ChildEnded, moment: Moment) -> Decision:
        """Take what the run came to that the task stands for."""
        waits = task.status in (CHILD, CANCELLING) or holding.is_held_child(task)
        if message.run_id != task.child_run or not waits:
            return NOTHING
        return self._ended(task, child.outcome_of(task, message, moment), moment, ())

    def _ended(
        self, task: Task, outcome: Outcome, moment: Moment, closed: tuple[object, ...]
    ) -> Decision:
        """Take what an attempt, or a child, came to."""
        if outcome.status == COMPLETED:
            fact = _COMPLETED((task.attempt, outcome.token.number, outcome.result))
            facts = (*stepping.unused(task, outcome), fact) if outcome.unused else (fact,)
            return end(task, facts, COMPLETED, closed, result=outcome.result)
        if task.status == CANCELLING:
            cancelled = TaskCancelled("", outcome.abandoned)
            return end(task, (cancelled,), "cancelled", closed, kept=outcome.abandoned)
        if task.status == INTERRUPTING:
            return holding.stopped(task, outcome, closed)
        if outcome.status == SLEPT:
            return stepping.slept(task, outcome, closed, moment)
        return self._failed(task, outcome, moment, closed)

    def _failed(
        self, task: Task, outcome: Outcome, moment: Moment, closed: tuple[object, ...]
    ) -> Decision:
        planned = self._asking.planned(task)
        if is_uncounted(task, outcome) and moment.full is None:
            asks = self._asking.enqueue(task, task, planned, at_head=True)
            later = ask_later(task, outcome, moment, closed, asks, planned.timeouts.queue_s)
            if terms.moves(task):
                later = later._replace(sends=(*later.sends, leave(task, task.lane)))
            return later if task.hold is None else holding.also_held(task, later, closed)
        policy = planned.retry
        failures = task.failures + 1
        code = outcome.code or "agent_cancelled"
        message, due_ns = outcome.message, None
        again = may_retry(policy, code, failures, retryable=outcome.retryable)
        if again and not dying.kills_too_often(task, code):
            seed = f"{task.stream}/{task.generation}"
            wait_s = delay_s(policy, failures, seed, outcome.retry_after_s)
            due_ns = moment.now_ns + int(wait_s * 1e9)
            if 0 < task.ends_ns <= due_ns:
                due_ns = None
                message = f"{message} (no time is left for another attempt)"
        error = [code, message]
        if due_ns is not None and moment.full is not None:
            due_ns, error = None, no_further(moment.full, code, message)
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
            died = dying.died_of(task, policy, code)
            kept = outcome.abandoned
            return dying.fail(task, (failed,), error, died, closed, kept=kept)
        sends = (release(task, kept=outcome.abandoned),) if task.lane else ()
        moved = (TaskMoved(terms.wanted_lane(task)),) if terms.moves(task) else ()
        if task.hold is not None:
            return Decision((failed, *moved, holding.held(task)), sends, closed)
        return Decision((failed, *moved), sends, (*closed, SetTimer(TIMER, due_ns)))

    def lose(self, task: Task, message: LoseAttempt, moment: Moment) -> Decision:
        """Make another attempt in the place of one whose process is gone."""
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
            died = "" if dying.has_owner(task) else LOST_TOO_OFTEN
            return dying.fail(task, (lost,), [LOST_TOO_OFTEN, reason], died, closed)
        if 0 < task.ends_ns <= moment.now_ns:
            planned = self._asking.planned(task)
            error = [TIMEOUT, overdue(task, planned)]
            died = dying.died_of(task, planned.retry, TIMEOUT)
            return dying.fail(task, (lost,), error, died, closed)
        left = task.signals and without_attempt(task.signals, task.attempt)
        fact, effects = self._attempts.begin(task, moment, moment.number + 1, left)
        expired = hearing.overdue(left, moment)
        return Decision((lost, fact, *expired), (), (*closed, *effects))
