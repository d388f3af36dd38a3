"""What a run decides. Dependency-driven: O(1) a need that ends, never by layers.

What needs a task that was skipped by its condition runs, unless all that it needs was skipped;
what needs a failed task (`on_failure: continue`) is skipped. A turn sends at most
`SENDS_MAX` messages; a larger fan-out goes on in a message to the run itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.adjusting import AdjustTask, LimitRun
from goclaw_actors.answering import AskSignal, DecideTask, ReturnSignal, SendNamed, WithdrawNamed
from goclaw_actors.collecting import UnwatchTasks, WatchTasks
from goclaw_actors.decider import (
    NOTHING,
    Accepted,
    Bound,
    ClearOpen,
    ClearTimer,
    Decider,
    Decision,
    Moment,
    Pool,
    Refused,
    RunBegun,
    RunEnded,
    Send,
    SetOpen,
    SetTimer,
)
from goclaw_actors.held_back import hold_back, leave_all, let_ask, refuse
from goclaw_actors.letters import DiscardTask, RedriveTask
from goclaw_actors.messages import (
    CancelRun,
    CancelTask,
    CheckSlot,
    ChildEnded,
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
from goclaw_actors.pathing import (
    AskMore,
    ChangePath,
    ConcludeChange,
    DropMore,
    PathAnswer,
    ScheduleActive,
    ScheduleReady,
)
from goclaw_actors.signalling import (
    HoldMore,
    HoldWork,
    ResumeMore,
    ResumeWork,
    SendSignal,
    WithdrawSignal,
)
from goclaw_actors.statuses import ACTIVE, DEAD
from goclaw_actors.submitted import submitted_otherwise
from goclaw_actors.workflow.changing import PathChanges, concluding, drop_more, is_changing
from goclaw_actors.workflow.deadline import DEADLINE, limit
from goclaw_actors.workflow.draft import Draft
from goclaw_actors.workflow.holding import active_from, hold, hold_more, resume, resumed
from goclaw_actors.workflow.letters import (
    ask_for_none,
    check_slot,
    discard,
    redrive,
    slot_refused,
    take_turn,
)
from goclaw_actors.workflow.letters import evolve as evolve_letter
from goclaw_actors.workflow.mail import Mailing, left_from
from goclaw_actors.workflow.mail_ends import all_cleared, expire, withdraw
from goclaw_actors.workflow.passing import farewells, pass_decision, pass_on
from goclaw_actors.workflow.path import kept_from
from goclaw_actors.workflow.repath import evolve as evolve_path
from goclaw_actors.workflow.state import (
    CANCELLING,
    FAILING,
    FINAL,
    RUNNING,
    UNKNOWN,
    Evolve,
    Run,
    encode,
    snapshot_form,
)
from goclaw_actors.workflow.telling import Telling, all_failed
from goclaw_events.envelope import maker
from goclaw_events.facts import (
    RunCancelRequested,
    RunFailed,
    RunStuck,
    RunSubmitted,
    RunUnstuck,
    TaskEnded,
)
from goclaw_events.ids import task_stream, workflow_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from goclaw_actors.contents import Contents
    from goclaw_events.value import Value

_DECISION: Final = maker(Decision, 4)
_ENDED: Final = maker(TaskEnded, 5)
NO_RESULTS: Final[Mapping[int, Any]] = {}
RUN_FAILED: Final = "the run failed"
REPORTS_PER_TURN_MAX: Final = 32
"""Each may bring a result of 64 KiB: together they must fit into a turn."""


class _Decide:
    """The decisions of a run, given the plans that runs refer to."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._telling = telling = Telling(contents)
        changes = PathChanges(contents)
        mailing = Mailing(contents)
        self._by_type: dict[type, Callable[[Run, Any, Moment], Decision]] = {
            SubmitRun: self._submit,
            TaskReported: self._reported,
            ScheduleMore: self._more,
            StopMore: self._stop_more,
            CancelRun: self._cancel,
            TimerFired: self._timer,
            FailRun: self._fail,
            SendSignal: pass_on,
            SendNamed: mailing.send,
            AskSignal: mailing.ask,
            ReturnSignal: mailing.returned,
            DecideTask: pass_decision,
            WithdrawNamed: withdraw,
            WithdrawSignal: pass_on,
            AdjustTask: pass_on,
            LimitRun: limit,
            LaneFull: lambda run, message, _: hold_back(run, message),
            RoomFor: lambda run, message, _: let_ask(run, message),
            RoomRefused: lambda run, message, _: refuse(run, message),
            JudgeRun: _judge,
            HoldWork: hold,
            ResumeWork: resume,
            HoldMore: hold_more,
            ResumeMore: self._resume_more,
            WatchTasks: telling.watch,
            UnwatchTasks: telling.unwatch,
            ChangePath: changes.change,
            AskMore: changes.ask_more,
            PathAnswer: changes.answered,
            ConcludeChange: changes.conclude,
            DropMore: drop_more,
            ScheduleReady: self._ready,
            ScheduleActive: self._active,
            RedriveTask: redrive,
            DiscardTask: discard,
            SlotLeased: take_turn,
            SlotRefused: slot_refused,
            CheckSlot: check_slot,
        }

    def __call__(self, run: Run, message: Any, moment: Moment) -> Decision:
        return self._by_type[type(message)](run, message, moment)

    def _submit(self, run: Run, message: SubmitRun, moment: Moment) -> Decision:
        if run.status != UNKNOWN:
            return _submitted_before(run, message)
        plan = self._contents.plan(message.definition)
        draft = Draft(run, plan, self._contents, moment)
        own_ns = 0 if plan.timeout_s is None else moment.now_ns + int(plan.timeout_s * 1e9)
        deadlines = [due_ns for due_ns in (message.deadline_ns, own_ns) if due_ns]
        deadline_ns = min(deadlines, default=0)
        draft.begin(RunSubmitted(*message)._replace(deadline_ns=deadline_ns))
        draft.schedule(list(plan.roots))
        declared = declared_lanes(plan)
        decision = self._finish(run, draft)
        opened: list[object] = []
        if not draft.ended_as:
            opened.append(SetOpen("run", message.name))
            if deadline_ns:
                opened.append(SetTimer(DEADLINE, deadline_ns))
        if message.labels:
            opened.append(RunBegun(run.run_id, message.labels))
        return Decision(
            decision.facts,
            [*declared, *decision.sends],
            (*opened, *decision.effects),
            Accepted(run.run_id),
        )

    def _reported(self, run: Run, message: TaskReported, moment: Moment) -> Decision:
        return self.reported(run, (message,), moment)

    def reported(self, run: Run, messages: Sequence[TaskReported], moment: Moment) -> Decision:
        """Answer tasks that ended; what becomes ready is scheduled when all are known."""
        plan = run.plan
        if plan is None or run.status in FINAL:
            return NOTHING
        draft = Draft(run, plan, self._contents, moment)
        results: dict[int, Value] = {}
        again: list[int] = []
        for task, generation, status, result, error, _, _, _ in messages:
            index = plan.index[task]
            if draft.status_of(index) != ACTIVE:
                continue  # reported before
            if generation != draft.generation(index):
                again.append(index)  # what had begun of the last one is over: now it can begin
                continue
            if status == DEAD:
                draft.die(index, generation)
                continue
            kept = result if plan.tasks[index].result_read else None
            draft.end_task(index, _ENDED((task, generation, status, kept, error)))
            if run.watches is not None:
                results[index] = result
        if not (draft.facts or draft.sends or again):
            return NOTHING
        draft.schedule([*draft.take_ready(), *again])
        if run.path is not None:
            draft.sends += concluding(run, draft.statuses)
        return self._finish(run, draft, results)

    def _more(self, run: Run, message: ScheduleMore, moment: Moment) -> Decision:
        if run.plan is None or run.status != RUNNING:
            return NOTHING
        draft = Draft(run, run.plan, self._contents, moment)
        draft.schedule(message.tasks)
        return self._finish(run, draft)

    def _ready(self, run: Run, _message: ScheduleReady, moment: Moment) -> Decision:
        """Schedule what a change of the path made ready; end the run if it left nothing to do."""
        if run.plan is None or run.path is None or run.status != RUNNING or is_changing(run):
            return NOTHING
        draft = Draft(run, run.plan, self._contents, moment)
        draft.schedule(run.path.ready)
        return self._finish(run, draft)

    def _active(self, run: Run, message: ScheduleActive, moment: Moment) -> Decision:
        """Schedule active tasks, some at a time: what was kept back is not known by name."""
        if run.plan is None or run.status != RUNNING or is_changing(run):
            return NOTHING
        draft = Draft(run, run.plan, self._contents, moment)
        found, after = active_from(run, message.start)
        if after >= 0:
            draft.sends.append(Send(workflow_stream(run.run_id), ScheduleActive(after)))
        draft.schedule(found)
        return self._finish(run, draft)

    def _resume_more(self, run: Run, message: ResumeMore, moment: Moment) -> Decision:
        """Schedule what was kept back, and let what stands still go on."""
        if run.plan is None or run.status != RUNNING or run.held:
            return NOTHING
        draft = Draft(run, run.plan, self._contents, moment)
        indexes = resumed(run, message, draft.sends)
        draft.schedule(indexes)
        return self._finish(run, draft)

    def _cancel(self, run: Run, message: CancelRun, moment: Moment) -> Decision:
        if run.plan is None:
            return Decision(reply=Refused("run_not_found", f"there is no run {run.run_id}"))
        if run.status in FINAL:
            text = f"run {run.run_id} is {run.status} already"
            known = RunEnded(run.run_id, run.status, run.result, run.error)
            sends = _tell(run.parent, known) if message.requested_by == run.parent else ()
            return Decision((), sends, (), Refused("run_finished", text))
        if run.status == CANCELLING:
            return Decision(reply=Accepted(run.run_id, repeated=True))
        draft = Draft(run, run.plan, self._contents, moment)
        draft.facts.append(RunCancelRequested(message.reason, message.requested_by))
        draft.status = CANCELLING
        draft.reason = message.reason
        draft.stop(message.reason or "the run was cancelled")
        return self._finish(run, draft)._replace(reply=Accepted(run.run_id))

    def _timer(self, run: Run, message: TimerFired, moment: Moment) -> Decision:
        if message.id != DEADLINE:
            return expire(run, message.id, moment)
        if run.plan is None or run.status not in (RUNNING, FAILING):
            return NOTHING
        draft = Draft(run, run.plan, self._contents, moment)
        limit_s = run.plan.timeout_s
        draft.time_out(
            "the run did not end before the deadline of what started it"
            if limit_s is None
            else f"the run did not end within its timeout of {limit_s:g} s"
        )
        return self._finish(run, draft)

    def _stop_more(self, run: Run, message: StopMore, moment: Moment) -> Decision:
        if run.plan is None or run.status == RUNNING:
            return NOTHING
        draft = Draft(run, run.plan, self._contents, moment)
        draft.stop_from(message)
        return Decision((), draft.sends)

    def _fail(self, run: Run, message: FailRun, moment: Moment) -> Decision:
        if run.plan is None:
            return NOTHING
        left = _let_go(run, message.task)
        if run.status in FINAL:
            return Decision((), left)
        error = (message.code, message.message, message.task)
        stop = Send(workflow_stream(run.run_id), StopMore(0, RUN_FAILED))
        ended = RunEnded(run.run_id, "failed", None, error)
        told = (*farewells(run, run.statuses.__getitem__), *all_failed(run))
        lanes = (*leave_all(run), *ask_for_none(run))
        sends = (stop, *left, *lanes, *_tell(run.parent, ended), *told)
        facts = (*kept_from(run, "failed"), *left_from(run), RunFailed(*error))
        closing = _closing(run.deadline_ns, ended)
        return Decision(facts, sends, (*all_cleared(run, moment), *closing))

    def _finish(
        self, run: Run, draft: Draft, results: Mapping[int, Value] = NO_RESULTS
    ) -> Decision:
        """End the run if nothing of it is left to run, and tell whoever waits for what ended."""
        draft.conclude()
        if draft.ended_as is None:
            if run.watches is not None:
                draft.sends += self._telling.ends(run, draft, results)
            return _DECISION((draft.facts, draft.sends, (), None))
        ended = RunEnded(run.run_id, draft.ended_as, draft.result, draft.error)
        told = (*farewells(run, draft.status_of), *self._telling.ends(run, draft, results))
        sends = [*draft.sends, *ask_for_none(run), *_tell(draft.parent, ended), *told]
        closing = _closing(draft.deadline_ns, ended)
        return Decision(draft.facts, sends, (*all_cleared(run, draft.moment), *closing))


