"""The cap on attempts that run at once: who waits, who goes next, and whose time goes on."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.executors.gate import Entrant, Gate
from goclaw_actors.work import AttemptToken, StartAttempt, StopAttempt
from tests.actors.executors.conftest import PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from goclaw_actors.executors.context import TaskContext
    from tests.actors.executors.conftest import Bench


class Later:
    """Timers that fire when a test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.set: list[Any] = []
        self.overdue: list[StartAttempt] = []
        self.cancelled = 0

    def cancel(self) -> None:
        """Count."""
        self.cancelled += 1

    def after(self, *call: Any) -> Later:
        """Note what is to be called."""
        self.set.append(call)
        return self


def entrant(number: int, lane: str = "/a", **more: Any) -> Entrant:
    """Return an attempt of a lane."""
    token = AttemptToken(0, 1, number)
    attempt = StartAttempt("task/r/t", "r", "t", 0, 1, token, "x", None, None, lane=lane)
    return Entrant(None, attempt._replace(**more))


def numbers(entrants: Sequence[Entrant]) -> list[int]:
    """Return which attempts these are."""
    return [entrant.attempt.token.number for entrant in entrants]


@pytest.fixture
def later() -> Later:
    """Return a clock with timers."""
    return Later()


@pytest.fixture
def gate(later: Later) -> Gate:
    """Return a gate for two."""
    return Gate(2, lambda: later.now_s, later.after, later.overdue.append)


def test_no_more_than_the_cap_are_let_in(gate: Gate) -> None:
    """Who is beyond waits for one to leave, in order of arrival."""
    assert numbers(gate.enter([entrant(number) for number in range(5)])) == [0, 1]
    assert gate.waiting == 3
    assert numbers(gate.leave([AttemptToken(0, 1, 0)])) == [2]
    assert numbers(gate.leave([AttemptToken(0, 1, 0), AttemptToken(0, 1, 9)])) == []
    assert numbers(gate.leave([AttemptToken(0, 1, 1), AttemptToken(0, 1, 2)])) == [3, 4]
    assert gate.waiting == 0


def test_lanes_take_turns(gate: Gate) -> None:
    """A lane with many attempts does not keep another's one waiting."""
    gate.enter([entrant(number) for number in range(8)])
    gate.enter([entrant(10, "/b"), entrant(11, "/b")])
    order = []
    for left in (0, 1, 2, 10, 3, 11, 4, 5):
        order += numbers(gate.leave([AttemptToken(0, 1, left)]))
    assert order == [2, 10, 3, 11, 4, 5, 6, 7]


def test_who_is_given_up_waits_no_more(gate: Gate) -> None:
    """A stopped attempt leaves the queue once; another one's turn is not lost with it."""
    gate.enter([entrant(0), entrant(1)])
    gate.enter([entrant(2), entrant(3, "/b")])
    found = gate.give_up(AttemptToken(0, 1, 2))
    assert found is not None
    assert found.token.number == 2
    assert gate.give_up(AttemptToken(0, 1, 2)) is None
    assert gate.give_up(AttemptToken(0, 1, 0)) is None
    assert numbers(gate.leave([AttemptToken(0, 1, 1)])) == [3]


def test_its_own_timeout_begins_with_the_attempt_others_do_not(gate: Gate, later: Later) -> None:
    """What is left of the task's whole time is less by the wait; at its end the attempt ends."""
    total = {"timeout_s": 10.0, "timeout_of": "total_timeout"}
    gate.enter([entrant(0), entrant(1)])
    gate.enter([entrant(2, timeout_s=10.0), entrant(3, "/b", **total)])
    gate.enter([entrant(4, "/c", **total)])
    later.now_s = 4.0
    ended = [AttemptToken(0, 1, number) for number in (0, 1)]
    assert [one.attempt.timeout_s for one in gate.leave(ended)] == [10.0, 6.0]
    assert later.cancelled == 1
    delay_s, call, *args = later.set[-1]
    assert delay_s == 10.0
    call(*args)
    assert [attempt.token.number for attempt in later.overdue] == [4]
    assert gate.waiting == 0


def test_an_engine_never_runs_more_than_the_cap(make_bench: Callable[..., Bench]) -> None:
    """Of agents on the loop and in threads together; all of them end."""
    bench = make_bench(attempts_max=3)
    lock, running, most = threading.Lock(), [0], [0]

    def count(change: int) -> None:
        with lock:
            running[0] += change
            most[0] = max(most[0], running[0])

    async def on_loop(_: TaskContext) -> None:
        count(1)
        await asyncio.sleep(0.001)
        count(-1)

    def in_thread(_: TaskContext) -> None:
        count(1)
        threading.Event().wait(0.001)
        count(-1)

    bench.registry.register("loop", on_loop)
    bench.registry.register("thread", in_thread)
    tokens = [bench.start("loop" if number % 2 else "thread") for number in range(40)]
    assert [bench.outcome(token).status for token in tokens] == ["completed"] * 40
    assert 1 <= most[0] <= 3
    assert bench.executor.running().waiting_for_room == 0


def test_an_attempt_that_waits_is_held_and_can_be_stopped(make_bench: Callable[..., Bench]) -> None:
    """For the engine it runs: its slot is kept; stopped, it never begins."""
    bench = make_bench(attempts_max=1)
    gate, begun = threading.Event(), []

    def block(ctx: TaskContext) -> None:
        begun.append(ctx.task_id)
        gate.wait(PATIENCE_S)

    bench.registry.register("block", block)
    first, second, third = (bench.start("block") for _ in range(3))
    assert bench.executor.holds(second)
    assert bench.executor.running().waiting_for_room == 2
    bench.executor.stop_many([StopAttempt(second, "why")])
    assert bench.outcome(second).status == "cancelled"
    gate.set()
    assert [bench.outcome(token).status for token in (first, third)] == ["completed"] * 2
    assert len(begun) == 2


def test_abandoned_code_keeps_its_place_until_it_ends(make_bench: Callable[..., Bench]) -> None:
    """It still runs, so nothing is let in for it; then the next one is."""
    bench = make_bench(attempts_max=1, stop_grace_s=0.01, abandon_grace_s=PATIENCE_S)
    gate = threading.Event()

    def block(_: TaskContext) -> None:
        gate.wait(PATIENCE_S)

    bench.registry.register("block", block)
    first, second = bench.start("block"), bench.start("block")
    until(lambda: bench.executor.running().threads == 1)
    bench.executor.stop_many([StopAttempt(first, "why")])
    assert bench.outcome(first).abandoned
    assert bench.executor.running().waiting_for_room == 1
    gate.set()
    assert bench.outcome(second).status == "completed"


def test_what_waits_when_the_executor_closes_is_told(make_bench: Callable[..., Bench]) -> None:
    """Nothing is let in any more, and every attempt has its outcome."""
    bench = make_bench(attempts_max=1)

    async def forever(_: TaskContext) -> None:
        await asyncio.Event().wait()

    bench.registry.register("forever", forever)
    tokens = [bench.start("forever") for _ in range(3)]
    bench.executor.close(5.0)
    assert [bench.outcome(token).code for token in tokens] == ["executor_closed"] * 3
