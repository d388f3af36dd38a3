"""What a lane would be after the messages of the turn being decided: the lane stays as it is."""

from __future__ import annotations

from itertools import chain, islice
from sys import intern
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.adjusting import LeaveQueue, LeftQueue, Rerank
from goclaw_actors.decider import NOTHING, ClearOpen, ClearTimer, Decision, Send, SetOpen, SetTimer
from goclaw_actors.lane.control import DRAINING
from goclaw_actors.lane.entry import TASK
from goclaw_actors.lane.limits import TENANT, Limits, limits_of
from goclaw_actors.lane.room import RoomDraft
from goclaw_actors.lane.state import DROP_OLDEST, came_of, oldest, turn_of
from goclaw_actors.lending import Defer, Enqueue, LendFree, Release, Withdraw
from goclaw_actors.messages import (
    LaneFull,
    SlotLeased,
    SlotRedirected,
    SlotRefused,
    TimerFired,
)
from goclaw_events.envelope import maker
from goclaw_events.facts import LaneAdvanced, LaneHeld, LaneRedirected, LaneRefused
from goclaw_events.ids import owner_stream, routing_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from goclaw_actors.lane.state import Lane
    from goclaw_actors.lane.turn import Turn

LEASES_PER_TURN_MAX: Final = 256
RATE: Final = "rate"
"""The timer that wakes a lane when its rate lets the next task start."""
_SEND: Final = maker(Send, 4)
_FULL: Final = "lane_full"
_QUOTA: Final = "lane_quota_exceeded"
_DROPPED: Final = "lane_dropped"
_DRAINING: Final = "lane_draining"
DROP_NEWEST: Final = "drop_newest"
BLOCK: Final = "block"
REDIRECT: Final = "redirect"
HOPS_MAX: Final = 8
"""A task is sent on by at most so many full lanes; then it is refused."""


