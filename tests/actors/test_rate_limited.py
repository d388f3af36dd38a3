"""An attempt that meets a rate limit: it is not counted, and its lane is held meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from goclaw_actors.decider import SetTimer
from goclaw_actors.lane import LANE, Lane
from goclaw_actors.lane.control import HOLD
from goclaw_actors.lending import ControlLane, Defer, Enqueue, LendFree, Release
from goclaw_actors.messages import SlotLeased, TimerFired
from goclaw_actors.task.limits import HELD_S_MAX, LIMITED_MAX
from goclaw_events.facts import (
    AttemptFailed,
    AttemptLimited,
    LaneControlled,
    LaneDeclared,
    LaneHeld,
    TaskCancelled,
)
from tests.actors.given import NOW_NS, Scenario, kinds
from tests.actors.stage import ONE, Stage

STREAM = "lane/w/io"
SECOND_NS = 10**9
UNTIL_NS = NOW_NS + 30 * SECOND_NS


def lane(*tasks: str, concurrency: int = 2) -> Scenario[Lane]:
    """Return a lane with tasks that came in this order."""
    scenario = Scenario(LANE, STREAM).given(LaneDeclared(concurrency, 100, "reject", "w"))
    for task in tasks:
        scenario.when(Enqueue(task, 0, at_head=False))
    return scenario


def defer(task: str, until_ns: int = UNTIL_NS, **more: Any) -> Defer:
    """Return what a task says that met a rate limit."""
    return Defer(task, 0, True, "", "", "", None, 1.0, until_ns)._replace(**more)


def leased(decision: Any) -> list[str]:
    """Return who got a slot."""
    return [send.target for send in decision.sends if isinstance(send.body, SlotLeased)]


def test_a_lane_is_held_and_who_was_not_served_goes_first() -> None:
    """Nothing starts before the time, whatever comes and goes; then in order, at the head."""
    scenario = lane(*"abc")
    decision = scenario.when(defer("a"))
    assert decision.facts[0] == LaneHeld(UNTIL_NS, "a")
    assert (leased(decision), decision.effects) == ([], (SetTimer(HOLD, UNTIL_NS),))
    assert leased(scenario.when(Enqueue("d", 9, at_head=False))) == []
    assert leased(scenario.when(Release("b"), UNTIL_NS - 1)) == []
    assert leased(scenario.when(TimerFired(HOLD), UNTIL_NS)) == ["d", "a"]
    assert leased(scenario.when(Release("a"), UNTIL_NS)) == ["c"]
    assert scenario.encoded() == scenario.replayed()


def test_the_longest_wait_counts() -> None:
    """One that ends before another changes nothing; a longer one moves the timer."""
    scenario = lane(*"abc", concurrency=3)
    scenario.when(defer("a"))
    shorter = scenario.when(defer("b", UNTIL_NS - 1))
    assert (kinds(shorter.facts), shorter.effects) == (["LaneAdvanced"], ())
    longer = scenario.when(defer("c", UNTIL_NS + 1))
    assert kinds(longer.effects) == ["ClearTimer", "SetTimer"]
    assert leased(scenario.when(TimerFired(HOLD), UNTIL_NS + 1)) == ["c", "b", "a"]


def test_who_resumes_a_lane_does_not_wait() -> None:
    """An operator who knows better ends it; another change does not."""
    scenario = lane("a")
    scenario.when(defer("a"))
    set_one = scenario.when(ControlLane(None, {"concurrency": 1}, reset=False, by="uid:1"))
    assert kinds(set_one.facts) == ["LaneControlled"]
    decision = scenario.when(ControlLane("open", {}, reset=False, by="uid:1"))
    live = {"concurrency": 1}
    assert decision.facts == (LaneControlled("open", live, 2, "uid:1"), LaneHeld(0, ""))
    assert kinds(decision.effects) == ["ClearTimer"]
    assert leased(scenario.when(LendFree())) == ["a"]


def test_a_lane_with_limits_is_held_too() -> None:
    """A key and units come back with the slot, and are taken again."""
    scenario = lane()
    scenario.given(LaneDeclared(2, 100, "reject", "w", {"resources": {"gpu": 1}}))
    asks = Enqueue("a", 0, False, "t", "", "k", {"gpu": 1})
    assert leased(scenario.when(asks)) == ["a"]
    assert leased(scenario.when(asks._replace(task="b"))) == []
    scenario.when(defer("a", tenant="t", key="k", units={"gpu": 1}))
    assert leased(scenario.when(TimerFired(HOLD), UNTIL_NS)) == ["a"]
    assert scenario.encoded() == scenario.replayed()


def test_who_holds_no_slot_holds_nobody_up() -> None:
    """It was withdrawn meanwhile."""
    decision = lane("a").when(defer("z"))
    assert (decision.facts, decision.effects) == ((), ())


@pytest.fixture
def stage() -> Stage:
    """Return a node with a run of one task, which runs."""
    made = Stage()
    made.submit(ONE, "r")
    made.rest()
    return made


def limited(stage: Stage, retry_after_s: float) -> None:
    """Let the attempt that runs say that it met a rate limit."""
    attempt = next(reversed(stage.executor.held.values()))
    said = {"code": "rate_limited", "message": "not now", "limited": True}
    stage.end(attempt, "failed", **said, retry_after_s=retry_after_s)
    stage.rest()


def test_an_attempt_that_is_not_served_is_not_counted(stage: Stage) -> None:
    """The task, which may try once only, starts again when the time is over; tokens grow."""
    limited(stage, 30.0)
    assert not stage.executor.held
    stage.clock.ns += 29 * SECOND_NS
    stage.rest()
    assert not stage.executor.held
    stage.clock.ns += 2 * SECOND_NS
    stage.rest()
    attempt = next(iter(stage.executor.held.values()))
    assert attempt.attempt == 2
    stage.end(attempt)
    stage.finish()
    assert stage.names("task/r/a") == [
        "TaskScheduled", "AttemptStarted", "AttemptLimited", "AttemptStarted", "TaskCompleted"
    ]  # fmt: skip


def test_it_cannot_go_on_for_ever(stage: Stage) -> None:
    """After so many times it is a failed attempt like any other; no wait is longer than an hour."""
    for _ in range(LIMITED_MAX):
        limited(stage, 10.0**9)
        stage.clock.ns += int(HELD_S_MAX + 1) * SECOND_NS
        stage.rest()
    limited(stage, 1.0)
    names = stage.names("task/r/a")
    assert names.count("AttemptLimited") == LIMITED_MAX
    assert names[-2:] == ["AttemptFailed", "TaskFailed"]
    failed = next(said.fact for said in stage.log() if isinstance(said.fact, AttemptFailed))
    assert failed.code == "rate_limited"


def test_a_crash_while_it_waits_changes_nothing(stage: Stage) -> None:
    """The lane is held by the log, not by the process."""
    limited(stage, 30.0)
    stage = stage.crash()
    stage.rest()
    assert not stage.executor.held
    stage.clock.ns += 31 * SECOND_NS
    stage.rest()
    assert [attempt.attempt for attempt in stage.executor.held.values()] == [2]


def test_a_task_that_waits_for_it_is_cancelled_at_once(stage: Stage) -> None:
    """It is in its lane's queue like any other."""
    limited(stage, 30.0)
    stage.cancel("r", "c", "enough")
    stage.rest()
    facts = [said.fact for said in stage.log() if said.stream == "task/r/a"]
    assert isinstance(facts[-2], AttemptLimited)
    assert isinstance(facts[-1], TaskCancelled)
