"""Durable steps where agents run: done once, handed back (in workers: tests/goclaw).

The bench says that a step is recorded, as a task does once that is durable.
"""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.errors import HistoryFull
from goclaw_actors.executors import sleeping
from goclaw_actors.executors import steps as journal
from goclaw_actors.executors.agents import AgentOptions
from goclaw_actors.executors.errors import Interrupted, StepChanged, StepMissing
from goclaw_actors.executors.stepping import step_key
from goclaw_actors.work import (
    SLEPT,
    AttemptToken,
    Full,
    Interrupt,
    Recorded,
    Stepped,
    StepRecord,
    TellAttempt,
)
from goclaw_events.value import BlobRef
from tests.actors.executors.conftest import PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from goclaw_actors.executors.context import TaskContext
    from goclaw_actors.work import Outcome, Report
    from tests.actors.executors.conftest import Bench

KINDS = pytest.mark.parametrize("kind", ["loop", "thread"])


class Log:
    """What a log would do for a bench: it keeps what steps came to, and says so."""

    def __init__(self, bench: Bench, *, answers: bool = True) -> None:
        self.records: list[StepRecord] = []
        self.answers = answers
        self._bench = bench
        outbox = bench.executor._outbox
        self._sink, outbox._sink = outbox._sink, self._hear

    def _hear(self, items: Sequence[Report]) -> None:
        self._sink(items)
        for item in items:
            if isinstance(item, Stepped):
                self._bench.blobs.update(item.blobs or {})
                self.records.append(StepRecord(item.name, item.key, item.digest, item.result))
                if self.answers:
                    self.say(item.token, item.name, item.key)

    def say(self, token: AttemptToken, name: str, key: str = "") -> None:
        """Say that a step is durable."""
        self._bench.executor.tell_many([TellAttempt(token, Recorded(((name, key),)))])

    def begin(self, agent: str, **params: Any) -> AttemptToken:
        """Begin an attempt with what is recorded."""
        attempt = self._bench.attempt(agent, params)._replace(
            stream="task/r/t", task_id="t", steps=tuple(self.records)
        )
        self._bench.executor.start_many([attempt])
        return attempt.token

    def run(self, agent: str, **params: Any) -> Outcome:
        """Run an attempt with what is recorded."""
        return self._bench.outcome(self.begin(agent, **params))

    @property
    def names(self) -> list[str]:
        """Return the names of what is recorded, in order."""
        return [record.name for record in self.records]


def register(bench: Bench, kind: str, story: Callable[..., Any], **options: Any) -> None:
    """Register `story(do)` as the agent `a`; `do` is called as `ctx.step`, and as other methods.

    A story yields what an async agent awaits, and is sent what it comes to.
    """

    async def on_loop(ctx: TaskContext, **params: Any) -> Any:
        telling = story(ctx, **params)
        send: Any = None
        try:
            while True:
                awaited = telling.send(send)
                try:
                    send = await awaited()
                except Exception as error:  # noqa: BLE001 - handed to the story
                    send = error
        except StopIteration as end:
            return end.value

    def in_thread(ctx: TaskContext, **params: Any) -> Any:
        telling = story(ctx, **params)
        send: Any = None
        try:
            while True:
                called = telling.send(send)
                try:
                    send = called()
                except Exception as error:  # noqa: BLE001 - handed to the story
                    send = error
        except StopIteration as end:
            return end.value

    made = on_loop if kind == "loop" else in_thread
    bench.registry.register("a", made, options=AgentOptions(**options))


@KINDS
def test_a_step_is_done_once_and_handed_back(bench: Bench, kind: str) -> None:
    """A later attempt gets a copy of the same result, small or large, without a call."""
    log, calls = Log(bench), []

    def work(n: int) -> dict[str, Any]:
        calls.append(n)
        return {"n": n, "text": "x" * n}

    def story(ctx: TaskContext) -> Any:
        small = yield lambda: ctx.step("work", work, 3)
        large = yield lambda: ctx.step("work", work, 90_000, key="large")
        middle = yield lambda: ctx.step("work", work, 5_000, key="middle")
        small["n"] += 1  # a copy: nobody else sees it
        return [small["n"], len(large["text"]), middle["n"]]

    register(bench, kind, story)
    assert log.run("a").result == [4, 90_000, 5_000]
    assert log.run("a").result == [4, 90_000, 5_000]
    assert calls == [3, 90_000, 5_000]
    kept = [type(record.result) for record in log.records]
    assert kept == [dict, BlobRef, BlobRef]


