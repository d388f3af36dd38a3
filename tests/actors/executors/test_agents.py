"""Registering agents: names, what may be an agent, and what its signature takes."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest

from goclaw.agents import REGISTRY, agent, register_builtins
from goclaw_actors.executors.agents import Agent, AgentRegistry
from goclaw_actors.executors.errors import AgentInvalid, AgentTaken, AgentUnknown, BadParams
from goclaw_actors.executors.invoke import bind, mapping_of
from goclaw_events.errors import InvalidId

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


async def scan(ctx: Any, root: str, *, depth: int = 3) -> str:
    """Scan a tree.

    More words.
    """
    return f"{root}:{depth}"


def test_an_agent_is_found_by_its_name() -> None:
    """What is registered is looked up, with the first line of its docstring."""
    registry = AgentRegistry()
    made = registry.register("digest.scan", scan)
    assert registry.lookup("digest.scan") is made
    assert made.function is scan
    assert made.is_async
    assert made.options.description == "Scan a tree."
    assert registry.names() == ["digest.scan"]


def test_an_unknown_agent_is_refused_with_close_names() -> None:
    """The error names what resembles the name, and how to register it."""
    registry = AgentRegistry()
    registry.register("digest.scan", scan)
    with pytest.raises(AgentUnknown, match=r"did you mean 'digest\.scan'") as caught:
        registry.lookup("digest.scam")
    assert caught.value.code == "agent_unknown"
    assert caught.value.details["close"] == ["digest.scan"]
    assert "--module" in caught.value.hint


def test_a_name_belongs_to_one_function() -> None:
    """Another function under a taken name is refused; the first one stays."""
    registry = AgentRegistry()
    registry.register("a", scan)
    with pytest.raises(AgentTaken, match=r"agent 'a' is .*scan already"):
        registry.register("a", lambda ctx: ctx)
    assert registry.lookup("a").function is scan


def test_a_module_may_be_imported_again() -> None:
    """The same definition, executed again, replaces the first; also under another module name."""
    registry = AgentRegistry()
    source = compile("def work(ctx): return 1", "agents_of_a_user.py", "exec")
    spaces: list[dict[str, Any]] = [{"__name__": n} for n in ("mine", "mine", "__main__")]
    for space in spaces:
        exec(source, space)  # noqa: S102 - this is what an import does
        registry.register("work", space["work"])
    assert registry.lookup("work").function is spaces[2]["work"]


@pytest.mark.parametrize("name", ["", "has space", "-x", "a" * 201])
def test_an_agent_name_is_an_id(name: str) -> None:
    """Names follow the rule of all ids."""
    with pytest.raises(InvalidId):
        AgentRegistry().register(name, scan)


def test_names_of_the_engine_are_reserved() -> None:
    """Users cannot take a name that begins with `goclaw.`."""
    with pytest.raises(AgentTaken, match="reserved"):
        AgentRegistry().register("goclaw.mine", scan)


def _generator(ctx: Any) -> Iterator[int]:
    yield ctx


async def _async_generator(ctx: Any) -> AsyncIterator[int]:
    yield ctx


class _Callable:
    async def __call__(self, _: Any, url: str) -> str:
        return url


@pytest.mark.parametrize(
    "function",
    [
        _generator,
        _async_generator,
        _Callable,
        lambda: None,
        lambda *, ctx: ctx,
        lambda _, path, /: path,
        "no function",
    ],
)
def test_what_cannot_be_called_with_a_context_is_refused(function: Any) -> None:
    """Generators, classes, functions without a context, and what is no function: `AgentInvalid`."""
    with pytest.raises(AgentInvalid) as caught:
        AgentRegistry().register("a", function)
    assert caught.value.hint


def test_objects_and_partials_are_agents() -> None:
    """A callable object and a partial keep their kind and their parameters."""
    registry = AgentRegistry()
    called = registry.register("object", _Callable())
    assert called.is_async
    assert called.signature.required == {"url"}
    bound = registry.register("partial", functools.partial(scan, depth=1))
    assert bound.is_async
    assert bound.signature.required == {"root"}


def test_listeners_hear_of_new_agents_until_they_leave() -> None:
    """A listener is called after the registration, and not after it left."""
    registry = AgentRegistry()
    heard: list[Agent] = []
    leave = registry.on_registered(heard.append)
    registry.register("a", scan)
    leave()
    leave()
    registry.register("b", scan)
    assert [agent.name for agent in heard] == ["a"]


def test_the_decorator_returns_the_function_unchanged() -> None:
    """A decorated function is called as before and carries its agent name."""
    registry = AgentRegistry()

    @agent("digest.count", registry=registry, never_retry=(KeyError,))
    def count(ctx: Any) -> int:
        return 7

    assert count(None) == 7
    assert count.__goclaw_agent__ == "digest.count"  # type: ignore[attr-defined]
    assert registry.lookup("digest.count").function is count
    assert registry.lookup("digest.count").options.never_retry == (KeyError,)


def test_the_default_name_is_that_of_the_function() -> None:
    """`@agent` without a name takes `__name__`, in both of its forms."""
    registry = AgentRegistry()

    @agent(registry=registry)
    def first(ctx: Any) -> None: ...

    assert registry.names() == ["first"]

    @agent
    def a_name_that_only_this_test_has(ctx: Any) -> None: ...

    assert REGISTRY.lookup("a_name_that_only_this_test_has").name
    with pytest.raises(AgentInvalid, match="no name of its own"):
        agent(registry=registry)(_Callable())


def test_built_in_agents_may_be_registered_again() -> None:
    """Any registry can be given the built-in agents; twice is as once."""
    registry = AgentRegistry()
    register_builtins(registry)
    register_builtins(registry)
    builtins = ["collected", "echo", "fail", "merge", "sleep"]
    assert registry.names() == [f"goclaw.{name}" for name in builtins]


def _agent(function: Any) -> Agent:
    return AgentRegistry().register("a", function)


def test_parameters_are_bound_by_name() -> None:
    """Fitting parameters become keyword arguments; a context-only agent gets none."""
    assert bind(_agent(scan), {"root": ".", "depth": 1}) == {"root": ".", "depth": 1}
    assert bind(_agent(lambda ctx: ctx), {"anything": 1}) == {}
    assert bind(_agent(lambda _, **rest: rest), {"anything": 1}) == {"anything": 1}
    assert bind(_agent(lambda _, /, **rest: rest), {"_": 1}) == {"_": 1}


@pytest.mark.parametrize(
    ("function", "params", "words"),
    [
        (scan, {}, ["'root' is missing"]),
        (scan, {"rot": "."}, ["'root' is missing", "'rot' is not one", "did you mean 'root'?"]),
        (scan, {"root": ".", "ctx": 1}, ["'ctx' is not one of its parameters"]),
        (lambda _, **rest: rest, {"_": 1}, ["'_' is not one"]),
    ],
)
def test_parameters_that_do_not_fit_are_named(
    function: Any, params: dict[str, Any], words: list[str]
) -> None:
    """`BadParams` says what is missing and what is too much."""
    with pytest.raises(BadParams) as caught:
        bind(_agent(function), params)
    assert all(word in str(caught.value) for word in words)


def test_parameters_are_a_mapping() -> None:
    """None is no parameters; a list is refused."""
    assert mapping_of(_agent(scan), None) == {}
    with pytest.raises(BadParams, match="list instead of named"):
        mapping_of(_agent(scan), [1])
