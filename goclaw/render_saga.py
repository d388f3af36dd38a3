"""The plan of a saga: the way forth as any plan, and beside it what undoes each step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from goclaw_events.plan import Plan
    from goclaw_events.saga.definition import SagaDefinition

HEADERS: Final = ("step", "undone by", "after", "lane", "policy")


def way_forth(saga: SagaDefinition) -> SagaDefinition:
    """Return a saga that undoes nothing: what it takes to complete, and in which order."""
    steps = {
        name: step.model_copy(update={"compensation": None}) for name, step in saga.steps.items()
    }
    return saga.model_copy(update={"steps": steps})


def compensations_of(plan: Plan) -> list[dict[str, Any]]:
    """Return what undoes each step that has a compensation, and what is undone before it."""
    names = [plan.tasks[step.action].id for step in plan.steps]
    found = []
    for at, step in enumerate(plan.steps):
        if step.compensation < 0:
            continue
        task = plan.tasks[step.compensation]
        found.append(
            {
                "step": names[at],
                "id": task.id,
                "kind": task.kind,
                "agent": task.agent or None,
                "after": [names[i] for i, other in enumerate(plan.steps) if at in other.needs],
                "lane": task.lane or None,
                "policy": step.policy,
                "timeout_s": task.timeout_s,
                "retry": task.retry._asdict(),
            }
        )
    return found


def compensation_rows(compensations: Iterable[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return a row of a table for each compensation, under `HEADERS`."""
    return [
        (
            one["step"],
            f"{one['kind']} {one['agent']}" if one["agent"] else one["kind"],
            ", ".join(one["after"]),
            one["lane"] or "-",
            one["policy"],
        )
        for one in compensations
    ]
