"""The decorator `@goclaw.agent`, its registry, and the agents that come with the engine."""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, overload

from goclaw.collect_agents import register_collectors
from goclaw_actors.executors.agents import AgentOptions, AgentRegistry
from goclaw_actors.executors.errors import AgentInvalid, Fail

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_actors.executors.context import TaskContext

    Function = TypeVar("Function", bound=Callable[..., Any])

REGISTRY: Final = AgentRegistry()
"""The agents of this process: what the decorator fills, and an engine uses unless told else."""


@overload
def agent(name: Function, /) -> Function: ...


@overload
def agent(
    name: str | None = None,
    /,
    *,
    never_retry: tuple[type[BaseException], ...] = (),
    description: str = "",
    executor: Literal["", "thread", "process"] = "",
    strict_steps: bool = False,
    registry: AgentRegistry = REGISTRY,
) -> Callable[[Function], Function]: ...


def agent(
    name: Any = None,
    /,
    *,
    never_retry: tuple[type[BaseException], ...] = (),
    description: str = "",
    executor: Literal["", "thread", "process"] = "",
    strict_steps: bool = False,
    registry: AgentRegistry = REGISTRY,
) -> Any:
    """Register a function as an agent and return it unchanged: `@agent` or `@agent("a.name")`.

    Without a name, the agent is called as the function is (`__name__`, without its module).
    The function is called as `function(ctx, **params)`, `ctx` being its `TaskContext`; one that
    takes only `ctx` finds the parameters in `ctx.params`. An `async def` runs on the loop of the
    async agents and must not block; any other runs in a thread. What it returns is stored: plain
    data, dataclasses (as dicts of their fields) and pydantic models (as JSON data).

    `never_retry`: exceptions that fail the task without another attempt (as `goclaw.Fail` does).
    `executor`: `process` runs the function, async or not, in a worker process, which can be
    killed; `thread` keeps a plain one in a thread where the settings put them into processes.
    `strict_steps`: an attempt fails that ends without asking for a durable step that was recorded
    before it.
    Raises `InvalidId`, `AgentTaken`, `AgentInvalid`.
    """
    options = AgentOptions(never_retry, description, executor, strict_steps)

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        called = name if isinstance(name, str) else getattr(function, "__name__", None)
        if called is None:
            msg = f"an agent that is {type(function).__name__} has no name of its own"
            raise AgentInvalid(msg, hint='name it: agent("a.name")(function)')
        registry.register(called, function, options=options)
        with contextlib.suppress(AttributeError, TypeError):  # a method or builtin has no room
            function.__goclaw_agent__ = called  # type: ignore[attr-defined]
            function.__goclaw_options__ = options  # type: ignore[attr-defined]
        return function

    return register if name is None or isinstance(name, str) else register(name)


def register_builtins(registry: AgentRegistry) -> None:
    """Register the agents whose names begin with `goclaw.`; again is without effect."""
    registry.register("goclaw.sleep", _sleep, builtin=True)
    registry.register("goclaw.echo", _echo, builtin=True)
    registry.register("goclaw.fail", _fail, builtin=True)
    register_collectors(registry)


async def _sleep(ctx: TaskContext, seconds: Any = 0.0) -> None:  # noqa: ARG001
    """Wait for some seconds; 0 does nothing, which makes it the cheapest task there is."""
    if not isinstance(seconds, (int, float)) or not math.isfinite(seconds) or seconds < 0:
        msg = f"seconds is {seconds!r}, not a number from 0"
        raise Fail(msg, code="bad_params")
    if seconds:
        await asyncio.sleep(seconds)


async def _echo(ctx: TaskContext) -> dict[str, Any]:
    """Return the parameters."""
    return dict(ctx.params)


async def _fail(
    ctx: TaskContext,  # noqa: ARG001
    message: str = "failed on purpose",
    code: str = "agent_error",
    retryable: bool = False,  # noqa: FBT001, FBT002 - parameters come by name
) -> None:
    """Fail on purpose: to see what a workflow does then."""
    raise Fail(message, code=code, retryable=retryable)


register_builtins(REGISTRY)
