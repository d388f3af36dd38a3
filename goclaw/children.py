"""The definitions that a workflow runs as children: found by name once, when it is submitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw.submission import Prepared
    from goclaw_events.plan import Plan

WORKFLOW: Final = "workflow"


def children_of(prepared: Prepared, find: Callable[[str], Prepared]) -> dict[str, Prepared]:
    """Return what `workflow:` tasks stand for, by name, and what those need, and so on.

    A run keeps this for all that is below it, so that what is registered later changes nothing in
    it. A definition that names itself means itself. Raises what `find` raises for an unknown name.
    """
    found: dict[str, Prepared] = {}
    waiting = [prepared]
    while waiting:
        for name in _names(waiting.pop().plan):
            if name not in found:
                child = prepared if name == prepared.plan.name else find(name)
                found[name] = child
                waiting.append(child)
    return found


def _names(plan: Plan) -> list[str]:
    return list(dict.fromkeys(task.agent for task in plan.tasks if task.kind == WORKFLOW))
