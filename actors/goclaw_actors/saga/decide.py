"""What a saga decides. The table of states and messages stands in docs/reference/states.md.

It answers what a run answers (it is submitted, cancelled, told of its tasks) and people who have a
say in what is undone. What follows from it stands in `turn`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.adjusting import LimitRun
from goclaw_actors.collecting import UnwatchTasks, WatchTasks
from goclaw_actors.compensating import CompensateSaga, ResolveSaga, RetrySaga, TaskRested
from goclaw_actors.decider import (
    NOTHING,
    Accepted,
    Bound,
    ClearOpen,
    ClearTimer,
    Decider,
    Decision,
    Moment,
    Refused,
    RunEnded,
    Send,
    SetTimer,
)
from goclaw_actors.held_back import hold_back, let_ask, refuse
from goclaw_actors.lending import Release
from goclaw_actors.messages import (
    CancelRun,
    CheckSlot,
    FailRun,
    JudgeRun,
    LaneFull,
    RoomFor,
    RoomRefused,
    ScheduleMore,
    SlotLeased,
    SlotRefused,
    StopMore,
    SubmitRun,
    TaskReported,
    TimerFired,
)
from goclaw_actors.orders import declared_lanes
from goclaw_actors.redriving import REDRIVE, ask_at, ask_no_more, give_back
from goclaw_actors.saga.state import (
    AWAITING,
    COMPENSATED,
    COMPENSATING,
    CREATED,
    ENDED,
    FAILED,
    FINAL,
    RESOLVED,
    RUNNING,
    UNKNOWN,
    Evolve,
    Saga,
    encode,
    snapshot_form,
)
from goclaw_actors.saga.turn import DEADLINE, TIMEOUT, Turn, told_parent
from goclaw_actors.saga.watching import told_watchers, unwatch, watch
from goclaw_actors.signalling import HoldWork, ResumeWork
from goclaw_actors.statuses import ACTIVE
from goclaw_actors.submitted import submitted_otherwise
from goclaw_events.facts import (
    RetryPlanned,
    RunDeadlineSet,
    RunStuck,
    RunUnstuck,
    SagaResolved,
    SagaSubmitted,
    StepEnded,
)
from goclaw_events.ids import is_saga, lane_stream, owner_stream, plain_id, routing_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_actors.contents import Contents

SAGAS: Final = "/sagas"
"""The lane whose slots say how many sagas are under way."""
_GOES_FORTH: Final = (CREATED, RUNNING)


class _Decide:
    """The decisions of a saga, given the plans that sagas refer to."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._by_type: dict[type, Callable[[Saga, Any, Moment], Decision]] = {
            SubmitRun: self._submit,
            SlotLeased: self._start,
            SlotRefused: self._refused,
            CheckSlot: _check_slot,
            TaskReported: self._reported,
            TaskRested: self._rested,
            ScheduleMore: self._more,
            StopMore: self._stop_more,
            TimerFired: self._timer,
            LimitRun: _limit,
            CancelRun: self._cancel,
            FailRun: self._fail,
            CompensateSaga: self._compensate,
            RetrySaga: self._retry,
            ResolveSaga: _resolve,
            JudgeRun: _judge,
            LaneFull: lambda saga, message, _: hold_back(saga, message),
            RoomFor: lambda saga, message, _: let_ask(saga, message),
            RoomRefused: lambda saga, message, _: refuse(saga, message),
            WatchTasks: watch,
            UnwatchTasks: unwatch,
            HoldWork: _passes_over,
            ResumeWork: _passes_over,
        }

    def __call__(self, saga: Saga, message: Any, moment: Moment) -> Decision:
        return self._by_type[type(message)](saga, message, moment)

    def _turn(self, saga: Saga, moment: Moment) -> Turn:
        assert saga.plan is not None, "it was submitted"
        return Turn(saga, saga.plan, self._contents, moment)

    def _submit(self, saga: Saga, message: SubmitRun, moment: Moment) -> Decision:
        if saga.status != UNKNOWN:
            return _submitted_before(saga, message)
        turn = Turn(saga, self._contents.plan(message.definition), self._contents, moment)
        lane = SAGAS if _needs_slot(message) else ""
        turn.submit(SagaSubmitted(*message, lane=lane))
        turn.sends = [*declared_lanes(turn.plan), *turn.sends]
        return turn.decision(Accepted(plain_id(saga.run_id)))

    def _start(self, saga: Saga, message: SlotLeased, moment: Moment) -> Decision:
        if message.lane == REDRIVE:
            return self._retry_planned(saga, moment)
        if saga.status != CREATED:
            return _given_back(saga)
        turn = self._turn(saga, moment)
        turn.start()
        turn.conclude()
        return turn.decision()

    def _refused(self, saga: Saga, message: SlotRefused, moment: Moment) -> Decision:
        if saga.status != CREATED:
            return NOTHING
        text = f"lane {saga.lane} did not take the saga in: {message.reason}"
        return self._back(saga, moment, "failed", message.reason, text)

    def _reported(self, saga: Saga, message: TaskReported, moment: Moment) -> Decision:
        if saga.plan is None or saga.has_ended:
            return NOTHING
        index = saga.plan.index[message.task]
        if saga.statuses[index] != ACTIVE:
            return NOTHING  # reported before
        turn = self._turn(saga, moment)
        turn.reported(index, message)
        turn.conclude()
        return turn.decision()

    def _rested(self, saga: Saga, message: TaskRested, moment: Moment) -> Decision:
        if saga.plan is None or saga.plan.index[message.task] not in saga.unrest:
            return NOTHING
        turn = self._turn(saga, moment)
        turn.rest(message.task)
        turn.conclude()
        return turn.decision()

    def _more(self, saga: Saga, message: ScheduleMore, moment: Moment) -> Decision:
        if saga.plan is None or saga.status not in (RUNNING, COMPENSATING):
            return NOTHING
        turn = self._turn(saga, moment)
        turn.schedule(message.tasks)
        turn.conclude()
        return turn.decision()

    def _stop_more(self, saga: Saga, message: StopMore, moment: Moment) -> Decision:
        if saga.status != COMPENSATING:
            return NOTHING
        turn = self._turn(saga, moment)
        turn.stop_from(message)
        return turn.decision()

    def _timer(self, saga: Saga, _message: TimerFired, moment: Moment) -> Decision:
        if saga.status not in _GOES_FORTH:
            return NOTHING
        turn = self._turn(saga, moment)
        limit_s = turn.plan.timeout_s
        text = (
            "the saga did not end before the deadline of what started it"
            if limit_s is None
            else f"the saga did not end within its timeout of {limit_s:g} s"
        )
        return self._back(saga, moment, "timeout", "timeout", text)

    def _cancel(self, saga: Saga, message: CancelRun, moment: Moment) -> Decision:
        if saga.status in _GOES_FORTH:
            reason = message.reason or "the saga was cancelled"
            return self._back(saga, moment, "cancelled", "saga_cancelled", reason)
        if saga.status in ENDED and message.requested_by == saga.parent:
            return Decision((), told_parent(saga.parent, _ended(saga), saga.cause))
        return NOTHING

    def _fail(self, saga: Saga, message: FailRun, moment: Moment) -> Decision:
        """Take a bug as the failure of what it happened to: nobody will hear of that again."""
        if saga.plan is None or saga.has_ended:
            return NOTHING
        turn, index = self._turn(saga, moment), saga.plan.index.get(message.task)
        if index is not None and saga.statuses[index] == ACTIVE:
            error = [message.code, message.message]
            doubt = saga.is_action(index)
            turn.end_task(index, StepEnded(message.task, "failed", None, error, doubt, False))
            turn.let_go(index, message.message)
        elif saga.status in _GOES_FORTH:
            turn.turn_back("failed", message.code, message.message, "")
        elif saga.status == COMPENSATING:
            turn.give_up(message.code, message.message)
        turn.conclude()
        return turn.decision()

    def _back(
        self,
        saga: Saga,
        moment: Moment,
        cause: str,
        code: str,
        message: str,
        by: str = "",
        *,
        approved: bool = False,
    ) -> Decision:
        turn = self._turn(saga, moment)
        turn.turn_back(cause, code, message, "", by, approved=approved)
        turn.conclude()
        return turn.decision(Accepted(plain_id(saga.run_id)))

    # -- people ----------------------------------------------------------------------------

    def _compensate(self, saga: Saga, message: CompensateSaga, moment: Moment) -> Decision:
        name = plain_id(saga.run_id)
        if saga.status in _GOES_FORTH:
            said = ("cancelled", "saga_cancelled", message.reason or "somebody had it compensated")
            return self._back(saga, moment, *said, message.by, approved=True)
        if saga.status == COMPENSATED or (saga.status == COMPENSATING and saga.approved):
            return Decision(reply=Accepted(name, repeated=True))
        if saga.status in (COMPENSATING, AWAITING):
            turn = self._turn(saga, moment)
            turn.approve(message.reason, message.by)
            turn.conclude()
            return turn.decision(Accepted(name))
        return Decision(reply=_refusal(saga))

    def _retry(self, saga: Saga, message: RetrySaga, moment: Moment) -> Decision:
        if saga.status == COMPENSATING:
            return Decision(reply=Accepted(plain_id(saga.run_id), repeated=True))
        if saga.status != FAILED:
            return Decision(reply=_refusal(saga))
        if message.rate_per_s is not None:
            return _plan_retry(saga, message, message.rate_per_s)
        turn = self._turn(saga, moment)
        turn.retry(message.reason, message.by)
        turn.conclude()
        return turn.decision(Accepted(plain_id(saga.run_id)))

    def _retry_planned(self, saga: Saga, moment: Moment) -> Decision:
        """Try again what was planned to be, and give the slot back that was waited for."""
        back = give_back(owner_stream(saga.run_id), REDRIVE)
        if saga.status != FAILED or saga.planned is None:
            return Decision((), (back,))
        by, reason = saga.planned
        turn = self._turn(saga, moment)
        turn.sends.append(back)
        turn.retry(reason, by)
        turn.conclude()
        return turn.decision()


