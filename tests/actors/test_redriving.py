"""Dead letters that run again at a rate: the lane keeps it, whoever asked may be gone."""

from __future__ import annotations

from typing import Any

import pytest

from goclaw_actors.compensating import RetrySaga
from goclaw_actors.decider import Accepted
from goclaw_actors.lending import ControlLane
from goclaw_actors.letters import DiscardTask, RedriveTask
from goclaw_actors.message import Message
from goclaw_actors.redriving import REDRIVE
from goclaw_actors.signalling import HoldWork, ResumeWork
from goclaw_events.facts import CompensationRetried, LetterRedriven, RedrivePlanned, RetryPlanned
from goclaw_events.ids import lane_stream
from goclaw_events.verify import verify
from tests.actors.sagas import CHAIN, UNDO, S, SagaStage
from tests.actors.stage import Stage
from tests.actors.test_letters import LETTER, RUN, running, status, tell

SECOND_NS = 10**9
TASKS: dict[str, Any] = {name: {"agent": "x", "with": {"n": 1}, **LETTER} for name in "abc"}


def dead(partitions: int = 1, **head: Any) -> Stage:
    """Return a stage with a run whose three tasks are dead letters."""
    stage = Stage(partitions=partitions)
    stage.submit(TASKS, on_failure="continue", **head)
    stage.rest()
    for attempt in list(stage.executor.held.values()):
        stage.end(attempt, "failed", code="boom")
    stage.rest()
    return stage


def plan(stage: Stage, *tasks: str, rate_per_s: float = 1.0, edits: Any = None) -> list[Any]:
    """Have letters run again at a rate; return the answers."""
    orders = [RedriveTask(task, 0, edits, "mended", "me", rate_per_s) for task in tasks]
    return [tell(stage, order) for order in orders]


def begun(stage: Stage) -> list[str]:
    """Return the tasks that were redriven, in order."""
    return [fact.task for fact in stage.facts(RUN) if isinstance(fact, LetterRedriven)]


def later(stage: Stage, seconds: float) -> None:
    """Let time go by."""
    stage.clock.ns += int(seconds * SECOND_NS)
    stage.rest()


@pytest.mark.parametrize("partitions", [1, 4])
def test_letters_run_again_one_after_the_other(partitions: int) -> None:
    """The first at once, the others at the rate, with their edits; until then each is a letter."""
    stage = dead(partitions)
    assert plan(stage, "c", "a", "b", edits={"n": 2}) == [Accepted(name) for name in "cab"]
    assert (begun(stage), running(stage, "c").params) == (["c"], {"n": 2})
    assert RedrivePlanned("a", 0, {"n": 2}, "mended", "me") in stage.facts(RUN)
    later(stage, 0.5)
    assert begun(stage) == ["c"]
    later(stage, 0.6)
    assert begun(stage) == ["c", "a"]
    later(stage, 1.1)
    assert begun(stage) == ["c", "a", "b"]
    stage.finish()
    assert (status(stage), stage.rows("open"), stage.rows("timers")) == ("completed", 0, 0)
    assert verify(stage.journal).problems == []
    stage.check_live()


def test_the_rate_holds_after_an_absence() -> None:
    """Who asked is gone, and nothing ran for an hour: what is left does not begin at once."""
    stage = dead()
    plan(stage, "a", "b", "c")
    hour_ns = stage.clock.ns + 3_600 * SECOND_NS
    stage = stage.crash()
    stage.clock.ns = hour_ns
    stage.rest()
    assert begun(stage) == ["a", "b"]
    later(stage, 1.1)
    assert begun(stage) == ["a", "b", "c"]
    stage.check_live()


@pytest.mark.parametrize("survive", range(5))
@pytest.mark.parametrize("partitions", [1, 4])
def test_whatever_is_lost_asking_again_redrives_each_once(partitions: int, survive: int) -> None:
    """A letter that was planned stays so; the others are open still."""
    stage = dead(partitions)
    for task in "ab":
        stage.node.accept(Message(RUN, RedriveTask(task, 0, None, "mended", "me", 1.0)))
    stage.decide()
    stage.decide()
    stage = stage.crash(survive)
    plan(stage, "a", "b", "c", rate_per_s=1_000.0)
    for _ in range(3):
        later(stage, 1.1)
    assert sorted(begun(stage)) == ["a", "b", "c"]
    stage.finish()
    assert (status(stage), stage.rows("open")) == ("completed", 0)


