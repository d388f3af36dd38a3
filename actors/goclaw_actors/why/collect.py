"""Why a task that collects has not got what it collects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.collecting import CollectorDone, OpenCollector, WatchCollector
from goclaw_actors.collector.state import OPEN
from goclaw_actors.why.reason import COLLECT, GIVEN_UP, Reason
from goclaw_actors.why.room import on_its_way
from goclaw_actors.why.sight import state_of
from goclaw_events.ids import collector_stream

if TYPE_CHECKING:
    from goclaw_actors.collector import Collector
    from goclaw_actors.task.state import Task
    from goclaw_actors.why.sight import Sight

NAMED_MAX: Final = 8
"""So many of those that have not ended are named; all are counted."""
_ASKED: Final = (OpenCollector, WatchCollector)


def without_collection(sight: Sight, task: Task, since: int) -> Reason | None:
    """Return what a task waits for that collects; None: nobody will tell it."""
    assert task.collect is not None, "only a task that collects asks a collector"
    name, stream = task.collect[0], collector_stream(task.collect[0])
    details: dict[str, Any] = {"collector": name}
    below = _in_the_way(sight, task, stream)
    if below is not None:
        return Reason(COLLECT, task.stream, since, 0, details, (), (below,))
    collector: Collector | None = state_of(sight, stream)
    if collector is None or collector.status != OPEN or task.stream not in collector.watchers:
        return None
    left = collector.missing()
    details |= {
        "rule": collector.rule, "members": len(collector.members), "ended": collector.tally.ended,
        "missing": [member.name for member in left[:NAMED_MAX]], "more": collector.more,
    }  # fmt: skip
    return Reason(COLLECT, task.stream, since, collector.deadline_ns, details)


def _in_the_way(sight: Sight, task: Task, stream: str) -> Reason | None:
    """Return what keeps the answer from coming, or is on its way."""
    if sight.is_given_up(stream):
        return Reason(GIVEN_UP, stream)
    for body in sight.coming(task.stream):
        if isinstance(body, CollectorDone):
            return on_its_way(sight, stream, task.stream, body)
    for body in sight.coming(stream):
        if isinstance(body, _ASKED) and body.task == task.stream:
            return on_its_way(sight, task.stream, stream, body)
    return None
