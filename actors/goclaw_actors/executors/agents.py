"""Agents: what is registered under a name, and what its signature takes."""

from __future__ import annotations

import difflib
import inspect
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from goclaw_actors.executors.errors import AgentInvalid, AgentTaken, AgentUnknown
from goclaw_events.ids import check_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RESERVED_PREFIX: Final = "goclaw."
_POSITIONAL: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
)
_NAMED: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """What a decorator says beside the name.

    `never_retry`: exceptions that fail the task at once. `description`: one line for people;
    left out, the first line of the docstring. `executor`: where it runs (`process`, or `thread`
    for what is not async); left out, async on the loop, others where the settings say.
    `strict_steps`: an attempt that ends without asking for steps that were recorded has failed.
    """

    never_retry: tuple[type[BaseException], ...] = ()
    description: str = ""
    executor: Literal["", "thread", "process"] = ""
    strict_steps: bool = False


@dataclass(frozen=True, slots=True)
class Signature:
    """What an agent takes after its context; `allowed` None: any name (`**kwargs`).

    `context_only`: nothing, so that parameters are not checked but read from `ctx.params`.
    """

    context_only: bool
    required: frozenset[str]
    allowed: frozenset[str] | None
    forbidden: frozenset[str]


@dataclass(frozen=True, slots=True)
class Agent:
    """A registered callable: `function(context, **params)`, awaited when `is_async`."""

    name: str
    function: Callable[..., Any]
    is_async: bool
    signature: Signature
    options: AgentOptions = field(default_factory=AgentOptions)

    def in_process(self, sync_agents: str) -> bool:
        """Tell whether it runs in a worker process, `sync_agents` being where others run."""
        chosen = self.options.executor
        return chosen == "process" or (
            sync_agents == "process" and not chosen and not self.is_async
        )


class AgentRegistry:
    """Hold the agents of an engine by name. Safe to use from any thread."""

    def __init__(self) -> None:
        self._agents: dict[str, Agent] = {}
        self._listeners: list[Callable[[Agent], None]] = []
        self._lock = threading.Lock()

    def register(
        self,
        name: str,
        function: Callable[..., Any],
        *,
        options: AgentOptions | None = None,
        builtin: bool = False,
    ) -> Agent:
        """Register a callable under a name and tell the listeners, on the calling thread.

        The same function imported again (same source and qualified name) replaces itself.
        Raises `InvalidId`, `AgentInvalid`, or `AgentTaken` when another function has the name or
        when the name begins with `goclaw.` (kept for agents that come with the engine, `builtin`).
        """
        check_id(name, "the name of an agent")
        if name.startswith(RESERVED_PREFIX) and not builtin:
            msg = f"agent names that begin with {RESERVED_PREFIX!r} are reserved: {name!r}"
            raise AgentTaken(msg, hint="choose a prefix of your own", agent=name)
        options = options or AgentOptions()
        if not options.description:
            options = replace(options, description=_first_line(function))
        is_async = _is_async(name, function)
        _check_executor(name, options.executor, is_async=is_async)
        agent = Agent(name, function, is_async, _read(name, function), options)
        with self._lock:
            held = self._agents.get(name)
            if held is not None and not _same(held.function, function):
                msg = f"agent {name!r} is {_place(held.function)} already, not {_place(function)}"
                raise AgentTaken(msg, hint="give one of them another name", agent=name)
            self._agents[name] = agent
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener(agent)
        return agent

    def get(self, name: str) -> Agent | None:
        """Return the agent of this name, or None."""
        return self._agents.get(name)

    def lookup(self, name: str) -> Agent:
        """Return the agent of this name, or raise `AgentUnknown` with the names that are close."""
        agent = self._agents.get(name)
        if agent is None:
            raise self.unknown([name])
        return agent

    def unknown(self, names: Sequence[str]) -> AgentUnknown:
        """Return the error for names that nobody has, all together, with those that are close."""
        close = {name: self.close_to(name) for name in names}
        meant = ", ".join(repr(found[0]) for found in close.values() if found)
        said = f"did you mean {meant}? otherwise " if meant else ""
        return AgentUnknown(
            f"no agent is registered as {', '.join(map(repr, names))}",
            hint=f"{said}name the module that registers it (--module, agents.modules)",
            agent=names[0],
            close=close[names[0]],
            agents=list(names),
        )

    def close_to(self, name: str) -> list[str]:
        """Return up to three registered names that resemble `name`, the closest first."""
        return difflib.get_close_matches(name, self.names(), n=3, cutoff=0.6)

    def names(self) -> list[str]:
        """Return all names in order."""
        with self._lock:
            return sorted(self._agents)

    def on_registered(self, listener: Callable[[Agent], None]) -> Callable[[], None]:
        """Call `listener` after each registration; return what ends this (at most one effect)."""
        with self._lock:
            self._listeners.append(listener)

        def leave() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return leave


