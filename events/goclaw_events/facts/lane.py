"""What happened in a lane. Stream `lane/<definition>/<lane>`; a shared one has no definition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from goclaw_events.value import Value


WAITERS_MAX_DEFAULT: Final = 10_000


class LaneDeclared(NamedTuple):
    """The limits that a definition or the configuration declares for the lane changed.

    `limits` holds what else is limited, by the names of `LaneDefinition`; None: nothing is.
    `redirect_to`: the lane that a full one names, for `overflow: redirect`; `waiters_max`: how
    many runs may wait for room, for `overflow: block`.
    """

    concurrency: int
    capacity: int
    overflow: str
    declared_by: str
    limits: dict[str, Value] | None = None
    redirect_to: str = ""
    waiters_max: int = WAITERS_MAX_DEFAULT


class LaneAdvanced(NamedTuple):
    """One turn of the lane: what came, what left, what got a slot; applied in this order.

    `released`: tasks whose slot came back. `withdrawn`: tasks that left the queue without one.
    `queued`: (task stream, priority, at head) in order of arrival. `leased`: tasks given a slot.
    `now_ns` is when the turn was (0 in a lane without other limits in the first version).
    A lane that limits more than slots adds what each entry asks for (party, key, units by name,
    cost), `tat_ns` what its rate comes to after the leases (see
    `goclaw_actors.lane.rates`), `wake_ns` when it lets the next start, if one waits for that; 0
    elsewhere.
    """

    released: list[str]
    withdrawn: list[str]
    queued: list[Any]
    leased: list[str]
    now_ns: int = 0
    tat_ns: int = 0
    wake_ns: int = 0


class LaneRefused(NamedTuple):
    """Tasks were not taken in, or had to leave: they fail with the reason.

    `reason`: `lane_full`, `lane_dropped` (overflow), `lane_quota_exceeded`, or `lane_draining`.
    Who had waited is in `LaneAdvanced.withdrawn` of the same turn.
    """

    tasks: list[str]
    reason: str


class SlotKept(NamedTuple):
    """A task does without its slot, but the attempt `token` of it was abandoned and keeps it.

    The slot has another name from then on (`goclaw_events.ids.kept_slot`): the task may ask for
    one again, and `LaneAdvanced.released` names this one when it comes back.
    """

    task: str
    token: int


class LaneControlled(NamedTuple):
    """Somebody changed the lane while it works: all of this holds from then on.

    `mode`: `open`, `paused` (it lends nothing), or `draining` (it takes nobody new in). `limits`
    are those set live, over the declared ones, by the names of `LaneDefinition`; {}: none.
    `version` counts the changes. `by` is who asked, as the transport proved it (`uid:1000`),
    `claimed` whom they said to be.
    """

    mode: str
    limits: dict[str, Value]
    version: int
    by: str
    claimed: str = ""


class LaneHeld(NamedTuple):
    """The lane lends nothing before `until_ns`, for the sake of whom a task asked in vain.

    0 and no task: whoever resumed the lane did not want to wait for it.
    """

    until_ns: int
    task: str


class LaneScaled(NamedTuple):
    """A lane that scales has so many slots from now on, or looks again at another time.

    `wake_ns` is that time (0: when the next task comes), `short_ns` since when it has too few,
    `quiet_ns` since when too many; 0: it has not.
    """

    concurrency: int
    now_ns: int
    wake_ns: int
    short_ns: int
    quiet_ns: int


class LaneRedirected(NamedTuple):
    """Tasks found the lane full, and were told to ask another one."""

    tasks: list[str]
    lane: str


class LaneRoomChanged(NamedTuple):
    """One turn of those for whom a lane that blocks has no room; applied in this order.

    `used`: [run, how many] places in the queue that had been kept for a run and are not any more,
    as its tasks took them, or did not want them. `left`: runs that do not wait for room any more.
    `came`: runs that wait for it now, in order. `given`: [run, how many] places that are kept for
    runs from now on: they wait no more.
    """

    used: list[list[Any]]
    left: list[str]
    came: list[str]
    given: list[list[Any]]


LaneFact: TypeAlias = (
    LaneDeclared
    | LaneAdvanced
    | LaneRefused
    | SlotKept
    | LaneControlled
    | LaneHeld
    | LaneRedirected
    | LaneRoomChanged
    | LaneScaled
)
