"""Schedules that begin sagas: one a firing, whose end they hear as they hear that of a run."""

from __future__ import annotations

from typing import Any

import pytest

from goclaw_actors.collecting import MembersReported, UnwatchTasks, WatchTasks
from goclaw_actors.compensating import CompensateSaga, ResolveSaga, RetrySaga
from goclaw_actors.message import Message
from goclaw_actors.rebuild import fold
from goclaw_actors.saga import Saga, saga_decider
from goclaw_actors.saga.watching import WATCHERS_MAX
from goclaw_actors.scheduling import DeleteSchedule, SetSchedule, TriggerSchedule
from goclaw_events.facts import (
    FiredRunEnded,
    FiringQueued,
    ScheduleFired,
    TasksUnwatched,
    TasksWatched,
)
from goclaw_events.ids import plain_id, saga_stream, schedule_stream
from goclaw_events.plan import pack_plan
from goclaw_events.replay import stream_turns
from goclaw_events.value import blob_of
from goclaw_events.verify import verify
from tests.actors.given import NOW_NS, Scenario, Shelf
from tests.actors.sagas import CHAIN, UNDO, SagaStage, saga_plan, step, submission

SECOND_NS = 10**9
MINUTE_NS = 60 * SECOND_NS
STREAM = schedule_stream("s")


def scheduled(steps: dict[str, Any], overlap: str = "queue", partitions: int = 1) -> SagaStage:
    """Return a stage with a schedule of every minute, at its first firing."""
    stage = SagaStage(partitions=partitions)
    data = pack_plan(saga_plan(steps))
    body = SetSchedule(
        blob_of(data), "trip", {}, {"k": "v"}, None, b"d", "", "UTC", MINUTE_NS, 0, overlap, "one",
        MINUTE_NS, 3, "", paused=False, replace=False, set_by="me", is_saga=True,
    )  # fmt: skip
    message = Message(STREAM, body)
    message.blobs = {blob_of(data).sha256: data}
    stage.node.accept(message)
    stage.rest()
    stage.clock.ns += SECOND_NS
    pass_a_minute(stage)
    return stage


def pass_a_minute(stage: SagaStage) -> None:
    """Let the next firing be due."""
    stage.clock.ns += MINUTE_NS
    stage.rest()


def fired(stage: SagaStage) -> list[str]:
    """Return the sagas that were begun, as people know them."""
    facts = stage.facts(STREAM)
    return [plain_id(fact.run_id) for fact in facts if isinstance(fact, ScheduleFired)]


def ends(stage: SagaStage) -> list[str]:
    """Return how they ended, as the schedule heard."""
    return [fact.status for fact in stage.facts(STREAM) if isinstance(fact, FiredRunEnded)]


@pytest.mark.parametrize("partitions", [1, 4])
def test_a_firing_begins_a_saga_like_any_other(partitions: int) -> None:
    """With the schedule's labels, a slot of the lane of sagas, and an id of the planned time."""
    stage = scheduled(CHAIN, partitions=partitions)
    (first,) = fired(stage)
    assert first == "s:20231114T221421Z"
    saga = stage.saga(first)
    assert (saga.labels["schedule"], saga.labels["k"], saga.lane) == ("s", "v", "/sagas")
    assert stage.running == ["a"]
    stage.finish()
    assert ends(stage) == ["completed"]
    pass_a_minute(stage)
    stage.finish()
    assert (len(fired(stage)), ends(stage)) == (2, ["completed"] * 2)
    assert verify(stage.journal).problems == []
    stage.check_live()


@pytest.mark.parametrize("survive", range(7))
@pytest.mark.parametrize("partitions", [1, 4])
def test_a_crash_between_any_two_frames_loses_no_saga_and_doubles_none(
    partitions: int, survive: int
) -> None:
    """After the next start there is one, and the schedule hears of its end."""
    stage = scheduled({"a": step()}, partitions=partitions)
    stage.end_all()
    stage.decide()
    now_ns = stage.clock.ns
    stage = stage.crash(survive)
    stage.clock.ns = now_ns
    stage.finish()
    (first,) = fired(stage)
    assert stage.names(saga_stream(first)).count("SagaSubmitted") == 1
    assert ends(stage) == ["completed"]
    assert verify(stage.journal).problems == []


def test_the_next_waits_until_the_saga_is_undone() -> None:
    """Compensated, it has ended; what waited for it begins."""
    stage = scheduled({"a": step(), "b": step("a")})
    stage.done("a")
    pass_a_minute(stage)
    assert len(fired(stage)) == 1
    stage.fail("b")
    assert stage.running == ["a" + UNDO]
    assert len(fired(stage)) == 1
    stage.done("a" + UNDO)
    assert ends(stage) == ["compensated"]
    assert (len(fired(stage)), stage.running) == (2, ["a"])