def _let_go(run: Run, task: str) -> tuple[Send, ...]:
    """Stop a task that a bug struck and that the run counts as over: nobody else tells it."""
    assert run.plan is not None
    index = run.plan.index.get(task)
    is_over = index is None or run.statuses[index] != ACTIVE or run.status in FINAL
    if not task or not is_over:
        return ()
    cancel = CancelTask("its run counts it as over", last=True)
    return (Send(task_stream(run.run_id, task), cancel),)


def _judge(run: Run, message: JudgeRun, _moment: Moment) -> Decision:
    """Record what the auditor found, if that is news of a run that goes on."""
    if run.plan is None or run.status in FINAL or run.stuck == message.evidence:
        return NOTHING
    return Decision((RunStuck(message.evidence) if message.evidence else RunUnstuck(),))


def _submitted_before(run: Run, message: SubmitRun) -> Decision:
    """Answer a submission of a run that is there: the same one, or another one under its id."""
    if run.digest == message.digest and run.parent == message.parent:
        known = RunEnded(run.run_id, run.status, run.result, run.error)
        sends = _tell(run.parent, known) if run.status in FINAL else ()
        return Decision((), sends, (), Accepted(run.run_id, repeated=True))
    refused = submitted_otherwise(f"run {run.run_id}", message.idempotency_key)
    error = (refused.code, refused.message, "")
    sends = _tell(message.parent, RunEnded(run.run_id, "failed", None, error))
    return Decision((), sends, (), refused)


