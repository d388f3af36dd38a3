"""What is said to lanes, and to the keys of unique tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from goclaw_events.facts import WAITERS_MAX_DEFAULT

if TYPE_CHECKING:
    from goclaw_events.value import Value


# To a lane.
class DeclareLane(NamedTuple):
    """State the limits that a definition or the configuration declares."""

    concurrency: int
    capacity: int
    overflow: str
    declared_by: str
    limits: dict[str, Value] | None = None
    redirect_to: str = ""
    waiters_max: int = WAITERS_MAX_DEFAULT


class ControlLane(NamedTuple):
    """Change the lane while it works; see `LaneControlled`.

    `mode` None: the one it has. `limits` are laid over those that were set live before, a value of
    None takes one back; with `reset` all are taken back first.
    """

    mode: str | None
    limits: dict[str, Value]
    reset: bool
    by: str
    claimed: str = ""


class Enqueue(NamedTuple):
    """Ask for a slot. `at_head`: before others of its priority (it had one already).

    `tenant` and `workflow` say for whom, `key` which of those with the same key go one by one.
    `units` are taken from the lane's resources for as long as the slot. `cost` weighs the task
    in the lane's rate and in shares. `hops`: how many full lanes sent it on. `let_in`: a place was
    kept for it.
    """

    task: str
    priority: int
    at_head: bool
    tenant: str = ""
    workflow: str = ""
    key: str = ""
    units: dict[str, int] | None = None
    cost: float = 1.0
    hops: int = 0
    let_in: bool = False


class Defer(NamedTuple):
    """Give a slot back and ask for it again at the head; nothing is to start before `until_ns`.

    The other fields are those of `Enqueue`.
    """

    task: str
    priority: int
    at_head: bool
    tenant: str
    workflow: str
    key: str
    units: dict[str, int] | None
    cost: float
    until_ns: int


class Release(NamedTuple):
    """Give a slot back."""

    task: str


class KeepSlot(NamedTuple):
    """Leave a slot to the abandoned attempt `token` of a task that does without it.

    It comes back as `Release(kept_slot(task, token))`.
    """

    task: str
    token: int


class Withdraw(NamedTuple):
    """Leave the queue, or give the slot back if it was leased meanwhile."""

    task: str


class WaitForRoom(NamedTuple):
    """Tell the run when there is room: it has tasks that found none."""

    run: str


class LeaveRoom(NamedTuple):
    """Tell the run nothing any more: it has no such tasks."""

    run: str


class ReturnRoom(NamedTuple):
    """Keep so many places less for the run: it has no task for them."""

    run: str
    places: int


class LendFree(NamedTuple):
    """Lend what is free: a turn was too small for it, or other limits were declared in it."""


class RecheckSlots(NamedTuple):
    """Ask who holds a slot whether it still does (None: everybody, in turns of their own).

    What was said to the lane while it could not be read is gone.
    """

    tasks: list[str] | None


class RefuseWaiting(NamedTuple):
    """Tell those who wait that the lane was given up; handled without asking its decider."""


# To the keys of a unique task.
class ClaimKey(NamedTuple):
    """Ask for a key; kept for `window_ns` from now on if the task completes (0: it is not)."""

    key: str
    task: str
    window_ns: int
    on_duplicate: str


class FreeKey(NamedTuple):
    """The task ended, or does not want the key any more (`cancelled`)."""

    key: str
    task: str
    status: str
    result: Value
    error: list[str] | None


LANE_MESSAGES: Final = (
    (DeclareLane, "lane.declare"),
    (ControlLane, "lane.control"),
    (Enqueue, "lane.enqueue"),
    (Defer, "lane.defer"),
    (Release, "lane.release"),
    (KeepSlot, "lane.keep_slot"),
    (Withdraw, "lane.withdraw"),
    (WaitForRoom, "lane.wait_for_room"),
    (LeaveRoom, "lane.leave_room"),
    (ReturnRoom, "lane.return_room"),
    (LendFree, "lane.lend_free"),
    (RecheckSlots, "lane.recheck_slots"),
    (RefuseWaiting, "lane.refuse_waiting"),
    (ClaimKey, "unique.claim_key"),
    (FreeKey, "unique.free_key"),
)
