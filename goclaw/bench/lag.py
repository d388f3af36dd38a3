"""How far the views are behind what is durable, in time."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from goclaw.bench.machine import percentiles

if TYPE_CHECKING:
    from goclaw.engine import Engine

LOOK_EVERY_S: Final = 0.01


class LagWatch:
    """Look again and again, on the loop of the caller, at how old what is not folded yet is."""

    def __init__(self, engine: Engine) -> None:
        self._journal = engine.parts.journal
        self._runner = engine.views.runner
        self._seen: list[deque[tuple[float, int]]] = [
            deque() for _ in range(self._journal.partitions)
        ]
        self._lags_ms: list[float] = []
        self._task = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        while True:
            self._look(time.perf_counter())
            await asyncio.sleep(LOOK_EVERY_S)

    def _look(self, now_s: float) -> None:
        oldest_s = now_s
        for partition, seen in enumerate(self._seen):
            durable = self._journal.durable(partition)
            folded = durable - self._runner.lag(partition)
            seen.append((now_s, durable))
            while seen and seen[0][1] <= folded:
                seen.popleft()
            if seen:
                oldest_s = min(oldest_s, seen[0][0])
        self._lags_ms.append((now_s - oldest_s) * 1000)

    def stop(self) -> dict[str, float]:
        """Look no more; return the lag in milliseconds."""
        self._task.cancel()
        return {**percentiles(self._lags_ms), "max": round(max(self._lags_ms, default=0.0), 3)}
