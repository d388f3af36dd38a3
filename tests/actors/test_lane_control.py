"""A lane that is changed while it works: limits set live, pause, drain."""

from __future__ import annotations

from typing import Any

from goclaw_actors.decider import Accepted, Refused
from goclaw_actors.lane import LANE, Lane
from goclaw_actors.lending import (
    ControlLane,
    DeclareLane,
    Enqueue,
    LendFree,
    Release,
)
from goclaw_actors.messages import SlotLeased, SlotRefused
from goclaw_events.facts import LaneControlled, LaneDeclared, LaneRefused
from tests.actors.given import NOW_NS, Scenario, kinds

STREAM = "lane/w/io"
BY = "uid:7"


def lane(concurrency: int = 1, capacity: int = 100, *tasks: str) -> Scenario[Lane]:
    """Return a declared lane with tasks that came in this order."""
    scenario = Scenario(LANE, STREAM)
    scenario.given(LaneDeclared(concurrency, capacity, "reject", "w"))
    for task in tasks:
        scenario.when(Enqueue(task, 0, at_head=False))
    return scenario


def change(scenario: Scenario[Lane], mode: str | None = None, **limits: Any) -> list[str]:
    """Change a lane; return who got a slot by that."""
    return follow(scenario, ControlLane(mode, limits, reset=False, by=BY))


def follow(scenario: Scenario[Lane], message: Any) -> list[str]:
    """Say something to a lane, and what it then says to itself; return who got a slot."""
    leased = []
    messages = [message]
    while messages:
        decision = scenario.when(messages.pop(0))
        leased += [send.target for send in decision.sends if isinstance(send.body, SlotLeased)]
        messages += [send.body for send in decision.sends if send.target == STREAM]
    assert scenario.encoded() == scenario.replayed()
    return leased


def test_a_change_is_a_fact_that_says_who_asked() -> None:
    """Who the transport proved it was, who they said they are; versions count the changes."""
    scenario = lane()
    message = ControlLane("paused", {"concurrency": 3}, reset=False, by=BY, claimed="ops")
    decision = scenario.when(message)
    assert decision.facts == (LaneControlled("paused", {"concurrency": 3}, 1, BY, "ops"),)
    assert decision.reply == Accepted("1")
    again = scenario.when(message)
    assert (again.facts, again.reply) == ((), Accepted("1", repeated=True))


def test_a_raised_limit_lends_at_once() -> None:
    """Slots that are set live go to those who wait, in order."""
    assert change(lane(1, 100, *"abcd"), concurrency=3) == ["b", "c"]


def test_a_lowered_limit_takes_nothing_away() -> None:
    """Nobody loses a slot, and nobody gets one before fewer than the limit are lent."""
    scenario = lane(3, 100, *"abcd")
    assert change(scenario, concurrency=1) == []
    assert list(scenario.state.leased) == ["a", "b", "c"]
    assert [follow(scenario, Release(task)) for task in "abc"] == [[], [], ["d"]]


def test_what_is_set_live_stays_until_it_is_taken_back() -> None:
    """Another declaration is recorded, and counts once nothing is set over it."""
    scenario = lane(1, 100, *"abcdef")
    assert change(scenario, concurrency=2) == ["b"]
    assert follow(scenario, DeclareLane(4, 100, "reject", "w")) == []
    assert scenario.state.concurrency == 2
    assert change(scenario, concurrency=None) == ["c", "d"]


def test_a_reset_gives_all_that_is_declared_back() -> None:
    """In one change with others: what it sets itself counts."""
    scenario = lane(2, 100)
    change(scenario, concurrency=9, capacity=1, per_tenant=1)
    follow(scenario, ControlLane(None, {"capacity": 5}, reset=True, by=BY))
    assert (scenario.state.concurrency, scenario.state.capacity) == (2, 5)
    assert scenario.state.limits is None
    assert scenario.state.control.live == {"capacity": 5}


def test_a_rate_that_is_set_live_holds_back() -> None:
    """A plain lane turns into one with limits; who waited goes on in order."""
    scenario = lane(1, 100, *"abc")
    change(scenario, concurrency=10, rate=[1.0, 1, "token_bucket"])
    assert list(scenario.state.leased) == ["a", "b"]
    decision = scenario.when(LendFree(), NOW_NS + 2 * 10**9)
    assert [send.target for send in decision.sends] == ["c"]


def test_the_same_declaration_lends_by_the_limit_set_live() -> None:
    """Every run declares its lanes again: that neither changes nor exceeds what was set."""
    scenario = lane(3, 100)
    change(scenario, concurrency=1)
    for task in "ab":
        follow(scenario, Enqueue(task, 0, at_head=False))
    decision = scenario.when(DeclareLane(3, 100, "reject", "w"))
    assert (decision.facts, decision.sends) == ((), ())


def test_a_paused_lane_lends_nothing_and_takes_in() -> None:
    """What runs goes on; what comes waits; then all goes on in order."""
    scenario = lane(2, 3, "a")
    assert change(scenario, "paused") == []
    assert [follow(scenario, Enqueue(task, 0, at_head=False)) for task in "bcd"] == [[], [], []]
    assert follow(scenario, Release("a")) == []
    decision = scenario.when(Enqueue("e", 0, at_head=False))
    assert decision.facts == (LaneRefused(["e"], "lane_full"),)
    assert change(scenario, "open") == ["b", "c"]


def test_a_draining_lane_takes_nobody_in_and_finishes() -> None:
    """Who comes is told why not, once; who waits, or comes back, is worked on."""
    scenario = lane(1, 100, "a", "b")
    change(scenario, "draining")
    decision = scenario.when(Enqueue("c", 0, at_head=False))
    assert decision.facts == (LaneRefused(["c"], "lane_draining"),)
    assert [(send.target, send.body) for send in decision.sends] == [
        ("c", SlotRefused("lane_draining"))
    ]
    assert kinds(scenario.when(Enqueue("b", 0, at_head=False)).facts) == []
    assert follow(scenario, Release("a")) == ["b"]
    follow(scenario, Enqueue("a", 0, at_head=True))
    assert follow(scenario, Release("b")) == ["a"]
    change(scenario, "open")
    assert follow(scenario, Release("a")) == []
    assert follow(scenario, Enqueue("c", 0, at_head=False)) == ["c"]


def test_a_lane_that_was_never_declared_is_not_known() -> None:
    """A name that was mistyped makes no lane."""
    reply = Scenario(LANE, STREAM).when(ControlLane("paused", {}, reset=False, by=BY)).reply
    assert isinstance(reply, Refused)
    assert reply.code == "lane_not_found"
