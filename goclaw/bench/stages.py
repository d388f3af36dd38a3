"""Where the time of a task goes: CPU time of each thread, and of the steps of a decision."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from goclaw_events.ids import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw.parts import Parts
    from goclaw_actors.decider import Decider

THREADS: Final = {
    "goclaw-dispatch": "dispatch",
    "goclaw-commit": "write",
    "goclaw-views": "projections",
    "goclaw-async": "executor",
    "MainThread": "caller",
}


def _clock_of(pid: int) -> int:
    """Return the clock of a process's CPU time, as `clock_getcpuclockid` does on Linux."""
    return (~pid << 3) | 2


class StageClock:
    """Count CPU time from now on. With `inside`, steps of the dispatcher are timed as well.

    Timing steps costs about 0.2 µs each, so figures of throughput come from runs without it.
    """

    def __init__(self, parts: Parts, *, inside: bool) -> None:
        self._runner = parts.views.runner
        self._steps: dict[str, float] = {}
        self._within = False
        if inside:
            self._instrument(parts)
        self._clocks = {
            stage: time.pthread_getcpuclockid(thread.ident)
            for thread in threading.enumerate()
            for name, stage in THREADS.items()
            if thread.name.startswith(name) and thread.ident is not None
        }
        self._before = self._read()

    def _read(self) -> dict[str, float]:
        return {stage: time.clock_gettime(clock) for stage, clock in self._clocks.items()}

    def per_task(self, tasks: int) -> dict[str, float]:
        """Return microseconds a task by stage; `dispatch` is what its steps leave of its thread.

        `folding` is the process that folds views under load, which has a core of its own.
        """
        now = self._read()
        spent = {stage: now[stage] - self._before[stage] for stage in now}
        for step, seconds in self._steps.items():
            spent[step] = seconds
            spent["dispatch"] -= seconds
        pid = self._runner.folding_pid
        if pid is not None:
            spent["folding"] = time.clock_gettime(_clock_of(pid))
        return {stage: round(seconds / tasks * 1e6, 1) for stage, seconds in spent.items()}

    def _instrument(self, parts: Parts) -> None:
        for dispatcher in parts.node.dispatchers:
            turns = dispatcher.turns
            turns.pack = self._timed("encode", turns.pack)
            dispatcher.encode = self._timed("encode", dispatcher.encode)  # type: ignore[method-assign]
            deciders = turns.directory.kinds.items()
            kinds = {kind: self._timed_decider(decider) for kind, decider in deciders}
            turns.directory.kinds = kinds
            for entity in list(turns.directory.live.values()):
                entity.decider = kinds[kind_of(entity.stream)]

    def _timed_decider(self, decider: Decider[Any]) -> Decider[Any]:
        decide, evolve, pool = decider.decide, decider.evolve, decider.pool
        if pool is not None:
            pool = replace(pool, decide=self._timed("decide", pool.decide))
        return replace(
            decider,
            decide=self._timed("decide", decide),
            evolve=self._timed("fold", evolve),
            pool=pool,
        )

    def _timed(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        steps = self._steps
        steps[step] = 0.0
        clock = time.perf_counter

        def timed(*args: Any) -> Any:
            if self._within:
                return function(*args)
            self._within = True
            started = clock()
            try:
                return function(*args)
            finally:
                steps[step] += clock() - started
                self._within = False

        return timed