def _tell(parent: str, ended: RunEnded) -> tuple[Send, ...]:
    """Return what tells the task that a run is a child of how the run ended."""
    if not parent:
        return ()
    error = None
    if ended.error is not None:
        code, message, task = ended.error
        error = [code, f"task {task}: {message}" if task else message]
    return (Send(parent, ChildEnded(ended.run_id, ended.status, ended.result, error)),)


def _closing(deadline_ns: int, ended: RunEnded) -> tuple[object, ...]:
    timer = (ClearTimer(DEADLINE, deadline_ns),) if deadline_ns else ()
    return (*timer, ClearOpen(), ended)


def _is_final(run: Run) -> bool:
    return run.status in FINAL


def _grows(message: Any) -> bool:
    """Tell whether a message makes the history longer, and need not be.

    What a task is told makes its own longer.
    """
    if isinstance(message, HoldWork):
        return not message.task
    return isinstance(message, (ChangePath, RedriveTask))


def _tasks(run: Run) -> int:
    return 0 if run.plan is None else len(run.statuses)


def _version(run: Run) -> int | None:
    return None if run.plan is None else run.version


def workflow_decider(contents: Contents) -> Decider[Run]:
    """Return the run as a value."""
    decide, form = _Decide(contents), snapshot_form(contents)
    pool = Pool(frozenset({TaskReported}), decide.reported, REPORTS_PER_TURN_MAX)
    evolve = Evolve(contents, evolve_path, evolve_letter)
    bound = Bound(_grows, _tasks)
    return Decider(Run, decide, evolve, _is_final, encode, form, pool, _version, bound)