class Draft:
    """One turn of a lane: what comes and goes, message by message, then who gets what is free.

    `concurrency` and `capacity` are the lane's, or those that are being declared.
    """

    __slots__ = (
        "capacity", "concurrency", "excessive", "fired", "held", "held_up", "hops", "lane",
        "left", "let_in", "limits", "now_ns", "queued", "released", "room", "tat_ns", "turn",
        "turned_away", "wake_ns", "withdrawn",
    )  # fmt: skip

    def __init__(self, lane: Lane, concurrency: int, capacity: int, now_ns: int) -> None:
        self.lane = lane
        self.concurrency = lane.control.slots(concurrency, now_ns)
        self.capacity = capacity
        self.held: tuple[int, str] | None = None
        self.now_ns = now_ns
        self.limits: Limits | None = None if lane.shares is None else lane.shares.limits
        self.released: dict[str, None] = {}
        self.withdrawn: dict[str, None] = {}
        self.queued: dict[str, Any] = {}
        self.excessive: dict[str, None] = {}
        self.turned_away: dict[str, None] = {}
        self.hops: dict[str, int] = {}
        self.let_in: set[str] = set()
        self.left: list[str] = []
        self.room = RoomDraft(lane.room)
        self.tat_ns = 0
        self.fired = False
        self.turn: Turn | None = None
        self.held_up = ""
        self.wake_ns = self._waked_ns

    def take(self, messages: Iterable[Any]) -> None:
        """Take in messages, in order of arrival."""
        leased, released = self.lane.leased, self.released
        for message in messages:
            if type(message) is Enqueue:
                self._enqueue(message)
            elif type(message) is Release:
                if message.task in leased:
                    released[message.task] = None
            elif type(message) is Withdraw:
                self._withdraw(message.task)
            elif type(message) is TimerFired:
                self.fired = message.id == RATE
            elif type(message) is Defer:
                self._defer(message)
            elif type(message) is Rerank:
                self._rerank(message)
            elif type(message) is LeaveQueue:
                self._leave(message.task)
            else:
                self.room.take(message)

    def _waits(self, task: str) -> bool:
        if task in self.queued:
            return True
        return task in self.lane.queued and task not in self.withdrawn

    def _holds(self, task: str) -> bool:
        return task in self.lane.leased and task not in self.released

    @property
    def _waked_ns(self) -> int:
        """Return when the lane will be woken, as far as it knows."""
        return 0 if self.lane.shares is None else self.lane.shares.wake_ns

    @property
    def waiting(self) -> int:
        """Return how many wait after the turn, with those that get a slot in it."""
        return len(self.lane.queued) - len(self.withdrawn) + len(self.queued)

    @property
    def _free(self) -> int:
        return max(0, self.concurrency - len(self.lane.leased) + len(self.released))

    def _enqueue(self, message: Enqueue) -> None:
        task, priority, at_head, tenant, workflow, key, units, cost, hops, let_in = message
        lane, stays = self.lane, task in self.let_in
        if let_in and self.room.use(run_of(task)):
            self.let_in.add(task)
        if (
            task in self.queued
            or (task in lane.leased and task not in self.released)
            or (task in lane.queued and task not in self.withdrawn)
        ):
            return
        if lane.control.mode == DRAINING and not (at_head or stays):
            self.turned_away[task] = None
            return
        if hops:
            self.hops[task] = hops
        limits = self.limits
        if limits is None:
            if not (key or units):
                self.queued[task] = (task, priority, at_head)
                return
            limits = self.limits = limits_of(self.lane.limits)
        if units:
            most = limits.resources
            for unit in units:
                if units[unit] > most.get(unit, 0):
                    self.excessive[task] = None
                    return
        party = tenant if limits.fair_by == TENANT else limits.party(tenant, workflow)
        if party or key or units or cost != 1.0:
            asks = [intern(party), key, units or None, 1 if cost == 1.0 else cost]
            self.queued[task] = (task, priority, at_head, asks)
        else:
            self.queued[task] = (task, priority, at_head)

    def _defer(self, message: Defer) -> None:
        """Let a task wait again that holds a slot, and everybody with it."""
        if not self._holds(message.task):
            return
        self.released[message.task] = None
        self._enqueue(Enqueue(*message[:-1]))
        held_ns = self.lane.control.held_ns if self.held is None else self.held[0]
        if message.until_ns > max(held_ns, self.now_ns):
            self.held = message.until_ns, message.task
            self.concurrency = 0

    def _rerank(self, message: Rerank) -> None:
        """Let a task wait anew that waits; it has its room already."""
        if self._waits(message.task):
            self._withdraw(message.task)
            self.let_in.add(message.task)
            self._enqueue(Enqueue(*message))

    def _leave(self, task: str) -> None:
        """Let a task out that wants to go elsewhere, unless it was given a slot."""
        if self._holds(task):
            return
        if self._waits(task):
            self._withdraw(task)
        self.left.append(task)

    def _withdraw(self, task: str) -> None:
        if self.queued.pop(task, None) is None and self._waits(task):
            self.withdrawn[task] = None
        elif self._holds(task):
            self.released[task] = None

    @property
    def _places(self) -> int:
        """Return how many tasks may wait, without the places that are kept for runs."""
        return self.capacity - self.room.places

    @property
    def _is_in_line(self) -> bool:
        """Tell whether who comes has to line up behind runs that wait for room."""
        return self.lane.overflow == BLOCK and len(self.room) > 0

    def refuse(self, slots: int, leased: Collection[str] = ()) -> list[str]:
        """Take out who came last and has no room to wait; return them in order of arrival.

        Who gets one of the `slots` of this turn takes no room, and if it is known who that is,
        is not refused. Who comes back at the head had room before, for who is let in it was kept.
        Where runs wait for room, nobody goes before them.
        """
        excess = self.waiting - slots - self._places
        in_line = self._is_in_line
        if excess <= 0 and not in_line:
            return []
        stays = self.let_in.union(leased)
        new = [
            task
            for task, _, at_head, *_ in self.queued.values()
            if not at_head and task not in stays
        ]
        refused = new if in_line else new[-excess:]
        for task in refused:
            del self.queued[task]
        return refused

    def drop_oldest(self, leased: Collection[str]) -> list[str]:
        """Take out who came first, to have room for who comes; return them in that order."""
        excess = self.waiting - len(leased) - self._places
        came = [task for task, _, at_head, *_ in self.queued.values() if not at_head]
        if excess <= 0 or not came:
            return []
        at_once = frozenset(leased)
        candidates = chain((entry[TASK] for entry in oldest(self.lane)), came)
        may_go = (task for task in candidates if self._waits(task) and task not in at_once)
        dropped = list(islice(may_go, excess))
        for task in dropped:
            self._withdraw(task)
        return dropped

    def _let_stay(
        self, refused: list[str], dropped: list[str], leased: list[str], before: dict[str, Any]
    ) -> list[str]:
        """Take back those for whom there is room after all, last to be given up first.

        Who is taken back may get a slot at once, which makes room for another: return who does.
        """
        while self._take_back(refused, dropped, len(leased), before):
            held = self.held_up, self.tat_ns, self.wake_ns
            again = self.picks()
            if len(again) <= len(leased):  # it waits, and must not cost another its slot
                self.held_up, self.tat_ns, self.wake_ns = held
                break
            leased = again
        return leased

    def _take_back(
        self, refused: list[str], dropped: list[str], leased: int, before: dict[str, Any]
    ) -> bool:
        """Fill the room there is; False if nobody came back."""
        room = 0 if self._is_in_line else self._places - (self.waiting - leased)
        came_back = False
        for tasks in (refused, dropped):
            while room > 0 and tasks:
                task = tasks.pop(0 if tasks is refused else -1)
                room -= 1
                came_back = True
                if task in before:
                    self.queued[task] = before[task]
                else:
                    del self.withdrawn[task]
        return came_back

    def leases(self) -> list[str]:
        """Return the tasks that get the free slots, first in the order of the queue."""
        wanted = min(self._free, LEASES_PER_TURN_MAX)
        if wanted == 0:
            return []
        gone = self.withdrawn
        waiting = islice(self.lane.queue, wanted + len(gone))
        first = [entry for entry in waiting if entry[TASK] not in gone]
        first.extend(came_of(self.lane, self.queued.values(), self.now_ns))
        first.sort()
        return [entry[TASK] for entry in first[:wanted]]

    def picks(self) -> list[str]:
        """Return the tasks that get the free slots of a lane with limits."""
        wanted = min(self._free, LEASES_PER_TURN_MAX)
        came_and_went = self.released, self.withdrawn, self.queued.values()
        self.turn = turn = turn_of(self.lane, self.now_ns, *came_and_went)
        if wanted == 0:
            return []
        before_ns = turn.rate_ns
        turn.pick(wanted)
        for task in turn.excessive:
            self._withdraw(task)
            self.excessive[task] = None
        self.tat_ns = turn.rate_ns if turn.rate_ns != before_ns else 0
        self.wake_ns = turn.wake_ns
        self.held_up = turn.held_up
        return [entry[TASK] for entry, _, _ in turn.lent]

    def decision(self) -> Decision:
        """Return what follows: one fact for all that came, went, and got a slot."""
        overflow = self.lane.overflow
        refused: list[str] = []
        dropped: list[str] = []
        if self.limits is None and overflow not in (DROP_OLDEST, BLOCK):
            refused = self.refuse(self._free)
            leased = self.leases()
        else:
            before = dict(self.queued)
            leased = self.leases() if self.limits is None else self.picks()
            if overflow == DROP_OLDEST:
                dropped = self.drop_oldest(leased)
            else:
                refused = self.refuse(len(leased), leased)
            had_to_go = {*refused, *dropped}
            if self.held_up in had_to_go:
                leased = self.picks()  # it held others up, and is gone
                leased = self._let_stay(refused, dropped, leased, before)
            if had_to_go:
                self.turn = None  # it was worked out with them
        if overflow == DROP_NEWEST:
            refused, dropped = [], refused
        facts: list[Any] = [] if self.held is None else [LaneHeld(*self.held)]
        lent = SlotLeased(self.lane.stream.partition("/")[2])
        sends = [_SEND((task, lent, False, False)) for task in leased]
        if self._is_empty or (self.fired and self.wake_ns <= self.now_ns):
            self.wake_ns = 0
        is_woken_else = self.wake_ns != self._waked_ns
        if self.released or self.withdrawn or self.queued or leased or is_woken_else:
            came_and_went = list(self.released), list(self.withdrawn), list(self.queued.values())
            times = (self.now_ns, self.tat_ns, self.wake_ns)
            facts.append(LaneAdvanced(*came_and_went, leased, *times))
            self._keep_turn(facts[-1])
        if refused and overflow == BLOCK:
            self._give(len(leased))  # who waited takes its room before others line up
        refused = self._send_elsewhere(refused, facts, sends)
        self._tell_room(len(leased), facts, sends)
        excessive, turned_away = list(self.excessive), list(self.turned_away)
        for tasks, reason in (
            (refused, _FULL), (dropped, _DROPPED), (excessive, _QUOTA), (turned_away, _DRAINING),
        ):  # fmt: skip
            if tasks:
                facts.append(LaneRefused(tasks, reason))
                sends.extend(Send(task, SlotRefused(reason)) for task in tasks)
        lane_id = self.lane.stream.partition("/")[2]
        sends.extend(Send(task, LeftQueue(lane_id)) for task in self.left)
        effects = self._effects()
        return Decision(tuple(facts), sends, effects) if facts or sends or effects else NOTHING

    def _send_elsewhere(self, refused: list[str], facts: list[Any], sends: list[Send]) -> list[str]:
        """Redirect or hold back whom there is no room for; return those that are refused."""
        if refused and self.lane.overflow == REDIRECT:
            return self._redirect(refused, facts, sends)
        if refused and self.lane.overflow == BLOCK:
            return self._block(refused, sends)
        return refused

    def _redirect(self, refused: list[str], facts: list[Any], sends: list[Send]) -> list[str]:
        """Send tasks on to another lane; return those that were sent on too often."""
        target, hops = self.lane.redirect_to, self.hops
        sent_on = [task for task in refused if hops.get(task, 0) < HOPS_MAX]
        if sent_on:
            facts.append(LaneRedirected(sent_on, target))
            sends.extend(Send(task, SlotRedirected(target)) for task in sent_on)
        return [task for task in refused if hops.get(task, 0) >= HOPS_MAX]

    def _block(self, refused: list[str], sends: list[Send]) -> list[str]:
        """Line up the runs of tasks; return those whose run finds no place in the line."""
        lane_id = self.lane.stream.partition("/")[2]
        held_back: dict[str, list[str]] = {}
        rejected = []
        for task in refused:
            run = run_of(task)
            if self.room.waits(run) or len(self.room) < self.lane.waiters_max:
                self.room.wait(run)
                held_back.setdefault(run, []).append(task)
            else:
                rejected.append(task)
        sends.extend(Send(run, LaneFull(lane_id, tasks)) for run, tasks in held_back.items())
        return rejected

    def _give(self, leased: int) -> bool:
        """Keep places for runs that wait, where there are any; True if there are more."""
        return self.room.give(self._places - (self.waiting - leased), self.capacity)

    def _tell_room(self, leased: int, facts: list[Any], sends: list[Send]) -> None:
        """Keep the places that are left for who lined up, and tell all who have some."""
        lane = self.lane
        if self._give(leased):
            sends.append(Send(lane.stream, LendFree()))
        changed = self.room.fact()
        if changed is not None:
            facts.append(changed)
            lane_id = lane.stream.partition("/")[2]
            sends.extend(Send(run, message) for run, message in self.room.told(lane_id))

    def _keep_turn(self, fact: LaneAdvanced) -> None:
        """Leave the turn to be applied, so that it need not be worked out again."""
        if self.turn is not None and self.lane.shares is not None and not self.excessive:
            self.turn.fact = fact
            self.lane.shares.ahead = self.turn

    @property
    def _is_empty(self) -> bool:
        """Tell whether no task waits or holds a slot after the turn."""
        return self.waiting == 0 and len(self.lane.leased) == len(self.released)

    def _effects(self) -> tuple[object, ...]:
        """Wake the lane when its rate says so, or what holds it is over.

        It is unfinished while a task is in it.
        """
        effects: list[object] = []
        set_ns = 0 if self.fired else self._waked_ns
        if self.wake_ns != set_ns:
            effects += [ClearTimer(RATE, set_ns)] if set_ns else []
            effects += [SetTimer(RATE, self.wake_ns)] if self.wake_ns else []
        control = self.lane.control
        held_ns = control.held_ns if self.held is None else self.held[0]
        if control.held_ns > self.now_ns or held_ns > self.now_ns:
            effects += control.timers(held_ns, self.now_ns, len(self.lane.queued), self.waiting)
        was_empty = not (self.lane.leased or self.lane.queued)
        if was_empty != self._is_empty:
            effects.append(ClearOpen() if self._is_empty else SetOpen("lane", ""))
        return tuple(effects)


def run_of(task: str) -> str:
    """Return the stream of the run that a task belongs to."""
    return owner_stream(routing_key(task))