@KINDS
def test_a_result_is_given_only_once_it_is_durable(bench: Bench, kind: str) -> None:
    """Until the log has said so the agent waits, whatever else is said to it."""
    log, passed = Log(bench, answers=False), threading.Event()

    def story(ctx: TaskContext) -> Any:
        yield lambda: ctx.step("one", lambda: 1)
        passed.set()

    register(bench, kind, story)
    token = log.begin("a")
    until(lambda: log.records)
    log.say(token, "other")
    log.say(token, "one", "other")
    assert not passed.wait(0.05)
    log.say(token, "one")
    assert bench.outcome(token).status == "completed"


@KINDS
def test_one_step_is_asked_for_once_in_an_attempt(bench: Bench, kind: str) -> None:
    """The second call is an error, recorded or not; after a failure it may be asked for again."""
    log = Log(bench)

    def boom() -> None:
        raise OSError

    def story(ctx: TaskContext) -> Any:
        first = yield lambda: ctx.step("s", boom)
        again = yield lambda: ctx.step("s", lambda: 1)
        twice = yield lambda: ctx.step("s", lambda: 2)
        keyed = yield lambda: ctx.step("s", lambda: 3, key="k")
        return [type(first).__name__, getattr(again, "code", again), twice.code, keyed]

    register(bench, kind, story)
    assert log.run("a").result == ["OSError", 1, "step_repeated", 3]
    assert log.run("a").result == ["int", "step_repeated", "step_repeated", 3]
    assert log.names == ["s", "s"]


def test_other_arguments_are_another_step(bench: Bench) -> None:
    """The error shows both digests and is not retried; the order of a dict does not count."""
    log = Log(bench)

    async def agent(ctx: TaskContext, order: dict[str, int]) -> int:
        result: int = await ctx.step("sum", lambda order: sum(order.values()), order)
        return result

    bench.registry.register("a", agent)
    assert log.run("a", order={"x": 1, "y": 2}).result == 3
    assert log.run("a", order={"y": 2, "x": 1}).result == 3
    changed = log.run("a", order={"x": 1, "y": 3})
    assert (changed.code, changed.retryable) == (StepChanged.code, False)
    assert log.records[0].digest.hex() in changed.message
    assert journal.digest_of(({"x": 1, "y": 3},), {}).hex() in changed.message


