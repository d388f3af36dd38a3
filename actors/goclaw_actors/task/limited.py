"""An attempt that met a rate limit: the task asks its lane again, which is held meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goclaw_actors.decider import Decision, Send, SetTimer
from goclaw_actors.lending import Defer
from goclaw_actors.task.limits import HELD_S_MAX, LIMITED_MAX, QUEUE, after_ns
from goclaw_events.facts import AttemptLimited

if TYPE_CHECKING:
    from goclaw_actors.decider import Moment
    from goclaw_actors.task.state import Task
    from goclaw_actors.work import Outcome


def is_uncounted(task: Task, outcome: Outcome) -> bool:
    """Tell whether an attempt is one that does not count, because nobody was served."""
    return outcome.limited and bool(task.lane) and task.limited < LIMITED_MAX


def ask_later(
    task: Task,
    outcome: Outcome,
    moment: Moment,
    closed: tuple[object, ...],
    asks: Send,
    queue_s: float | None,
) -> Decision:
    """Ask the lane for another slot, of which there is none before the time that was said.

    `asks` is what would ask for it now.
    """
    until_ns = after_ns(moment.now_ns, min(outcome.retry_after_s or 0.0, HELD_S_MAX))
    queue_ns = after_ns(until_ns, queue_s)
    token = outcome.token.number
    fact = AttemptLimited(task.attempt, token, until_ns, outcome.message, queue_ns)
    timers = (SetTimer(QUEUE, queue_ns),) if queue_ns else ()
    defer = Defer._make((*asks.body[: len(Defer._fields) - 1], until_ns))
    return Decision((fact,), (Send(asks.target, defer),), (*closed, *timers))
