"""What keeps something waiting, and what keeps that waiting: a tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ENDED: Final = "ended"
RUN: Final = "run"
RUN_STOPPING: Final = "run_stopping"
DEPENDENCY: Final = "dependency"
RUNNING: Final = "running"
STOPPING: Final = "stopping"
RESTART: Final = "restart"
AGENT_MISSING: Final = "agent_missing"
EXECUTOR_FULL: Final = "executor_full"
TIMER: Final = "timer"
BACKOFF: Final = "backoff"
CHILD_RUN: Final = "child_run"
SAGA: Final = "saga"
PERSON: Final = "person"
UNWINDS: Final = "unwinds"
REST: Final = "rest"
STATE: Final = "state"
UNIQUE: Final = "unique"
COLLECT: Final = "collect"
DEAD_LETTER: Final = "dead_letter"
SIGNAL: Final = "signal"
APPROVAL: Final = "approval"
SPAWNED: Final = "spawned"
LANE: Final = "lane"
LANE_FULL: Final = "lane_full"
LANE_PAUSED: Final = "lane_paused"
LANE_HELD: Final = "lane_held"
LANE_SLOTS: Final = "lane_slots"
LANE_KEY: Final = "lane_key"
LANE_TENANT: Final = "lane_tenant"
LANE_UNITS: Final = "lane_units"
LANE_RATE: Final = "lane_rate"
LANE_SHARE: Final = "lane_share"
LANE_ORDER: Final = "lane_order"
LANE_BEHIND: Final = "lane_behind"
MESSAGE: Final = "message"
OTHER_PARTITION: Final = "other_partition"
LOG_FAILED: Final = "log_failed"
GIVEN_UP: Final = "given_up"
NOTHING: Final = "nothing"

KINDS: Final[Mapping[str, str]] = {
    ENDED: "It is over: nothing is waited for.",
    RUN: "A run: it waits for what its active tasks wait for.",
    RUN_STOPPING: "The run is failing or being cancelled: the task will not start any more.",
    DEPENDENCY: "Tasks that it needs have not ended.",
    RUNNING: "An attempt of it runs.",
    STOPPING: "It was told to stop and has not ended yet.",
    RESTART: "Its attempt was lost with the engine, and starts again with the next one.",
    AGENT_MISSING: "Its attempt waits for an agent that nobody registered.",
    EXECUTOR_FULL: "Its attempt has its slot, and waits for a place where it can run.",
    TIMER: "It waits until a time.",
    BACKOFF: "An attempt failed; the next one starts at a time.",
    CHILD_RUN: "It stands for a run, or a saga, that has not ended.",
    SAGA: "A saga: it waits for a slot, or for what its active tasks wait for.",
    PERSON: "Only a person lets the saga go on: `goclaw sagas compensate`, `retry` or `resolve`.",
    UNWINDS: "Steps that need it are undone first.",
    REST: "Code of an attempt that was given up may still run; it is undone when that has ended.",
    STATE: "It is in a state that only a command ends.",
    UNIQUE: "Another task has its key: it ends as that does, or comes after it.",
    COLLECT: "It collects how tasks and runs end, and too few have yet.",
    DEAD_LETTER: "It is a dead letter: it waits until somebody redrives or discards it.",
    SIGNAL: "It waits for a signal that somebody sends to its run: `goclaw signal send`.",
    APPROVAL: "It asks people, and none has decided: `goclaw approve`, `goclaw reject`.",
    SPAWNED: "It waits for tasks that it spawned.",
    LANE: "It waits in a lane, for what is named below.",
    LANE_FULL: "The lane has no room in its queue, and blocks: its run holds it back until it has.",
    LANE_PAUSED: "Somebody paused the lane: it lends nothing until it is resumed.",
    LANE_HELD: "A service told one of its tasks to come back later: the lane is held until then.",
    LANE_SLOTS: "Every slot of the lane is held.",
    LANE_KEY: "As many tasks with its key hold a slot as may.",
    LANE_TENANT: "As many tasks of its tenant (or workflow) hold a slot as may.",
    LANE_UNITS: "The lane has not enough units of a resource left.",
    LANE_RATE: "The lane's rate lets the next one start at a time.",
    LANE_SHARE: "It is the turn of other tenants (or workflows).",
    LANE_ORDER: "Others are before it in the queue.",
    LANE_BEHIND: "Whoever is next waits for units or for the rate, and nobody overtakes it.",
    MESSAGE: "What it waits for was said, and is handled in a moment.",
    OTHER_PARTITION: "What it waits for is on its way from another partition.",
    LOG_FAILED: "Nothing can be recorded at the moment.",
    GIVEN_UP: "An actor was given up after a bug, or its facts cannot be read.",
    NOTHING: "Nothing will wake it: it is stuck.",
}
"""Every kind of reason, and what it says."""


class Holder(NamedTuple):
    """A task that has what is waited for.

    `task` is its stream, `definition` the name of its run's definition, `status` what it is
    doing. `since_ns` 0: not known.
    """

    task: str
    definition: str
    status: str
    since_ns: int


class Reason(NamedTuple):
    """Why `subject` (a stream) waits.

    `since_ns`: since when; `until_ns`: what wakes it comes at this time (0: not known).
    `details` are plain data, by kind. `holders` has some of those who hold what is waited for.
    `because`: why that goes on.
    """

    kind: str
    subject: str
    since_ns: int = 0
    until_ns: int = 0
    details: Mapping[str, Any] = {}
    holders: tuple[Holder, ...] = ()
    because: tuple[Reason, ...] = ()

    def walk(self) -> Iterator[Reason]:
        """Yield this reason and all below it."""
        yield self
        for reason in self.because:
            yield from reason.walk()

    @property
    def lost(self) -> tuple[Reason, ...]:
        """Return the places where nothing will wake what waits: evidence that it is stuck."""
        return tuple(reason for reason in self.walk() if reason.kind == NOTHING)
