"""Who waits for an answer of the engine, or for the end of a run; all on the engine's loop."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from logging import getLogger
from typing import TYPE_CHECKING, Any

from goclaw.recorded_end import failure, recorded_end
from goclaw.results import RunResult
from goclaw_events.errors import CodedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw.parts import Parts
    from goclaw_actors.decider import RunEnded
    from goclaw_actors.message import Reply
    from goclaw_events.envelope import Position

log = getLogger(__name__)


class Waiting:
    """Futures of answers, and of the ends of runs by run id."""

    def __init__(self) -> None:
        self._ends: dict[str, list[asyncio.Future[RunResult]]] = {}
        self._replies: set[asyncio.Future[Reply]] = set()
        self._looking: set[asyncio.Task[None]] = set()

    def reply(self) -> asyncio.Future[Reply]:
        """Return a future for the answer to a command."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._replies.add(future)
        future.add_done_callback(self._replies.discard)
        return future

    @contextmanager
    def end_of(self, run_id: str) -> Iterator[asyncio.Future[RunResult]]:
        """Give a future that the run's end resolves."""
        future: asyncio.Future[RunResult] = asyncio.get_running_loop().create_future()
        waiters = self._ends.setdefault(run_id, [])
        waiters.append(future)
        try:
            yield future
        finally:
            waiters.remove(future)
            if not waiters:
                self._ends.pop(run_id, None)

    def wants(self, run_id: str) -> bool:
        """Tell whether anybody waits for the end of a run. Any thread."""
        return run_id in self._ends

    def tell(self, ended: RunEnded, position: Position) -> None:
        """Hand over the end of a run."""
        error = failure(ended.error)
        result = RunResult(ended.run_id, ended.status, ended.result, error, position)
        for future in self._ends.get(ended.run_id, ()):
            resolve(future, result)

    def look_again(self, parts: Parts) -> None:
        """Look up every run that is waited for: its end may be in a commit that failed."""
        for run_id in self._ends:
            task = asyncio.ensure_future(self._look_up(parts, run_id))
            self._looking.add(task)
            task.add_done_callback(self._looking.discard)

    async def _look_up(self, parts: Parts, run_id: str) -> None:
        try:
            known = await asyncio.to_thread(recorded_end, parts.journal, parts.deciders, run_id)
        except CodedError as error:
            log.warning("run %s cannot be looked up: %s", run_id, error)
            return
        if known is not None:
            for future in self._ends.get(run_id, ()):
                resolve(future, known)

    def fail(self, error: Exception) -> None:
        """Raise an error wherever anything is waited for."""
        futures: list[asyncio.Future[Any]] = [*self._replies]
        futures += [future for waiters in self._ends.values() for future in waiters]
        for future in futures:
            if not future.done():
                future.set_exception(error)


def resolve(future: asyncio.Future[Any], value: Any) -> None:
    """Give a future its value, unless nobody waits for it any more."""
    if not future.done():
        future.set_result(value)
