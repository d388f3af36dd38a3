"""The output of tasks through the engine: in order, live, kept, by cursor, from every executor."""

from __future__ import annotations

import asyncio
import importlib
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.errors import NotFound, RunNotFound, UsageInvalid
from goclaw_actors.executors.window import UNWRITTEN_BYTES_MAX
from goclaw_events.definition import WorkflowDefinition
from goclaw_events.envelope import InvalidPosition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WAIT_S = 30.0
WORKER = """
import goclaw


@goclaw.agent("far.sync", executor="process")
def far_sync(ctx, count=0, size=1):
    for number in range(count):
        ctx.emit([number, "x" * size])
    return count


@goclaw.agent("far.async", executor="process")
async def far_async(ctx, count=0, size=1):
    for number in range(count):
        await ctx.emit([number, "x" * size])
    return count
"""
gate: dict[str, threading.Event] = {}


async def talk(ctx: goclaw.TaskContext, count: int = 3, size: int = 1) -> int:
    """Emit so many chunks of a size."""
    for number in range(count):
        await ctx.emit([number, "x" * size])
    return count


def talk_sync(ctx: goclaw.TaskContext, count: int = 3, size: int = 1) -> int:
    """Emit so many chunks of a size, in a thread."""
    for number in range(count):
        ctx.emit([number, "x" * size])
    return count


async def halting(ctx: goclaw.TaskContext) -> int:
    """Emit, wait to be let go on, emit; the first attempt fails."""
    await ctx.emit(f"one of {ctx.attempt}")
    await asyncio.to_thread(gate.setdefault("go", threading.Event()).wait, WAIT_S)
    await ctx.emit("two")
    if ctx.attempt == 1:
        raise goclaw.Fail("again", retryable=True)
    return 2


def workflow(agent: str, *, retry: bool = False, **params: Any) -> WorkflowDefinition:
    """Return a workflow of one task."""
    task: dict[str, Any] = {"agent": agent, "with": params}
    if retry:
        task["retry"] = {"attempts": 2, "initial": "1ms"}
    return WorkflowDefinition.model_validate({"name": "talk", "tasks": {"a": task}})


@pytest.fixture(autouse=True)
def _agents() -> None:
    gate.clear()
    for agent in (talk, talk_sync, halting):
        goclaw.agent(agent.__name__)(agent)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[goclaw.Engine]:
    """Give an engine on a directory."""
    async with asyncio.timeout(WAIT_S), goclaw.Engine(tmp_path / "d") as opened:
        yield opened


@pytest.mark.parametrize("agent", ["talk", "talk_sync", "far.sync", "far.async"])
async def test_output_is_in_order_and_bounded(
    engine: goclaw.Engine, agent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than fits on the way at once: whoever emits waits, and nothing is missing."""
    (tmp_path / "far_talk.py").write_text(WORKER)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("far_talk")
    sys.modules.pop("far_talk")
    size, count = 20_000, 4 * UNWRITTEN_BYTES_MAX // 20_000
    await engine.submit(workflow(agent, count=count, size=size), run_id="r")
    found = [chunk async for chunk in engine.output("r")]
    assert [chunk.value[0] for chunk in found] == list(range(count))
    assert {len(chunk.value[1]) for chunk in found} == {size}
    assert [chunk.number for chunk in found] == list(range(1, count + 1))


async def test_it_is_read_while_it_is_written(engine: goclaw.Engine, tmp_path: Path) -> None:
    """By who is there, by who comes back with a cursor, and attempts are told apart."""
    await engine.submit(workflow("halting", retry=True), run_id="r")
    seen = []
    async for chunk in engine.output("r", "a"):
        seen.append((chunk.attempt, chunk.value))
        gate.setdefault("go", threading.Event()).set()
    assert seen == [(1, "one of 1"), (1, "two"), (2, "one of 2"), (2, "two")]
    async with goclaw.Client(tmp_path / "d") as client:
        whole = [chunk async for chunk in client.output("r")]
        left = [chunk.value async for chunk in client.output("r", after=whole[1].cursor)]
    assert [(chunk.attempt, chunk.value) for chunk in whole] == seen
    assert left == ["one of 2", "two"]


async def test_it_is_there_in_the_next_process(tmp_path: Path) -> None:
    """What was yielded, and what an attempt emitted before it was lost."""
    async with asyncio.timeout(WAIT_S):
        async with goclaw.Engine(tmp_path / "d") as engine:
            await engine.submit(workflow("halting"), run_id="r")
            async for chunk in engine.output("r"):
                assert chunk.value == "one of 1"
                break
        async with goclaw.Engine(tmp_path / "d") as engine:
            gate.setdefault("go", threading.Event()).set()
            found = [(chunk.attempt, chunk.value) async for chunk in engine.output("r")]
    assert found == [(1, "one of 1"), (2, "one of 2"), (2, "two")]


async def test_bad_requests_are_refused(engine: goclaw.Engine) -> None:
    """Each says what is wrong; a chunk that is too large fails who emits it."""
    two = {name: {"agent": "talk"} for name in "ab"}
    both = WorkflowDefinition.model_validate({"name": "two", "tasks": two})
    await engine.submit(both, run_id="r")
    for args, error in (
        (("nope",), RunNotFound),
        (("r",), UsageInvalid),
        (("r", "zz"), NotFound),
    ):
        with pytest.raises(error):
            await anext(aiter(engine.output(*args)))
    with pytest.raises(InvalidPosition):
        await anext(aiter(engine.output("r", "a", after="seven")))
    ended = await engine.run(workflow("talk", count=1, size=70_000))
    assert ended.error is not None
    assert ended.error.code == "value_too_large"
    assert [chunk async for chunk in engine.output(ended.run_id)] == []


async def test_the_end_of_another_task_does_not_end_the_output(tmp_path: Path) -> None:
    """Who reads one task of a run hears of that one's end, not of its siblings'."""
    gate["go"] = threading.Event()
    goclaw.agent("halting")(halting)
    tasks = {
        "a": {"agent": "halting", "retry": {"attempts": 2, "initial": "1ms"}},
        "b": {"agent": "goclaw.echo"},
    }
    two = WorkflowDefinition.model_validate({"name": "talk", "tasks": tasks})
    async with asyncio.timeout(WAIT_S), goclaw.Engine(tmp_path / "d") as engine:
        await engine.submit(two, run_id="r")
        seen: list[Any] = []
        async for chunk in engine.output("r", "a"):
            seen.append(chunk.value)
            if len(seen) == 1:
                await engine.collect("r/b")
                gate["go"].set()
    assert seen == ["one of 1", "two", "one of 2", "two"]
