"""Plans that follow from a stored one: a reference to it names them by the path behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goclaw_events.errors import LogDamaged
from goclaw_events.plan.mapped import mapped_plan
from goclaw_events.plan.spawned import spawned_plan

if TYPE_CHECKING:
    from goclaw_events.plan.model import Plan
    from goclaw_events.value import BlobRef


def plan_at(plan: Plan, ref: BlobRef) -> Plan:
    """Return the plan that a reference names, of the stored one; raises `LogDamaged`."""
    match ref.path:
        case ():
            return plan
        case ("foreach", str(task_id), int(count)):
            return mapped_plan(plan, task_id, count)
        case (*_, "spawn", str(task_id), str(said)):
            return spawned_plan(plan, task_id, said)
    msg = f"{ref.path!r} is no place in the plan of {plan.name}"
    raise LogDamaged(msg)
