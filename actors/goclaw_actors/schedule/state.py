"""A schedule's state and how facts change it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple, assert_never

from goclaw_actors.decider import SnapshotForm
from goclaw_events.facts import (
    FiredRunEnded,
    FiringPlanned,
    FiringQueued,
    FiringsSkipped,
    ScheduleDeleted,
    ScheduleFired,
    SchedulePaused,
    ScheduleResumed,
    ScheduleSet,
)
from goclaw_events.facts.versions import SCHEDULE_VERSIONED
from goclaw_events.schedule import Timetable

if TYPE_CHECKING:
    from goclaw_actors.decider import MapChunks
    from goclaw_events.facts import ScheduleFact
    from goclaw_events.value import Value

UNKNOWN: Final = "unknown"
ACTIVE: Final = "active"
PAUSED: Final = "paused"
DELETED: Final = "deleted"
IS_THERE: Final = frozenset({ACTIVE, PAUSED})

BY_TIME: Final = 0
BY_HAND: Final = -1
"""In place of the number of a trigger: the firing is one of the timetable."""

OVERLAP: Final = "overlap"
MISSED: Final = "missed"
QUEUE_FULL: Final = "queue_full"
REPLACED: Final = "replaced"
"""Why firings lead to no run."""


class Firing(NamedTuple):
    """One time at which a run is to begin; see `facts.schedule`."""

    planned_ns: int
    trigger: int = BY_TIME
    by: str = ""


class Schedule:
    """One schedule. `said` is its last `ScheduleSet`.

    `planned_ns`, `due_ns`: its next time; 0: none. `running`: the run that goes on (of a saga the
    key), ''; `waiting`
    are the firings that wait for its end. `triggers`: how often it was triggered. `version`: how
    often it was made, paused, resumed or deleted.
    """

    __slots__ = (
        "due_ns", "name", "planned_ns", "running", "said", "status", "triggers", "version",
        "waiting",
    )  # fmt: skip

    def __init__(self, stream: str) -> None:
        self.name = stream.partition("/")[2]
        self.status = UNKNOWN
        self.said: ScheduleSet | None = None
        self.planned_ns = 0
        self.due_ns = 0
        self.running = ""
        self.waiting: deque[Firing] = deque()
        self.triggers = 0
        self.version = 0


def timetable_of(said: ScheduleSet) -> Timetable:
    """Return when a schedule is due."""
    return Timetable(said.cron, said.zone, said.every_ns, said.anchor_ns)


def evolve(schedule: Schedule, fact: ScheduleFact) -> Schedule:  # noqa: C901, PLR0912 - a case a fact
    """Apply a fact in place."""
    match fact:
        case ScheduleFired(run_id=run_id, trigger=trigger):
            schedule.running = run_id
            schedule.triggers = max(schedule.triggers, trigger)
            waiting = schedule.waiting
            if waiting and waiting[0][:2] == (fact.planned_ns, trigger):
                waiting.popleft()
        case FiringPlanned():
            schedule.planned_ns, schedule.due_ns = fact
        case FiredRunEnded():
            schedule.running = ""
        case FiringQueued():
            schedule.waiting.append(Firing(*fact))
            schedule.triggers = max(schedule.triggers, fact.trigger)
        case FiringsSkipped(reason=reason):
            waiting = schedule.waiting
            if reason == REPLACED and waiting and waiting[0].planned_ns == fact.first_ns:
                waiting.popleft()
        case ScheduleSet():
            schedule.said = fact
            schedule.status = PAUSED if fact.paused else ACTIVE
            schedule.planned_ns = schedule.due_ns = 0
        case SchedulePaused():
            schedule.status = PAUSED
            schedule.planned_ns = schedule.due_ns = 0
        case ScheduleResumed():
            schedule.status = ACTIVE
        case ScheduleDeleted():
            schedule.status = DELETED
            schedule.said = None
            schedule.planned_ns = schedule.due_ns = 0
            schedule.running = ""
            schedule.waiting.clear()
        case _:
            assert_never(fact)
    if type(fact) in SCHEDULE_VERSIONED:
        schedule.version += 1
    return schedule


def encode(schedule: Schedule) -> dict[str, Any]:
    """Return the schedule as plain data: equal schedules give equal data."""
    return {
        "status": schedule.status,
        "said": None if schedule.said is None else list(schedule.said),
        "planned_ns": schedule.planned_ns,
        "due_ns": schedule.due_ns,
        "running": schedule.running,
        "waiting": [list(firing) for firing in schedule.waiting],
        "triggers": schedule.triggers,
        "version": schedule.version,
    }


def _root(schedule: Schedule) -> Value:
    return list(encode(schedule).values())


def _maps(_: Schedule) -> tuple[()]:
    return ()


def _restore(stream: str, root: Value, _: MapChunks) -> Schedule:
    schedule = Schedule(stream)
    (schedule.status, said, schedule.planned_ns, schedule.due_ns, schedule.running, waiting,
     schedule.triggers, schedule.version) = root  # fmt: skip
    schedule.said = None if said is None else ScheduleSet(*said)
    schedule.waiting = deque(Firing(*firing) for firing in waiting)
    return schedule


FORM: Final = SnapshotForm(3, _root, _maps, _restore, {2: lambda root, maps: (root, maps)})
"""How a schedule is kept: all of it; what waits is bounded. Form 2 knew no sagas."""
