"""What an agent hears while it runs: on the loop and in threads (workers: tests/goclaw)."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.executors.errors import Cancelled, Interrupted
from goclaw_actors.work import (
    Consumed,
    Interrupt,
    Offer,
    Outcome,
    Retract,
    Saved,
    Signal,
    TellAttempt,
)
from goclaw_events.errors import ValueNotStorable
from tests.actors.executors.conftest import PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from goclaw_actors.executors.context import TaskContext
    from goclaw_actors.work import AttemptToken
    from tests.actors.executors.conftest import Bench

    MakeBench = Callable[..., Bench]


def message(name: str, mode: str = "steer", *, redelivered: bool = False) -> Signal:
    """Return a message whose body is its id."""
    return Signal(name, "message", mode, name, "me", redelivered)


def patch(name: str, **params: Any) -> Signal:
    """Return a patch of parameters."""
    return Signal(name, "params", "steer", params, "me")


def tell(bench: Bench, token: AttemptToken, *signals: Signal) -> None:
    """Offer signals to an attempt."""
    bench.executor.tell_many([TellAttempt(token, Offer(signals))])


def reports(bench: Bench) -> list[Any]:
    """Return what was said in order: ids that were taken, states that were saved, ends."""
    found: list[Any] = []
    for item in [one for batch in bench.batches for one in batch]:
        if isinstance(item, Consumed):
            found.append(item.signals)
        elif isinstance(item, Saved):
            found.append((item.number, item.state))
        elif isinstance(item, Outcome):
            found.append(item.status)
    return found


async def test_parameters_change_at_once(make_bench: MakeBench) -> None:
    """`ctx.params` has the new values; `steered` waits for them, and misses none."""
    bench = make_bench()
    begun, seen = threading.Event(), threading.Event()

    async def agent(ctx: TaskContext) -> Any:
        begun.set()
        found = [dict(await ctx.steered())]
        seen.set()
        found.append(dict(await asyncio.wait_for(ctx.steered(), PATIENCE_S)))
        return [found, dict(ctx.params)]

    bench.registry.register("a", agent)
    token = bench.start("a", {"n": 1, "m": 1})
    assert begun.wait(PATIENCE_S)
    tell(bench, token, patch("p1", n=2))
    assert seen.wait(PATIENCE_S)
    tell(bench, token, patch("p2", n=3), patch("p3", n=4))
    tell(bench, token, patch("p2", n=3))  # told again
    result = bench.outcome(token).result
    assert result[0] == [{"n": 2, "m": 1}, {"n": 4, "m": 1}]
    assert reports(bench) == ["completed"]


def test_a_thread_hears_too(make_bench: MakeBench) -> None:
    """It waits for the next signal, looks at boundaries, and is called back on another thread."""
    bench = make_bench()
    called: list[Any] = []

    def agent(ctx: TaskContext) -> Any:
        ctx.on_signal(lambda signal: called.append((signal.id, threading.current_thread().name)))
        first = ctx.next_signal(PATIENCE_S)
        assert first is not None
        assert ctx.next_signal(0.0) is None
        turns: list[str] = []
        while len(turns) < 2:
            turns += [one.id for one in ctx.boundary()]
            ctx.sleep(0.001)
        return [first.id, turns, dict(ctx.params)]

    bench.registry.register("a", agent)
    token = bench.start("a", {"n": 1})
    tell(bench, token, patch("p1", n=2))
    until(lambda: called)
    tell(bench, token, message("m1"), message("m2"))
    assert bench.outcome(token).result == ["p1", ["m1", "m2"], {"n": 2}]
    until(lambda: len(called) == 3)
    assert {thread for _, thread in called} == {"goclaw-signals"}
    assert [found for found in reports(bench) if found != "completed"] in (
        [["m1"], ["m2"]], [["m1", "m2"]],
    )  # fmt: skip


async def test_each_message_is_taken_once_by_mode(make_bench: MakeBench) -> None:
    """A boundary takes what steers and what was merged; a turn is taken when it is asked for."""
    bench = make_bench()

    async def agent(ctx: TaskContext) -> Any:
        taken = [(one.id, one.body, one.redelivered) for one in ctx.boundary()]
        turn, none = ctx.next_turn(), ctx.next_turn()
        return [taken, turn and turn.id, none, ctx.boundary()]

    bench.registry.register("a", agent)
    signals = (
        message("t1", "followup"), message("m1", redelivered=True), message("c1", "coalesce"),
        message("c2", "coalesce"), message("m2"),
    )  # fmt: skip
    attempt = bench.attempt("a")._replace(signals=signals)
    bench.executor.start_many([attempt])
    result = bench.outcome(attempt.token).result
    assert result == [
        [["m1", "m1", True], ["c1", ["c1", "c2"], False], ["m2", "m2", False]], "t1", None, [],
    ]  # fmt: skip
    assert reports(bench) == [["m1", "c1", "c2", "m2"], ["t1"], "completed"]


async def test_a_stream_stops_where_something_is_said(make_bench: MakeBench) -> None:
    """While a chunk is awaited, too; what came so far is kept, and the source is closed."""
    bench = make_bench()
    closed = threading.Event()
    waits = threading.Event()

    async def tokens() -> AsyncIterator[str]:
        try:
            yield "a"
            yield "b"
            waits.set()
            await asyncio.sleep(PATIENCE_S)
        finally:
            closed.set()

    async def agent(ctx: TaskContext) -> Any:
        chunks = ctx.stream(tokens())
        seen = [chunk async for chunk in chunks]
        done = ctx.stream(short())
        return [seen, chunks.partial, [one.id for one in chunks.steered],
                [chunk async for chunk in done], done.steered]  # fmt: skip

    async def short() -> AsyncIterator[int]:
        yield 1

    bench.registry.register("a", agent)
    token = bench.start("a")
    assert waits.wait(PATIENCE_S)
    tell(bench, token, patch("p", n=1))  # is no reason to stop
    tell(bench, token, message("t", "followup"))
    tell(bench, token, message("m"))
    assert bench.outcome(token).result == [["a", "b"], ["a", "b"], ["m"], [1], []]
    assert closed.is_set()


async def test_all_signals_in_order(make_bench: MakeBench) -> None:
    """`ctx.signals()` yields patches and messages as they came; a retracted one is gone."""
    bench = make_bench()
    begun, more = threading.Event(), threading.Event()

    async def agent(ctx: TaskContext) -> Any:
        found: list[str] = []
        begun.set()
        await asyncio.to_thread(more.wait, PATIENCE_S)
        async for signal in ctx.signals():
            found.append(signal.id)
            if signal.id == "last":
                return found
        return None

    bench.registry.register("a", agent)
    token = bench.start("a")
    assert begun.wait(PATIENCE_S)
    tell(bench, token, message("m1"), patch("p1", n=1), message("gone"))
    bench.executor.tell_many([TellAttempt(token, Retract("gone"))])
    tell(bench, token, message("t1", "followup"), message("last"))
    more.set()
    assert bench.outcome(token).result == ["m1", "p1", "t1", "last"]


@pytest.mark.parametrize("is_async", [True, False])
def test_state_is_saved_in_order_and_resumed(make_bench: MakeBench, is_async: bool) -> None:
    """What is taken before a save is reported before it; what cannot be stored is refused."""
    bench = make_bench()

    def work(ctx: TaskContext) -> Any:
        ctx.boundary()
        with pytest.raises(ValueNotStorable):
            ctx.save(object())
        ctx.save({"seen": 1})
        ctx.save({"seen": 2})
        return ctx.resumed_state

    async def agent(ctx: TaskContext) -> Any:
        return work(ctx)

    bench.registry.register("a", agent if is_async else work)
    before = bench.keep({"large": "x"})
    attempt = bench.attempt("a")._replace(signals=(message("m1"),), state=before)
    bench.executor.start_many([attempt])
    assert bench.outcome(attempt.token).result == {"large": "x"}
    assert reports(bench) == [["m1"], (1, {"seen": 1}), (2, {"seen": 2}), "completed"]


def test_what_waits_for_its_agent_hears_when_it_begins(make_bench: MakeBench) -> None:
    """Told twice it hears once; what was retracted it does not hear."""
    bench = make_bench()
    token = bench.start("a", {"n": 1})
    tell(bench, token, message("m1"), patch("p", n=2), message("gone"))
    tell(bench, token, message("m1"))
    bench.executor.tell_many([TellAttempt(token, Retract("gone"))])

    async def agent(ctx: TaskContext) -> Any:
        return [[one.id for one in ctx.boundary()], dict(ctx.params)]

    bench.registry.register("a", agent)
    assert bench.outcome(token).result == [["m1"], {"n": 2}]


def test_who_waits_for_a_signal_can_be_stopped(make_bench: MakeBench) -> None:
    """In a thread it raises what every other wait raises."""
    bench = make_bench()
    ends: list[BaseException] = []
    begun = threading.Event()

    def agent(ctx: TaskContext) -> None:
        begun.set()
        try:
            ctx.next_signal()
        except Cancelled as error:
            ends.append(error)
            raise

    bench.registry.register("a", agent)
    token = bench.start("a")
    assert begun.wait(PATIENCE_S)
    bench.stop(token)
    assert bench.outcome(token).status == "cancelled"
    assert len(ends) == 1


# -- interrupts -----------------------------------------------------------------------------------


def interrupt(bench: Bench, token: AttemptToken, timeout_s: float = PATIENCE_S) -> None:
    """Interrupt an attempt."""
    bench.executor.tell_many([TellAttempt(token, Interrupt("stop it", timeout_s))])


@pytest.mark.parametrize("is_async", [True, False])
def test_an_interrupted_agent_saves_and_leaves(make_bench: MakeBench, is_async: bool) -> None:
    """Its next boundary raises; what it saves then comes before its end."""
    bench = make_bench()
    begun = threading.Event()

    def work(ctx: TaskContext, error: BaseException) -> None:
        assert ctx.interrupted
        ctx.save(str(error))

    async def agent(ctx: TaskContext) -> None:
        try:
            async for _ in ctx.stream(ticks()):
                assert not begun.is_set()
                begun.set()
        except Interrupted as error:
            work(ctx, error)
            raise

    async def ticks() -> AsyncIterator[int]:
        while True:
            yield 1
            await asyncio.sleep(PATIENCE_S)

    def function(ctx: TaskContext) -> None:
        begun.set()
        try:
            ctx.sleep(PATIENCE_S)
        except Interrupted as error:
            work(ctx, error)
            raise

    bench.registry.register("a", agent if is_async else function)
    token = bench.start("a")
    assert begun.wait(PATIENCE_S)
    interrupt(bench, token)
    found = bench.outcome(token)
    assert (found.status, found.code, found.message) == ("cancelled", "interrupted", "stop it")
    assert reports(bench) == [(1, "stop it"), "cancelled"]


@pytest.mark.parametrize("timeout_s", [0.0, 0.05])
def test_what_does_not_listen_has_what_it_awaits_cancelled(
    make_bench: MakeBench, timeout_s: float
) -> None:
    """After its time, or at once; it may still save."""
    bench = make_bench()
    begun = threading.Event()

    async def agent(ctx: TaskContext) -> None:
        begun.set()
        try:
            await asyncio.sleep(PATIENCE_S)
        except asyncio.CancelledError:
            ctx.save("tidy")
            raise

    bench.registry.register("a", agent)
    token = bench.start("a")
    assert begun.wait(PATIENCE_S)
    interrupt(bench, token, timeout_s)
    found = bench.outcome(token)
    assert (found.status, found.code, found.abandoned) == ("cancelled", "interrupted", False)
    assert reports(bench) == [(1, "tidy"), "cancelled"]


def test_a_second_interrupt_shortens_the_time(make_bench: MakeBench) -> None:
    """Who asked gracefully may ask again, at once; a thread that is deaf is abandoned."""
    bench = make_bench(stop_grace_s=0.02)
    begun, leave = threading.Event(), threading.Event()

    def agent(ctx: TaskContext) -> None:
        begun.set()
        leave.wait(PATIENCE_S)

    bench.registry.register("a", agent)
    token = bench.start("a")
    assert begun.wait(PATIENCE_S)
    interrupt(bench, token)
    interrupt(bench, token, 0.0)
    found = bench.outcome(token)
    assert (found.status, found.code, found.abandoned) == ("cancelled", "interrupted", True)
    leave.set()


def test_what_has_not_begun_does_not_begin(make_bench: MakeBench) -> None:
    """It waits for its agent, for room, or for a thread: it is over at once."""
    bench = make_bench(attempts_max=1)
    calls: list[int] = []

    async def agent(ctx: TaskContext) -> None:
        calls.append(ctx.attempt)
        await asyncio.sleep(PATIENCE_S)

    unknown = bench.start("nobody")
    bench.registry.register("a", agent)
    first, second = bench.start("a"), bench.start("a")
    for token in (unknown, second, first):
        interrupt(bench, token, 0.0)
        assert bench.outcome(token).code == "interrupted"
    assert len(calls) <= 1
