"""A paused attempt stands still at a boundary, on the loop and in threads, and goes on there."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.executors.errors import Interrupted
from goclaw_actors.why.sight import AT_BOUNDARY, HERE
from goclaw_actors.work import Interrupt, Limit, Pause, TellAttempt
from tests.actors.executors.conftest import PATIENCE_S, until
from tests.actors.executors.test_signals import message, tell

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from goclaw_actors.executors.context import TaskContext
    from goclaw_actors.work import AttemptToken
    from tests.actors.executors.conftest import Bench

    MakeBench = Callable[..., Bench]


class Steps:
    """Agents that come to one boundary after another; `passed` counts those behind them."""

    def __init__(self) -> None:
        self.passed = 0
        self.go = threading.Event()
        self.seen: list[Any] = []

    async def on_loop(self, ctx: TaskContext) -> int:
        """Await boundaries until a message says `stop`."""
        while "stop" not in self.seen:
            self.seen += [one.body for one in await ctx.boundary()]
            self.passed += 1
            await asyncio.sleep(0.001)
        return self.passed

    async def streaming(self, ctx: TaskContext) -> int:
        """Pass chunks on until it is steered."""
        stream = ctx.stream(ticks())
        async for _ in stream:
            self.passed += 1
        self.seen += [one.body for one in stream.steered]
        return self.passed

    async def listening(self, ctx: TaskContext) -> int:
        """Take signals."""
        self.passed += 1
        async for signal in ctx.signals():
            self.seen.append(signal.body)
            if signal.body == "stop":
                break
        return self.passed

    def in_thread(self, ctx: TaskContext) -> int:
        """Call boundaries until a message says `stop`."""
        while "stop" not in self.seen:
            self.seen += [one.body for one in ctx.boundary()]
            self.passed += 1
            ctx.sleep(0.001)
        return self.passed

    def in_thread_listening(self, ctx: TaskContext) -> int:
        """Take signals."""
        self.passed += 1
        while "stop" not in self.seen:
            signal = ctx.next_signal(0.01)
            self.seen += [] if signal is None else [signal.body]
        return self.passed


async def ticks() -> AsyncIterator[int]:
    """Yield for ever."""
    while True:
        yield 1
        await asyncio.sleep(0.001)


def pause(bench: Bench, token: AttemptToken, *, is_on: bool = True) -> None:
    """Pause an attempt, or let it go on."""
    bench.executor.tell_many([TellAttempt(token, Pause(is_on))])


KINDS = ["on_loop", "streaming", "listening", "in_thread", "in_thread_listening"]


@pytest.mark.parametrize("kind", KINDS)
def test_it_stands_still_and_goes_on(make_bench: MakeBench, kind: str) -> None:
    """What comes meanwhile waits for it; who asks is told where it is; its time does not count."""
    bench, steps = make_bench(), Steps()
    bench.registry.register("a", getattr(steps, kind))
    token = bench.start("a", timeout_s=PATIENCE_S)
    until(lambda: steps.passed > 0)
    assert bench.executor.place_of(token) == HERE
    pause(bench, token)
    until(lambda: bench.executor.place_of(token) == AT_BOUNDARY)
    passed = steps.passed
    tell(bench, token, message("stop"))
    bench.executor.tell_many([TellAttempt(token, Limit(0.001, None, ""))])
    assert token not in bench.outcomes
    assert (steps.seen, steps.passed) == ([], passed)
    bench.executor.tell_many([TellAttempt(token, Limit(PATIENCE_S, None, ""))])
    pause(bench, token, is_on=False)
    assert bench.outcome(token).status == "completed"
    assert steps.seen == ["stop"]
    assert bench.executor.place_of(token) == ""


@pytest.mark.parametrize("kind", ["on_loop", "in_thread"])
def test_its_time_goes_on_where_it_stopped(make_bench: MakeBench, kind: str) -> None:
    """A limit that was over while it stood still ends it when it goes on, not before."""
    bench, steps = make_bench(), Steps()
    bench.registry.register("a", getattr(steps, kind))
    token = bench.start("a", timeout_s=PATIENCE_S)
    until(lambda: steps.passed > 0)
    pause(bench, token)
    until(lambda: bench.executor.place_of(token) == AT_BOUNDARY)
    bench.executor.tell_many([TellAttempt(token, Limit(0.001, None, ""))])
    pause(bench, token, is_on=False)
    found = bench.outcome(token)
    assert (found.status, found.code) == ("failed", "timeout")


def test_the_time_of_its_task_goes_on(make_bench: MakeBench) -> None:
    """A deadline holds while it stands still, too."""
    bench, steps = make_bench(), Steps()
    bench.registry.register("a", steps.on_loop)
    token = bench.start("a", timeout_s=PATIENCE_S)
    until(lambda: steps.passed > 0)
    pause(bench, token)
    until(lambda: bench.executor.place_of(token) == AT_BOUNDARY)
    bench.executor.tell_many([TellAttempt(token, Limit(None, 0.01, "deadline"))])
    found = bench.outcome(token)
    assert (found.status, found.code) == ("failed", "timeout")


@pytest.mark.parametrize("kind", KINDS)
def test_it_can_be_stopped_there(make_bench: MakeBench, kind: str) -> None:
    """By an interrupt, which it hears at once."""
    bench, steps = make_bench(), Steps()
    bench.registry.register("a", getattr(steps, kind))
    token = bench.start("a")
    until(lambda: steps.passed > 0)
    pause(bench, token)
    until(lambda: bench.executor.place_of(token) == AT_BOUNDARY)
    bench.executor.tell_many([TellAttempt(token, Interrupt("enough", PATIENCE_S))])
    found = bench.outcome(token)
    assert (found.status, found.code) == ("cancelled", "interrupted")


def test_an_attempt_begins_paused(make_bench: MakeBench) -> None:
    """If it was while it waited for its agent; it gives no sign of life then, and need not."""
    bench, steps = make_bench(), Steps()
    attempt = bench.attempt("a")._replace(heartbeat_s=0.05)
    bench.executor.start_many([attempt])
    pause(bench, attempt.token)
    bench.registry.register("a", steps.on_loop)
    until(lambda: bench.executor.place_of(attempt.token) == AT_BOUNDARY)
    assert steps.passed == 0
    assert not threading.Event().wait(0.2)
    assert attempt.token not in bench.outcomes
    pause(bench, attempt.token, is_on=False)
    tell(bench, attempt.token, message("stop"))
    assert bench.outcome(attempt.token).status == "completed"


@pytest.mark.parametrize("is_async", [True, False])
def test_steps_and_sleeps_are_boundaries(make_bench: MakeBench, is_async: bool) -> None:
    """A step that is not recorded does not begin; a sleep ends when the task goes on."""
    bench = make_bench()
    begun, go, done = threading.Event(), threading.Event(), list[str]()

    async def agent(ctx: TaskContext) -> None:
        begun.set()
        await asyncio.to_thread(go.wait, PATIENCE_S)
        await ctx.sleep(0.001)
        done.append("slept")
        try:
            await ctx.step("one", done.append, "stepped")
        except Interrupted:
            done.append("interrupted")
            raise

    def function(ctx: TaskContext) -> None:
        begun.set()
        assert go.wait(PATIENCE_S)
        ctx.sleep(0.001)
        done.append("slept")
        try:
            ctx.step("one", done.append, "stepped")
        except Interrupted:
            done.append("interrupted")
            raise

    bench.registry.register("a", agent if is_async else function)
    token = bench.start("a")
    assert begun.wait(PATIENCE_S)
    pause(bench, token)
    go.set()
    until(lambda: bench.executor.place_of(token) == AT_BOUNDARY)
    assert done == []
    bench.executor.tell_many([TellAttempt(token, Interrupt("enough", PATIENCE_S))])
    assert bench.outcome(token).code == "interrupted"
    assert done == []
