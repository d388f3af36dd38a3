"""The dispatcher: commit before effects, batches, live actors."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.decider import Accepted, Refused
from goclaw_actors.messages import SubmitRun
from goclaw_actors.ports import Limits
from goclaw_events.errors import JournalUnavailable
from goclaw_events.verify import verify
from tests.actors.stage import CHAIN, LANES, MANY, ONE, STEPS_MAX, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_actors.decider import Decision


def streams_of(stage: Stage) -> dict[str, list[Any]]:
    """Return the facts of each stream, without what depends on positions, holders and times."""
    found: dict[str, list[Any]] = {}
    for said in stage.log():
        if said.stream != "$partition":
            found.setdefault(said.stream, []).append(type(said.fact).__name__)
    return found


def test_nothing_leaves_before_the_commit() -> None:
    """Replies, starts, and ends come only when what they say is durable."""
    stage = Stage()
    stage.submit(ONE)
    stage.decide()
    assert (stage.replies, stage.executor.started, stage.log()) == ([], [], [])
    stage.commit()
    (reply,) = stage.replies
    assert reply.answer == Accepted("r")
    assert reply.position is not None
    assert stage.log()[reply.position.number - 1].stream == "workflow/r"
    assert [attempt.task_id for attempt in stage.executor.started] == ["a"]
    stage.end_all()
    stage.decide()
    assert stage.ended == {}
    stage.commit()
    assert stage.ended == {"r": ("completed", None)}


def committing(stage: Stage, at: str, seen: dict[str, int]) -> Callable[[Any, Any, Any], Decision]:
    """Return what runs decide; that of `at` is when a commit ends; `seen` counts who had begun."""
    decide = stage.kinds["workflow"].decide

    def decided(run: Any, message: Any, moment: Any) -> Decision:
        if type(message) is SubmitRun:
            seen[run.run_id] = len(stage.executor.started)
            if run.run_id == at:
                stage.journal.commit()
        return decide(run, message, moment)

    return decided


@pytest.mark.parametrize("fails", [False, True])
def test_what_became_durable_leaves_while_a_batch_is_open(*, fails: bool) -> None:
    """It need not wait for the batch that is decided meanwhile; a failed commit does."""
    stage, seen = Stage(), dict[str, int]()
    stage.submit(ONE)
    stage.decide()
    names = [f"r{number}" for number in range(100)]
    decider = stage.kinds["workflow"]
    stage.kinds["workflow"] = replace(decider, decide=committing(stage, "r10", seen))
    if fails:
        stage.journal.fail_next(JournalUnavailable("no space"))
    for name in names:
        stage.submit(ONE, name)
    assert stage.node.dispatchers[0].step()
    assert (seen["r10"], seen["r99"]) == (0, 0 if fails else 1)
    stage.rest()
    begun = {attempt.run_id for attempt in stage.executor.started}
    answers = [type(reply.answer) for reply in stage.replies]
    assert answers.count(Refused) == (101 if fails else 0)
    assert ("r" in begun, len(answers)) == (not fails, 101)


def test_a_stop_leaves_after_its_commit() -> None:
    """An attempt is not stopped for a cancel that may never have been."""
    stage = Stage()
    stage.submit(ONE)
    stage.rest()
    stage.cancel("r")
    stage.decide()
    assert stage.executor.stops == []
    stage.commit()
    assert [stop.token for stop in stage.executor.stops] == [stage.executor.started[0].token]


def test_a_timer_fires_only_once_it_is_durable() -> None:
    """A timer of a batch that is not durable is not armed, however late it is."""
    stage = Stage()
    stage.submit({"w": {"wait": "1s"}})
    stage.decide()
    stage.clock.ns += 5_000_000_000
    stage.decide()
    stage.commit()
    assert stage.names("task/r/w") == ["TaskWaiting"]
    stage.rest()
    assert stage.names("task/r/w") == ["TaskWaiting", "TaskCompleted"]
    assert stage.ended["r"][0] == "completed"


def test_messages_to_another_partition_leave_after_the_commit() -> None:
    """The lane of another partition hears of a task when its schedule is durable."""
    stage = Stage(partitions=4)
    stage.rest()
    stage.submit(ONE)
    before = len(stage.log())
    stage.node.run_once()
    stage.decide()
    assert all(not found.exchange.waiting for found in stage.node.dispatchers)
    assert len(stage.log()) == before
    stage.finish()
    assert stage.ended["r"][0] == "completed"


def test_an_answer_without_facts_waits_for_what_it_saw() -> None:
    """A repeat is answered when the submission that it repeats is durable."""
    stage = Stage()
    stage.submit(ONE)
    stage.decide()
    stage.submit(ONE)
    stage.decide()
    assert stage.replies == []
    stage.commit()
    assert [reply.answer for reply in stage.replies] == [
        Accepted("r"),
        Accepted("r", repeated=True),
    ]


def test_commits_are_pipelined_up_to_a_limit() -> None:
    """The next batch is decided while one is flushed; a third waits."""
    stage = Stage(limits=Limits(batch_messages_max=1))
    stage.submit(MANY, **LANES)
    stage.decide()
    assert stage.journal.waiting == stage.limits.commits_in_flight_max
    stage.commit(1)
    stage.decide()
    assert stage.journal.waiting == stage.limits.commits_in_flight_max


@pytest.mark.parametrize("partitions", [1, 4])
@pytest.mark.parametrize("messages_max", [1, 2, 7, 4096])
def test_the_size_of_batches_changes_nothing(messages_max: int, partitions: int) -> None:
    """Messages that a full batch leaves are handled later, exactly once."""
    stage = Stage(partitions=partitions, limits=Limits(batch_messages_max=messages_max))
    stage.submit(MANY, **LANES)
    stage.submit(MANY, "s", **LANES)
    stage.rest()
    stage.clock.ns += 2_000_000_000
    stage.finish()
    assert {run: status for run, (status, _) in stage.ended.items()} == {
        "r": "completed",
        "s": "completed",
    }
    whole = streams_of(stage)
    for run in ("r", "s"):
        assert whole[f"workflow/{run}"].count("TaskEnded") == 14
        for task in MANY:
            expected = ["TaskScheduled", "AttemptStarted", "TaskCompleted"]
            plain = whole[f"task/{run}/{task}"]
            assert plain == (["TaskWaiting", "TaskCompleted"] if task == "wait" else expected)
    assert stage.rows("inbox") == 0
    assert stage.check_live() > 0
    assert verify(stage.journal).problems == []


def test_a_full_batch_leaves_rows_that_a_restart_delivers() -> None:
    """What was undelivered at a crash comes before anything new, and its rows go."""
    stage = Stage(limits=Limits(batch_messages_max=1, commits_in_flight_max=1))
    stage.submit(CHAIN)
    stage.node.run_once()
    stage.commit()
    assert stage.rows("inbox") > 0
    after = stage.crash()
    after.finish()
    assert after.ended["r"][0] == "completed"
    assert after.rows("inbox") == 0


@pytest.mark.parametrize("partitions", [1, 4])
@pytest.mark.parametrize("messages_max", [1, 2, 7])
def test_commands_that_never_end_hold_nothing_up(messages_max: int, partitions: int) -> None:
    """What a run, a lane, or another partition is told comes though some command always waits."""
    stage = Stage(partitions=partitions, limits=Limits(batch_messages_max=messages_max))
    dispatchers = stage.node.dispatchers
    unknown = (f"unknown{number}" for number in itertools.count())
    stage.submit({name: {"agent": "x", "lane": "/io"} for name in ("a", "b", "c")})
    for _ in range(STEPS_MAX // 10):
        for run_id in itertools.islice(unknown, 100):
            if all(len(dispatcher.commands) > messages_max for dispatcher in dispatchers):
                break
            stage.cancel(run_id)
        stage.node.run_once()
        stage.commit()
        stage.end_all()
        if stage.ended:
            break
    assert stage.ended == {"r": ("completed", {"a": None, "b": None, "c": None})}


@pytest.mark.parametrize("partitions", [1, 4])
def test_one_live_actor_is_enough(partitions: int) -> None:
    """Live actors are a cache: with room for one, everything comes out the same."""
    wide = Stage(partitions=partitions)
    narrow = Stage(partitions=partitions, limits=Limits(live_actors_max=1))
    for stage in (wide, narrow):
        stage.submit(MANY, **LANES)
        stage.rest()
        stage.clock.ns += 2_000_000_000
        stage.finish({"n": 1})
        assert stage.ended["r"][0] == "completed"
    assert narrow.live() <= partitions
    assert streams_of(narrow) == streams_of(wide)
    for stream in streams_of(wide):
        if not stream.startswith("task"):
            assert narrow.facts(stream) == wide.facts(stream)


def test_an_actor_is_not_dropped_before_its_facts_are_durable() -> None:
    """Over the cap with the flush held, actors stay; they go when it returns."""
    stage = Stage(limits=Limits(live_actors_max=1, commits_in_flight_max=3))
    stage.submit(MANY, **LANES)
    stage.decide()
    stage.submit(MANY, "s", **LANES)
    stage.decide()
    held = stage.live()
    assert held > 20
    stage.commit(1)
    assert stage.live() > 1
    stage.commit()
    assert stage.live() <= 1
    stage.clock.ns += 2_000_000_000
    stage.finish()
    assert set(stage.ended) == {"r", "s"}


def test_ended_tasks_and_runs_are_dropped() -> None:
    """What has ended is not kept live."""
    stage = Stage()
    stage.submit(CHAIN)
    stage.finish()
    live = [key for found in stage.node.dispatchers for key in found.turns.directory.live]
    assert live == ["lane//default"]


def test_refused_commands_do_not_pile_up_actors() -> None:
    """Actors that were asked in vain are dropped over the cap, although nothing is written."""
    stage = Stage(limits=Limits(live_actors_max=5))
    stage.rest()
    for number in range(50):
        stage.cancel(f"unknown{number}")
        stage.rest()
    assert {getattr(reply.answer, "code", "") for reply in stage.replies} == {"run_not_found"}
    assert stage.live() <= 5