def test_cancel_has_the_saga_undone_before_the_next_begins() -> None:
    """It goes back as when somebody cancels it."""
    stage = scheduled({"a": step(), "b": step("a")}, "cancel")
    stage.done("a")
    pass_a_minute(stage)
    assert any(isinstance(fact, FiringQueued) for fact in stage.facts(STREAM))
    stage.done("b", status="cancelled")
    stage.done("b" + UNDO, "a" + UNDO)
    assert ends(stage) == ["compensated"]
    assert (len(fired(stage)), stage.running) == (2, ["a"])


def test_a_saga_whose_compensation_failed_holds_nothing_up() -> None:
    """It waits for a person; what they have done about it later is not told again."""
    stage = scheduled({"a": step(), "b": step("a")}, "skip")
    stage.done("a")
    stage.fail("b")
    stage.fail("a" + UNDO)
    assert ends(stage) == ["compensation_failed"]
    pass_a_minute(stage)
    first, second = fired(stage)
    stage.say(RetrySaga("me"), first)
    stage.done("a" + UNDO)
    assert stage.saga(first).status == "compensated"
    assert ends(stage) == ["compensation_failed"]
    stage.finish()
    assert (stage.saga(second).status, len(ends(stage))) == ("completed", 2)


@pytest.mark.parametrize("says", [ResolveSaga("by hand", "me"), CompensateSaga("yes", "me")])
def test_one_that_waits_for_a_word_goes_on_until_it_is_said(says: Any) -> None:
    """Its manual steps are not undone yet: the next one would meet what it did."""
    stage = scheduled({"a": step(policy="manual"), "b": step("a")}, "skip")
    stage.done("a")
    stage.fail("b")
    assert stage.saga(fired(stage)[0]).status == "awaiting_compensation"
    pass_a_minute(stage)
    assert (len(fired(stage)), ends(stage)) == (1, [])
    stage.say(says, fired(stage)[0])
    stage.finish()
    assert ends(stage) == ["resolved" if isinstance(says, ResolveSaga) else "compensated"]
    pass_a_minute(stage)
    assert len(fired(stage)) == 2


def test_a_deleted_schedule_hears_nothing_more_of_its_saga() -> None:
    """Which goes on."""
    stage = scheduled(CHAIN)
    stage.node.accept(Message(STREAM, TriggerSchedule(0, "me")))
    stage.node.accept(Message(STREAM, DeleteSchedule("me")))
    stage.finish()
    (first,) = fired(stage)
    assert (stage.saga(first).status, ends(stage)) == ("completed", [])
    assert TasksUnwatched(STREAM) in stage.facts(saga_stream(first))


# -- who watches a saga ---------------------------------------------------------------------------


def watched(scenario: Scenario[Saga], who: str = "c", tasks: tuple[str, ...] = ("",)) -> list[Any]:
    """Have somebody watch; return what they are told at once."""
    decision = scenario.when(WatchTasks(who, list(tasks), None))
    assert scenario.encoded() == scenario.replayed()
    told = [send.body for send in decision.sends]
    assert all(isinstance(body, MembersReported) for body in told)
    return [row for body in told for row in body.ended]


def test_a_saga_tells_who_watches_it_once() -> None:
    """Asked twice it records nothing more; its steps are not for others to watch."""
    shelf = Shelf()
    scenario = Scenario(saga_decider(shelf), saga_stream("s"))
    assert watched(scenario) == [["", 0, "unknown", ""]]
    message = submission({"a": step()})
    shelf.put_plan(saga_plan({"a": step()}), message.body.definition)
    scenario.when(message.body, NOW_NS)
    assert watched(scenario, tasks=("", "a")) == [["a", 0, "unknown", ""]]
    assert scenario.facts[-1] == TasksWatched("c", [-1], None)
    before = len(scenario.facts)
    assert watched(scenario) == []
    assert scenario.when(UnwatchTasks("nobody")).facts == ()
    assert len(scenario.facts) == before
    for number in range(WATCHERS_MAX - 1):
        assert watched(scenario, f"c{number}") == []
    assert watched(scenario, "one-more") == [["", 0, "unknown", ""]]
    scenario.when(UnwatchTasks("c"))
    assert "c" not in scenario.state.watchers


def test_older_snapshots_become_those_of_today() -> None:
    """A saga of before was watched by nobody, and planned no retry; a schedule began runs."""
    stage = scheduled({"a": step()})
    (first,) = fired(stage)
    saga = stage.saga(first)
    form = stage.kinds["saga"].form
    assert form is not None
    fields, *rest = form.root(saga)
    assert fields[-2:] == [[STREAM], None]
    root, maps = form.raises[4](*form.raises[3]([fields[:-2], *rest], {}))
    saga.watchers.clear()
    assert form.root(form.restore(saga_stream(first), root, maps)) == form.root(saga)
    form = stage.kinds["schedule"].form
    assert form is not None
    schedule = fold(stage.kinds["schedule"], STREAM, stream_turns(stage.journal, STREAM))
    status, said, *more = form.root(schedule)
    root, maps = form.raises[2]([status, said[:-1], *more], {})
    assert form.restore(STREAM, root, maps).said == schedule.said._replace(is_saga=False)
