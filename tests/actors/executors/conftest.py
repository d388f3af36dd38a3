"""A bench for executors: real threads and a real loop, and a sink that tests can wait on."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.executors.agents import AgentRegistry
from goclaw_actors.executors.executor import AgentExecutor
from goclaw_actors.executors.run import ExecutorLimits
from goclaw_actors.work import (
    RETURNED,
    AttemptToken,
    Outcome,
    Progress,
    Report,
    StartAttempt,
    StopAttempt,
)
from goclaw_events.value import BlobRef, blob_of, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from goclaw_actors.executors.kind import KindFactory
    from goclaw_events.value import Value

PATIENCE_S = 20.0


class Bench:
    """An executor with a registry, blobs and a sink of its own."""

    def __init__(
        self, limits: ExecutorLimits, kinds: Mapping[str, KindFactory] | None = None
    ) -> None:
        self.registry = AgentRegistry()
        self.blobs: dict[bytes, bytes] = {}
        self.inputs: dict[str, Value] = {}
        self.batches: list[list[Report]] = []
        self.outcomes: dict[AttemptToken, list[Outcome]] = {}
        self.sink_threads: set[str] = set()
        self.load_threads: set[str] = set()
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self.executor = AgentExecutor(
            self.registry,
            self._sink,
            load=self._load,
            input_of=lambda run_id: self.inputs[run_id],
            limits=limits,
            kinds=kinds,
        )

    def _sink(self, items: Sequence[Report]) -> None:
        with self._changed:
            self.sink_threads.add(threading.current_thread().name)
            self.batches.append(list(items))
            for item in items:
                if isinstance(item, Outcome):
                    self.outcomes.setdefault(item.token, []).append(item)
            self._changed.notify_all()

    def _load(self, ref: BlobRef) -> Value:
        self.load_threads.add(threading.current_thread().name)
        return unpack(self.blobs[ref.sha256])

    def keep(self, value: object) -> BlobRef:
        """Keep a value as a blob."""
        data = pack(value)
        ref = blob_of(data)
        self.blobs[ref.sha256] = data
        return ref

    def attempt(
        self,
        agent: str,
        params: Value = None,
        *,
        timeout_s: float | None = None,
        kind: str = "agent",
    ) -> StartAttempt:
        """Make an attempt with a token of its own."""
        number = next(self._numbers)
        task = f"t{number}"
        token = AttemptToken(0, 1, number)
        return StartAttempt(
            f"task/r/{task}", "r", task, 0, 1, token, agent, params, timeout_s, kind
        )

    def start(
        self,
        agent: str,
        params: Value = None,
        *,
        timeout_s: float | None = None,
        kind: str = "agent",
    ) -> AttemptToken:
        """Start one attempt."""
        attempt = self.attempt(agent, params, timeout_s=timeout_s, kind=kind)
        self.executor.start_many([attempt])
        return attempt.token

    def stop(self, token: AttemptToken, reason: str = "cancelled by a test") -> None:
        """Stop one attempt."""
        self.executor.stop_many([StopAttempt(token, reason)])

    def outcome(self, token: AttemptToken) -> Outcome:
        """Wait for the outcome of an attempt."""
        with self._changed:
            assert self._changed.wait_for(lambda: token in self.outcomes, PATIENCE_S)
            return self.outcomes[token][0]

    def returned(self, token: AttemptToken) -> Outcome:
        """Wait until the slot of an abandoned attempt is free."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.outcomes[token]) > 1, PATIENCE_S)
            returned = self.outcomes[token][1]
        assert returned.status == RETURNED
        return returned

    def run(self, agent: str, params: Value = None, *, timeout_s: float | None = None) -> Outcome:
        """Start one attempt and wait for its outcome."""
        return self.outcome(self.start(agent, params, timeout_s=timeout_s))

    def progress(self) -> list[Progress]:
        """Return the progress that has arrived."""
        with self._changed:
            return [i for batch in self.batches for i in batch if isinstance(i, Progress)]


def files() -> int:
    """Return how many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def until(condition: Callable[[], Any]) -> None:
    """Wait until a condition holds; fail if it never does."""
    pause = threading.Event()
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "the condition never held"
        pause.wait(0.001)


@pytest.fixture
def make_bench() -> Iterator[Callable[..., Bench]]:
    """Make benches with limits of their own; they are closed at the end."""
    made: list[Bench] = []

    def make(kinds: Mapping[str, KindFactory] | None = None, **limits: Any) -> Bench:
        bench = Bench(ExecutorLimits(**limits), kinds)
        made.append(bench)
        return bench

    yield make
    for bench in made:
        bench.executor.close(grace_s=0.05)


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    """Make a bench with the default limits."""
    return make_bench()


@pytest.fixture
def wait_until() -> Callable[[Callable[[], Any]], None]:
    """Return a function that waits for a condition."""
    return until
