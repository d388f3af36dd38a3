"""Slots that follow the load: when they come and go, that they come to rest, and what wakes it."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from goclaw_actors.lane import LANE, Lane
from goclaw_actors.lane.scaling import SCALE, Load, Scale, Scaling, next_slots, scaled
from goclaw_actors.lending import ControlLane, DeclareLane, Enqueue, Release
from goclaw_actors.messages import SlotLeased, TimerFired
from goclaw_events.facts import LaneDeclared, LaneScaled
from tests.actors.given import NOW_NS, Scenario, kinds

if TYPE_CHECKING:
    from collections.abc import Sequence

STREAM = "lane/w/io"
SECOND_NS = 10**9
LIMITS = Scale(2, 16, SECOND_NS, 30 * SECOND_NS)
SAID = {"scale": [2, 16, 1.0, 30.0]}


class Follower:
    """A lane's scaling without its lane: what it says is applied, and timers are kept."""

    def __init__(self, scale: Scale = LIMITS) -> None:
        self.scaling = Scaling()
        self.scaling.scale = scale
        self.slots = scale.least
        self.now_ns = NOW_NS
        self.changes: list[int] = []
        self.looks = 0

    def turn(self, load: Load, *, fired: bool = False) -> None:
        """Have a turn of the lane leave a load."""
        fact, _ = scaled(self.scaling, self.slots, load, self.now_ns, fired=fired)
        if not fired:
            self.scaling.count(self.slots, load, self.now_ns)
        if fact is not None:
            self.looks += 1
            if fact.concurrency != self.slots:
                self.changes.append(fact.concurrency)
            self.scaling.apply(fact)
            self.slots = fact.concurrency

    def demand(self, tasks: int, seconds: float) -> None:
        """Have so many tasks at hand for so long; the timer fires when it is due."""
        end_ns = self.now_ns + int(seconds * SECOND_NS)
        while True:
            slots = 0
            while slots != self.slots:  # what it gained is lent in a turn of its own
                slots = self.slots
                self.turn(Load(tasks - min(tasks, slots), min(tasks, slots)))
            wake_ns = self.scaling.wake_ns
            if not wake_ns or wake_ns > end_ns:
                break
            self.now_ns = max(self.now_ns, wake_ns)
            running = min(tasks, self.slots)
            self.turn(Load(tasks - running, running), fired=True)
        self.now_ns = end_ns


def test_a_deep_queue_doubles_the_slots_at_once() -> None:
    """As many wait as there are slots; then once in `wait`, up to the most."""
    follower = Follower()
    follower.turn(Load(2, 2))
    assert follower.slots == 4
    follower.demand(40, 0.5)
    assert follower.slots == 4
    follower.demand(40, 5)
    assert follower.changes == [4, 8, 16]


def test_a_short_queue_doubles_them_after_a_while() -> None:
    """One that waits for less than `wait` changes nothing; the timer finds out."""
    follower = Follower()
    follower.demand(3, 0.9)
    assert follower.slots == 2
    follower.demand(3, 0.2)
    assert follower.slots == 4


def test_a_queue_beside_free_slots_is_not_for_want_of_slots() -> None:
    """It waits for its rate, a key, or a lane that goes on: more slots would not help."""
    follower = Follower()
    follower.turn(Load(100, 1))
    follower.now_ns += 100 * SECOND_NS
    follower.turn(Load(100, 1))
    assert follower.changes == []


def test_slots_go_when_half_of_them_were_unused_for_long() -> None:
    """A quarter at a time, as long as what is left is enough by half; never below the least."""
    follower = Follower()
    follower.demand(16, 10)
    assert follower.slots == 16
    follower.demand(3, 29)
    assert follower.slots == 16
    follower.demand(3, 300)
    assert follower.slots == 5
    follower.demand(1, 300)
    assert follower.slots == 2


def test_a_peak_within_the_quiet_time_keeps_the_slots() -> None:
    """What is needed once in a while is not taken away."""
    follower = Follower()
    follower.demand(16, 10)
    for _ in range(20):
        follower.demand(4, 20)
        follower.demand(12, 1)
    assert follower.slots == 16


def test_an_empty_lane_sets_no_timer_and_remembers() -> None:
    """Nothing wakes it; who comes after a long time finds the slots that are right by then."""
    follower = Follower()
    follower.demand(16, 10)
    follower.turn(Load(0, 0))
    assert follower.scaling.wake_ns == 0
    follower.now_ns += 3_600 * SECOND_NS
    follower.turn(Load(0, 1))
    assert follower.slots == 2


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 30), st.integers(0, 60))
def test_a_steady_load_comes_to_rest(tasks: int, least: int, more: int, before: int) -> None:
    """Whatever came before: after a few minutes slots never change again, and are enough."""
    scale = Scale(least, least + more, SECOND_NS, 30 * SECOND_NS)
    follower = Follower(scale)
    follower.demand(before, 20)
    follower.demand(tasks, 900)
    slots, changes, looks = follower.slots, list(follower.changes), follower.looks
    follower.demand(tasks, 36_000)
    assert follower.changes == changes
    assert slots >= min(tasks, scale.most)
    assert slots <= max(2 * tasks, scale.least)
    assert follower.looks <= looks + 2


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.floats(0.1, 100)), max_size=30))
def test_slots_stay_within_limits_and_do_not_flap(loads: Sequence[tuple[int, float]]) -> None:
    """For any load: no change comes sooner than `wait`, and what went was unused for `idle`."""
    follower = Follower()
    for tasks, seconds in loads:
        before, changes = follower.slots, len(follower.changes)
        follower.demand(tasks, seconds)
        steps = [before, *follower.changes[changes:]]
        ups = sum(after > then for then, after in pairwise(steps))
        downs = len(steps) - 1 - ups
        assert LIMITS.least <= follower.slots <= LIMITS.most
        assert len(steps) - 1 <= seconds + 1
        assert not (ups and downs and tasks), f"{steps} under a steady load of {tasks}"


