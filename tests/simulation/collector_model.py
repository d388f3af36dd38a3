"""What each collector must answer, worked out a second time: from lists, in the plainest way."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from goclaw_events.value import follow
from tests.simulation.history import RUN_ENDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_events.plan import Plan
    from tests.simulation.history import Entry
    from tests.simulation.world import World

TASK_ENDS = {"task.completed": "completed", "task.failed": "failed", "task.cancelled": "cancelled"}
DONE = ("met", "unmet", "partial", "cancelled")


class Model:
    """A collector after its facts, each of which is checked."""

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.wish: Any = None
        self.members: list[tuple[str, str]] = []
        self.ends: list[tuple[int, str, str]] = []
        self.more = False
        self.status = ""
        self.opened_ns = 0

    def apply(self, entry: Entry) -> None:
        """Take in a fact, and check that it was allowed."""
        fact, name = entry.decoded, entry.fact.type
        where = f"{self.stream} at {entry.number}: {fact}"
        assert not self.status, f"{where} comes after its end"
        assert (name == "collector.opened") == (self.wish is None), where
        if name == "collector.opened":
            self.wish, self.more, self.opened_ns = fact, fact.select is not None, entry.time_ns
            self._join(fact.members, where)
        elif name == "collector.members_added":
            assert self.more, where
            self._join(fact.members, where)
            self.more = not fact.is_all
        elif name == "collector.members_ended":
            assert fact.ended, where
            for place, _, status, vote in fact.ended:
                assert self.verdict(more=self.more) is None, f"{where}: enough had come before"
                assert place < len(self.members), where
                assert all(place != other for other, _, _ in self.ends), f"{where}: twice"
                self.ends.append((place, status, vote))
        elif name == "collector.ended":
            self.status = fact.status
            self._end(fact, where)

    def _join(self, members: Any, where: str) -> None:
        for run, tasks in members:
            for task in tasks:
                assert (run, task) not in self.members, where
                self.members.append((run, task))

    def _end(self, fact: Any, where: str) -> None:
        assert fact.status in DONE, where
        if fact.status == "cancelled":
            return
        if fact.status == "partial":
            assert fact.reason == "deadline", where
            assert self.wish.deadline_ns, where
            return
        late = self.more and self.wish.deadline_ns  # a deadline closes it
        expected = self.verdict(more=self.more) or (late and self.verdict(more=False))
        assert expected == (fact.status, fact.reason, fact.vote), (where, expected)

    def verdict(self, *, more: bool) -> tuple[str, str, str] | None:
        """Return how it has to end by now; None: it goes on."""
        statuses = [status for _, status, _ in self.ends]
        completed = statuses.count("completed")
        failed = sum(status not in ("completed", "skipped") for status in statuses)
        left = len(self.members) - len(statuses)
        if self.wish.failures_max is not None and failed > self.wish.failures_max:
            return "unmet", "too_many_failed", ""
        if not self.members:
            return None if more else ("unmet", "no_members", "")
        worst = "all_failed" if failed and not completed and not left else ""
        if self.wish.rule == "all":
            return None if more or left else ("unmet" if worst else "met", worst, "")
        return self._counted(completed, left, worst, more=more)

    def _counted(
        self, completed: int, left: int, worst: str, *, more: bool
    ) -> tuple[str, str, str] | None:
        """Return how it ends where a number of members decides."""
        wanted, by_vote = self.wish.wanted, self.wish.rule == "majority"
        if wanted < 0:
            if more:
                return None
            wanted = len(self.members) // 2 + 1
        agreed = self._agreed()
        reached = agreed[1] if by_vote else completed
        if reached >= wanted:
            return "met", "", agreed[0] if by_vote else ""
        if more or reached + left >= wanted:
            return None
        return "unmet", worst or ("no_majority" if by_vote else "too_few"), ""

    def _agreed(self) -> tuple[str, int]:
        """Return the vote that most share, the one that came to that first, and how many."""
        counts: Counter[str] = Counter()
        best = ("", 0)
        for _, status, vote in self.ends:
            if status == "completed" and vote:
                counts[vote] += 1
                if counts[vote] > best[1]:
                    best = (vote, counts[vote])
        return best


def check_collector(
    world: World, stream: str, entries: list[Entry], resolved: Callable[[World, Any], Any]
) -> None:
    """Check what a collector recorded, and that each end is one that the log has."""
    model = Model(stream)
    for at, entry in enumerate(entries):
        model.apply(entry)
        ends_next = at + 1 < len(entries) and entries[at + 1].fact.type == "collector.ended"
        if not model.status and model.members and model.verdict(more=model.more) is not None:
            assert ends_next, f"{stream} goes on at {entry.number} though enough has come"
    for place, status, vote in model.ends:
        run, task = model.members[place]
        found = _ended_as(world, run, task)
        assert status in found, f"{stream} has {run}/{task} {status}, and the log {found}"
        if model.wish.by is not None and status == "completed":
            said = _votes(world, run, task, model.wish.by, resolved)
            assert vote in said or vote.startswith("blake2b:"), f"{stream}: {run}/{task}"


def _ended_as(world: World, run: str, task: str) -> set[str]:
    """Return how a member ended, as far as the log tells by now."""
    streams = world.history.streams
    own = streams.get(f"workflow/{run}")
    if own is None:
        return {"unknown"}
    plan = world.clients.plan_of(own[0].decoded.definition)
    poisoned = {f"workflow/{run}", f"task/{run}/{task}"} & world.history.poisoned
    found = {"unknown"} if _is_late(own) else set()  # it was asked for before it was submitted
    if poisoned or world.options.rate("bug"):
        found |= {"failed", "cancelled"}
    if not task:
        return found | {RUN_ENDS[e.fact.type] for e in own if e.fact.type in RUN_ENDS}
    return found | _task_ended_as(own, plan, task)


def _task_ended_as(own: list[Entry], plan: Plan, task: str) -> set[str]:
    """Return how a task ended, as its run recorded it; one whose path was changed, in any way."""
    if any(entry.fact.type == "run.path_changed" for entry in own):
        return {"completed", "failed", "cancelled", "skipped", "unknown"}
    if task not in plan.index:
        return {"unknown"}
    for entry in own:
        if entry.fact.type == "run.task_ended" and entry.decoded.task == task:
            return {entry.decoded.status}
        if entry.fact.type == "run.tasks_skipped" and task in entry.decoded.tasks:
            return {"skipped"}
    return {"cancelled"} if any(entry.fact.type in RUN_ENDS for entry in own) else set()


def _is_late(own: list[Entry]) -> bool:
    """Tell whether somebody may have asked before a run was there: only the first fact is old."""
    return own[0].fact.type == "run.submitted"


def _votes(
    world: World, run: str, task: str, by: Any, resolved: Callable[[World, Any], Any]
) -> list[str]:
    """Return the vote of a member each time that it completed, from its own stream."""
    name = f"task/{run}/{task}" if task else f"workflow/{run}"
    ends = ("task.completed", "run.completed")
    own = world.history.streams.get(name, [])
    results = [entry.decoded.result for entry in own if entry.fact.type in ends]
    found = [follow(resolved(world, result), tuple(by)) for result in results]
    return [
        "" if value is None else json.dumps(value, sort_keys=True, ensure_ascii=False)
        for value in found
    ] or [""]


def waiting(entries: list[Entry]) -> bool:
    """Tell whether a collector still takes members."""
    more = entries[0].decoded.select is not None
    for entry in entries:
        if entry.fact.type == "collector.members_added":
            more = not entry.decoded.is_all
        elif entry.fact.type == "collector.ended":
            return False
    return more
