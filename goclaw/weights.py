"""How long the tasks of a plan are expected to take, and who says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from goclaw_events.plan.model import EXPECTED_S_DEFAULT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw_events.definition import TaskDefinition, WorkflowDefinition
    from goclaw_events.plan import Plan, PlannedTask
    from goclaw_projections.durations import LearnedDuration


class Weight(NamedTuple):
    """What a task weighs on the critical path.

    `source`: `history` (the median of `samples` attempts that completed lately; `p90_s` is their
    90th percentile), `definition` (its `expected` or its `wait`), or `default`.
    """

    expected_s: float
    source: str
    p90_s: float | None = None
    samples: int = 0


def weights_of(
    plan: Plan, definition: WorkflowDefinition | None, learned: Mapping[str, LearnedDuration]
) -> dict[str, Weight]:
    """Return a weight for each task: what was learned of it, otherwise what the plan says.

    Without the definition, what it says and what is the default are told apart by the number.
    """
    weights = {}
    for task in plan.tasks:
        known = learned.get(task.id)
        if known is not None:
            weight = Weight(known.median_s, "history", known.p90_s, known.samples)
        elif _is_stated(task, definition):
            weight = Weight(task.expected_s, "definition")
        else:
            weight = Weight(task.expected_s, "default")
        weights[task.id] = weight
    return weights


def _is_stated(task: PlannedTask, definition: WorkflowDefinition | None) -> bool:
    if definition is None:
        return task.expected_s != EXPECTED_S_DEFAULT
    return stated(definition.tasks[task.id])


def stated(task: TaskDefinition) -> bool:
    """Tell whether a definition says how long a task takes."""
    return task.expected is not None or isinstance(task.wait, float)
