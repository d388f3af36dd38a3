"""Collect how tasks and runs end, from a thread without a loop: the same words as `Client`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from goclaw.collected import OPEN, collected_from, gathered_from, unmet
from goclaw_actors.env import new_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw.collected import Collected, Gathered
    from goclaw.wire.sync_link import SyncLink


class SyncCollection:
    """What collects: iterate over it, or take what came of it, once it has ended.

    `id` finds it again; `cursor` is behind the last member that was yielded.
    """

    def __init__(self, link: SyncLink, collector_id: str, cursor: int = 0) -> None:
        self._link = link
        self.id = collector_id
        self.cursor = cursor

    def __iter__(self) -> Iterator[Gathered]:
        """Yield how members ended, and end, behind the cursor.

        Raises `CollectUnmet` at the end if what was wanted cannot come any more.
        """
        failed: list[Gathered] = []
        ended: dict[str, Any] = {"status": "open"}
        for part in self._parts(self.cursor):
            for one in map(gathered_from, part["gathered"]):
                self.cursor = one.cursor
                if one.error is not None:
                    failed.append(one)
                yield one
            ended = part["ended"] or ended
        if ended["status"] == "unmet":
            raise unmet(self.id, "unmet", ended["reason"], failed, ended["missing"])

    def collected(self) -> Collected:
        """Wait for its end, and for what `merge` or `reduce` makes of it; return all of it.

        As `await client.collect(...)`: what cannot be met is a status, `unwrap` raises it.
        """
        found: list[Gathered] = []
        ended: dict[str, Any] = dict(OPEN)
        for part in self._parts(0):
            found += map(gathered_from, part["gathered"])
            ended = part["ended"] or ended
        run_id = ended.get("run")
        if run_id is None:
            return collected_from(self.id, found, ended)
        made = self._link.ask("result", {"run_id": run_id, "timeout_s": None})
        return collected_from(self.id, found, ended, made)

    def close(self) -> None:
        """Take no further members of a live one; what is there by now is collected."""
        self._link.ask("collect.close", {"collector_id": self.id})

    def cancel(self, reason: str = "") -> None:
        """Collect no more; raises `CommandRefused` with `collector_ended` if it has ended."""
        self._link.ask("collect.cancel", {"collector_id": self.id, "reason": reason})

    def _parts(self, after: int) -> Iterator[Any]:
        params = {"collector_id": self.id, "after": after}
        yield from self._link.follow("collect.results", params)


class SyncCollecting:
    """Open collectors, and find them."""

    _link: SyncLink

    def collect(self, *members: str, **wanted: Any) -> SyncCollection:
        """Begin to collect: `wanted` as in `Client.collect`; return what can be iterated over.

        `client.collect("r/*", merge="list").collected().result` waits for what is made of it.
        """
        collector_id = wanted.pop("collector_id", None) or new_id("col", time.time_ns())
        request = {"members": list(members), "collector_id": collector_id, **wanted}
        self._link.ask("collect.open", request)
        return self.collection(collector_id)

    def collection(self, collector_id: str, *, after: int = 0) -> SyncCollection:
        """Return what was opened under an id; its iteration begins behind a cursor."""
        return SyncCollection(self._link, collector_id, after)
