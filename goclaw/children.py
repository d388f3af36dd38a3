"""The definitions that run as children: found by name once, when what names them is submitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from goclaw_actors.errors import ChildUnknown
from goclaw_events.plan import work_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw.submission import Prepared
    from goclaw_events.plan import Plan

WORKFLOW: Final = "workflow"
SAGA: Final = "saga"


def children_of(prepared: Prepared, find: Callable[[str], Prepared]) -> dict[str, Prepared]:
    """Return what `workflow:` and `saga:` tasks stand for, by name, and what those need, and so on.

    A run keeps this for all that is below it, so that what is registered later changes nothing in
    it. A definition that names itself means itself. Raises what `find` raises for an unknown name,
    and `ChildUnknown` for a name that stands for the other kind.
    """
    found: dict[str, Prepared] = {}
    waiting = [prepared]
    while waiting:
        for kind, name in _names(waiting.pop().plan):
            if name not in found:
                child = prepared if name == prepared.plan.name else find(name)
                found[name] = child
                waiting.append(child)
            if bool(found[name].plan.steps) != (kind == SAGA):
                other = WORKFLOW if kind == SAGA else SAGA
                msg = f"{name!r} is a {other}, and a task wants it as a {kind}"
                raise ChildUnknown(msg, hint=f"write `{other}: {name}`", name=name)
    return found


def _names(plan: Plan) -> list[tuple[str, str]]:
    """Return the kind and name of what tasks stand for, each once."""
    work = (work_of(task) for task in plan.tasks)
    tasks = (task for task in work if task.kind in (WORKFLOW, SAGA))
    return list(dict.fromkeys((task.kind, task.agent) for task in tasks))
