"""Bugs in deciders: a message stops, the partition goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.decider import Refused
from goclaw_actors.given_up import given_up
from goclaw_actors.lending import DeclareLane, Defer, Release
from goclaw_actors.message import Message
from goclaw_actors.messages import CancelTask, ScheduleTask, TaskReported
from goclaw_actors.path_order import Wanted
from goclaw_actors.pathing import DropTask
from goclaw_actors.ports import Limits
from goclaw_actors.work import Outcome
from goclaw_events.errors import LogDamaged
from goclaw_events.facts import (
    MessageFailed,
    RunFailed,
    StreamPoisoned,
    TaskCompleted,
    TaskFailed,
)
from goclaw_events.ids import task_stream
from tests.actors.stage import CHAIN, LANES, ONE, Stage
from tests.actors.test_path import change

if TYPE_CHECKING:
    from goclaw_actors.decider import Decider


ONE_SLOT: dict[str, Any] = {"lanes": {"io": {"concurrency": 1, "capacity": 1_000}}}


def breaking(kind: str, body: Any, target: str = "", error: type[Exception] = RuntimeError) -> Any:
    """Make the decider of a kind raise for messages of a type."""

    def change(kinds: dict[str, Decider[Any]]) -> None:
        decider = kinds[kind]

        def decide(state: Any, message: Any, moment: Any) -> Any:
            if isinstance(message, body) and target in str(message):
                msg = "a \udc80 bug"
                raise error(msg)
            return decider.decide(state, message, moment)

        kinds[kind] = replace(decider, decide=decide)

    return change


def test_a_bug_stops_a_message_and_not_the_partition() -> None:
    """It is recorded and parked whole; the run fails; other runs of the batch go on."""
    stage = Stage(change=breaking("task", ScheduleTask, "lane='w/bad'"))
    stage.submit({"a": {"agent": "x", "lane": "bad"}}, "bad", lanes={"bad": {}})
    stage.submit(CHAIN, "good")
    stage.finish()
    assert stage.ended["bad"][0] == "failed"
    assert stage.ended["good"][0] == "completed"
    (failed,) = [said for said in stage.log() if isinstance(said.fact, MessageFailed)]
    assert failed.stream == "$partition"
    assert failed.fact.target == "task/bad/a"
    assert failed.fact.message_type == "task.schedule"
    assert failed.fact.message[3] == "w/bad"
    assert (failed.fact.code, failed.fact.target_seq) == ("internal_bug", 0)
    assert "RuntimeError" in failed.fact.trace
    assert stage.rows("parked") == 1
    last = stage.facts("workflow/bad")[-1]
    assert isinstance(last, RunFailed)
    assert (last.code, last.task) == ("internal_bug", "a")


def test_a_bug_in_evolve_leaves_no_trace_in_the_state() -> None:
    """The half-changed actor is rebuilt from its stream before its next message."""

    def change(kinds: dict[str, Decider[Any]]) -> None:
        decider = kinds["task"]
        armed = [True]

        def evolve(state: Any, fact: Any) -> Any:
            found = decider.evolve(state, fact)
            if isinstance(fact, TaskCompleted) and armed:
                armed.clear()
                msg = "half way"
                raise RuntimeError(msg)
            return found

        kinds["task"] = replace(decider, evolve=evolve)

    stage = Stage(change=change)
    stage.submit(ONE)
    stage.rest()
    stage.end_all()
    stage.rest()
    assert stage.ended["r"][0] == "failed"
    assert "TaskCompleted" not in stage.names("task/r/a")
    # The run's end cancels the task, which is rebuilt as running, and stops its attempt, which
    # nobody holds any more.
    assert stage.names("task/r/a")[-3:] == ["TaskCancelRequested", "AttemptLost", "TaskCancelled"]
    assert len(stage.executor.stops) == 1


def test_a_bug_while_an_outcome_is_handled_keeps_no_slot() -> None:
    """The outcome is gone, so the attempt is lost as soon as it is stopped: the next one runs."""
    stage = Stage(change=breaking("task", Outcome, "task/bad/a"))
    stage.submit({"a": {"agent": "x", "lane": "io"}}, "bad", **ONE_SLOT)
    stage.submit({"a": {"agent": "x", "lane": "io"}}, "good", **ONE_SLOT)
    stage.finish()
    assert stage.ended["bad"][0] == "failed"
    assert stage.ended["good"][0] == "completed"
    assert stage.names("task/bad/a")[-2:] == ["AttemptLost", "TaskCancelled"]
    assert [stage.rows(table) for table in ("attempts", "open")] == [0, 0]


def test_an_actor_that_fails_after_facts_of_the_same_batch_is_dropped() -> None:
    """Its facts stand, its state is rebuilt, and the node goes on."""
    stage = Stage(change=breaking("workflow", TaskReported))
    stage.submit({"a": {"agent": "x", "when": "${input.n} > 1"}, **ONE}, given={})
    stage.rest()
    stage.end_all()
    stage.submit(ONE, "s")
    stage.rest()
    assert stage.ended["r"][0] == "failed"
    assert stage.facts("workflow/r")[-1] == RunFailed(
        "internal_bug", "RuntimeError: a \\udc80 bug", ""
    )


@pytest.mark.parametrize("where", ["this batch", "in flight", "durable, not heard of", "durable"])
def test_an_actor_is_rebuilt_from_wherever_its_facts_are(where: str) -> None:
    """From the log, the batches on their way to it, and the batch being decided; none twice."""
    stage = Stage(change=breaking("workflow", object, "enough"))
    stage.submit(CHAIN)
    if where != "this batch":
        stage.decide()
    if where == "durable, not heard of":
        stage.journal.commit()
    elif where == "durable":
        stage.commit()
    stage.cancel("r", reason="enough")
    stage.rest()
    said = [found for found in stage.log() if found.stream == "workflow/r"]
    assert [type(found.fact).__name__ for found in said] == ["RunSubmitted", "RunFailed"]
    assert [found.seq for found in said] == [1, 2]
    assert stage.ended["r"][0] == "failed"
    assert stage.check_live() > 0
    assert [stop.reason for stop in stage.executor.stops] == ["the run failed"]


def test_a_command_that_meets_a_bug_is_answered() -> None:
    """With the place where the message is parked."""
    stage = Stage(change=breaking("workflow", object, "enough"))
    stage.submit(ONE)
    stage.rest()
    stage.cancel("r", reason="enough")
    stage.rest()
    answer = stage.replies[-1].answer
    assert isinstance(answer, Refused)
    assert answer.code == "internal_bug"
    (parked,) = [said.number for said in stage.log() if isinstance(said.fact, MessageFailed)]
    assert f"0:{parked}" in answer.hint


def test_a_run_that_cannot_even_fail_is_given_up() -> None:
    """`StreamPoisoned` is recorded without asking its decider; later commands are refused."""
    stage = Stage(change=breaking("workflow", tuple))
    stage.submit(ONE, "r")
    stage.rest()
    assert [type(said.fact).__name__ for said in stage.log()] == [
        "PartitionOpened",
        "MessageFailed",
        "MessageFailed",
        "StreamPoisoned",
    ]
    assert stage.ended["r"] == ("failed", None)
    assert stage.rows("open") == 0
    stage.cancel("r")
    stage.rest()
    assert getattr(stage.replies[-1].answer, "code", "") == "stream_poisoned"
    after = stage.crash()
    after.cancel("r")
    after.rest()
    assert getattr(after.replies[-1].answer, "code", "") == "stream_poisoned"


def test_a_run_whose_stream_is_damaged_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot be read to fail it, nor to see whose child it is; other runs go on."""
    stage = Stage()
    stage.submit(ONE, "r")
    stage.submit(ONE, "other")
    stage.rest()
    after = stage.crash()
    whole = after.journal.stream_frames

    def damaged(partition: int, stream: str, *given: Any) -> Any:
        if stream == "workflow/r":
            msg = "a block cannot be read"
            raise LogDamaged(msg)
        return whole(partition, stream, *given)

    monkeypatch.setattr(after.journal, "stream_frames", damaged)
    after.finish()
    assert after.ended["r"] == ("failed", None)
    assert after.ended["other"][0] == "completed"


