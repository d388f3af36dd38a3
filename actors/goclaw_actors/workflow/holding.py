"""How a run is made to stand still, with its tasks, and how it goes on.

While it stands still it schedules nothing: what becomes ready is active and waits. When it is
resumed every active task is scheduled (which those that have begun pass over) and resumed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.decider import NOTHING, Accepted, Decision, Refused, Send
from goclaw_actors.signalling import HoldMore, HoldWork, ResumeMore, ResumeWork
from goclaw_actors.statuses import ACTIVE
from goclaw_actors.workflow.passing import pass_on
from goclaw_actors.workflow.state import FINAL, INTERRUPTED, RUNNING, Run
from goclaw_events.facts import RunInterrupted, RunPaused, RunResumed
from goclaw_events.ids import task_stream, workflow_stream

if TYPE_CHECKING:
    from goclaw_actors.decider import Moment

TASKS_PER_TURN_MAX: Final = 100


def hold(run: Run, message: HoldWork, moment: Moment) -> Decision:
    """Make the run stand still, or pass it on to the task that is meant."""
    if message.task:
        return pass_on(run, message, moment)
    refused = _refusal(run)
    if refused is not None:
        return Decision(reply=refused)
    if run.held in (message.how, INTERRUPTED):
        return Decision(reply=Accepted(run.run_id, repeated=True))
    fact: Any = RunPaused(message.reason, message.sender)
    if message.how == INTERRUPTED:
        fact = RunInterrupted(message.reason, message.sender, message.timeout_s)
    more = HoldMore(0, message.how, message.reason, message.sender, message.timeout_s)
    return Decision((fact,), (Send(workflow_stream(run.run_id), more),), (), Accepted(run.run_id))


def _refusal(run: Run) -> Refused | None:
    if run.plan is None:
        return Refused("run_not_found", f"there is no run {run.run_id}")
    if run.status in FINAL:
        return Refused("run_finished", f"run {run.run_id} is {run.status} already")
    if run.status != RUNNING:
        return Refused("run_finished", f"run {run.run_id} is {run.status}, and will end")
    return None


def hold_more(run: Run, message: HoldMore, _moment: Moment) -> Decision:
    """Tell active tasks to stand still, some at a time."""
    if run.plan is None or run.status != RUNNING or not run.held:
        return NOTHING
    found, after = active_from(run, message.start)
    sends = []
    for index in found:
        task = run.plan.tasks[index].id
        body = HoldWork(task, *message[1:], definition=run.definition, of_run=True)
        sends.append(Send(task_stream(run.run_id, task), body))
    if after >= 0:
        sends.append(Send(workflow_stream(run.run_id), message._replace(start=after)))
    return Decision((), sends)


def resume(run: Run, message: ResumeWork, moment: Moment) -> Decision:
    """Let the run go on, or pass it on to the task that is meant."""
    if message.task:
        return pass_on(run, message, moment)
    refused = _refusal(run)
    if refused is None and not run.held:
        text = f"run {run.run_id} is {run.status}: it does not stand still"
        refused = Refused("task_not_held", text)
    if refused is None and run.path is not None and run.path.changing is not None:
        text = f"change {run.path.changing.change} of its path waits for tasks of run {run.run_id}"
        refused = Refused("path_busy", text, "resume it when that is made or given up")
    if refused is not None:
        return Decision(reply=refused)
    more = Send(workflow_stream(run.run_id), ResumeMore(0, message.sender))
    return Decision((RunResumed(message.sender),), (more,), (), Accepted(run.run_id))


def resumed(run: Run, message: ResumeMore, sends: list[Send]) -> list[int]:
    """Return active tasks to schedule, and add to `sends` what resumes them, and who follows."""
    assert run.plan is not None, "it was submitted"
    found, after = active_from(run, message.start)
    for index in found:
        task = run.plan.tasks[index].id
        body = ResumeWork(task, message.sender, definition=run.definition, of_run=True)
        sends.append(Send(task_stream(run.run_id, task), body))
    if after >= 0:
        sends.append(Send(workflow_stream(run.run_id), message._replace(start=after)))
    return found


def active_from(run: Run, start: int) -> tuple[list[int], int]:
    """Return some active tasks from a plan index on, and where the others begin; -1: nowhere."""
    found: list[int] = []
    index = run.statuses.find(ACTIVE, start)
    while index >= 0 and len(found) < TASKS_PER_TURN_MAX:
        found.append(index)
        index = run.statuses.find(ACTIVE, index + 1)
    return found, index