def _plan_retry(saga: Saga, message: RetrySaga, rate_per_s: float) -> Decision:
    """Have the saga wait for the lane; asked twice, the lane is asked again."""
    asks, name = ask_at(owner_stream(saga.run_id), rate_per_s), plain_id(saga.run_id)
    if saga.planned is not None:
        return Decision((), asks, (), Accepted(name, repeated=True))
    return Decision((RetryPlanned(message.by, message.reason),), asks, (), Accepted(name))


def _resolve(saga: Saga, message: ResolveSaga, _moment: Moment) -> Decision:
    name = plain_id(saga.run_id)
    if saga.status == RESOLVED:
        return Decision(reply=Accepted(name, repeated=True))
    if saga.status not in (FAILED, AWAITING):
        return Decision(reply=_refusal(saga))
    fact = SagaResolved(message.reason, message.by)
    ended = RunEnded(saga.run_id, RESOLVED, None, saga.error)
    asked = () if saga.planned is None else (ask_no_more(owner_stream(saga.run_id)),)
    told = (*told_parent(saga.parent, ended, saga.cause), *told_watchers(saga, RESOLVED))
    sends = (*asked, *told)
    return Decision((fact,), sends, (ClearOpen(), ended), Accepted(name))


def _refusal(saga: Saga) -> Refused:
    """Return why a saga does not do what a person wants of it."""
    name = plain_id(saga.run_id)
    if saga.status == UNKNOWN:
        return Refused("saga_not_found", f"there is no saga {name}", "goclaw sagas list")
    if saga.status in FINAL:
        return Refused("saga_finished", f"saga {name} is {saga.status} already")
    hint = f"goclaw sagas show {name}"
    if saga.status == FAILED:
        hint = f"goclaw sagas retry {name}, or goclaw sagas resolve {name}"
    elif saga.status == AWAITING:
        hint = f"goclaw sagas compensate {name}, or goclaw sagas resolve {name}"
    elif saga.status == COMPENSATING:
        hint = f"what it still undoes: goclaw why {name}"
    return Refused("saga_not_ready", f"saga {name} is {saga.status}", hint)


