"""Use an engine from a terminal: submit or resume, watch until the end, stop when asked to."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw.board import RunBoard
from goclaw.engine import Engine
from goclaw.interrupts import Interrupts
from goclaw.run_records import run_outcome
from goclaw_actors.executors.resolve import resolved
from goclaw_events.envelope import numbers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from goclaw.config import Settings
    from goclaw.live import Display
    from goclaw.submission import Prepared
    from goclaw.unfinished import UnfinishedRun
    from goclaw_events.envelope import Cursor

_log = logging.getLogger(__name__)

INTERRUPTED: Final = "interrupted"
TIMEOUT: Final = "timeout"
VIEWS_S: Final = 60.0
SETTLE_S: Final = 5.0


class Request(NamedTuple):
    """A run to begin."""

    prepared: Prepared
    input: Mapping[str, Any]
    run_id: str | None = None
    labels: Mapping[str, str] | None = None


class Ending(NamedTuple):
    """How it ended: a record of each run, as `run_outcome` makes it.

    `cut_short` is '' when every run has ended, otherwise `INTERRUPTED` or `TIMEOUT`.
    """

    records: list[dict[str, Any]]
    cut_short: str


def run_in_foreground(
    settings: Settings, request: Request, display: Display, timeout_s: float | None = None
) -> Ending:
    """Submit a run and watch it until it ends, or `timeout_s` is over, or a signal comes.

    Raises what `Engine` raises when it is opened, and what `Engine.submit` raises.
    """
    return asyncio.run(_Foreground(settings, display).run(request, timeout_s))


def resume_in_foreground(
    settings: Settings, runs: Sequence[UnfinishedRun], display: Display
) -> Ending:
    """Open an engine, which goes on with everything, and watch `runs` until they have ended."""
    return asyncio.run(_Foreground(settings, display).resume(runs))


class _Foreground:
    def __init__(self, settings: Settings, display: Display) -> None:
        self._settings = settings
        self._display = display

    async def run(self, request: Request, timeout_s: float | None) -> Ending:
        with self._interrupts() as interrupts:
            async with Engine(settings=self._settings) as engine:
                cursor = engine.parts.tail.end()
                submitted = await engine.submit(
                    request.prepared,
                    input=request.input,
                    run_id=request.run_id,
                    labels=request.labels,
                    submitted_by="cli",
                )
                now_ns = engine.parts.clock.now_ns()
                board = RunBoard(submitted.run_id, request.prepared.plan, now_ns)
                boards = {submitted.run_id: board}
                if submitted.repeated:
                    await self._seed(engine, cursor, boards)
                return await self._watch(engine, cursor, boards, interrupts, timeout_s)

    async def resume(self, runs: Sequence[UnfinishedRun]) -> Ending:
        with self._interrupts() as interrupts:
            async with Engine(settings=self._settings) as engine:
                cursor = engine.parts.tail.end()
                boards = {
                    run.run_id: RunBoard(run.run_id, run.plan, run.submitted_at_ns) for run in runs
                }
                await self._seed(engine, cursor, boards)
                return await self._watch(engine, cursor, boards, interrupts, None)

    def _interrupts(self) -> Interrupts:
        display = self._display
        return Interrupts(
            lambda: display.note("stopping; once more ends it at once"), display.close
        )

    async def _seed(self, engine: Engine, cursor: Cursor, boards: Mapping[str, RunBoard]) -> None:
        """Give boards what was recorded up to a cursor."""
        views = engine.views
        await asyncio.to_thread(views.runner.wait_for, numbers(cursor), VIEWS_S)
        for run_id, board in boards.items():
            run = views.runs.get(run_id)
            if run is not None:
                found = views.tasks.tasks_of(run_id, board.tasks, run_ended=run.has_ended)
                board.since_ns = run.submitted_at_ns
                board.now_ns = run.ended_at_ns or board.now_ns
                board.seed(run.status, found)

    async def _watch(
        self,
        engine: Engine,
        cursor: Cursor,
        boards: dict[str, RunBoard],
        interrupts: Interrupts,
        timeout_s: float | None,
    ) -> Ending:
        for board in boards.values():
            self._display.add(board)
        results = [asyncio.create_task(engine.result(run_id)) for run_id in boards]
        follower = asyncio.create_task(self._follow(engine, cursor, boards))
        stopped = asyncio.create_task(interrupts.first.wait())
        everything = asyncio.gather(*results)
        try:
            ends: set[asyncio.Future[Any]] = {everything, stopped}
            done, _ = await asyncio.wait(
                ends, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            if everything in done:
                await asyncio.wait({follower}, timeout=SETTLE_S)
                everything.result()
                return Ending(await self._records(engine, boards), "")
            records = await self._records(engine, boards)
            return Ending(records, INTERRUPTED if stopped in done else TIMEOUT)
        finally:
            for task in (everything, follower, stopped):
                task.cancel()
            await asyncio.gather(everything, *results, stopped, return_exceptions=True)
            await asyncio.wait({follower})
            if not follower.cancelled() and (error := follower.exception()) is not None:
                _log.error("progress could not be shown", exc_info=error)

    async def _follow(self, engine: Engine, cursor: Cursor, boards: Mapping[str, RunBoard]) -> None:
        """Apply facts to boards, and show it, until every run has ended."""
        left = {run_id for run_id, board in boards.items() if not board.has_ended}
        if not left:
            return
        only = next(iter(left)) if len(left) == 1 else None
        async for recorded in engine.subscribe(cursor, run_id=only):
            run_id, _, task_id = recorded.stream.partition("/")[2].partition("/")
            board = boards.get(run_id)
            if board is None or recorded.stream.startswith("lane/"):
                continue
            line = board.apply(recorded)
            if line is not None:
                self._display.changed(board, task_id, line)
            elif run_id in left and board.has_ended:
                left.remove(run_id)
                self._display.ended(board)
                if not left:
                    return

    async def _records(
        self, engine: Engine, boards: Mapping[str, RunBoard]
    ) -> list[dict[str, Any]]:
        """Return what the views say of each run, now that they have seen everything."""
        views = engine.views
        await asyncio.to_thread(views.runner.wait_for, numbers(engine.parts.tail.end()), VIEWS_S)
        records = []
        for run_id, board in boards.items():
            run = views.runs.get(run_id)
            assert run is not None, "a run whose submission was folded has a row"
            tasks = views.tasks.tasks_of(run_id, board.tasks, run_ended=run.has_ended)
            value = await asyncio.to_thread(resolved, run.result, engine.parts.load)
            records.append(run_outcome(run, tasks, value))
        return records