def _is_async(name: str, function: object) -> bool:
    if not callable(function) or inspect.isclass(function):
        msg = f"agent {name!r} is {type(function).__name__}, not a function"
        raise AgentInvalid(msg, hint="register a function or an object with __call__", agent=name)
    called = (function, getattr(function, "__call__", None))  # noqa: B004 - the method is inspected
    if any(inspect.isasyncgenfunction(f) or inspect.isgeneratorfunction(f) for f in called):
        raise AgentInvalid(
            f"agent {name!r} is a generator",
            hint="return the result; report what is on the way with ctx.progress()",
            agent=name,
        )
    return any(inspect.iscoroutinefunction(f) for f in called)


def _check_executor(name: str, executor: str, *, is_async: bool) -> None:
    known = ("process",) if is_async else ("process", "thread")
    if executor and executor not in known:
        what = "async" if is_async else "plain"
        raise AgentInvalid(
            f"agent {name!r}: executor {executor!r} is none that runs {what} functions",
            hint=f"leave it out, or choose {' or '.join(known)}",
            agent=name,
        )


def _read(name: str, function: Callable[..., Any]) -> Signature:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        msg = f"agent {name!r} has no readable signature: {error}"
        raise AgentInvalid(msg, hint="wrap it in a function `def agent(ctx): ...`") from error
    if not parameters or parameters[0].kind not in _POSITIONAL:
        raise AgentInvalid(
            f"agent {name!r} does not take the task context as its first parameter",
            hint="write `def agent(ctx, ...)`",
            agent=name,
        )
    first, rest = parameters[0], parameters[1:]
    for parameter in rest:
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            msg = f"agent {name!r}: parameter {parameter.name!r} cannot be given by its name"
            raise AgentInvalid(msg, hint="move the `/` behind the context", agent=name)
    named = [p for p in rest if p.kind in _NAMED]
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in rest)
    by_name = first.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    return Signature(
        context_only=not named and not open_ended,
        required=frozenset(p.name for p in named if p.default is inspect.Parameter.empty),
        allowed=None if open_ended else frozenset(p.name for p in named),
        forbidden=frozenset({first.name} if by_name else ()),
    )


def _same(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """Tell whether two functions are one definition, imported twice.

    A file may be imported under two module names (`__main__` and its own), so the source counts.
    """
    if one is other:
        return True
    name = getattr(one, "__qualname__", None)
    if name is None or name != getattr(other, "__qualname__", None):
        return False
    if getattr(one, "__module__", None) == getattr(other, "__module__", ""):
        return True
    source = getattr(getattr(one, "__code__", None), "co_filename", None)
    return source is not None and source == getattr(
        getattr(other, "__code__", None), "co_filename", ""
    )


def _place(function: Callable[..., Any]) -> str:
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', '?')}.{name}"


def _first_line(function: Callable[..., Any]) -> str:
    return (inspect.getdoc(function) or "").partition("\n")[0]
