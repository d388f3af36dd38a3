"""The plan: what the engine runs. Compiled once from a definition, stored as one blob.

Read `model` (what a plan holds), `compiler` (how it is made), `packing` (how it is written),
`versions` (what a change of a run's path makes of one), `mapped` (those of runs over lists),
`spawned` (those of tasks that handlers spawn), `places` (how both are named),
`analysis` (what it tells about itself), `awaits` (which tasks wait for which signals).
"""

from goclaw_events.plan.analysis import Analysis, ParallelGroup, analyse
from goclaw_events.plan.awaits import awaited_by, awaiting, has_own_names, lists_awaiting, schema_of
from goclaw_events.plan.compiler import check_input, compile_plan
from goclaw_events.plan.mapped import mapped_ref, task_over, work_of
from goclaw_events.plan.model import (
    LaneLimits,
    Plan,
    PlannedStep,
    PlannedTask,
    RetryPolicy,
    SlotNeeds,
    UniqueKey,
)
from goclaw_events.plan.packing import pack_plan, unpack_plan
from goclaw_events.plan.places import plan_at
from goclaw_events.plan.spawned import spawned_ref
from goclaw_events.plan.versions import (
    PlanChange,
    changed_plan,
    in_order,
    pack_version,
    read_plan,
)

__all__ = [
    "Analysis",
    "LaneLimits",
    "ParallelGroup",
    "Plan",
    "PlanChange",
    "PlannedStep",
    "PlannedTask",
    "RetryPolicy",
    "SlotNeeds",
    "UniqueKey",
    "analyse",
    "awaited_by",
    "awaiting",
    "changed_plan",
    "check_input",
    "compile_plan",
    "has_own_names",
    "in_order",
    "lists_awaiting",
    "mapped_ref",
    "pack_plan",
    "pack_version",
    "plan_at",
    "read_plan",
    "schema_of",
    "spawned_ref",
    "task_over",
    "unpack_plan",
    "work_of",
]