def _needs_slot(message: SubmitRun) -> bool:
    """Tell whether a saga counts as one more: what a saga began has no slot of its own.

    It would wait for that of the one which waits for it.
    """
    if not message.parent:
        return True
    return message.depth == 1 and not is_saga(routing_key(message.parent))


def _check_slot(saga: Saga, message: CheckSlot, _moment: Moment) -> Decision:
    """Give a slot back again, if the lane did not hear that it was given back."""
    if message.lane == REDRIVE:
        return Decision((), (give_back(owner_stream(saga.run_id), REDRIVE),))
    return NOTHING if saga.holds or saga.status == CREATED else _given_back(saga)


def _given_back(saga: Saga) -> Decision:
    if not saga.lane or saga.holds:
        return NOTHING
    return Decision((), (Send(lane_stream(saga.lane), Release(owner_stream(saga.run_id))),))


def _limit(saga: Saga, message: LimitRun, _moment: Moment) -> Decision:
    """Stop earlier than before, if the saga goes forth; a later end changes nothing."""
    due_ns, given_ns = message.deadline_ns, saga.start_deadline_ns
    known_ns = saga.deadline_ns or given_ns
    if saga.status not in _GOES_FORTH or not due_ns or 0 < known_ns <= due_ns:
        return NOTHING
    timers = [ClearTimer(DEADLINE, given_ns)] if given_ns else []
    if known_ns not in (0, given_ns):
        timers.append(ClearTimer(TIMEOUT, known_ns))
    return Decision((RunDeadlineSet(due_ns),), (), (*timers, SetTimer(DEADLINE, due_ns)))


