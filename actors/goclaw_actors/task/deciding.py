"""What a person decides of a task that asks them: once, by somebody who may, and what follows.

A task that stands still asks nobody: what is decided then is refused, and its deadline rests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.answering import APPROVED, REJECTED
from goclaw_actors.approval import may_decide, unfit
from goclaw_actors.decider import Accepted, Decision, Refused
from goclaw_actors.task.ending import TIMER, cleared, end
from goclaw_actors.task.state import COMPLETED, FAILED, SKIPPED, WAITING
from goclaw_events.facts import TaskAnswered, TaskCompleted, TaskDropped, TaskFailed
from goclaw_events.value import BlobRef

if TYPE_CHECKING:
    from goclaw_actors.answering import DecideTask
    from goclaw_actors.contents import Contents
    from goclaw_actors.decider import Moment
    from goclaw_actors.task.state import Task

SKIP: Final = "skip"
CONTINUE: Final = "continue"
BY_DEADLINE: Final = {"approve": APPROVED, "reject": REJECTED}
"""What the definition may decide in the place of people who did not."""
UNDECIDED: Final = "nobody decided before the deadline"


def decide(task: Task, message: DecideTask, moment: Moment, contents: Contents) -> Decision:
    """Take the word of a person, or say why not."""
    given = message.arguments
    whole = contents.value(given) if isinstance(given, BlobRef) else given
    refused = _refusal(task, message, moment, whole)
    if refused is not None:
        return Decision(reply=refused)
    edited = {"arguments": whole} if message.edited else None
    verdict, sender = message.verdict, message.sender
    fact = TaskAnswered(message.answer, verdict, edited, sender, message.reason)
    return _decided(task, fact)._replace(reply=Accepted(message.answer))


def by_deadline(task: Task) -> Decision:
    """Let the definition decide: nobody has."""
    assert task.awaits is not None, "it asks somebody"
    verdict = BY_DEADLINE[task.awaits[1]["on_deadline"]]
    return _decided(task, TaskAnswered("deadline", verdict, None, "", UNDECIDED))


def is_overdue(task: Task, moment: Moment) -> bool:
    """Tell whether a deadline is over that no timer has told of yet, as where no engine ran."""
    return task.status == WAITING and 0 < task.due_ns <= moment.now_ns


def _refusal(task: Task, message: DecideTask, moment: Moment, arguments: Any) -> Refused | None:
    """Return why a word is not taken; None: it is."""
    name = f"task {task.task_id} of run {task.run_id}"
    closed = _closed(task, name, moment)
    if closed is not None:
        return closed
    assert task.awaits is not None, "it asks somebody"
    asked = task.awaits[1]
    if not may_decide(asked["who"], message.proved, message.claimed):
        text = f"{message.sender} may not decide about {name}"
        return Refused("approval_forbidden", text, f"ask {', '.join(asked['who'])}")
    if message.verdict == REJECTED:
        text = "what is rejected is not edited"
        return Refused("approval_invalid", text) if message.edited else None
    wrong = unfit(asked, arguments if message.edited else asked["arguments"])
    if wrong is None:
        return None
    hint = "" if message.edited else "edit them: --edit"
    return Refused("approval_invalid", f"the arguments cannot be approved: {wrong}", hint)


def _closed(task: Task, name: str, moment: Moment) -> Refused | None:
    """Return why nobody can decide, whoever it is; None: the task asks."""
    if task.answer is not None and task.awaits is not None and not task.awaits[0]:
        _, verdict, _, sender, _ = task.answer
        text = f"{name} was {verdict} {f'by {sender}' if sender else 'at its deadline'} already"
        return Refused("approval_decided", text)
    if task.status != WAITING or task.awaits is None or task.awaits[0]:
        text = f"{name} is {task.status}: it asks nobody"
        return Refused("approval_not_open", text, "goclaw inbox lists what is asked")
    if is_overdue(task, moment):
        text = f"the deadline of {name} is over; what follows is seen to once an engine runs"
        return Refused("approval_not_open", text, f"goclaw why {task.run_id} {task.task_id}")
    return None


def _decided(task: Task, fact: TaskAnswered) -> Decision:
    """End the task as it was decided."""
    assert task.awaits is not None, "it asks somebody"
    asked, timer = task.awaits[1], cleared((TIMER, task.due_ns))
    if fact.verdict == REJECTED and asked["on_reject"] != CONTINUE:
        by = f"{fact.sender} rejected it" if fact.sender else "it is rejected"
        text = f"{by}: {fact.reason}" if fact.reason else by
        if asked["on_reject"] == SKIP:
            return end(task, (fact, TaskDropped(text)), SKIPPED, timer, slot=False)
        error = ["approval_rejected", text]
        return end(task, (fact, TaskFailed(*error)), FAILED, timer, error=error, slot=False)
    result = {
        "approved": fact.verdict == APPROVED,
        "by": fact.sender or None,
        "reason": fact.reason,
        "arguments": asked["arguments"] if fact.body is None else fact.body["arguments"],
        "edited": fact.body is not None,
    }
    completed = (fact, TaskCompleted(0, 0, result))
    return end(task, completed, COMPLETED, timer, result=result, slot=False)