def test_a_poisoned_lane_leases_no_more_and_its_runs_say_why() -> None:
    """A task that asks it for a slot fails with the reason; other lanes go on."""
    stage = Stage(change=breaking("lane", Release))
    stage.submit({"a": {"agent": "x", "lane": "io"}, **CHAIN}, **LANES)
    stage.submit({"a": {"agent": "x", "lane": "io"}}, "s", **LANES)
    stage.rest()
    for attempt in list(stage.executor.held.values()):
        if attempt.run_id == "s":
            stage.end(attempt)
    stage.rest()
    assert any(isinstance(said.fact, StreamPoisoned) for said in stage.log())
    stage.submit({"a": {"agent": "x", "lane": "io"}}, "late", **LANES)
    stage.rest()
    assert stage.ended["late"][0] == "failed"
    assert stage.facts("task/late/a")[-1] == TaskFailed(
        "stream_poisoned", "lane w/io did not take the task in: stream_poisoned"
    )


@pytest.mark.parametrize("bug", [Release, Defer])
def test_who_is_sent_back_to_a_poisoned_lane_is_told(bug: type) -> None:
    """A service told a task to come back later; its lane was given up, before or by that."""
    stage = Stage(change=breaking("lane", bug))
    stage.submit({"a": {"agent": "x", "lane": "io"}}, "other", **LANES)
    stage.submit({"a": {"agent": "x", "lane": "io"}}, **LANES)
    stage.rest()
    held = {attempt.run_id: attempt for attempt in stage.executor.held.values()}
    if bug is Release:
        stage.end(held["other"])
        stage.rest()
    stage.end(held["r"], "failed", code="rate_limited", retry_after_s=30.0, limited=True)
    stage.rest()
    assert stage.facts("task/r/a")[-1] == TaskFailed(
        "stream_poisoned", "lane w/io did not take the task in: stream_poisoned"
    )
    assert stage.ended["r"][0] == "failed"


