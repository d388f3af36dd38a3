"""Why a task that waits for an answer has not got it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goclaw_actors.answering import AnswerTask, AskSignal
from goclaw_actors.why.reason import APPROVAL, GIVEN_UP, SIGNAL, Reason
from goclaw_actors.why.room import on_its_way
from goclaw_actors.why.sight import state_of
from goclaw_events.ids import owner_stream

if TYPE_CHECKING:
    from goclaw_actors.task.state import Task
    from goclaw_actors.why.sight import Sight
    from goclaw_actors.workflow import Run


def without_answer(sight: Sight, task: Task, since: int) -> Reason | None:
    """Return which signal a task waits for, or whom it asks; None: nobody will tell it."""
    assert task.awaits is not None, "it waits for an answer"
    (signal, asked), stream = task.awaits, owner_stream(task.run_id)
    if not signal:
        details = {"who": asked["who"], "message": asked["message"]}
        return Reason(APPROVAL, task.stream, since, task.due_ns, details)
    for body in sight.coming(task.stream):
        if isinstance(body, AnswerTask):
            return on_its_way(sight, stream, task.stream, body)
    if sight.is_given_up(stream):
        return Reason(GIVEN_UP, stream)
    for body in sight.coming(stream):
        if isinstance(body, AskSignal) and body.task == task.task_id:
            return on_its_way(sight, task.stream, stream, body)
    run: Run | None = state_of(sight, stream)
    index = None if run is None or run.plan is None else run.plan.index.get(task.task_id)
    is_asked = run is not None and run.mail is not None and index in run.mail.asks
    # one whose deadline is over gave back what came since, and is ended once an engine runs
    if not is_asked and not 0 < task.due_ns <= sight.now_ns:
        return None
    return Reason(SIGNAL, task.stream, since, task.due_ns, {"signal": signal})
