"""An attempt that is given another time while it runs, or waits to."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.executors.gate import Entrant, Gate
from goclaw_actors.executors.run import limited
from goclaw_actors.work import AttemptToken, Limit, StartAttempt, TellAttempt
from tests.actors.executors.conftest import PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_actors.executors.context import TaskContext
    from tests.actors.executors.conftest import Bench

ATTEMPT = StartAttempt("task/r/a", "r", "a", 0, 1, AttemptToken(0, 1, 1), "x", None, 10.0)
NONE = Limit(None, None, "timeout")


def test_the_narrower_of_two_limits_counts() -> None:
    """Its own counts from its start, the other from now; the text says which one it was."""
    assert limited(ATTEMPT, Limit(9.0, 7.0, "deadline"), 4.0).timeout_s == 9.0
    narrow = limited(ATTEMPT, Limit(9.0, 4.0, "deadline"), 4.0)
    assert (narrow.timeout_s, narrow.timeout_of) == (8.0, "deadline")
    assert limited(ATTEMPT, NONE, 4.0).timeout_s is None


@pytest.mark.parametrize("kind", ["loop", "thread"])
def test_what_runs_is_given_less_time_or_more(kind: str, bench: Bench) -> None:
    """It is over when the new time is, not the old one; `ctx.remaining_s` tells what is left."""
    contexts: dict[str, TaskContext] = {}
    go_on = threading.Event()

    async def on_loop(ctx: TaskContext) -> str:
        contexts[ctx.task_id] = ctx
        await asyncio.to_thread(go_on.wait, PATIENCE_S)
        return "done"

    def in_thread(ctx: TaskContext) -> str:
        contexts[ctx.task_id] = ctx
        go_on.wait(PATIENCE_S)
        return "done"

    agent: Any = on_loop if kind == "loop" else in_thread
    bench.registry.register("slow", agent)
    short, long = bench.start("slow", timeout_s=3600.0), bench.start("slow", timeout_s=0.3)
    began_s = time.monotonic()
    until(lambda: len(contexts) == 2)
    bench.executor.tell_many([TellAttempt(short, Limit(0.01, None, "timeout"))])
    bench.executor.tell_many([TellAttempt(long, NONE)])
    assert bench.outcome(short).message.endswith("took longer than its timeout of 0.01 s")
    until(lambda: time.monotonic() > began_s + 0.4)
    assert contexts[f"t{long.number}"].remaining_s is None
    go_on.set()
    assert bench.outcome(long).result == "done"


def test_what_waits_begins_with_the_new_time() -> None:
    """At the gate a limit that counts from before goes on counting, as the new one says."""
    timers: list[tuple[float, Callable[[], object]]] = []

    class Timer:
        def cancel(self) -> None:
            timers.clear()

    def after(delay_s: float, call: Callable[..., object], *args: Any) -> Timer:
        timers.append((delay_s, lambda: call(*args)))
        return Timer()

    over: list[StartAttempt] = []
    gate = Gate(1, lambda: 5.0, after, over.append)
    first = ATTEMPT._replace(token=AttemptToken(0, 1, 2))
    gate.enter([Entrant(None, first), Entrant(None, ATTEMPT)])
    assert timers == []

    def change(word: Limit) -> None:
        assert gate.change(ATTEMPT.token, lambda attempt: limited(attempt, word))

    change(Limit(10.0, 3.0, "deadline"))
    assert [delay_s for delay_s, _ in timers] == [3.0]
    change(Limit(2.0, 3.0, "deadline"))
    assert timers == []
    change(Limit(None, 1.0, "deadline"))
    timers[0][1]()
    assert [(one.timeout_s, one.timeout_of) for one in over] == [(1.0, "deadline")]
