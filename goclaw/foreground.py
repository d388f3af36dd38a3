"""Use an engine from a terminal: submit or resume, watch until the end, stop when asked to."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw.board import RunBoard
from goclaw.client import Client
from goclaw.engine import Engine
from goclaw.errors import ConnectionLost, EngineClosed, EngineNotRunning
from goclaw.interrupts import Interrupts
from goclaw.operations.desk import EngineDesk
from goclaw_events.plan import unpack_plan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from goclaw.config import Settings
    from goclaw.forms import Sendable
    from goclaw.live import Display
    from goclaw.results import Submitted
    from goclaw.submission import Prepared
    from goclaw_events.envelope import Cursor

_log = logging.getLogger(__name__)

INTERRUPTED: Final = "interrupted"
TIMEOUT: Final = "timeout"
OUTCOME_KEYS: Final = (
    "run_id", "status", "result", "error", "duration_s", "position", "tasks",
)  # fmt: skip
_NOW: Final = {"min_position": "now"}
SETTLE_S: Final = 5.0


class Request(NamedTuple):
    """A run to begin; `workflow` is what `prepared` was compiled from."""

    workflow: Sendable
    prepared: Prepared
    input: Mapping[str, Any]
    run_id: str | None = None
    labels: Mapping[str, str] | None = None
    idempotency_key: str | None = None


class Ending(NamedTuple):
    """How it ended: a record of each run, as `run_outcome` makes it.

    `cut_short` is '' when every run has ended, otherwise `INTERRUPTED` or `TIMEOUT`; then
    `goes_on` says that another process runs the engine.
    """

    records: list[dict[str, Any]]
    cut_short: str
    goes_on: bool = False


def run_in_foreground(
    settings: Settings, request: Request, display: Display, timeout_s: float | None = None
) -> Ending:
    """Submit a run and watch it until it ends, or `timeout_s` is over, or a signal comes.

    Where an engine runs on the data directory it gets the run, otherwise one is opened here.
    Raises what `Engine` raises when it is opened, what `Engine.submit` raises, and
    `ConnectionLost` where the other engine goes away.
    """
    return asyncio.run(_Foreground(settings, display).run(request, timeout_s))


def resume_in_foreground(settings: Settings, run_ids: Sequence[str], display: Display) -> Ending:
    """Open an engine, which goes on with everything, and watch runs until they have ended."""
    return asyncio.run(_Foreground(settings, display).resume(run_ids))


class _Foreground:
    def __init__(self, settings: Settings, display: Display) -> None:
        self._settings = settings
        self._display = display

    async def run(self, request: Request, timeout_s: float | None) -> Ending:
        with self._interrupts() as interrupts:
            async with self._engine(interrupts) as (client, engine):
                cursor = await client.end()
                submitted = await self._submit(client, engine, request)
                board = RunBoard(submitted.run_id, request.prepared.plan, time.time_ns())
                if submitted.repeated:
                    _seed(board, await client.ask("runs.board", run=board.run_id, **_NOW))
                boards = {board.run_id: board}
                return await self._watch(client, engine, cursor, boards, interrupts, timeout_s)

    @staticmethod
    async def _submit(client: Client, engine: Engine | None, request: Request) -> Submitted:
        if engine is None:
            return await client.submit(
                request.workflow,
                input=request.input,
                run_id=request.run_id,
                idempotency_key=request.idempotency_key,
                labels=request.labels,
            )
        return await engine.submit(
            request.prepared,
            input=request.input,
            run_id=request.run_id,
            idempotency_key=request.idempotency_key,
            labels=request.labels,
            submitted_by="cli",
        )

    async def resume(self, run_ids: Sequence[str]) -> Ending:
        with self._interrupts() as interrupts:
            async with self._engine(interrupts) as (client, engine):
                cursor = await client.end()
                boards = {run_id: await _board(client, run_id) for run_id in run_ids}
                return await self._watch(client, engine, cursor, boards, interrupts, None)

    @asynccontextmanager
    async def _engine(self, interrupts: Interrupts) -> AsyncIterator[tuple[Client, Engine | None]]:
        """Give a client of the engine that runs on the directory, or of one that is opened here."""
        attached = Client(self._settings.data_dir, reconnect_s=0.0)
        try:
            await attached.__aenter__()
        except EngineNotRunning:
            async with Engine(settings=self._settings, on_stop=interrupts.interrupt) as engine:
                yield Client(desk=EngineDesk(engine)), engine
            return
        try:
            yield attached, None
        except (ConnectionLost, EngineClosed) as error:
            msg = f"the engine on {self._settings.data_dir} went away before everything had ended"
            hint = "the next one goes on: goclaw resume, or goclaw engine start"
            raise ConnectionLost(msg, hint=hint) from error
        finally:
            await attached.close()

    def _interrupts(self) -> Interrupts:
        display = self._display
        return Interrupts(
            lambda: display.note("stopping; once more ends it at once"), display.close
        )

    async def _watch(
        self,
        client: Client,
        engine: Engine | None,
        cursor: Cursor,
        boards: dict[str, RunBoard],
        interrupts: Interrupts,
        timeout_s: float | None,
    ) -> Ending:
        for board in boards.values():
            self._display.add(board)
            if board.has_ended:  # before anybody watched
                self._display.ended(board)
        results = [asyncio.create_task(client.result(run_id)) for run_id in boards]
        follower = asyncio.create_task(self._follow(client, cursor, boards))
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
                return Ending(await self._records(client, boards), "")
            records = await self._records(client, boards)
            cut = INTERRUPTED if stopped in done else TIMEOUT
            return Ending(records, cut, goes_on=engine is None)
        finally:
            for task in (everything, follower, stopped):
                task.cancel()
            await asyncio.gather(everything, *results, stopped, return_exceptions=True)
            await asyncio.wait({follower})
            if not follower.cancelled() and (error := follower.exception()) is not None:
                _log.error("progress could not be shown", exc_info=error)

    async def _follow(self, client: Client, cursor: Cursor, boards: Mapping[str, RunBoard]) -> None:
        """Apply facts to boards, and show it, until every run has ended."""
        left = {run_id for run_id, board in boards.items() if not board.has_ended}
        if not left:
            return
        only = next(iter(left)) if len(left) == 1 else None
        async for recorded in client.subscribe(cursor, run_id=only):
            run_id, _, task_id = recorded.stream.partition("/")[2].partition("/")
            board = boards.get(run_id)
            if board is None or recorded.stream.startswith("lane/"):
                continue
            line = board.apply(recorded)
            if line is not None:
                # of a task that could not begin its run alone tells
                told = task_id or recorded.fact.task
                self._display.changed(board, told, line)
            elif run_id in left and board.has_ended:
                left.remove(run_id)
                self._display.ended(board)
                if not left:
                    return

    async def _records(
        self, client: Client, boards: Mapping[str, RunBoard]
    ) -> list[dict[str, Any]]:
        """Return what the views say of each run, now that they have seen everything."""
        records = [await client.show(run_id) for run_id in boards]
        return [{key: record[key] for key in OUTCOME_KEYS} for record in records]


async def _board(client: Client, run_id: str) -> RunBoard:
    found = await client.ask("runs.board", run=run_id, **_NOW)
    board = RunBoard(run_id, unpack_plan(found["plan"]), found["submitted_at_ns"])
    _seed(board, found)
    return board


def _seed(board: RunBoard, found: Mapping[str, Any]) -> None:
    """Give a board what was recorded before anybody watched."""
    board.since_ns = found["submitted_at_ns"]
    board.now_ns = found["ended_at_ns"] or time.time_ns()
    board.seed(found["status"], found["tasks"])
