"""Sync agents: threads, their timeouts, stops, and those that never come back."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import pytest

from goclaw_actors.executors.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_actors.executors.context import TaskContext
    from tests.actors.executors.conftest import Bench

SOON_S = 0.02
WAIT_S = 20.0


class Gate:
    """A sync agent that waits at a gate and looks at nothing else."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.open = threading.Event()
        self.threads: list[threading.Thread] = []

    def __call__(self, _: TaskContext, n: int = 0) -> int:
        """Wait at the gate, return `n`."""
        self.threads.append(threading.current_thread())
        self.begun.release()
        self.open.wait(WAIT_S)
        return n


@pytest.fixture
def gate() -> Gate:
    """Make a gate."""
    return Gate()


def test_a_sync_agent_runs_in_a_thread_of_the_pool(bench: Bench) -> None:
    """A daemon with a name; the next attempt uses it again."""
    seen: list[threading.Thread] = []

    def where(ctx: TaskContext) -> None:
        seen.append(threading.current_thread())

    bench.registry.register("where", where)
    for _ in range(5):
        assert bench.run("where").status == "completed"
    assert seen[0].name == "goclaw-agent-1"
    assert all(thread.daemon for thread in seen)


def test_starts_beyond_the_threads_wait_in_order(
    make_bench: Callable[..., Bench], wait_until: Callable[..., None]
) -> None:
    """Nothing is refused; what waits is counted and begins as it came."""
    bench = make_bench(threads_max=1)
    order: list[int] = []
    go = threading.Event()

    def note(ctx: TaskContext, n: int) -> None:
        go.wait(WAIT_S)
        order.append(n)

    bench.registry.register("note", note)
    attempts = [bench.attempt("note", {"n": n}) for n in range(20)]
    bench.executor.start_many(attempts)
    wait_until(lambda: bench.executor.running().waiting_for_a_thread == 19)
    assert bench.executor.running().threads == 20
    go.set()
    for attempt in attempts:
        assert bench.outcome(attempt.token).status == "completed"
    assert order == list(range(20))


def test_a_thread_past_its_timeout_keeps_its_slot_until_it_returns(
    make_bench: Callable[..., Bench], gate: Gate
) -> None:
    """The timeout is the outcome at once; it is told, and what it returns only frees its place."""
    bench = make_bench(threads_max=1, abandon_grace_s=WAIT_S)
    told = threading.Event()

    def slow(ctx: TaskContext) -> str:
        with contextlib.suppress(Cancelled):
            ctx.sleep(WAIT_S)
        told.set()
        gate(ctx)
        return "too late"

    bench.registry.register("slow", slow)
    bench.registry.register("quick", lambda _: "q")
    token = bench.start("slow", timeout_s=SOON_S)
    quick = bench.start("quick")
    outcome = bench.outcome(token)
    assert (outcome.status, outcome.code, outcome.abandoned) == ("failed", "timeout", True)
    assert outcome.result is None
    assert told.wait(WAIT_S)
    assert bench.executor.holds(token)
    assert bench.executor.running().waiting_for_a_thread == 1
    gate.open.set()
    assert bench.returned(token).code == ""
    assert not bench.executor.holds(token)
    assert bench.outcome(quick).result == "q"
    assert len(bench.outcomes[token]) == 2


def test_a_thread_that_does_not_return_loses_its_slot_after_a_grace(
    make_bench: Callable[..., Bench], gate: Gate, wait_until: Callable[..., None]
) -> None:
    """The pool replaces it, which is said once, and its late result is dropped."""
    bench = make_bench(threads_max=1, abandon_grace_s=SOON_S)
    bench.registry.register("gate", gate)
    bench.registry.register("quick", lambda _: "q")
    token = bench.start("gate", {"n": 1}, timeout_s=SOON_S)
    quick = bench.start("quick")
    outcome = bench.outcome(token)
    assert (outcome.status, outcome.code, outcome.abandoned) == ("failed", "timeout", True)
    assert bench.returned(token).code == "grace"
    assert bench.outcome(quick).result == "q"
    assert bench.executor.running().abandoned_threads == 1
    gate.open.set()
    wait_until(lambda: bench.executor.running().abandoned_threads == 0)
    gate.threads[0].join(WAIT_S)
    assert not gate.threads[0].is_alive()
    assert len(bench.outcomes[token]) == 2


def test_the_number_of_abandoned_threads_is_bounded(
    make_bench: Callable[..., Bench], gate: Gate, wait_until: Callable[..., None]
) -> None:
    """Those without a slot count: beyond the bound new attempts fail until one returns."""
    bench = make_bench(abandoned_max=2, abandon_grace_s=SOON_S)
    bench.registry.register("gate", gate)
    bench.registry.register("quick", lambda _: "q")
    for token in [bench.start("gate", timeout_s=SOON_S) for _ in range(2)]:
        assert bench.outcome(token).abandoned
        assert bench.returned(token).code == "grace"
    refused = bench.run("quick")
    assert (refused.status, refused.code) == ("failed", "executor_exhausted")
    assert refused.retryable
    gate.open.set()
    wait_until(lambda: bench.executor.running().abandoned_threads == 0)
    assert bench.run("quick").result == "q"


