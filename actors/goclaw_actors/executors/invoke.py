"""Binding: the parameters of a task as the arguments of its agent."""

from __future__ import annotations

import difflib
import inspect
from typing import TYPE_CHECKING, Any, cast

from goclaw_actors.executors.errors import AgentInvalid, BadParams

if TYPE_CHECKING:
    from goclaw_actors.executors.agents import Agent
    from goclaw_events.value import Value


def mapping_of(agent: Agent, params: Value) -> dict[str, Any]:
    """Return the parameters as the dict that they must be; None is an empty one."""
    if isinstance(params, dict):
        return cast("dict[str, Any]", params)
    if params is None:
        return {}
    raise BadParams(
        f"agent {agent.name!r} was given {type(params).__name__} instead of named parameters",
        hint="`with` is a mapping of names to values",
        agent=agent.name,
    )


def bind(agent: Agent, params: dict[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments for a call; none for an agent that takes its context only.

    Raises `BadParams` naming what is missing and what is too much.
    """
    signature = agent.signature
    if signature.context_only:
        return {}
    names = params.keys()
    if (
        signature.required <= names
        and (signature.allowed is None or names <= signature.allowed)
        and names.isdisjoint(signature.forbidden)
    ):
        return params
    raise _misfit(agent, set(names))


def plain_result(agent: Agent, result: object) -> object:
    """Return what a plain function returned; raises `AgentInvalid` if it is to be awaited."""
    if not inspect.isawaitable(result):
        return result
    if inspect.iscoroutine(result):
        result.close()
    raise AgentInvalid(
        f"agent {agent.name!r} is a plain function but returned something to await",
        hint="write it as `async def`",
        agent=agent.name,
    )


def _misfit(agent: Agent, names: set[str]) -> BadParams:
    signature = agent.signature
    missing = sorted(signature.required - names)
    unexpected = names & signature.forbidden
    if signature.allowed is not None:
        unexpected |= names - signature.allowed
    faults = [f"{name!r} is missing" for name in missing]
    for name in sorted(unexpected):
        close = difflib.get_close_matches(name, signature.allowed or (), n=1)
        meant = f" (did you mean {close[0]!r}?)" if close else ""
        faults.append(f"{name!r} is not one of its parameters{meant}")
    known = sorted(signature.required if signature.allowed is None else signature.allowed)
    return BadParams(
        f"agent {agent.name!r} cannot be called: {'; '.join(faults)}",
        hint=f"it takes {', '.join(known) or 'no such parameter'}",
        agent=agent.name,
        missing=missing,
        unexpected=sorted(unexpected),
    )
