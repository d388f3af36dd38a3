"""Several messages in one turn of a lane: one fact, slots given when all of them are known."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from goclaw_actors.decider import ClearOpen, SetOpen
from goclaw_actors.lane import LANE, Lane
from goclaw_actors.lane.decide import decide_together
from goclaw_actors.lending import Enqueue, Release, Withdraw
from goclaw_actors.messages import SlotRefused
from goclaw_events.facts import LaneAdvanced, LaneDeclared, LaneRefused
from tests.actors.given import NOW_NS, Scenario, moment
from tests.actors.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from goclaw_actors.decider import Decider, Decision

STREAM = "lane/w/io"


def ask(task: str, priority: int = 0, *, head: bool = False) -> Enqueue:
    """Return the message of a task that asks for a slot."""
    return Enqueue(task, priority, head)


def lane(concurrency: int = 1, capacity: int = 100) -> Scenario[Lane]:
    """Return a declared lane."""
    scenario = Scenario(LANE, STREAM)
    return scenario.given(LaneDeclared(concurrency, capacity, "reject", "w"))


def together(scenario: Scenario[Lane], *messages: Any) -> Decision:
    """Have the messages answered in one turn, and apply its facts."""
    before = scenario.encoded()
    decision = decide_together(scenario.state, messages, moment())
    assert scenario.encoded() == before, "deciding changed the state"
    scenario.given(*decision.facts)
    assert scenario.encoded() == scenario.replayed()
    return decision


def test_what_comes_and_goes_is_one_fact() -> None:
    """Slots that come back in a turn go to those who came in it, if nobody waited before."""
    scenario = lane(2)
    together(scenario, ask("a"), ask("b"))
    decision = together(scenario, Release("a"), ask("c"), Release("b"), ask("d"), ask("e"))
    queued = [("c", 0, False), ("d", 0, False), ("e", 0, False)]
    assert decision.facts == (LaneAdvanced(["a", "b"], [], queued, ["c", "d"], NOW_NS),)
    assert [send.target for send in decision.sends] == ["c", "d"]
    assert decision.effects == ()


def test_slots_are_given_when_all_who_ask_are_known() -> None:
    """The one with the higher priority gets the slot, though another asked before it."""
    decision = together(lane(), ask("early"), ask("urgent", 5))
    assert decision.facts[0].leased == ["urgent"]
    assert decision.effects == (SetOpen("lane", ""),)


def test_asking_and_withdrawing_is_nothing() -> None:
    """A task that came and left within the turn leaves no trace."""
    decision = together(lane(), ask("a"), Withdraw("a"))
    assert (decision.facts, decision.sends, decision.effects) == ((), (), ())


def test_a_task_may_leave_and_come_back() -> None:
    """Released or withdrawn, and queued again behind the others."""
    scenario = lane(1)
    together(scenario, ask("a"), ask("b"), ask("c"))
    decision = together(scenario, Release("a"), ask("a"), Withdraw("b"), ask("b"))
    assert decision.facts[0].leased == ["c"]
    assert [entry[2] for entry in scenario.state.queue] == ["a", "b"]
    assert together(scenario, Withdraw("a"), Withdraw("b"), Release("c")).effects == (ClearOpen(),)


def test_the_last_to_come_are_refused() -> None:
    """Over the capacity; who gets a slot in the turn takes no room from those who wait."""
    scenario = lane(2, capacity=1)
    decision = together(scenario, *(ask(task) for task in "abcde"))
    assert decision.facts[0].leased == ["a", "b"]
    assert decision.facts[1] == LaneRefused(["d", "e"], "lane_full")
    refused = [send.target for send in decision.sends if isinstance(send.body, SlotRefused)]
    assert refused == ["d", "e"]
    back = together(scenario, ask("f"), ask("back", head=True), Release("a"))
    assert back.facts[0].leased == ["back"]
    assert back.facts[1] == LaneRefused(["f"], "lane_full")


messages = st.one_of(
    st.builds(ask, st.sampled_from("abcdefgh"), st.integers(-1, 1), head=st.booleans()),
    st.builds(Release, st.sampled_from("abcdefgh")),
    st.builds(Withdraw, st.sampled_from("abcdefgh")),
)


@given(st.integers(1, 3), st.lists(st.lists(messages, max_size=12), max_size=6))
@settings(max_examples=60)
def test_the_same_tasks_are_there_as_one_by_one(
    concurrency: int, batches: Sequence[Sequence[Any]]
) -> None:
    """No slot is free while a task waits, none is lent twice, order is kept, nobody is lost."""
    one = lane(concurrency)
    for batch in batches:
        apart = Scenario(LANE, STREAM).given(*one.facts)
        together(one, *batch)
        for message in batch:
            apart.when(message)
        state = one.state
        assert len(state.leased) <= concurrency
        assert not state.queued or len(state.leased) == concurrency
        assert [entry[2] for entry in state.queue] == [
            entry[0] for entry in LANE.encode(state)["queued"]
        ]
        released = {message.task for message in batch if isinstance(message, Release)}
        ours = {*state.queued, *state.leased}
        theirs = {*apart.state.queued, *apart.state.leased}
        # A release counts only for who holds a slot, and who does may differ within a turn.
        assert ours - released == theirs - released


def test_where_a_turn_for_all_fails_each_has_its_own() -> None:
    """So that only a message that fails alone is parked, and costs its stream."""

    def all_bad(_state: Lane, messages: Sequence[Any], _now: Any) -> Decision:
        msg = f"a bug with {len(messages)} messages"
        raise RuntimeError(msg)

    def change(kinds: dict[str, Decider[Any]]) -> None:
        assert LANE.pool is not None
        kinds["lane"] = replace(LANE, pool=replace(LANE.pool, decide=all_bad))

    stage = Stage(change=change)
    for run in "abc":
        stage.submit({"t": {"agent": "x"}}, run)
    stage.finish()
    assert [status for status, _ in stage.ended.values()] == ["completed"] * 3
    assert len(stage.facts("lane//default")) == 6
    assert stage.rows("parked") == 0