def _judge(saga: Saga, message: JudgeRun, _moment: Moment) -> Decision:
    """Record what the auditor found, if that is news of a saga that goes on."""
    if saga.plan is None or saga.status in FINAL or saga.stuck == message.evidence:
        return NOTHING
    return Decision((RunStuck(message.evidence) if message.evidence else RunUnstuck(),))


def _passes_over(_saga: Saga, _message: Any, _moment: Moment) -> Decision:
    """Go on: a saga does not stand still, as a step that waits would hold up what others did."""
    return NOTHING


def _submitted_before(saga: Saga, message: SubmitRun) -> Decision:
    """Answer a submission of a saga that is there: the same one, or another one under its id."""
    name = plain_id(saga.run_id)
    if saga.digest == message.digest and saga.parent == message.parent:
        ended = saga.status in ENDED
        sends = told_parent(saga.parent, _ended(saga), saga.cause) if ended else ()
        return Decision((), sends, (), Accepted(name, repeated=True))
    refused = submitted_otherwise(f"saga {name}", message.idempotency_key)
    error = (refused.code, refused.message, "")
    sends = told_parent(message.parent, RunEnded(saga.run_id, "failed", None, error), "failed")
    return Decision((), sends, (), refused)


def _ended(saga: Saga) -> RunEnded:
    return RunEnded(saga.run_id, saga.status, saga.result, saga.error)


def _is_final(saga: Saga) -> bool:
    return saga.status in FINAL


def _tasks(saga: Saga) -> int:
    return 0 if saga.plan is None else len(saga.statuses)


def _version(saga: Saga) -> int | None:
    return None if saga.plan is None else saga.version


def saga_decider(contents: Contents) -> Decider[Saga]:
    """Return the saga as a value."""
    form = snapshot_form(contents)
    decide, evolve = _Decide(contents), Evolve(contents)
    bound = Bound(lambda message: isinstance(message, RetrySaga), _tasks)
    return Decider(Saga, decide, evolve, _is_final, encode, form, version=_version, bound=bound)