def test_it_is_a_function_of_state_and_time() -> None:
    """Asked twice it says the same, and asking changes nothing."""
    was = Scaling()
    was.scale = LIMITS
    asked = [next_slots(LIMITS, was, 2, Load(5, 2), NOW_NS) for _ in range(2)]
    assert asked == [4, 4]
    assert (was.slots, was.short_ns, was.changed_ns) == (0, 0, 0)


def lane(*tasks: str) -> Scenario[Lane]:
    """Return a lane that scales, with tasks that came one by one."""
    scenario = Scenario(LANE, STREAM).given(LaneDeclared(16, 100, "reject", "w", SAID))
    for task in tasks:
        follow(scenario, Enqueue(task, 0, at_head=False))
    return scenario


def follow(scenario: Scenario[Lane], message: Any, now_ns: int = NOW_NS) -> list[str]:
    """Say something to a lane, and what it then says to itself; return who got a slot."""
    leased, messages = [], [message]
    while messages:
        decision = scenario.when(messages.pop(0), now_ns)
        leased += [send.target for send in decision.sends if isinstance(send.body, SlotLeased)]
        messages += [send.body for send in decision.sends if send.target == STREAM]
    assert scenario.encoded() == scenario.replayed()
    return leased


def test_a_lane_starts_with_the_least_and_lends_what_it_gains() -> None:
    """Two slots; two who wait make four of them."""
    scenario = lane(*"abc")
    assert (scenario.state.concurrency, list(scenario.state.leased)) == (2, ["a", "b"])
    assert follow(scenario, Enqueue("d", 0, at_head=False)) == ["c", "d"]
    assert scenario.state.concurrency == 4


def test_a_paused_lane_gains_no_slots() -> None:
    """Who waits then does not wait for want of slots; afterwards they do."""
    scenario = lane("a", "b")
    follow(scenario, ControlLane("paused", {}, reset=False, by="uid:1"))
    for task in "cdefgh":
        follow(scenario, Enqueue(task, 0, at_head=False))
    assert scenario.state.concurrency == 2
    follow(scenario, ControlLane("open", {}, reset=False, by="uid:1"))
    assert scenario.state.concurrency == 4


def test_a_lane_is_woken_while_it_matters() -> None:
    """A timer for one that waits; cleared when the lane is empty; none where nothing can change."""
    scenario = lane("a", "b")
    decision = scenario.when(Enqueue("c", 0, at_head=False))
    assert kinds(decision.facts) == ["LaneAdvanced", "LaneScaled"]
    assert [each.id for each in decision.effects if kinds([each]) == ["SetTimer"]] == [SCALE]
    later_ns = NOW_NS + SECOND_NS
    assert follow(scenario, TimerFired(SCALE), later_ns) == ["c"]
    for task in "abc":
        follow(scenario, Release(task), later_ns)
    assert scenario.state.control.scaling.wake_ns == 0
    assert scenario.state.concurrency == 4


def test_slots_set_live_take_the_place_of_scaling_and_back() -> None:
    """The one that was set last counts; the timer goes with the scaling."""
    scenario = lane(*"abc")
    fixed = scenario.when(ControlLane(None, {"concurrency": 3}, reset=False, by="uid:1"))
    assert kinds(fixed.effects) == ["ClearTimer"]
    assert (scenario.state.concurrency, scenario.state.control.scaling.scale) == (3, None)
    follow(scenario, ControlLane(None, {"scale": [1, 2, 1.0, 5.0]}, reset=False, by="uid:1"))
    assert scenario.state.control.live == {"scale": [1, 2, 1.0, 5.0]}
    assert scenario.state.concurrency == 2
    follow(scenario, ControlLane(None, {}, reset=True, by="uid:1"))
    assert scenario.state.control.scaling.scale == LIMITS


def test_a_declaration_without_scaling_ends_it() -> None:
    """The lane has the slots that are declared; nothing is left of the timer."""
    scenario = lane(*"abc")
    decision = scenario.when(DeclareLane(5, 100, "reject", "w"))
    assert kinds(decision.effects) == ["ClearTimer"]
    assert scenario.state.concurrency == 5
    assert not any(isinstance(fact, LaneScaled) for fact in decision.facts)