@KINDS
def test_what_cannot_name_or_be_a_step_is_refused(
    bench: Bench, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names, functions, arguments and results, and more steps than a task may have."""
    log = Log(bench)
    monkeypatch.setattr(journal, "STEPS_MAX", 2)

    wrong: Any = "5s"

    def story(ctx: TaskContext) -> Any:
        yield lambda: ctx.step("fits", lambda: 1)
        found = []
        for ask in (
            lambda: ctx.step("", lambda: 1),
            lambda: ctx.step("$now", lambda: 1),
            lambda: ctx.step("s", lambda: 1, key="#1"),
            lambda: ctx.step("s" * 201, lambda: 1),
            lambda: ctx.step("argument", lambda _: 1, object()),
            lambda: ctx.step("result", object),
            lambda: ctx.step("outer", lambda: ctx.uuid("inner")),
            lambda: ctx.sleep(float("nan")),
            lambda: ctx.sleep(wrong),
            lambda: ctx.step("call", wrong),
            lambda: ctx.step("also fits", lambda: 1),
            lambda: ctx.step("one too many", lambda: 1),
        ):
            answer = yield ask
            found.append(getattr(answer, "code", answer))
            if getattr(answer, "code", "") == "value_not_storable":
                assert "step" in str(answer), "it says what cannot be stored"
        return found

    register(bench, kind, story)
    storable = ["value_not_storable"] * 2
    refused = ["step_invalid"] * 4 + storable + ["step_invalid"] * 4
    assert log.run("a").result == [*refused, 1, "step_invalid"]


@KINDS
def test_time_chance_and_ids_are_recorded(bench: Bench, kind: str) -> None:
    """Each attempt sees the same ones; each has a key of its own."""
    log = Log(bench)

    def story(ctx: TaskContext) -> Any:
        now = yield ctx.now
        assert isinstance(now, datetime)
        assert now.tzinfo is UTC
        number = yield ctx.random
        other = yield lambda: ctx.random("other")
        name = yield ctx.uuid
        again = yield ctx.uuid
        return [now.isoformat(), number, other, name, again.code]

    register(bench, kind, story)
    first = log.run("a").result
    assert log.run("a").result == first
    assert len(set(map(str, first))) == 5
    assert 0.0 <= first[1] < 1.0


def test_parallel_steps_work_by_key(bench: Bench) -> None:
    """A hundred at once, in any order; those that are recorded are not done again."""
    log, calls = Log(bench), []

    async def double(n: int) -> int:
        await asyncio.sleep(0)
        calls.append(n)
        return 2 * n

    async def agent(ctx: TaskContext, numbers: list[int]) -> int:
        asked = (ctx.step("double", double, n, key=str(n)) for n in numbers)
        return sum(await asyncio.gather(*asked))

    bench.registry.register("a", agent)
    half = list(range(0, 100, 2))
    assert log.run("a", numbers=half).result == 2 * sum(half)
    assert log.run("a", numbers=list(range(99, -1, -1))).result == 2 * sum(range(100))
    assert sorted(calls) == list(range(100))


@KINDS
def test_steps_that_nobody_asks_for_are_told(bench: Bench, kind: str) -> None:
    """With the result; an agent that is strict has failed then, for good."""
    log = Log(bench)

    def story(ctx: TaskContext, names: list[str]) -> Any:
        for name in names:
            yield lambda name=name: ctx.step(name, lambda: 1)

    register(bench, kind, story)
    assert log.run("a", names=["x", "y"]).unused == ()
    less = log.run("a", names=["y"])
    assert (less.status, less.unused) == ("completed", (("x", ""),))
    assert log.run("a", names=[]).unused == (("x", ""), ("y", ""))
    strict = AgentOptions(strict_steps=True)
    bench.registry._agents.clear()
    register(bench, kind, story, strict_steps=strict.strict_steps)
    refused = log.run("a", names=["y"])
    assert (refused.code, refused.retryable) == ("steps_unused", False)
    assert "step 'x'" in refused.message


@KINDS
def test_a_step_has_a_key_to_hand_on(bench: Bench, kind: str) -> None:
    """The same in every attempt, and another for every step; there is none elsewhere."""
    log = Log(bench)

    def story(ctx: TaskContext) -> Any:
        with pytest.raises(StepMissing):
            step_key()
        first = yield lambda: ctx.step("a/b", step_key)
        second = yield lambda: ctx.step("a", step_key, key="b")
        return [first, second]

    register(bench, kind, story)
    assert log.run("a").result == ["r/t/0/a%2Fb/", "r/t/0/a/b"]


@KINDS
def test_an_interrupted_agent_begins_no_step(bench: Bench, kind: str) -> None:
    """It gets what is recorded all the same: a boundary stands before new work only."""
    log, told = Log(bench), threading.Event()

    def story(ctx: TaskContext) -> Any:
        yield lambda: ctx.step("old", lambda: 1)
        told.set()
        until_s = PATIENCE_S
        while not ctx.interrupted and until_s > 0:
            until_s -= 0.01
            yield lambda: ctx.sleep(0.01) if kind == "thread" else asyncio.sleep(0.01)
        try:
            yield lambda: ctx.step("new", lambda: 1)
        finally:
            log.records.append(StepRecord("end", "", b"", None))

    register(bench, kind, story)
    token = log.begin("a")
    assert told.wait(PATIENCE_S)
    bench.executor.tell_many([TellAttempt(token, Interrupt("enough", 10.0))])
    assert bench.outcome(token).code == "interrupted"
    assert "new" not in log.names


@KINDS
def test_a_full_history_takes_no_new_step_and_no_state(bench: Bench, kind: str) -> None:
    """Both raise at the call, before anything is done; what is recorded is handed back still."""
    log, done = Log(bench), list[int]()

    def story(ctx: TaskContext) -> Any:
        yield lambda: ctx.step("old", done.append, 1)
        bench.executor.tell_many([TellAttempt(ctx._attempt.token, Full("it is full", "end"))])
        refused = yield lambda: ctx.step("new", done.append, 2)
        try:
            ctx.save({"n": 1})
        except HistoryFull as error:
            return [refused.code, error.message, error.hint]

    register(bench, kind, story)
    assert log.run("a").result == ["history_full", "it is full", "end"]
    assert (done, log.names) == ([1], ["old"])


@KINDS
def test_an_agent_that_lets_a_full_history_through_is_not_tried_again(
    bench: Bench, kind: str
) -> None:
    """Another attempt would find it as full."""
    log = Log(bench)

    def story(ctx: TaskContext) -> Any:
        bench.executor.tell_many([TellAttempt(ctx._attempt.token, Full("it is full", "end"))])
        raise (yield lambda: ctx.step("new", int))

    register(bench, kind, story)
    outcome = log.run("a")
    assert (outcome.code, outcome.message) == ("history_full", "it is full (end)")
    assert not outcome.retryable


# -- sleep ----------------------------------------------------------------------------------------


@KINDS
def test_who_sleeps_for_long_leaves_and_comes_back(bench: Bench, kind: str) -> None:
    """The attempt ends with the time at which it wakes; one after that time sleeps no more."""
    log = Log(bench)
    now_ns = [10**18]
    ports = bench.executor._async._shared.ports._replace(now_ns=lambda: now_ns[0])
    for executor in (bench.executor._async, bench.executor._threads):
        executor._shared = executor._shared._replace(ports=ports)

    def story(ctx: TaskContext) -> Any:
        yield lambda: ctx.sleep(0.001)
        yield lambda: ctx.sleep(3600)
        yield lambda: ctx.sleep(7200, key="second")
        return "awake"

    register(bench, kind, story)
    slept = log.run("a")
    assert (slept.status, slept.result) == (SLEPT, 10**18 + 3600 * 10**9)
    now_ns[0] += 600 * 10**9
    assert log.run("a")[2:4] == slept[2:4], "it wakes when it was to at first"
    now_ns[0] = slept.result
    second = log.run("a")
    assert second.result == slept.result + 7200 * 10**9
    now_ns[0] = second.result
    assert log.run("a").result == "awake"
    assert [(record.name, record.key) for record in log.records] == [
        ("$sleep", "#2"), ("$sleep", "second"),
    ]  # fmt: skip


def test_nobody_falls_asleep_while_a_step_runs(bench: Bench) -> None:
    """The attempt ends when all sleep, for as long as the first of them."""
    log, finish = Log(bench), threading.Event()

    async def long() -> int:
        await asyncio.to_thread(finish.wait)
        return 1

    async def branch(ctx: TaskContext) -> None:
        await ctx.step("long", long)
        await ctx.sleep(30)

    async def agent(ctx: TaskContext) -> None:
        await asyncio.gather(ctx.sleep(3600, key="hour"), branch(ctx))

    bench.registry.register("a", agent)
    token = log.begin("a")
    until(lambda: log.names == ["$sleep"])
    assert token not in bench.outcomes
    finish.set()
    slept = bench.outcome(token)
    assert log.names == ["$sleep", "long", "$sleep"]
    assert slept.status == SLEPT
    assert slept.result == log.records[2].result < log.records[0].result


def test_a_short_sleep_keeps_the_slot(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is recorded where it has a key; by itself it never ends an attempt."""
    log = Log(bench)

    async def agent(ctx: TaskContext) -> str:
        await ctx.sleep(0.001)
        await asyncio.gather(ctx.sleep(0.001, key="short"), ctx.sleep(0.002))
        return "awake"

    bench.registry.register("a", agent)
    monkeypatch.setattr(journal, "SETTLE_S", 0.0)
    assert log.run("a").result == "awake"
    assert [(record.name, record.key) for record in log.records] == [("$sleep", "short")]


@KINDS
def test_an_interrupt_wakes_who_sleeps(
    bench: Bench, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, as at any boundary."""
    monkeypatch.setattr(sleeping, "SLEEP_HELD_S", 10_000.0)
    log, lies = Log(bench), threading.Event()

    def story(ctx: TaskContext) -> Any:
        lies.set()
        try:
            yield lambda: ctx.sleep(3600)
        except Interrupted:
            return "not reached"

    register(bench, kind, story)
    token = log.begin("a")
    assert lies.wait(PATIENCE_S)
    bench.executor.tell_many([TellAttempt(token, Interrupt("wake up", 10.0))])
    assert bench.outcome(token).code == "interrupted"


def test_who_does_not_await_a_step_leaves_nobody_behind(bench: Bench) -> None:
    """What waits for a record when the agent has ended is cancelled."""
    log, left = Log(bench, answers=False), []

    async def agent(ctx: TaskContext) -> None:
        left.append(asyncio.ensure_future(ctx.step("s", lambda: 1)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    bench.registry.register("a", agent)
    assert log.run("a").status == "completed"
    until(left[0].done)
    assert left[0].cancelled()
