"""Async agents: batches, timeouts, stops, and coroutines that do not let go."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

from goclaw_actors.executors.async_executor import BEGIN_BATCH_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from goclaw_actors.executors.context import TaskContext
    from tests.actors.executors.conftest import Bench

SOON_S = 0.02


async def echo(ctx: TaskContext, **params: Any) -> dict[str, Any]:
    """Return the parameters."""
    return params


async def hang(ctx: TaskContext) -> None:
    """Wait for ever, politely."""
    await asyncio.Event().wait()


class Stubborn:
    """An agent that swallows cancellation until it is released."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.release = asyncio.Event()

    async def __call__(self, _: TaskContext) -> str:
        """Wait for the release, whatever else happens."""
        self.loop = asyncio.get_running_loop()
        self.begun.set()
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                continue
        return "late"

    def let_go(self) -> None:
        """Let the agent end."""
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self.release.set)


def test_an_async_agent_runs_on_the_loop_of_the_agents(bench: Bench) -> None:
    """Not on the thread that starts it; its result comes back."""

    async def where(ctx: TaskContext) -> str:
        return threading.current_thread().name

    bench.registry.register("where", where)
    outcome = bench.run("where")
    assert (outcome.status, outcome.result) == ("completed", "goclaw-async")


def test_outcomes_leave_in_batches(bench: Bench) -> None:
    """A batch of attempts comes back whole, each once, in far fewer batches."""
    bench.registry.register("echo", echo)
    attempts = [bench.attempt("echo", {"n": n}) for n in range(2 * BEGIN_BATCH_MAX + 5)]
    bench.executor.start_many(attempts)
    for n, attempt in enumerate(attempts):
        assert bench.outcome(attempt.token).result == {"n": n}
    assert all(len(found) == 1 for found in bench.outcomes.values())
    assert len(bench.batches) <= 8
    assert threading.current_thread().name not in bench.sink_threads


def test_a_timeout_cancels_the_coroutine(bench: Bench) -> None:
    """The outcome is `failed` with code `timeout`; the coroutine could tidy up."""
    tidied = threading.Event()

    async def slow(ctx: TaskContext) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            tidied.set()

    bench.registry.register("slow", slow)
    outcome = bench.run("slow", timeout_s=SOON_S)
    assert (outcome.status, outcome.code) == ("failed", "timeout")
    assert (outcome.abandoned, outcome.retryable) == (False, True)
    assert tidied.is_set()


def test_a_result_after_the_timeout_does_not_count(bench: Bench) -> None:
    """A coroutine that answers its cancellation with a result has timed out all the same."""

    async def late(ctx: TaskContext) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert ctx.cancelled
        return "late"

    bench.registry.register("late", late)
    outcome = bench.run("late", timeout_s=SOON_S)
    assert (outcome.code, outcome.abandoned) == ("timeout", False)


def test_a_coroutine_that_swallows_cancellation_is_abandoned(
    make_bench: Callable[..., Bench],
) -> None:
    """After the grace the outcome says so; its late result is dropped, its slot comes back."""
    bench = make_bench(stop_grace_s=SOON_S)
    agent = Stubborn()
    bench.registry.register("stubborn", agent)
    token = bench.start("stubborn", timeout_s=SOON_S)
    outcome = bench.outcome(token)
    assert (outcome.status, outcome.code, outcome.abandoned) == ("failed", "timeout", True)
    assert bench.executor.running().abandoned_coroutines == 1
    agent.let_go()
    assert bench.returned(token).code == ""
    assert bench.executor.running().abandoned_coroutines == 0
    assert len(bench.outcomes[token]) == 2


def test_the_number_of_abandoned_coroutines_is_bounded(
    make_bench: Callable[..., Bench], wait_until: Callable[..., None]
) -> None:
    """Beyond the bound new attempts fail with `executor_exhausted`, and may be tried again."""
    bench = make_bench(stop_grace_s=0.0, abandoned_max=1)
    agent = Stubborn()
    bench.registry.register("stubborn", agent)
    bench.registry.register("echo", echo)
    assert bench.run("stubborn", timeout_s=SOON_S).abandoned
    refused = bench.run("echo")
    assert (refused.status, refused.code, refused.retryable) == (
        "failed",
        "executor_exhausted",
        True,
    )
    agent.let_go()
    wait_until(lambda: bench.executor.running().abandoned_coroutines == 0)
    assert bench.run("echo").status == "completed"