def test_a_timeout_counts_from_when_a_thread_is_free(
    make_bench: Callable[..., Bench], gate: Gate
) -> None:
    """Waiting for a thread does not use up the time of an attempt."""
    bench = make_bench(threads_max=1)
    bench.registry.register("gate", gate)
    bench.registry.register("quick", lambda _: "q")
    first = bench.start("gate")
    second = bench.start("quick", timeout_s=SOON_S)
    assert gate.begun.acquire(timeout=WAIT_S)
    assert not threading.Event().wait(2 * SOON_S)  # longer than the timeout of the second
    gate.open.set()
    assert bench.outcome(first).status == "completed"
    assert bench.outcome(second).result == "q"


@pytest.mark.parametrize("way", ["check", "sleep", "look"])
def test_a_stop_tells_the_agent(bench: Bench, way: str) -> None:
    """`ctx.cancelled`, `check_cancelled` and `sleep` hear of it; `except Exception` does not."""
    begun = threading.Event()

    def loops(ctx: TaskContext) -> str:
        begun.set()
        while True:
            try:
                if way == "check":
                    ctx.check_cancelled()
                elif way == "sleep":
                    ctx.sleep(WAIT_S)
                elif ctx.cancelled:
                    return "stopped by itself"
            except Exception:  # noqa: BLE001, S112 - the habit that must not swallow a stop
                continue

    bench.registry.register("loops", loops)
    token = bench.start("loops")
    assert begun.wait(WAIT_S)
    bench.stop(token, "no longer needed")
    outcome = bench.outcome(token)
    assert (outcome.status, outcome.code) == ("cancelled", "cancelled")
    assert (outcome.message, outcome.abandoned) == ("no longer needed", False)


def test_a_thread_that_ignores_a_stop_is_abandoned_after_the_grace(
    make_bench: Callable[..., Bench], gate: Gate
) -> None:
    """The outcome is `cancelled` and says that the code may still run."""
    bench = make_bench(stop_grace_s=SOON_S)
    bench.registry.register("gate", gate)
    token = bench.start("gate", timeout_s=WAIT_S)
    assert gate.begun.acquire(timeout=WAIT_S)
    bench.stop(token)
    outcome = bench.outcome(token)
    assert (outcome.status, outcome.abandoned) == ("cancelled", True)
    gate.open.set()


def test_a_stop_reaches_what_waits_for_a_thread(
    make_bench: Callable[..., Bench], gate: Gate
) -> None:
    """It ends at once, is never called, and is not abandoned."""
    bench = make_bench(threads_max=1)
    bench.registry.register("gate", gate)
    first = bench.start("gate", {"n": 1})
    assert gate.begun.acquire(timeout=WAIT_S)
    second = bench.start("gate", {"n": 2})
    bench.stop(second)
    outcome = bench.outcome(second)
    assert (outcome.status, outcome.abandoned) == ("cancelled", False)
    assert threading.current_thread().name not in bench.sink_threads
    gate.open.set()
    assert bench.outcome(first).result == 1
    assert len(gate.threads) == 1


@pytest.mark.parametrize("error", [SystemExit(2), KeyboardInterrupt(), ValueError("x")])
def test_nothing_that_an_agent_raises_ends_its_thread(bench: Bench, error: BaseException) -> None:
    """The attempt fails, the pool goes on."""

    def raises(ctx: TaskContext) -> None:
        raise error

    bench.registry.register("raises", raises)
    assert bench.run("raises").code == "agent_error"
    assert bench.run("raises").code == "agent_error"
    assert bench.executor.running().threads == 0


def test_a_function_that_returns_a_coroutine_is_told_to_be_async(bench: Bench) -> None:
    """It fails with a hint instead of being recorded as done."""

    async def inner() -> int:
        return 1

    bench.registry.register("outer", lambda _: inner())
    outcome = bench.run("outer")
    assert (outcome.status, outcome.code) == ("failed", "agent_invalid")
    assert "async def" in outcome.message


def test_without_any_thread_attempts_fail_instead_of_waiting(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system refuses threads: `executor_exhausted`, which may be tried again."""
    bench.registry.register("quick", lambda _: "q")
    bench.executor._timers.after(0.0, bool)  # its thread exists already, as in an engine at work

    def refuse(_: threading.Thread) -> None:
        msg = "can't start new thread"
        raise RuntimeError(msg)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        outcome = bench.run("quick")
    assert (outcome.code, outcome.retryable) == ("executor_exhausted", True)
    assert bench.run("quick").result == "q"
