"""The executor as the engine sees it: agents that come late, references, progress, closing."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from goclaw.agents import register_builtins
from goclaw_actors.executors.context import RUN_ID, TASK_ID, TaskContext
from goclaw_actors.executors.errors import RateLimited, RetryAfter
from goclaw_actors.executors.resolve import resolved
from goclaw_events.value import BlobRef

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_actors.work import Executor
    from tests.actors.executors.conftest import Bench

WAIT_S = 20.0


async def async_params(ctx: TaskContext) -> Any:
    """Return the parameters."""
    return dict(ctx.params)


def sync_params(ctx: TaskContext) -> Any:
    """Return the parameters."""
    return dict(ctx.params)


@pytest.fixture(params=[async_params, sync_params], ids=["async", "thread"])
def agent(request: pytest.FixtureRequest, bench: Bench) -> str:
    """Register one of the two kinds of agents."""
    bench.registry.register("params", request.param)
    return "params"


def test_it_is_an_executor(bench: Bench) -> None:
    """The port of the engine is fulfilled, as mypy sees it."""
    port: Executor = bench.executor
    assert not port.holds(bench.attempt("a").token)


def test_bad_params_fail_without_a_retry(bench: Bench) -> None:
    """Both kinds say what is missing; the agent is not called."""

    async def async_two(ctx: TaskContext, one: int, two: int) -> None: ...

    def sync_two(ctx: TaskContext, one: int, two: int) -> None: ...

    bench.registry.register("async_two", async_two)
    bench.registry.register("sync_two", sync_two)
    for name in ("async_two", "sync_two"):
        outcome = bench.run(name, {"one": 1})
        assert (outcome.code, outcome.retryable) == ("bad_params", False)
        assert "'two' is missing" in outcome.message
        assert outcome.trace == ""


def test_references_in_parameters_are_loaded_off_the_caller(bench: Bench, agent: str) -> None:
    """Whole and in part, on a thread that is neither the dispatcher's nor the loop's."""
    big = bench.keep({"rows": list(range(50)), "name": "n"})
    part = BlobRef(big.sha256, big.size, ("rows", 7))
    assert bench.run(agent, {"all": big, "list": [part]}).result == {
        "all": {"rows": list(range(50)), "name": "n"},
        "list": [7],
    }
    whole = bench.keep({"a": 1})
    assert bench.run(agent, whole).result == {"a": 1}
    assert threading.current_thread().name not in bench.load_threads
    assert "goclaw-async" not in bench.load_threads


def test_a_reference_that_cannot_be_loaded_fails_the_attempt(bench: Bench, agent: str) -> None:
    """The error of the store is the error of the attempt."""
    missing = BlobRef(bytes(32), 10)
    assert bench.run(agent, {"x": missing}).status == "failed"
    assert bench.run(agent, {"x": 1}).result == {"x": 1}


def test_parameters_belong_to_the_attempt(bench: Bench) -> None:
    """What an agent does to its parameters does not reach the engine's copy."""

    async def spoils(ctx: TaskContext, items: list[int]) -> None:
        items.clear()
        with pytest.raises(TypeError):
            ctx.params["new"] = 1  # type: ignore[index]

    bench.registry.register("spoils", spoils)
    params = {"items": [1, 2]}
    assert bench.run("spoils", params).status == "completed"
    assert params == {"items": [1, 2]}


def test_a_large_result_comes_with_its_bytes(bench: Bench, agent: str) -> None:
    """The outcome holds a reference and the blob that it names."""
    outcome = bench.run(agent, {"x": "y" * 100_000})
    assert outcome.blobs is not None
    bench.blobs.update(outcome.blobs)
    assert resolved(outcome.result, bench._load) == {"x": "y" * 100_000}


def test_a_result_that_cannot_be_stored_fails(bench: Bench) -> None:
    """Both kinds; the attempt is not tried again."""

    async def async_odd(ctx: TaskContext) -> object:
        return object()

    bench.registry.register("async_odd", async_odd)
    bench.registry.register("sync_odd", lambda _: {1: 2})
    for name in ("async_odd", "sync_odd"):
        outcome = bench.run(name)
        assert (outcome.code, outcome.retryable) == ("value_not_storable", False)