@pytest.mark.parametrize("crash_after", [None, 0, 1, 2])
def test_those_that_wait_in_a_poisoned_lane_are_told(crash_after: int | None) -> None:
    """All of them, over several turns, and again by the next process if this one died meanwhile."""
    tasks = {f"t{number}": {"agent": "x", "lane": "io"} for number in range(700)}
    stage = Stage(change=breaking("lane", Release), limits=Limits(batch_messages_max=200))
    stage.submit(tasks, **ONE_SLOT, on_failure="continue")
    stage.rest()
    stage.end_all()
    if crash_after is None:
        stage.rest()
    else:
        stage.node.run_once()
        stage.commit()
        for _ in range(crash_after):
            stage.node.run_once()
        stage = stage.crash()
        stage.rest()
    assert stage.ended["r"][0] == "failed"
    last = {said.stream: type(said.fact).__name__ for said in stage.log()}
    ends = [last[f"task/r/t{number}"] for number in range(700)]
    assert sorted(set(ends)) == ["TaskCompleted", "TaskFailed"]
    assert ends.count("TaskCompleted") == 1
    assert [stage.rows(table) for table in ("inbox", "attempts")] == [0, 0]


def test_a_lane_that_damage_kept_from_reading_goes_on_once_it_is_mended() -> None:
    """Who waits in it waits; when the log is opened again it leases, and slots are asked after."""
    damaged: list[str] = []

    def change(kinds: dict[str, Decider[Any]]) -> None:
        decider = kinds["lane"]

        def evolve(state: Any, fact: Any) -> Any:
            if damaged:
                raise LogDamaged(damaged[0])
            return decider.evolve(state, fact)

        kinds["lane"] = replace(decider, evolve=evolve)

    stage = Stage(change=change)
    task = {"agent": "x", "lane": "io"}
    stage.submit({"a": task}, "first", **ONE_SLOT)
    stage.submit({"a": task}, "second", **ONE_SLOT)
    stage.rest()
    damaged.append("a block cannot be read")
    stage.end_all()
    stage.rest()
    assert stage.ended["first"][0] == "completed"
    assert any(isinstance(said.fact, StreamPoisoned) for said in stage.log())
    stage.submit({"a": task}, "refused", **ONE_SLOT)
    stage.rest()
    assert stage.ended["refused"][0] == "failed"
    after = stage.crash()
    after.submit({"a": task}, "late", **ONE_SLOT)
    after.finish()
    assert {run: status for run, (status, _) in after.ended.items()} == {
        "second": "completed", "late": "completed",
    }  # fmt: skip
    assert [after.rows(table) for table in ("inbox", "attempts", "open")] == [0, 0, 0]


def test_a_damaged_lane_is_given_up_again_while_it_is_not_mended() -> None:
    """Each opening tries it once more; a lane with a bug of its own is not tried."""
    stage = Stage(change=breaking("lane", Release, error=LogDamaged))
    stage.submit({"a": {"agent": "x", "lane": "io"}}, **ONE_SLOT)
    stage.finish()
    after = stage.crash(change=breaking("lane", object, error=LogDamaged))
    after.rest()
    poisoned = [said for said in after.log() if isinstance(said.fact, StreamPoisoned)]
    assert len(poisoned) == 2
    assert given_up(after.journal, 0).mendable == {"lane/w/io"}


@pytest.mark.parametrize("strikes", ["once", "always"])
@pytest.mark.parametrize("skipped", ["b", "bc"])
def test_a_task_that_a_bug_struck_ends_all_the_same(strikes: str, skipped: str) -> None:
    """It was to be skipped and did not hear so; it is told once more, and no more than once."""
    struck = (DropTask, CancelTask) if strikes == "always" else DropTask
    stage = Stage(change=breaking("task", struck))
    stage.node.accept(Message("lane//one", DeclareLane(1, 10, "reject", "")))
    stage.submit({"a": {"agent": "x", "lane": "/one"}}, "other")
    stage.rest()
    stage.submit({name: {"agent": "x", "lane": "/one"} for name in "bc"})
    stage.rest()
    change(stage, Wanted(skip=dict.fromkeys(skipped)))
    failed = [said.fact for said in stage.log() if isinstance(said.fact, MessageFailed)]
    dropped = [fact.target for fact in failed if fact.message_type == "task.drop"]
    assert dropped == [task_stream("r", name) for name in skipped]
    stage.finish()
    began = {attempt.task_id for attempt in stage.executor.started}
    assert began.isdisjoint(skipped)
    assert len(stage.ended) == 2
    if strikes == "once":
        assert {stage.names(stream)[-1] for stream in dropped} == {"TaskCancelled"}
    else:
        cancels = sum(fact.message_type == "task.cancel" for fact in failed)
        assert cancels == {"bc": 2, "b": 3}[skipped]  # c is cancelled, and once more as it fails
