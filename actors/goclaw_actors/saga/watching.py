"""Who wants to hear how a saga ends, besides what it is a child of: the schedule that began it.

As of a run, but of the saga itself only: its steps are nobody else's. It has ended, too, where only
a person can go on with it after compensations failed; who was told then is told no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from goclaw_actors.collecting import MembersReported, UnwatchTasks, WatchTasks
from goclaw_actors.decider import NOTHING, Decision, Send
from goclaw_actors.saga.state import ENDED, Saga
from goclaw_events.facts import TasksUnwatched, TasksWatched

if TYPE_CHECKING:
    from goclaw_actors.decider import Moment

WATCHERS_MAX: Final = 100
"""So many wait for the end of one saga; for a further one it is `unknown`."""
THE_SAGA: Final = -1
"""In place of a plan index, as `workflow.watches.THE_RUN`."""
_UNKNOWN: Final = "unknown"


def watch(saga: Saga, message: WatchTasks, _moment: Moment) -> Decision:
    """Tell how the saga ended, at once or when it does."""
    who, known = message.collector, saga.watchers
    full = len(known) >= WATCHERS_MAX and who not in known
    told = {task: "" if task == "" and not full else _UNKNOWN for task in message.tasks}
    if saga.plan is None:
        told = dict.fromkeys(message.tasks, _UNKNOWN)
    elif saga.status in ENDED:
        told = {task: status or saga.status for task, status in told.items()}
    ended: list[list[int | str]] = [[task, 0, how, ""] for task, how in told.items() if how]
    waits = len(ended) < len(told) and who not in known
    facts = (TasksWatched(who, [THE_SAGA], None),) if waits else ()
    return Decision(facts, (Send(who, MembersReported(saga.run_id, ended)),) if ended else ())


def unwatch(saga: Saga, message: UnwatchTasks, _moment: Moment) -> Decision:
    """Tell somebody nothing more."""
    if message.collector not in saga.watchers:
        return NOTHING
    return Decision((TasksUnwatched(message.collector),))


def told_watchers(saga: Saga, status: str) -> list[Send]:
    """Return what tells who waits for it how the saga ended."""
    told = MembersReported(saga.run_id, [["", 0, status, ""]])
    return [Send(who, told) for who in saga.watchers]
