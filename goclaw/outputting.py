"""Read the output of tasks: the same words on `Engine` and `Client`."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping


@dataclass(frozen=True, slots=True)
class OutputChunk:
    """What `ctx.emit` was given once. `attempt` tells a restarted task from what it was before.

    `cursor` goes on behind it.
    """

    value: Any
    generation: int
    attempt: int
    number: int
    time_ns: int
    cursor: str


class Outputting:
    """Read what tasks emit."""

    async def output(
        self, run_id: str, task: str | None = None, *, after: str | None = None
    ) -> AsyncIterator[OutputChunk]:
        """Yield the chunks of a task's output behind a cursor, then as they come, to its end.

        `task` may be left out where the run has one task only. A chunk that was yielded is kept:
        it is there again after the engine was killed. Raises `RunNotFound`, `NotFound`,
        `InvalidPosition`.
        """
        params = {"run_id": run_id, "task": task, "after": after}
        async with aclosing(self._follow("output", params)) as parts:
            async for part in parts:
                for chunk in part["chunks"]:
                    yield OutputChunk(**chunk)

    def _follow(self, operation: str, params: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """Follow an operation whose parts have a cursor, to the part that says how it ended."""
        raise AssertionError(operation, params)
