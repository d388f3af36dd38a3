"""Where a task is that somebody names, and how it is run.

The items of a list are tasks of a run of their own. Whoever knows only the run above may name
them there: `RUN fetch:17` is item 17 of its task `fetch`. The run of the items that is meant is
that of the last attempt.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from goclaw_actors.rebuild import actor_at
from goclaw_events.ids import is_spawned, partition_of, task_stream
from goclaw_events.plan import task_over
from goclaw_events.value import BlobRef

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from goclaw.parts import Parts
    from goclaw_actors.decider import Decider
    from goclaw_events.journal import Journal
    from goclaw_events.plan import Plan, PlannedTask

_OF_ITEMS = ":"
"""What stands before the number of an item."""


class Place(NamedTuple):
    """The run that a task is of, and its id there."""

    run_id: str
    task: str


def place_of(
    run_id: str,
    task: str,
    plan_of: Callable[[str], Plan],
    child_of: Callable[[str, str], str | None],
) -> Place:
    """Return where a task is that is named beside a run.

    `child_of` gives the run that a task submitted last. A name that is none is left as it is,
    for whoever answers for the run to refuse. Raises what the two raise.
    """
    if _OF_ITEMS not in task:
        return Place(run_id, task)
    name = task_over(plan_of(run_id), task)
    child = None if name is None else child_of(run_id, name)
    return Place(child or run_id, task)


async def recorded_place(parts: Parts, run_id: str, task: str) -> Place:
    """Return where a task is, as the facts have it; raises `RunNotFound`."""

    def child_of(run_id: str, task: str) -> str:
        return str(state_at(parts, task_stream(run_id, task)).child_run)

    if _OF_ITEMS not in task:
        return Place(run_id, task)
    return await asyncio.to_thread(place_of, run_id, task, parts.plan_of, child_of)


def state_at(parts: Parts, stream: str) -> Any:
    """Return the state of an actor, as its facts have it; blocks."""
    return state_in(parts.journal, parts.deciders, stream)


def state_in(journal: Journal, kinds: Mapping[str, Decider[Any]], stream: str) -> Any:
    """Return the state of an actor, as the facts of a journal have it; blocks."""
    return actor_at(journal, kinds, partition_of(stream, journal.partitions), stream).state


async def planned_task(parts: Parts, place: Place) -> PlannedTask | None:
    """Return a task as it was planned, also one that another spawned; None: there is none."""
    run_id, task = place
    plan = parts.plan_of(run_id)
    if task in plan.index:
        return plan.tasks[plan.index[task]]
    if not is_spawned(task):
        return None
    spawned = await asyncio.to_thread(state_at, parts, task_stream(run_id, task))
    definition = spawned.definition
    return None if definition is None else parts.contents.plan(definition).tasks[0]


def definition_plan(parts: Parts, run_id: str) -> Plan:
    """Return the plan of the definition that a run is of, which has its lanes."""
    ref = parts.definition_of(run_id)
    return parts.contents.plan(BlobRef(ref.sha256, ref.size))
