"""The lane, by its table and against a model that keeps a plain list."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from goclaw_actors.decider import ClearOpen, SetOpen
from goclaw_actors.lane import LANE, Lane
from goclaw_actors.lane.draft import LEASES_PER_TURN_MAX
from goclaw_actors.lending import (
    DeclareLane,
    Enqueue,
    KeepSlot,
    RecheckSlots,
    Release,
    Withdraw,
)
from goclaw_actors.messages import CheckSlot, SlotLeased, SlotRefused
from goclaw_events.facts import LaneAdvanced, LaneDeclared, LaneRefused, SlotKept
from tests.actors.given import NOW_NS, Scenario, kinds

STREAM = "lane/w/io"


def lane(concurrency: int = 1, capacity: int = 100) -> Scenario[Lane]:
    """Return a declared lane."""
    scenario = Scenario(LANE, STREAM)
    return scenario.given(LaneDeclared(concurrency, capacity, "reject", "w"))


def leased(decision: Any) -> list[str]:
    """Return the tasks that were told that they have a slot, in order."""
    return [send.target for send in decision.sends if isinstance(send.body, SlotLeased)]


def enqueue(scenario: Scenario[Lane], task: str, priority: int = 0, *, head: bool = False) -> Any:
    """Ask for a slot."""
    return scenario.when(Enqueue(task, priority, head))


def test_the_first_task_gets_the_slot_at_once() -> None:
    """A free slot goes to the task that asks, and the lane counts as unfinished."""
    decision = enqueue(lane(), "a")
    assert decision.facts == (LaneAdvanced([], [], [("a", 0, False)], ["a"], NOW_NS),)
    assert leased(decision) == ["a"]
    assert decision.effects == (SetOpen("lane", ""),)


def test_a_slot_that_an_abandoned_attempt_keeps_is_taken() -> None:
    """Its task waits for another one beside it; when it comes back it is lent again, once."""
    scenario = lane()
    enqueue(scenario, "task/r/a")
    assert scenario.when(KeepSlot("task/r/a", 7)).facts == (SlotKept("task/r/a", 7),)
    assert scenario.when(KeepSlot("task/r/a", 7)).facts == ()  # said again
    assert leased(enqueue(scenario, "task/r/a", head=True)) == []
    checked = scenario.when(RecheckSlots(["task/r/a#7"]))
    assert [(send.target, send.body) for send in checked.sends] == [
        ("task/r/a", CheckSlot(7, "w/io"))
    ]
    assert leased(scenario.when(Release("task/r/a#7"))) == ["task/r/a"]
    assert scenario.when(Release("task/r/a#7")).facts == ()


def test_priority_comes_before_arrival() -> None:
    """The higher priority goes first; within one, who came first."""
    scenario = lane()
    for task, priority in (("busy", 0), ("a", 0), ("b", 5), ("c", 5), ("d", -1)):
        enqueue(scenario, task, priority)
    order = []
    for task in ("busy", "b", "c", "a", "d"):
        order += leased(scenario.when(Release(task)))
    assert order == ["b", "c", "a", "d"]


def test_what_comes_back_goes_to_the_head_of_its_priority() -> None:
    """A task that had a slot before goes before others of its priority, not before higher ones."""
    scenario = lane()
    for task, priority in (("busy", 0), ("a", 0), ("high", 1)):
        enqueue(scenario, task, priority)
    enqueue(scenario, "back", 0, head=True)
    order = []
    for task in ("busy", "high", "back"):
        order += leased(scenario.when(Release(task)))
    assert order == ["high", "back", "a"]


def test_a_full_lane_rejects_with_one_outcome() -> None:
    """Over the capacity a task hears no, once, and nothing else follows."""
    scenario = lane(1, capacity=1)
    enqueue(scenario, "busy")
    enqueue(scenario, "waits")
    decision = enqueue(scenario, "late")
    assert decision.facts == (LaneRefused(["late"], "lane_full"),)
    assert [(send.target, send.body) for send in decision.sends] == [
        ("late", SlotRefused("lane_full"))
    ]
    assert decision.effects == ()


def overflowing(kind: str, *tasks: str) -> Scenario[Lane]:
    """Return a lane of one slot and room for two, with tasks in it."""
    scenario = Scenario(LANE, STREAM).given(LaneDeclared(1, 2, kind, "w"))
    for task in tasks:
        enqueue(scenario, task)
    return scenario


def test_the_oldest_is_dropped_for_who_comes() -> None:
    """Who waited longest leaves, whatever its priority; who came back was let in before."""
    scenario = overflowing("drop_oldest", "busy", "a", "b")
    enqueue(scenario, "back", 0, head=True)
    decision = enqueue(scenario, "c")
    assert decision.facts[0] == LaneAdvanced([], ["a", "b"], [("c", 0, False)], [], NOW_NS)
    assert decision.facts[1] == LaneRefused(["a", "b"], "lane_dropped")
    refused = [send.target for send in decision.sends if isinstance(send.body, SlotRefused)]
    assert refused == ["a", "b"]
    assert leased(scenario.when(Release("busy"))) == ["back"]
    assert scenario.encoded() == scenario.replayed()


def test_the_newest_is_dropped() -> None:
    """As where a full lane rejects, but said to be dropped."""
    decision = enqueue(overflowing("drop_newest", "busy", "a", "b"), "c")
    assert decision.facts == (LaneRefused(["c"], "lane_dropped"),)


def test_dropping_the_oldest_goes_on_for_ever() -> None:
    """However many came and were dropped, the last ones are there."""
    scenario = overflowing("drop_oldest", "busy", *(f"t{number}" for number in range(3_000)))
    assert list(scenario.state.queued) == ["t2998", "t2999"]


def test_what_comes_back_is_not_rejected() -> None:
    """A retry is taken in whatever the capacity: it was let in before."""
    scenario = lane(1, capacity=1)
    for task in ("busy", "waits"):
        enqueue(scenario, task)
    assert kinds(enqueue(scenario, "back", head=True).facts) == ["LaneAdvanced"]
    assert leased(scenario.when(Release("busy"))) == ["back"]


def test_a_lane_without_room_to_wait_still_leases() -> None:
    """Capacity counts who waits, so a capacity of 0 takes in as many as there are slots."""
    scenario = lane(1, capacity=0)
    assert leased(enqueue(scenario, "a")) == ["a"]
    assert kinds(enqueue(scenario, "b").facts) == ["LaneRefused"]


@pytest.mark.parametrize("message", [Release("a"), Withdraw("a")])
def test_giving_back_twice_is_giving_back_once(message: Any) -> None:
    """Release and withdraw are idempotent."""
    scenario = lane()
    enqueue(scenario, "a")
    assert kinds(scenario.when(message).facts) == ["LaneAdvanced"]
    again = scenario.when(message)
    assert (again.facts, again.sends, again.effects) == ((), (), ())


def test_asking_twice_is_asking_once() -> None:
    """A task that waits or holds a slot is not queued again."""
    scenario = lane()
    enqueue(scenario, "holds")
    enqueue(scenario, "waits")
    for task in ("holds", "waits"):
        assert enqueue(scenario, task).facts == ()


def test_withdrawing_a_leased_task_frees_its_slot() -> None:
    """The lease may have crossed the withdrawal: the slot goes to the next one."""
    scenario = lane()
    for task in ("a", "b"):
        enqueue(scenario, task)
    assert leased(scenario.when(Withdraw("a"))) == ["b"]


def test_the_last_one_out_closes_the_lane() -> None:
    """A lane is unfinished exactly while a task waits or holds a slot."""
    scenario = lane()
    for task in ("a", "b"):
        enqueue(scenario, task)
    assert scenario.when(Withdraw("b")).effects == ()
    assert scenario.when(Release("a")).effects == (ClearOpen(),)


def test_a_raised_limit_leases_at_once() -> None:
    """Slots that a declaration adds go to those who wait, in order."""
    scenario = lane(1)
    for task in "abcd":
        enqueue(scenario, task)
    decision = scenario.when(DeclareLane(3, 100, "reject", "w"))
    assert leased(decision) == ["b", "c"]
    assert kinds(decision.facts) == ["LaneDeclared", "LaneAdvanced"]


def test_a_lowered_limit_waits_for_slots_to_come_back() -> None:
    """Nobody loses a slot; nothing is leased until fewer than the new limit are."""
    scenario = lane(3)
    for task in "abcd":
        enqueue(scenario, task)
    assert leased(scenario.when(DeclareLane(1, 100, "reject", "w"))) == []
    assert [leased(scenario.when(Release(task))) for task in "abc"] == [[], [], ["d"]]


def test_the_same_declaration_changes_nothing() -> None:
    """A definition declares its lanes with every run; only a change is a fact."""
    assert lane(2, 9).when(DeclareLane(2, 9, "reject", "other")).facts == ()


def test_many_new_slots_are_leased_over_several_turns() -> None:
    """A turn leases a bounded number; the lane tells itself to go on until no slot is free."""
    count = 2 * LEASES_PER_TURN_MAX + 10
    scenario = lane(1, 10_000)
    for number in range(count + 1):
        enqueue(scenario, f"t{number}")
    messages: list[Any] = [DeclareLane(10_000, 10_000, "reject", "w")]
    told: list[str] = []
    turns = 0
    while messages:
        decision = scenario.when(messages.pop())
        assert len(leased(decision)) <= LEASES_PER_TURN_MAX
        told += leased(decision)
        messages += [send.body for send in decision.sends if send.target == STREAM]
        turns += 1
    assert told == [f"t{number}" for number in range(1, count + 1)]
    assert turns == 3


class Waiting(NamedTuple):
    """An entry of the model: what sorts first is leased first."""

    rank: tuple[int, int]
    task: str


class LaneAgainstModel(RuleBasedStateMachine):
    """Any messages in any order: leases come in the order of a sorted list."""

    def __init__(self) -> None:
        super().__init__()
        self.lane = lane(2, 4)
        self.waiting: list[Waiting] = []
        self.held: list[str] = []
        self.limits = (2, 4)
        self.tick = 0
        self.count = 0

    def _told(self, decision: Any, expected_refused: list[str]) -> None:
        free = self.limits[0] - len(self.held)
        expected = [entry.task for entry in sorted(self.waiting)[: max(0, free)]]
        assert leased(decision) == expected
        refused = [send.target for send in decision.sends if isinstance(send.body, SlotRefused)]
        assert refused == expected_refused
        self.held += expected
        self.waiting = [entry for entry in self.waiting if entry.task not in expected]

    @rule(priority=st.integers(-1, 1), head=st.booleans())
    def enqueue_new(self, priority: int, head: bool) -> None:
        """Let a task ask that is not here."""
        self.count += 1
        self._enqueue(f"t{self.count}", priority, head)

    @rule(priority=st.integers(-1, 1), head=st.booleans(), pick=st.integers(0, 20))
    def enqueue_any(self, priority: int, head: bool, pick: int) -> None:
        """Let a task ask that may be here, or may have been here."""
        if self.count:
            self._enqueue(f"t{1 + pick % self.count}", priority, head)

    def _enqueue(self, task: str, priority: int, head: bool) -> None:
        decision = self.lane.when(Enqueue(task, priority, head))
        if task in self.held or task in [entry.task for entry in self.waiting]:
            assert decision.facts == ()
            return
        self.tick += 1
        room = len(self.waiting) < self.limits[1]
        at_once = not self.waiting and len(self.held) < self.limits[0]
        if not (room or head or at_once):
            self._told(decision, [task])
            return
        self.waiting.append(Waiting((-priority, -self.tick if head else self.tick), task))
        self._told(decision, [])

    @precondition(lambda self: self.count)
    @rule(pick=st.integers(0, 20), kind=st.sampled_from([Release, Withdraw]))
    def leave(self, pick: int, kind: Any) -> None:
        """Let a task give back or withdraw, whether or not it is here."""
        task = f"t{1 + pick % self.count}"
        decision = self.lane.when(kind(task))
        if task in self.held:
            self.held.remove(task)
        elif kind is Withdraw:
            self.waiting = [entry for entry in self.waiting if entry.task != task]
        self._told(decision, [])

    @rule(concurrency=st.integers(1, 5), capacity=st.integers(0, 5))
    def declare(self, concurrency: int, capacity: int) -> None:
        """Change the limits."""
        self.limits = (concurrency, capacity)
        self._told(self.lane.when(DeclareLane(concurrency, capacity, "reject", "w")), [])

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        """Who waits, who holds a slot, and what replay makes of it are the same."""
        encoded = LANE.encode(self.lane.state)
        assert [task for task, *_ in encoded["queued"]] == [e.task for e in sorted(self.waiting)]
        assert encoded["leased"] == self.held
        assert self.lane.encoded() == self.lane.replayed()


TestLaneAgainstModel = LaneAgainstModel.TestCase
TestLaneAgainstModel.settings = settings(max_examples=40, stateful_step_count=30)


@given(st.integers(1, 4), st.lists(st.integers(0, 30), max_size=60))
@settings(max_examples=40)
def test_never_more_slots_than_the_concurrency(concurrency: int, steps: list[int]) -> None:
    """Whatever comes and goes, the slots held never exceed a limit that is never lowered."""
    scenario = lane(concurrency, 10)
    for step in steps:
        scenario.when(
            Enqueue(f"t{step}", step % 3, step % 5 == 0) if step < 20 else Release(f"t{step - 20}")
        )
        assert len(scenario.state.leased) <= concurrency
        assert not scenario.state.queued or len(scenario.state.leased) == concurrency
