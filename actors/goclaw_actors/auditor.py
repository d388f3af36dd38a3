"""Hold every unfinished run, and saga, against what will wake it, a slice at a time.

They are taken from the table `open`, in order of key, and read from the log on the auditor's own
thread; the dispatchers are only asked whether timers, attempts and messages are where they should
be. A run that seems stuck is looked at again later, alone and from the start; only if the same is
missing then is it recorded. So a slice costs by the runs in it, whatever goes on beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar

from goclaw_actors.saga.state import CREATED
from goclaw_actors.statuses import ACTIVE
from goclaw_actors.task.state import SCHEDULED
from goclaw_actors.why.explain import explain
from goclaw_actors.why.passive import Passive
from goclaw_events.ids import lane_stream, owner_stream, task_stream
from goclaw_events.tables import u16

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from goclaw_actors.actor import Entity
    from goclaw_actors.decider import Decider
    from goclaw_actors.why.reason import Reason
    from goclaw_actors.why.sight import Sight
    from goclaw_events.journal import Journal

T = TypeVar("T")
TASKS_MAX: Final = 64
"""So many active tasks of a run are looked at."""
EVIDENCE_MAX: Final = 8
SUSPECTS_MAX: Final = 1_000
"""Further runs that seem stuck wait for the next round."""
_PREFIXES: Final = ("workflow/", "saga/")


class Look(Protocol):
    """Ask the dispatchers at one moment; what is read already need not be read there."""

    def __call__(self, at: Callable[[Sight], T], passive: Passive) -> T:
        """Return what `at` finds."""
        ...


class Verdict(NamedTuple):
    """What a look found: `evidence` as in `RunStuck`; `known`: what is recorded already."""

    evidence: list[list[str]]
    known: list[list[str]]

    @property
    def is_news(self) -> bool:
        """Tell whether it should be recorded."""
        return self.evidence != self.known


class Auditor:
    """Look at all unfinished runs and sagas, again and again. One thread, not the dispatchers'.

    They are named as their tasks name them: by the run's id, or by the saga's key. `judge` tells
    one what was found of it, `is_live` whether the dispatchers have an actor in memory. What
    reading the log raises goes through.
    """

    def __init__(
        self,
        journal: Journal,
        kinds: Mapping[str, Decider[Any]],
        look: Look,
        judge: Callable[[str, list[list[str]]], None],
        is_live: Callable[[str], bool],
    ) -> None:
        self._journal = journal
        self._kinds = kinds
        self._look = look
        self._judge = judge
        self._is_live = is_live
        self._lanes: dict[str, Entity] = {}
        self._partition = 0
        self._after: bytes | None = None
        self._suspects: dict[str, Verdict] = {}

    @property
    def suspects(self) -> int:
        """Return how many runs are to be looked at again."""
        return len(self._suspects)

    def look_at(self, count: int) -> int:
        """Look at the next runs; return how many there were, fewer than `count` at the end."""
        runs = self._next(count)
        if not runs:
            return 0
        passive = Passive(self._journal, self._kinds)
        for run_id in runs:
            self._read(passive, run_id)

        def at(sight: Sight) -> dict[str, Verdict]:
            return {run_id: verdict(sight, run_id) for run_id in runs}

        for run_id, found in self._look(at, passive).items():
            if found.is_news and len(self._suspects) < SUSPECTS_MAX:
                self._suspects[run_id] = found
        return len(runs)

    def confirm(self) -> list[str]:
        """Look again at what seemed stuck, or moving, before; return the runs that were judged."""
        judged = []
        suspects, self._suspects = self._suspects, {}
        for run_id, before in suspects.items():
            found = self._look(
                lambda sight, run_id=run_id: verdict(sight, run_id),  # type: ignore[misc]
                Passive(self._journal, self._kinds),
            )
            if found.is_news and found == before:
                self._judge(run_id, found.evidence)
                judged.append(run_id)
        return judged

    def _next(self, count: int) -> list[str]:
        """Return the next unfinished runs; at the end of the table it begins again."""
        found: list[str] = []
        while self._partition < self._journal.partitions:
            rows = self._journal.rows("open", u16(self._partition), after=self._after)
            for key, _ in rows:
                self._after = key
                stream = key[4:].decode()
                if stream.startswith(_PREFIXES):
                    found.append(stream.partition("/")[2])
                    if len(found) == count:
                        return found
            self._partition, self._after = self._partition + 1, None
        self._partition = 0
        self._lanes.clear()
        return found

    def _read(self, passive: Passive, run_id: str) -> None:
        """Read a run, its active tasks and their lanes, so that the dispatchers need not."""
        run = passive.actor(owner_stream(run_id))
        if run is None or run.state.plan is None:
            return
        if run.state.status == CREATED and run.state.lane:
            self._read_lane(passive, lane_stream(run.state.lane))
        index = -1
        for _ in range(TASKS_MAX):
            index = run.state.statuses.find(ACTIVE, index + 1)
            if index < 0:
                return
            task = passive.actor(task_stream(run_id, run.state.plan.tasks[index].id))
            if task is not None and task.state.status == SCHEDULED:
                self._read_lane(passive, lane_stream(task.state.lane))

    def _read_lane(self, passive: Passive, stream: str) -> None:
        """Read a lane that nobody has in memory, which may be large: once in a round."""
        if self._is_live(stream):
            return
        lane = self._lanes.get(stream)
        last_seq = self._journal.last_seq(passive.partition(stream), stream)
        if lane is not None and lane.seq == last_seq:
            passive.keep(lane)
            return
        lane = passive.actor(stream)
        if lane is not None:
            self._lanes[stream] = lane


def verdict(sight: Sight, run_id: str) -> Verdict:
    """Return whether something is missing to a run."""
    actor = sight.actor(owner_stream(run_id))
    reason = explain(sight, run_id, tasks_max=TASKS_MAX)
    if actor is None or reason is None:
        return Verdict([], [])
    return Verdict(evidence_of(reason), actor.state.stuck)


def evidence_of(reason: Reason) -> list[list[str]]:
    """Return where nothing will wake what waits: [stream, what is missing]."""
    found = {(lost.subject, str(lost.details["evidence"])) for lost in reason.lost}
    return [list(each) for each in sorted(found)[:EVIDENCE_MAX]]
