"""What a run decides. Dependency-driven: O(1) a need that ends, never by layers.

What needs a task that was skipped by its condition runs, unless all that it needs was skipped;
what needs a failed task (`on_failure: continue`) is skipped. A turn sends at most
`SENDS_MAX` messages; a larger fan-out goes on in a message to the run itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.decider import (
    NOTHING,
    Accepted,
    ClearOpen,
    Decider,
    Decision,
    Moment,
    Refused,
    RunEnded,
    Send,
    SetOpen,
)
from goclaw_actors.messages import (
    CancelRun,
    DeclareLane,
    FailRun,
    ScheduleMore,
    StopMore,
    SubmitRun,
    TaskReported,
)
from goclaw_actors.workflow.draft import Draft
from goclaw_actors.workflow.state import (
    ACTIVE,
    CANCELLING,
    FINAL,
    RUNNING,
    UNKNOWN,
    Evolve,
    Run,
    encode,
    snapshot_form,
)
from goclaw_events.facts import RunCancelRequested, RunFailed, RunSubmitted, TaskEnded
from goclaw_events.ids import workflow_stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_actors.contents import Contents
    from goclaw_events.plan import Plan

RUN_FAILED: Final = "the run failed"


class _Decide:
    """The decisions of a run, given the plans that runs refer to."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._by_type: dict[type, Callable[[Run, Any, Moment], Decision]] = {
            SubmitRun: self._submit,
            TaskReported: self._reported,
            ScheduleMore: self._more,
            StopMore: self._stop_more,
            CancelRun: self._cancel,
            FailRun: self._fail,
        }

    def __call__(self, run: Run, message: Any, moment: Moment) -> Decision:
        return self._by_type[type(message)](run, message, moment)

    def _submit(self, run: Run, message: SubmitRun, moment: Moment) -> Decision:
        if run.status != UNKNOWN:
            if run.digest == message.digest:
                return Decision(reply=Accepted(run.run_id, repeated=True))
            text = f"run {run.run_id} was submitted before with another definition or input"
            return Decision(reply=Refused("command_conflict", text, "choose another run id"))
        plan = self._contents.plan(message.definition)
        draft = Draft(run, plan, self._contents, moment)
        draft.begin(RunSubmitted(*message))
        draft.schedule(list(plan.roots))
        declared = [_declare(plan, lane) for lane in plan.lanes]
        decision = _finish(run, draft)
        opened = () if draft.ended_as else (SetOpen("run", message.name),)
        return Decision(
            decision.facts,
            [*declared, *decision.sends],
            (*opened, *decision.effects),
            Accepted(run.run_id),
        )

    def _reported(self, run: Run, message: TaskReported, moment: Moment) -> Decision:
        plan = run.plan
        if plan is None or run.status in FINAL:
            return NOTHING
        index = plan.index[message.task]
        if run.statuses[index] != ACTIVE:
            return NOTHING  # reported before
        kept = message.result if plan.tasks[index].result_read else None
        draft = Draft(run, plan, self._contents, moment)
        draft.end_task(
            index, TaskEnded(message.task, message.generation, message.status, kept, message.error)
        )
        draft.schedule(draft.take_ready())
        return _finish(run, draft)

    def _more(self, run: Run, message: ScheduleMore, moment: Moment) -> Decision:
        if run.plan is None or run.status != RUNNING:
            return NOTHING
        draft = Draft(run, run.plan, self._contents, moment)
        draft.schedule(message.tasks)
        return _finish(run, draft)

    def _cancel(self, run: Run, message: CancelRun, moment: Moment) -> Decision:
        if run.plan is None:
            return Decision(reply=Refused("run_not_found", f"there is no run {run.run_id}"))
        if run.status in FINAL:
            text = f"run {run.run_id} is {run.status} already"
            return Decision(reply=Refused("run_finished", text))
        if run.status == CANCELLING:
            return Decision(reply=Accepted(run.run_id, repeated=True))
        draft = Draft(run, run.plan, self._contents, moment)
        draft.facts.append(RunCancelRequested(message.reason, message.requested_by))
        draft.status = CANCELLING
        draft.reason = message.reason
        draft.stop(message.reason or "the run was cancelled")
        return _finish(run, draft)._replace(reply=Accepted(run.run_id))

    def _stop_more(self, run: Run, message: StopMore, moment: Moment) -> Decision:
        if run.plan is None or run.status == RUNNING:
            return NOTHING
        draft = Draft(run, run.plan, self._contents, moment)
        draft.stop_from(message)
        return Decision((), draft.sends)

    def _fail(self, run: Run, message: FailRun, _moment: Moment) -> Decision:
        if run.plan is None or run.status in FINAL:
            return NOTHING
        error = (message.code, message.message, message.task)
        stop = Send(workflow_stream(run.run_id), StopMore(0, RUN_FAILED))
        effects = (ClearOpen(), RunEnded(run.run_id, "failed", None, error))
        return Decision((RunFailed(*error),), (stop,), effects)


def _declare(plan: Plan, lane: str) -> Send:
    limits = plan.lanes[lane]
    declare = DeclareLane(limits.concurrency, limits.capacity, limits.overflow, plan.name)
    return Send("lane/" + lane, declare)


def _finish(run: Run, draft: Draft) -> Decision:
    """End the run if nothing of it is left to run."""
    draft.conclude()
    if draft.ended_as is None:
        return Decision(draft.facts, draft.sends)
    ended = RunEnded(run.run_id, draft.ended_as, draft.result, draft.error)
    return Decision(draft.facts, draft.sends, (ClearOpen(), ended))


def _is_final(run: Run) -> bool:
    return run.status in FINAL


def workflow_decider(contents: Contents) -> Decider[Run]:
    """Return the run as a value."""
    return Decider(
        Run, _Decide(contents), Evolve(contents), _is_final, encode, snapshot_form(contents)
    )
