"""Finds members for collectors that take them in as they come, or could not name them all.

A collector that wants members says so once it is recorded (`SelectMembers`); from then on every run
that is submitted with labels is looked at. What is found is said to the collector, which knows each
member once: whatever is found again, after a crash or a commit of unknown outcome, changes nothing.
After a restart all collectors that still take members are looked after anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from logging import getLogger
from typing import TYPE_CHECKING, Any, Final, TypeVar

from goclaw.collector_records import collector_at
from goclaw.members import Members, Selection
from goclaw.operations.ground import NOW, ground_of
from goclaw_actors.collecting import AddMembers
from goclaw_actors.decider import RunBegun, SelectMembers
from goclaw_events.errors import CodedError
from goclaw_events.ids import collector_stream
from goclaw_events.value import BlobRef
from goclaw_projections.collectors import OPEN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from goclaw.engine import Engine
    from goclaw_actors.collector import Collector

log = getLogger(__name__)
T = TypeVar("T")
MEMBERS_A_MESSAGE_MAX: Final = 1_000
AGAIN_S: Final = 1.0
"""What could not be said, as the log failed, is said again after so long."""


class Selecting:
    """The finder of an engine, on its loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._live: dict[str, Selection] = {}
        self._wanted: asyncio.Queue[RunBegun | SelectMembers | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="goclaw-select")

    @property
    def is_live(self) -> bool:
        """Tell whether some collector takes in runs that are submitted from now on. Any thread."""
        return bool(self._live)

    def start(self) -> None:
        """Look after the collectors of the log, and then those that are opened."""
        self.look_again()
        self._task = asyncio.create_task(self._run(), name="goclaw-selecting")

    async def stop(self) -> None:
        """Find nothing more: the next start does. Waits for what is being read."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await asyncio.to_thread(self._reader.shutdown, wait=True, cancel_futures=True)

    def hear(self, search: RunBegun | SelectMembers) -> None:
        """Look for what a collector wants, or who wants a run that was submitted."""
        if isinstance(search, SelectMembers):
            # before anything is looked up: a run that comes now is either found, or heard of
            self._live.setdefault(search.collector, Selection())
        self._wanted.put_nowait(search)

    def look_again(self) -> None:
        """Look after every collector that takes members: something may not have been heard of."""
        self._wanted.put_nowait(None)

    async def _run(self) -> None:
        while True:
            searches = [await self._wanted.get()]
            while not self._wanted.empty():
                searches.append(self._wanted.get_nowait())
            try:
                await self._look(searches)
            except CodedError as error:
                if self._engine.state != "running":
                    return  # the next start looks after them
                log.warning("members could not be found for collectors: %s", error)
                await asyncio.sleep(AGAIN_S)
                self.look_again()

    async def _read(self, function: Callable[..., T], *args: Any) -> T:
        """Call what reads the log, on a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, function, *args)

    async def _look(self, searches: Sequence[RunBegun | SelectMembers | None]) -> None:
        wanted = {s.collector: None for s in searches if isinstance(s, SelectMembers)}
        if None in searches:
            wanted |= dict.fromkeys(await self._read(self._taking))
        for name in wanted:
            self._live.setdefault(name, Selection())
            await self._select(name)
        begun = [search for search in searches if isinstance(search, RunBegun)]
        for name, selection in list(self._live.items()):
            matching = [run.run_id for run in begun if selection.wants(run.labels)]
            if matching:
                await self._add(name, await self._read(self._of, matching, selection))

    def _taking(self) -> list[str]:
        """Return the collectors that are open and take members."""
        ground = ground_of(self._engine.parts, None)
        ground.wait_for(NOW)
        names: list[str] = []
        cursor: str | None = None
        while True:
            page = ground.views.collectors.list(status=OPEN, cursor=cursor)
            names += (found.collector_id for found in page.items if found.more)
            cursor = page.cursor
            if cursor is None:
                return names

    async def _select(self, name: str) -> None:
        """Find the members of a collector that are there now."""
        collector = await self._read(self._collector, name)
        if not collector.more:
            self._live.pop(name, None)
            return
        select = collector.select
        if isinstance(select, BlobRef):
            select = await self._read(self._engine.parts.load, select)
        selection = Selection(**select)
        self._live[name] = selection
        found = await self._read(self._members, selection)
        await self._add(name, found, is_all=not collector.live)

    def _collector(self, name: str) -> Collector:
        return collector_at(self._engine.parts.journal, name)

    def _members(self, selection: Selection) -> list[list[Any]]:
        parts = self._engine.parts
        return Members(parts, ground_of(parts, None)).as_they_are(selection)

    def _of(self, run_ids: Sequence[str], selection: Selection) -> list[list[Any]]:
        plan_of = self._engine.parts.plan_of
        found = [[run_id, selection.tasks_in(plan_of(run_id))] for run_id in run_ids]
        return [[run_id, tasks] for run_id, tasks in found if tasks]

    async def _add(self, name: str, members: list[list[Any]], *, is_all: bool = False) -> None:
        """Tell a collector of members; forget it if it takes no more."""
        messages = list(_messages(members, is_all=is_all))
        for message in messages:
            accepted, _ = await self._engine.command(collector_stream(name), message)
            if accepted.repeated or message.is_all:
                self._live.pop(name, None)


def _messages(members: list[list[Any]], *, is_all: bool) -> list[AddMembers]:
    """Return the messages that say members, so many in each."""
    parts: list[list[list[Any]]] = [[]]
    count = 0
    for run_id, tasks in members:
        for at in range(0, len(tasks), MEMBERS_A_MESSAGE_MAX):
            some = tasks[at : at + MEMBERS_A_MESSAGE_MAX]
            if count + len(some) > MEMBERS_A_MESSAGE_MAX:
                parts.append([])
                count = 0
            parts[-1].append([run_id, some])
            count += len(some)
    last = len(parts) - 1
    return [
        AddMembers(part, is_all and at == last)
        for at, part in enumerate(parts)
        if part or (is_all and at == last)
    ]
