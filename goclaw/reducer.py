"""The run that makes a result of what a collector gathered: one task that waits for its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_events.loading import definition_from

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw_events.definition import WorkflowDefinition

NAME: Final = "collect"
TASK: Final = "result"
_OF_THE_RULE: Final = ("on_unmet", "on_deadline")


def reducer_of(
    merge: str | None, reduce: str | None, task: Mapping[str, Any]
) -> WorkflowDefinition:
    """Return a workflow that takes the id of a collector; `task` is the rest of its only task.

    Raises `InvalidDefinition` with every fault.
    """
    rest = {key: value for key, value in task.items() if key not in _OF_THE_RULE}
    rule = {key: value for key, value in task.items() if key in _OF_THE_RULE}
    made = {"merge": merge} if reduce is None else {"reduce": reduce}
    collect = {"collector": "${input.collector}", **made, **rule}
    raw = {
        "name": NAME,
        "input": {"collector": {"type": "string"}},
        "tasks": {TASK: {**rest, "collect": collect}},
    }
    return definition_from(raw, "what is made of what is collected")
