"""Explain a run or a saga, or a task of either, by the key that its tasks have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from goclaw_actors.why.run import WhyRun
from goclaw_actors.why.saga import WhySaga
from goclaw_events.ids import is_saga, is_spawned, owner_stream

if TYPE_CHECKING:
    from goclaw_actors.why.reason import Reason
    from goclaw_actors.why.sight import Sight

TASKS_MAX: Final = 16
"""So many active tasks of a run, or of a saga, are explained; all are counted."""


def explain(
    sight: Sight, key: str, task_id: str | None = None, *, tasks_max: int = TASKS_MAX
) -> Reason | None:
    """Return why a run (by its id) or a saga (by its key) has not ended, or a task of it.

    None: there is no such run, saga or task.
    """
    actor = sight.actor(owner_stream(key))
    if actor is None or actor.state.plan is None:
        return None
    make = WhySaga if is_saga(key) else WhyRun
    known = make(sight, actor.state, tasks_max, _below)
    if task_id is None:
        return known.whole()
    if is_spawned(task_id):  # its owner does not know what a task spawned
        return known.spawned(task_id)
    index = actor.state.plan.index.get(task_id)
    return None if index is None else known.task(index)


def _below(sight: Sight, key: str, tasks_max: int) -> Reason | None:
    return explain(sight, key, tasks_max=tasks_max)
