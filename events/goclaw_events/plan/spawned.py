"""The plan of a task that a handler spawned: it follows from a reference, and is not stored.

The reference is that of the plan of its run, and behind it the task's id, and what was said of it,
as JSON of a task in a definition. Its parameters it is told when it begins.
"""

from __future__ import annotations

import json
from typing import Final

from pydantic import ValidationError

from goclaw_events.checks import CheckedTask
from goclaw_events.definition import TaskDefinition
from goclaw_events.errors import LogDamaged
from goclaw_events.plan.compiler import Placed, default_lane, planned_task
from goclaw_events.plan.model import Plan
from goclaw_events.value import BlobRef

SPAWN: Final = "spawn"


def spawned_ref(definition: BlobRef, task_id: str, said: str) -> BlobRef:
    """Name the plan of a task that one of `definition` spawned, which may be a spawned one."""
    path = definition.path
    if SPAWN in path:
        path = path[: path.index(SPAWN)]
    return BlobRef(definition.sha256, definition.size, (*path, SPAWN, task_id, said))


def spawned_plan(plan: Plan, task_id: str, said: str) -> Plan:
    """Return the plan of one spawned task of a run of `plan`; raises `LogDamaged`."""
    try:
        task = TaskDefinition.model_validate(json.loads(said))
    except (ValueError, ValidationError) as error:
        msg = f"what was said of the spawned task {task_id} is no task: {error}"
        raise LogDamaged(msg) from error
    own = {name.removeprefix(plan.name + "/") for name in plan.lanes}
    place = Placed(
        0, (), result_read=True, name=plan.name, lane_default=default_lane(plan.name, own)
    )
    return Plan(
        name=plan.name,
        version=plan.version,
        tasks=(planned_task(task_id, task, CheckedTask(), place, {}),),
        index={task_id: 0},
        needs_count=[0],
        roots=(0,),
        sinks=(0,),
        lanes={},
        output=None,
        on_failure=plan.on_failure,
        inputs=(),
        labels=plan.labels,
        metadata={},
    )
