"""Watch what an engine does: tables that are asked for again and again, facts as they come."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from goclaw.asking import ask
from goclaw.client import Client
from goclaw.errors import ConnectionLost, EngineClosed, EngineNotRunning
from goclaw.interrupts import Interrupts
from goclaw.log_records import plain
from goclaw.logs import rfc3339
from goclaw_actors.errors import Stopping

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from goclaw.config import Settings
    from goclaw.watch_tables import WatchedTable
    from goclaw_projections.subscription import Recorded

NOW: Final = "now"
GONE: Final = (ConnectionLost, EngineClosed, EngineNotRunning, Stopping)


class Watching(NamedTuple):
    """What was seen: how many changes, the last state (of events: none), and why it ended.

    `ended`: `time`, `stopped` (somebody asked), `engine` (it went away) or `offline` (no engine
    runs, so nothing more can come).
    """

    changes: int
    last: list[dict[str, Any]]
    ended: str


class WatchDisplay(Protocol):
    """Show records to whoever watches. Everything is called on one thread."""

    def show(
        self, records: Sequence[Mapping[str, Any]], changed: Sequence[Mapping[str, Any]]
    ) -> None:
        """Show what is there now, and which of it is new or other than before."""
        ...


class _Watched:
    """The records of a table as they were last seen."""

    def __init__(self, table: WatchedTable, display: WatchDisplay) -> None:
        self._table = table
        self._display = display
        self._last: dict[str, Any] = {}
        self.taken = 0
        self.changes = 0

    @property
    def last(self) -> list[dict[str, Any]]:
        return list(self._last.values())

    def take(self, answer: Mapping[str, Any]) -> None:
        """Compare an answer with the one before, and show it."""
        records = answer[self._table.field]
        key = self._table.key
        changed = [record for record in records if self._last.get(record[key]) != record]
        self._last = {record[key]: record for record in records}
        self.taken += 1
        self.changes += len(changed)
        self._display.show(records, changed)


def watch_table(
    settings: Settings,
    table: WatchedTable,
    display: WatchDisplay,
    *,
    interval_s: float,
    for_s: float | None,
) -> Watching:
    """Ask for a table every `interval_s`, until `for_s` is over or somebody interrupts; blocks."""
    watched = _Watched(table, display)

    async def follow(client: Client) -> None:
        min_position: str | None = NOW
        while True:
            asked = {**table.params, "min_position": min_position}
            watched.take(await client.ask(table.operation, **asked))
            min_position = None  # what comes later is seen soon enough
            await asyncio.sleep(interval_s)

    ended = asyncio.run(_until(settings, follow, for_s))
    if not watched.taken and ended in ("offline", "time"):
        watched.take(ask(settings, table.operation, **table.params, min_position=NOW))
    return Watching(watched.changes, watched.last, ended)


def watch_events(
    settings: Settings, show: Callable[[Recorded], None], *, run_id: str | None, for_s: float | None
) -> Watching:
    """Show each fact that becomes durable from now on; blocks."""
    seen = 0

    async def follow(client: Client) -> None:
        nonlocal seen
        async for recorded in client.subscribe(await client.end(), run_id=run_id):
            seen += 1
            show(recorded)

    ended = asyncio.run(_until(settings, follow, for_s))
    return Watching(seen, [], ended)


async def _until(
    settings: Settings, follow: Callable[[Client], Awaitable[None]], for_s: float | None
) -> str:
    """Follow an engine until the time is over, somebody interrupts, or it goes away."""
    client = Client(settings.data_dir, reconnect_s=0.0)
    try:
        await client.__aenter__()
    except EngineNotRunning:
        return "offline"
    with Interrupts(lambda: None, lambda: None) as interrupts:
        following = asyncio.ensure_future(follow(client))
        stopped = asyncio.create_task(interrupts.first.wait())
        try:
            done, _ = await asyncio.wait(
                {following, stopped}, timeout=for_s, return_when=asyncio.FIRST_COMPLETED
            )
            if following in done:
                with suppress(*GONE):
                    following.result()
                return "engine"
            return "stopped" if stopped in done else "time"
        finally:
            for task in (following, stopped):
                task.cancel()
            await asyncio.gather(following, stopped, return_exceptions=True)
            await client.close()


def event_record(recorded: Recorded) -> dict[str, Any]:
    """Return a fact as JSON data."""
    fields = zip(recorded.fact._fields, recorded.fact, strict=True)
    return {
        "position": str(recorded.position),
        "time": rfc3339(recorded.time_ns),
        "stream": recorded.stream,
        "seq": recorded.seq,
        "type": recorded.type,
        "data": {name: plain(value) for name, value in fields},
    }
