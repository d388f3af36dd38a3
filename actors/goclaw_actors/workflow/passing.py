"""What a run passes on to its tasks: it knows which there are, and which of them have ended.

What they spawned it does not know: that answers for itself, also where there is no such task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from goclaw_actors.decider import Decision, Refused, Send
from goclaw_actors.signalling import (
    EndSignals,
    HoldWork,
    ResumeWork,
    SendSignal,
    WithdrawSignal,
    unknown_task,
)
from goclaw_actors.statuses import ACTIVE, BLOCKED, PENDING, SKIPPED
from goclaw_actors.workflow.state import FINAL, RUNNING, Run
from goclaw_events.facts import TaskSignalled
from goclaw_events.ids import is_id, task_stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_actors.adjusting import AdjustTask
    from goclaw_actors.answering import DecideTask
    from goclaw_actors.decider import Moment

    Passed: TypeAlias = SendSignal | WithdrawSignal | HoldWork | ResumeWork | AdjustTask

_NOT_BEGUN: Final = frozenset({PENDING, ACTIVE})


def pass_on(run: Run, message: Passed, _moment: Moment) -> Decision:
    """Pass a signal on to its task, which answers it; refuse it where there is no such task.

    Without a definition it is for a task that the run knows to have ended, perhaps unbegun.
    """
    if run.plan is None:
        return Decision(reply=Refused("run_not_found", f"there is no run {run.run_id}"))
    index = run.plan.index.get(message.task)
    if index is None:
        return _to_spawned(run, message)
    refused = _refusal(run, message.task, run.statuses[index])
    if refused is not None:
        return Decision(reply=refused)
    body: Any = message
    facts: tuple[TaskSignalled, ...] = ()
    if not isinstance(message, WithdrawSignal) and run.statuses[index] in _NOT_BEGUN:
        body = message._replace(definition=run.definition)
        if run.status not in FINAL and (run.told is None or index not in run.told):
            facts = (TaskSignalled(message.task),)
    return Decision(facts, (Send(task_stream(run.run_id, message.task), body, passed_on=True),))


def pass_decision(run: Run, message: DecideTask, _moment: Moment) -> Decision:
    """Pass what a person decided on to its task, which answers; also to one that has ended."""
    if run.plan is None:
        return Decision(reply=Refused("run_not_found", f"there is no run {run.run_id}"))
    index = run.plan.index.get(message.task)
    if index is None:
        return _to_spawned(run, message)
    if run.statuses[index] == PENDING:
        text = f"task {message.task} of run {run.run_id} has not asked yet"
        return Decision(
            reply=Refused("approval_not_open", text, "goclaw inbox lists what is asked")
        )
    to = task_stream(run.run_id, message.task)
    return Decision((), (Send(to, message, passed_on=True),))


def _to_spawned(run: Run, message: Passed | DecideTask) -> Decision:
    """Pass on what is for a task that one of the run spawned; refuse it where none can be meant."""
    assert run.plan is not None, "it was submitted"
    task, *keys = message.task.split("/")
    if not keys or task not in run.plan.index or not all(map(is_id, keys)):
        return Decision(reply=unknown_task(run.run_id, message.task))
    return Decision((), (Send(task_stream(run.run_id, message.task), message, passed_on=True),))


def _refusal(run: Run, task: str, status: int) -> Refused | None:
    """Return why a task takes no more; None: it does, or it answers for itself."""
    name = f"task {task} of run {run.run_id}"
    if status in (SKIPPED, BLOCKED):
        return Refused("task_finished", f"{name} was skipped")
    if run.status in FINAL and status in _NOT_BEGUN:
        return Refused("task_finished", f"{name} did not begin, and the run is {run.status}")
    if status == PENDING and run.status != RUNNING:
        return Refused("task_finished", f"{name} will not begin: the run is {run.status}")
    return None


def farewells(run: Run, status_of: Callable[[int], int]) -> list[Send]:
    """Return what is said to tasks that will not begin, now that the run ends."""
    return [
        Send(task_stream(run.run_id, run.plan.tasks[index].id), EndSignals("the run ended"))
        for index in sorted(run.told or ())
        if run.plan is not None and status_of(index) in _NOT_BEGUN
    ]