def test_the_context_tells_about_the_attempt(bench: Bench) -> None:
    """Ids, key, deadline, and the input of the run, loaded when it is asked for."""
    seen: dict[str, Any] = {}

    def looks(ctx: TaskContext) -> None:
        for name in ("run_id", "task_id", "generation", "attempt", "idempotency_key", "input"):
            seen[name] = getattr(ctx, name)
        seen["again"] = ctx.input is ctx.input
        seen["deadline"], seen["remaining_s"] = ctx.deadline, ctx.remaining_s

    bench.registry.register("looks", looks)
    bench.inputs["r"] = {"root": bench.keep(["a"])}
    assert bench.run("looks", timeout_s=60.0).status == "completed"
    assert seen["input"] == {"root": ["a"]}
    assert seen["again"]
    assert (seen["run_id"], seen["generation"], seen["attempt"]) == ("r", 0, 1)
    assert seen["idempotency_key"] == f"r/{seen['task_id']}/0"
    assert timedelta(0) < seen["deadline"] - datetime.now(UTC) <= timedelta(seconds=60)
    assert 0 < seen["remaining_s"] <= 60
    assert bench.run("looks").status == "completed"
    assert (seen["deadline"], seen["remaining_s"]) == (None, None)


def test_ids_are_bound_where_the_agent_runs(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Context variables hold the ids, during the attempt only; log records carry them anywhere."""

    async def async_ids(ctx: TaskContext) -> list[str]:
        await asyncio.sleep(0)
        return [RUN_ID.get(), TASK_ID.get()]

    def sync_ids(ctx: TaskContext) -> list[str]:
        plain = contextvars.Context()
        plain.run(ctx.log.warning, "from elsewhere", extra={"step": 2})
        return [RUN_ID.get(), TASK_ID.get()]

    bench.registry.register("async_ids", async_ids)
    bench.registry.register("x.sync_ids", sync_ids)
    for name in ("async_ids", "x.sync_ids"):
        attempts = [bench.attempt(name) for _ in range(5)]
        bench.executor.start_many(attempts)
        for attempt in attempts:
            assert bench.outcome(attempt.token).result == ["r", attempt.task_id]
    record = caplog.records[0]
    assert record.name == "goclaw.agent.x.sync_ids"
    assert record.__dict__["run_id"] == "r"
    assert record.__dict__["step"] == 2
    assert (RUN_ID.get(), TASK_ID.get()) == ("", "")


def test_progress_reaches_the_sink_before_the_outcome(bench: Bench) -> None:
    """The first and the last report of a quick agent arrive, in order, then its outcome."""

    def reports(ctx: TaskContext) -> None:
        for step in range(101):
            ctx.progress(step / 100, f"step {step}")

    bench.registry.register("reports", reports)
    token = bench.start("reports")
    bench.outcome(token)
    assert [(p.fraction, p.message) for p in bench.progress()] == [
        (0.0, "step 0"),
        (1.0, "step 100"),
    ]
    items = [item for batch in bench.batches for item in batch]
    assert items[-1] is bench.outcomes[token][0]


def test_an_agent_that_is_not_registered_is_waited_for(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Its attempts are held with one warning, and begin when it is registered."""
    tokens = [bench.start("digest.late") for _ in range(3)]
    other = bench.start("digest.never")
    assert bench.executor.waiting_for_agents() == {"digest.late": 3, "digest.never": 1}
    assert all(bench.executor.holds(token) for token in tokens)
    assert caplog.text.count("no agent is registered as 'digest.late'") == 1
    assert "--module" in caplog.text
    bench.registry.register("digest.late", lambda _: "at last")
    assert [bench.outcome(token).result for token in tokens] == ["at last"] * 3
    assert bench.executor.waiting_for_agents() == {"digest.never": 1}
    bench.stop(other)
    assert bench.outcome(other).status == "cancelled"
    assert bench.executor.running().waiting_for_an_agent == 0


def test_an_attempt_is_held_until_its_outcome_is_with_the_sink(
    bench: Bench, wait_until: Callable[..., None]
) -> None:
    """`holds` is true from the start to the hand-over; starting it twice runs it once."""
    go = threading.Event()
    calls: list[int] = []

    def waits(ctx: TaskContext) -> None:
        calls.append(1)
        go.wait(WAIT_S)

    bench.registry.register("waits", waits)
    attempt = bench.attempt("waits")
    bench.executor.start_many([attempt, attempt])
    bench.executor.start_many([attempt])
    assert bench.executor.holds(attempt.token)
    go.set()
    bench.outcome(attempt.token)
    wait_until(lambda: not bench.executor.holds(attempt.token))
    bench.stop(attempt.token)  # unknown by now, ignored
    assert calls == [1]
    assert len(bench.outcomes[attempt.token]) == 1


def test_a_sink_that_fails_does_not_stop_the_executor(
    bench: Bench, caplog: pytest.LogCaptureFixture, wait_until: Callable[..., None]
) -> None:
    """The loss is logged; later outcomes arrive."""
    outbox = bench.executor._outbox
    sink, failures = outbox._sink, []

    def broken(items: Any) -> None:
        failures.append(items)
        outbox._sink = sink
        msg = "no"
        raise ValueError(msg)

    outbox._sink = broken
    bench.registry.register("quick", lambda _: "q")
    lost = bench.start("quick")
    wait_until(lambda: not bench.executor.holds(lost))
    assert bench.run("quick").result == "q"
    assert len(failures) == 1
    assert "they are lost" in caplog.text


def test_close_stops_what_runs_and_reports_it(bench: Bench) -> None:
    """Polite code ends within the grace; its outcomes say that the executor was closed."""
    begun = threading.Barrier(3)

    async def polite(ctx: TaskContext) -> None:
        await asyncio.to_thread(begun.wait, WAIT_S)
        await asyncio.Event().wait()

    def loops(ctx: TaskContext) -> None:
        begun.wait(WAIT_S)
        ctx.sleep(WAIT_S)

    bench.registry.register("polite", polite)
    bench.registry.register("loops", loops)
    tokens = [bench.start("polite"), bench.start("loops"), bench.start("unknown")]
    begun.wait(WAIT_S)
    began_s = time.monotonic()
    bench.executor.close(grace_s=WAIT_S)
    assert time.monotonic() - began_s < WAIT_S / 2
    for token in tokens:
        outcome = bench.outcomes[token][0]
        assert (outcome.status, outcome.code) == ("cancelled", "executor_closed")
        assert not outcome.abandoned
    late = bench.attempt("loops")
    bench.executor.start_many([late])
    assert not bench.executor.holds(late.token)
    bench.executor.close()


@pytest.mark.parametrize("kind", ["thread", "coroutine", "loop"])
def test_close_does_not_wait_for_hanging_code(bench: Bench, kind: str) -> None:
    """A thread, a coroutine that swallows, and a blocked loop are abandoned after the grace."""
    begun, go = threading.Event(), threading.Event()

    def thread(ctx: TaskContext) -> None:
        begun.set()
        go.wait(WAIT_S)

    async def coroutine(ctx: TaskContext) -> None:
        begun.set()
        while not go.is_set():
            try:
                await asyncio.sleep(0.001)
            except asyncio.CancelledError:
                continue

    async def loop(ctx: TaskContext) -> None:
        begun.set()
        go.wait(WAIT_S)

    bench.registry.register("hangs", {"thread": thread, "coroutine": coroutine, "loop": loop}[kind])
    token = bench.start("hangs")
    assert begun.wait(WAIT_S)
    began_s = time.monotonic()
    bench.executor.close(grace_s=0.02)
    assert time.monotonic() - began_s < 5
    outcome = bench.outcomes[token][0]
    assert (outcome.status, outcome.code) == ("cancelled", "executor_closed")
    assert outcome.abandoned
    go.set()


def test_close_leaves_no_thread_behind() -> None:
    """After a polite close every thread of the executor is gone."""
    from goclaw_actors.executors.agents import AgentRegistry
    from goclaw_actors.executors.executor import AgentExecutor

    before = set(threading.enumerate())
    registry, done = AgentRegistry(), threading.Semaphore(0)
    registry.register("quick", lambda _: "q")
    register_builtins(registry)
    executor = AgentExecutor(
        registry, lambda _: done.release(), load=lambda _: None, input_of=lambda _: None
    )
    from goclaw_actors.work import AttemptToken, StartAttempt

    for n, name in enumerate(["quick", "goclaw.sleep"]):
        token = AttemptToken(0, 1, n)
        executor.start_many([StartAttempt("s", "r", "t", 0, 1, token, name, None, 5.0)])
        assert done.acquire(timeout=WAIT_S)
    executor.close()
    assert set(threading.enumerate()) <= before


def test_the_built_in_agents_do_what_they_say(bench: Bench) -> None:
    """Sleep waits and returns nothing, echo gives back, fail fails as told."""
    register_builtins(bench.registry)
    assert bench.run("goclaw.sleep").result is None
    began_s = time.monotonic()
    assert bench.run("goclaw.sleep", {"seconds": 0.02}).status == "completed"
    assert time.monotonic() - began_s >= 0.02
    for odd in (-1, float("nan"), "long"):
        outcome = bench.run("goclaw.sleep", {"seconds": odd})
        assert (outcome.code, outcome.retryable) == ("bad_params", False)
    assert bench.run("goclaw.echo", {"a": [1]}).result == {"a": [1]}
    failing = {"message": "m", "code": "api.down", "retryable": True}
    outcome = bench.run("goclaw.fail", failing)
    assert (outcome.code, outcome.message, outcome.retryable) == ("api.down", "m", True)


def test_the_log_of_an_agent_is_made_when_it_is_used() -> None:
    """A context costs no logger; two uses give the same one."""
    logger_count = len(logging.Logger.manager.loggerDict)
    from goclaw_actors.executors.context import ContextPorts
    from goclaw_actors.work import AttemptToken, StartAttempt

    attempt = StartAttempt("s", "r", "t", 0, 1, AttemptToken(0, 1, 1), "only.here", None, 1e300)
    ports = ContextPorts(lambda _: None, lambda _: None, lambda _: None, lambda _, __: None)
    context = TaskContext(attempt, {}, ports)
    assert len(logging.Logger.manager.loggerDict) == logger_count
    assert context.log is context.log
    assert context.deadline is None  # beyond the calendar
    assert context.remaining_s is not None


@pytest.mark.parametrize("is_async", [True, False])
def test_an_agent_that_gives_no_sign_of_life_times_out(
    make_bench: Callable[..., Bench], is_async: bool
) -> None:
    """One that beats goes on for longer than the limit; one that is silent ends, typed."""
    bench = make_bench(abandon_grace_s=0.05)
    limit_s, beats = 0.2, 8
    released = threading.Event()

    async def async_agent(ctx: TaskContext, beat: bool) -> str:
        for _ in range(beats):
            await asyncio.sleep(limit_s / 4)
            if beat:
                ctx.heartbeat()
        await asyncio.sleep(0 if beat else WAIT_S)
        return "done"

    def sync_agent(ctx: TaskContext, beat: bool) -> str:
        for _ in range(beats):
            released.wait(limit_s / 4)
            if beat:
                ctx.progress(0.5)
        released.wait(0 if beat else WAIT_S)
        return "done"

    bench.registry.register("agent", async_agent if is_async else sync_agent)
    attempts = [
        bench.attempt("agent", {"beat": beat})._replace(heartbeat_s=limit_s)
        for beat in (True, False)
    ]
    bench.executor.start_many(attempts)
    beating, silent = (bench.outcome(attempt.token) for attempt in attempts)
    released.set()
    assert (beating.status, beating.result) == ("completed", "done")
    assert (silent.status, silent.code, silent.abandoned) == ("failed", "timeout", not is_async)
    assert "heartbeat_timeout of 0.2 s" in silent.message


def test_a_timeout_says_which_limit_it_was(bench: Bench) -> None:
    """What is left of the task's or the run's time is named as such."""

    async def hang(ctx: TaskContext) -> None:
        await asyncio.Event().wait()

    bench.registry.register("hang", hang)
    attempt = bench.attempt("hang", timeout_s=0.01)._replace(timeout_of="total_timeout")
    bench.executor.start_many([attempt])
    outcome = bench.outcome(attempt.token)
    assert (outcome.code, "were left of the total_timeout" in outcome.message) == ("timeout", True)


def test_an_agent_may_say_that_it_is_not_served(bench: Bench) -> None:
    """`RateLimited` is no failure of the agent; on the loop and in threads."""

    async def on_loop(ctx: TaskContext) -> None:
        raise RateLimited(12, "429")

    def in_thread(ctx: TaskContext) -> None:
        raise RateLimited(12, "429")

    bench.registry.register("loop", on_loop)
    bench.registry.register("thread", in_thread)
    for name in ("loop", "thread"):
        outcome = bench.run(name)
        assert (outcome.code, outcome.limited, outcome.retry_after_s) == ("rate_limited", True, 12)
        assert "429" in outcome.message
    for seconds in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="no number of seconds"):
            RateLimited(seconds)


def test_an_agent_may_ask_for_time(bench: Bench) -> None:
    """`RetryAfter` is a failure that may be retried, after so many seconds."""

    async def busy(ctx: TaskContext) -> None:
        raise RetryAfter(12, code="quota")

    bench.registry.register("busy", busy)
    outcome = bench.run("busy")
    assert (outcome.code, outcome.retryable, outcome.retry_after_s) == ("quota", True, 12.0)
    for seconds in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="no number of seconds"):
            RetryAfter(seconds)
