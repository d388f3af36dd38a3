"""Kinds of work that are not agents: each attempt reaches the executor that is plugged in."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from goclaw.config import Settings
from goclaw.parts import executors_by_kind
from goclaw_actors.executors.children.children import Children
from goclaw_actors.executors.outcomes import cancelled, completed
from goclaw_actors.executors.supports import COLUMNS, SUPPORTS, Support

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from goclaw_actors.executors.run import Shared
    from goclaw_actors.work import AttemptToken, StartAttempt
    from tests.actors.executors.conftest import Bench


class Echo:
    """Complete with the kind of the attempt; hold those whose parameters are `hold`."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self.held: dict[AttemptToken, StartAttempt] = {}
        self.closed = False

    @property
    def running(self) -> int:
        """Return how many are held."""
        return len(self.held)

    def start(self, attempts: Sequence[StartAttempt]) -> None:
        """Complete, or hold."""
        for attempt in attempts:
            if attempt.params == "hold":
                self.held[attempt.token] = attempt
            else:
                done = completed(attempt, attempt.kind)
                self._shared.timers.after(0.0, self._shared.outbox.put, [done])

    def stop(
        self,
        stops: Sequence[tuple[AttemptToken, str]],
        code: str,
        grace_s: float | None = None,  # noqa: ARG002
    ) -> None:
        """Let go of what is held."""
        for token, reason in stops:
            attempt = self.held.pop(token, None)
            if attempt is not None:
                ended = cancelled(attempt, reason, code)
                self._shared.timers.after(0.0, self._shared.outbox.put, [ended])

    def abandon_all(self, reason: str, code: str) -> None:
        """Let go of all."""
        self.stop([(token, reason) for token in self.held], code)

    def close(self) -> None:
        """Remember it."""
        self.closed = True


def test_each_kind_reaches_its_executor(make_bench: Callable[..., Bench]) -> None:
    """Agents, plugged kinds, and both in one call."""
    bench = make_bench({"http": Echo, "exec": Echo})
    bench.registry.register("sync", lambda _ctx: "agent")
    attempts = [
        bench.attempt("sync"),
        bench.attempt("", kind="http"),
        bench.attempt("", kind="exec"),
    ]
    bench.executor.start_many(attempts)
    results = [bench.outcome(attempt.token).result for attempt in attempts]
    assert results == ["agent", "http", "exec"]


def test_a_kind_without_an_executor_fails_typed(bench: Bench) -> None:
    """Not retried, named, and not from the thread that started it."""
    outcome = bench.outcome(bench.start("", kind="http"))
    assert (outcome.status, outcome.code, outcome.retryable) == (
        "failed", "executor_missing", False,
    )  # fmt: skip
    assert "'http'" in outcome.message
    assert threading.current_thread().name not in bench.sink_threads


def test_stop_and_close_reach_the_executor(make_bench: Callable[..., Bench]) -> None:
    """A stop ends one attempt; closing stops the rest, then closes the executor."""
    made: list[Echo] = []

    def make(shared: Shared) -> Echo:
        made.append(Echo(shared))
        return made[-1]

    bench = make_bench({"http": make})
    first, second = (bench.start("", "hold", kind="http") for _ in range(2))
    assert bench.executor.running().others == {"http": 2}
    bench.stop(first, "enough")
    stopped = bench.outcome(first)
    assert (stopped.status, stopped.code, stopped.message) == ("cancelled", "cancelled", "enough")
    assert bench.executor.holds(second)
    bench.executor.close(grace_s=1.0)
    assert bench.outcome(second).code == "executor_closed"
    assert made[0].closed


def test_the_table_of_executors_has_a_row_for_each() -> None:
    """Agents run on the loop, in threads, in processes; each kind that is plugged in is there."""
    kinds = executors_by_kind(Settings(), Children())
    assert {"loop", "thread", "process", *kinds} <= set(SUPPORTS)
    assert set(COLUMNS) == set(Support._fields)
