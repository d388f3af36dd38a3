"""Collect results: the same words on `Engine` and `Client`."""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal

from goclaw.collected import OPEN, collected_from, gathered_from, unmet
from goclaw_actors.env import new_id

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping, Sequence

    from goclaw.collected import Collected, Gathered

Rule = Literal["all", "any", "first_n", "quorum", "majority"]
Merge = Literal["list", "object", "by_member"]


class Collection:
    """A collector, seen from outside: iterate over it, or await it.

    async for one in collection: ...    # in the order in which members end, then as they do
    collected = await collection        # when it has ended

    The iteration begins behind `cursor` and moves it; it may be begun again, also elsewhere by
    `collection(id, after=cursor)`. It raises `CollectUnmet` at its end if what was wanted cannot
    come any more. Nothing is collected before one of both, or `open`, was begun.
    """

    def __init__(
        self,
        asker: Collecting,
        collector_id: str,
        request: Mapping[str, Any] | None,
        cursor: int = 0,
    ) -> None:
        self._asker = asker
        self._request = request
        self.id = collector_id
        self.cursor = cursor

    async def open(self) -> int:
        """Begin to collect, once that is durable; return how many members there are.

        Opening again changes nothing. Raises `RunNotFound`, `NotFound`, `UsageInvalid`, and
        `CommandRefused` with `command_conflict`.
        """
        if self._request is None:
            return 0
        opened = await self._asker._ask_collect("collect.open", self._request)  # noqa: SLF001
        self._request = None
        return int(opened["members"])

    async def cancel(self, reason: str = "") -> None:
        """Collect no more; raises `CommandRefused` with `collector_ended` if it has ended."""
        await self.open()
        params = {"collector_id": self.id, "reason": reason}
        await self._asker._ask_collect("collect.cancel", params)  # noqa: SLF001

    async def close(self) -> None:
        """Take no further members of a live one; what is there by now is collected."""
        await self.open()
        await self._asker._ask_collect("collect.close", {"collector_id": self.id})  # noqa: SLF001

    async def __aiter__(self) -> AsyncIterator[Gathered]:
        failed: list[Gathered] = []
        ended: dict[str, Any] | None = None
        async with aclosing(self._parts(self.cursor)) as parts:
            async for part in parts:
                for one in map(gathered_from, part["gathered"]):
                    self.cursor = one.cursor
                    if one.error is not None:
                        failed.append(one)
                    yield one
                ended = part["ended"]
        if ended is not None and ended["status"] == "unmet":
            raise unmet(self.id, ended["status"], ended["reason"], failed, ended["missing"])

    def __await__(self) -> Generator[Any, None, Collected]:
        return self._collected().__await__()

    async def _collected(self) -> Collected:
        found: list[Gathered] = []
        ended: dict[str, Any] = dict(OPEN)
        async with aclosing(self._parts(0)) as parts:
            async for part in parts:
                found += map(gathered_from, part["gathered"])
                ended = part["ended"] or ended
        run_id = ended.get("run")
        if run_id is None:
            return collected_from(self.id, found, ended)
        params = {"run_id": run_id, "timeout_s": None}
        made = await self._asker._ask_collect("result", params)  # noqa: SLF001
        return collected_from(self.id, found, ended, made)

    async def _parts(self, after: int) -> AsyncGenerator[Any, None]:
        await self.open()
        params = {"collector_id": self.id, "after": after}
        async with aclosing(self._asker._follow("collect.results", params)) as parts:  # noqa: SLF001
            async for part in parts:
                yield part


class Collecting:
    """Collect how tasks and runs end."""

    def collect(
        self,
        *members: str,
        labels: Mapping[str, str] | None = None,
        tasks: Sequence[str] = (),
        task_labels: Mapping[str, str] | None = None,
        live: bool = False,
        rule: Rule = "all",
        count: int | None = None,
        by: str = "",
        failures_max: int | None = None,
        deadline_s: float | None = None,
        merge: Merge | None = None,
        reduce: str | None = None,
        task: Mapping[str, Any] | None = None,
        collector_id: str | None = None,
    ) -> Collection:
        """Return what collects the outcomes of members, durably: await it, or iterate over it.

        A member is `RUN/TASK` (the task may be a pattern such as `draft-*`), or `RUN`: the run
        itself, or with `tasks` (names or patterns) or `task_labels` these of it. `labels`: so all
        runs that have these labels now; with `live` also those that get them until it is closed, or
        its deadline. `rule`: `all` have ended; `any` has completed; `first_n`: `count` have;
        `quorum`: `count` have (None: more than half); `majority`: `count` (None: more than half)
        of the results say the same, at the place `by` (such as `answer.label`; '': as a whole).
        It ends `unmet` once more than `failures_max` have failed, or what is wanted cannot come
        any more; and after `deadline_s` with what there is.

        `merge` (`list`, `object`, `by_member`), or `reduce` (an agent; its parameter `collected`),
        makes a result of it once it has ended, in a run that has the id of the collector; `task` is
        what else its task is, as in a definition: `with`, `lane`, `retry`, `on_unmet`... It is the
        `result` of what is awaited.

        `collector_id` (a new one, unless given) makes a repeat harmless, and is what `collection`
        finds it by.
        """
        # chosen here, so that it can be asked twice
        chosen = new_id("col", time.time_ns()) if collector_id is None else collector_id
        request = {
            "collector_id": chosen, "members": list(members), "labels": dict(labels or {}),
            "tasks": list(tasks), "task_labels": dict(task_labels or {}), "live": live,
            "rule": rule, "count": count, "by": by, "failures_max": failures_max,
            "deadline_s": deadline_s, "merge": merge, "reduce": reduce, "task": dict(task or {}),
        }  # fmt: skip
        return Collection(self, chosen, request)

    async def collectors(
        self, *, status: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> dict[str, Any]:
        """Return `{"collectors": [...], "cursor": ...}`, in order of their ids."""
        asked = {"status": status, "limit": limit, "cursor": cursor, "min_position": "now"}
        return dict(await self._ask_collect("collect.list", asked))

    def collection(self, collector_id: str, *, after: int = 0) -> Collection:
        """Return what was opened under an id, whenever; its iteration begins behind a cursor.

        It raises `CollectorNotFound` where there is none.
        """
        return Collection(self, collector_id, None, after)

    async def _ask_collect(self, operation: str, params: Mapping[str, Any]) -> Any:
        """Ask for an operation of collectors, which may be asked twice."""
        raise AssertionError(operation, params)

    def _follow(self, operation: str, params: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """Follow an operation whose parts have a cursor, to the part that says how it ended."""
        raise AssertionError(operation, params)