def test_what_is_planned_can_be_decided_about_meanwhile() -> None:
    """Redriven at once, or given up; who is planned twice waits once."""
    stage = dead()
    plan(stage, "a", "b", "c", rate_per_s=0.001)
    assert plan(stage, "b", rate_per_s=0.001) == [Accepted("b", repeated=True)]
    assert tell(stage, RedriveTask("b", 0, {"n": 9}, "now", "me")) == Accepted("b")
    assert running(stage, "b").params == {"n": 9}
    assert tell(stage, DiscardTask("c", 0, "", "me")) == Accepted("c")
    assert begun(stage) == ["a", "b"]
    stage.finish()
    assert (status(stage), stage.rows("open"), stage.rows("timers")) == ("failed", 0, 0)


def test_a_run_that_ends_leaves_the_lane() -> None:
    """What was planned of it is withdrawn with its letters."""
    stage = dead()
    plan(stage, "a", "b", "c", rate_per_s=0.001)
    stage.cancel("r")
    stage.finish()
    assert (status(stage), begun(stage)) == ("cancelled", ["a"])
    assert (stage.rows("open"), stage.rows("timers")) == (0, 0)


def test_the_lane_can_be_paused_and_its_rate_changed() -> None:
    """It is a lane like any other: what waits in it goes on when people let it."""
    stage = dead()
    pause = ControlLane("paused", {}, reset=False, by="me")
    plan(stage, "a")
    tell(stage, pause, lane_stream(REDRIVE))
    plan(stage, "b", "c")
    later(stage, 10)
    assert begun(stage) == ["a"]
    rate: dict[str, Any] = {"rate": [100.0, 1, "leaky_bucket"]}
    tell(stage, ControlLane("open", rate, reset=False, by="me"), lane_stream(REDRIVE))
    later(stage, 0.1)
    assert begun(stage) == ["a", "b", "c"]


def test_a_letter_of_a_paused_run_begins_when_that_is_resumed() -> None:
    """Its turn is taken; the run decides when it begins, as with any other."""
    stage = dead()
    tell(stage, HoldWork("", "paused", "", "me", 0.0))
    plan(stage, "a")
    assert (begun(stage), stage.executor.held) == (["a"], {})
    tell(stage, ResumeWork("", "me"))
    assert running(stage, "a").generation == 1


def failed_saga() -> SagaStage:
    """Return a stage with a saga whose compensation failed."""
    stage = SagaStage()
    stage.begin(CHAIN)
    stage.done("a", "b")
    stage.fail("c")
    stage.fail("b" + UNDO)
    assert stage.saga().status == "compensation_failed"
    return stage


@pytest.mark.parametrize("survive", [0, 1, 9])
def test_a_saga_is_tried_again_at_the_rate(survive: int) -> None:
    """It waits in the same lane, once, and is what it was until its turn comes."""
    first = dead()
    stage = SagaStage(first.journal.crash(), boot=2)
    stage.rest()
    stage.begin(CHAIN)
    stage.done("a", "b")
    stage.fail("c")
    stage.fail("b" + UNDO)
    plan(stage, "a", "b")
    order = RetrySaga("me", "mended", 1.0)
    assert stage.say(order) == Accepted("s")
    assert stage.say(order) == Accepted("s", repeated=True)
    assert (stage.saga().status, stage.saga().planned) == ("compensation_failed", ["me", "mended"])
    now_ns = stage.clock.ns
    stage = stage.crash(survive)
    stage.clock.ns = now_ns
    for _ in range(3):
        later(stage, 1.1)
    assert CompensationRetried(["b"], "me", "mended") in stage.facts(S)
    stage.done("b" + UNDO, "a" + UNDO)
    assert stage.saga().status == "compensated"
    stage.finish()
    assert (stage.rows("open"), stage.rows("timers")) == (1, 0), "c of the run is a letter"


def test_a_saga_that_is_resolved_leaves_the_lane() -> None:
    """And one that is tried again by hand gives its turn back."""
    for by_hand in (False, True):
        stage = failed_saga()
        stage.say(RetrySaga("me", "", 0.001))  # the lane's first turn is its own
        stage.fail("b" + UNDO)
        stage.say(RetrySaga("me", "", 0.001))
        assert stage.facts(S)[-1] == RetryPlanned("me", "")
        if by_hand:
            stage.retry()
            stage.done("b" + UNDO, "a" + UNDO)
        else:
            stage.resolve()
        later(stage, 2_000)
        assert stage.saga().status == ("compensated" if by_hand else "resolved")
        assert (stage.rows("open"), stage.rows("timers")) == (0, 0)
