"""The agents that come with the engine to make a result of what was collected."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.collector.tally import COMPLETED
from goclaw_actors.executors.agents import AgentOptions
from goclaw_actors.executors.errors import Fail
from goclaw_actors.votes import HASHED
from goclaw_events.collect_checks import MERGE, OUTCOME

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from goclaw_actors.executors.agents import AgentRegistry
    from goclaw_actors.executors.context import TaskContext

_IN_A_THREAD: Final = AgentOptions(executor="thread")
"""There may be much of it: too much for the loop of the async agents, and to be sent elsewhere."""


def register_collectors(registry: AgentRegistry) -> None:
    """Register them; again is without effect."""
    registry.register(OUTCOME, _outcome, options=_IN_A_THREAD, builtin=True)
    registry.register(MERGE, _merge, options=_IN_A_THREAD, builtin=True)


def _outcome(ctx: TaskContext, collected: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """Return who ended how, and what a majority said; the results stay where they are."""
    members = [
        {name: value for name, value in one.items() if name not in ("result", "vote")}
        for one in collected["gathered"]
    ]
    vote = collected["vote"]
    return {
        "collector_id": collected["collector_id"],
        "status": collected["status"],
        "reason": collected["reason"],
        "answer": json.loads(vote) if vote and not vote.startswith(HASHED) else None,
        "completed": sum(one["status"] == COMPLETED for one in members),
        "members": members,
        "missing": collected["missing"],
    }


def _merge(ctx: TaskContext, collected: Mapping[str, Any], how: str) -> Any:  # noqa: ARG001
    """Return the results of those that completed, in the order of the members, as one value."""
    completed = [one for one in collected["gathered"] if one["status"] == COMPLETED]
    if how == "by_member":
        return {_name_of(one): one["result"] for one in completed}
    results = [one["result"] for one in completed]
    return results if how == "list" else _union(completed, results)


def _union(completed: Sequence[Mapping[str, Any]], results: Sequence[Any]) -> dict[str, Any]:
    """Join objects; where two have the same key, the later member's value stands."""
    merged: dict[str, Any] = {}
    for one, result in zip(completed, results, strict=True):
        if not isinstance(result, dict):
            msg = f"the result of {_name_of(one)} is {type(result).__name__}, not an object"
            raise Fail(msg, code="not_mergeable")
        merged |= result
    return merged


def _name_of(one: Mapping[str, Any]) -> str:
    return f"{one['run_id']}/{one['task']}" if one["task"] else str(one["run_id"])