def test_a_stop_cancels_the_coroutine(bench: Bench) -> None:
    """The outcome is `cancelled` and its message is the reason."""
    bench.registry.register("hang", hang)
    token = bench.start("hang")
    bench.stop(token, "the run was cancelled")
    outcome = bench.outcome(token)
    assert (outcome.status, outcome.code) == ("cancelled", "cancelled")
    assert outcome.message == "the run was cancelled"
    assert not outcome.abandoned


def test_a_stop_reaches_what_has_not_begun(bench: Bench) -> None:
    """Stopped before its first step, the agent is never called."""
    called: list[int] = []
    go, begun = threading.Event(), threading.Event()

    async def block(ctx: TaskContext) -> None:
        begun.set()
        go.wait()

    async def note(ctx: TaskContext) -> None:
        called.append(1)

    bench.registry.register("block", block)
    bench.registry.register("note", note)
    blocking = bench.start("block")
    assert begun.wait(20)
    tokens = [bench.start("note") for _ in range(3)]
    for token in tokens:
        bench.stop(token)
    go.set()
    assert [bench.outcome(token).status for token in tokens] == ["cancelled"] * 3
    assert bench.outcome(blocking).status == "completed"
    assert called == []


def test_a_stop_in_a_large_backlog_is_heard(bench: Bench) -> None:
    """What waits behind the first part of a batch can be stopped before it begins."""
    bench.registry.register("hang", hang)
    attempts = [bench.attempt("hang") for _ in range(3 * BEGIN_BATCH_MAX)]
    bench.executor.start_many(attempts)
    for attempt in attempts:
        bench.stop(attempt.token)
    assert {bench.outcome(attempt.token).status for attempt in attempts} == {"cancelled"}
    assert bench.executor.running().coroutines == 0


def test_an_agent_that_cancels_itself_has_failed(bench: Bench) -> None:
    """Nobody asked for it, so it is an error, and the loop goes on."""

    async def cancels(ctx: TaskContext) -> None:
        raise asyncio.CancelledError

    bench.registry.register("cancels", cancels)
    outcome = bench.run("cancels")
    assert (outcome.status, outcome.code) == ("failed", "agent_error")
    assert "cancelled itself" in outcome.message


def test_nothing_that_an_agent_raises_ends_the_loop(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even SystemExit, also in a task that the agent started and forgot."""

    async def leaves(ctx: TaskContext) -> None:
        raise SystemExit(3)

    async def spawns(ctx: TaskContext) -> None:
        async def inner() -> None:
            raise KeyboardInterrupt

        task = asyncio.create_task(inner())
        await asyncio.wait([task], timeout=20)
        assert isinstance(task.exception(), KeyboardInterrupt)

    bench.registry.register("leaves", leaves)
    bench.registry.register("spawns", spawns)
    bench.registry.register("echo", echo)
    assert bench.run("leaves").message == "SystemExit: 3"
    assert bench.run("spawns").status == "completed"
    assert bench.run("echo", {"a": 1}).result == {"a": 1}
    assert "ended the loop" in caplog.text


def test_an_agent_that_blocks_the_loop_is_named(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watch says which agent blocks, and where in its code."""
    monkeypatch.setattr("goclaw_actors.executors.watch.ASK_EVERY_S", 0.0)
    monkeypatch.setattr("goclaw_actors.executors.watch.LAG_MAX_S", 0.01)
    warned = threading.Event()
    said: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())
            warned.set()

    async def blocks(ctx: TaskContext) -> bool:
        return warned.wait(20)

    ear = Ear(logging.WARNING)
    logging.getLogger("goclaw.executors").addHandler(ear)
    try:
        bench.registry.register("blocks", blocks)
        assert bench.run("blocks").result is True
    finally:
        logging.getLogger("goclaw.executors").removeHandler(ear)
    assert said[0].startswith("agent 'blocks' blocks the loop of the async agents at ")
    assert any(text.startswith("agent 'blocks' blocked the loop for ") for text in said)
    assert bench.executor.running().loop_lag_s > 0
