"""Large values: kept by reference, readable before they are durable, and never in a frame."""

from __future__ import annotations

from typing import Any

import pytest

from goclaw_actors.decider import Refused
from goclaw_actors.messages import ScheduleTask
from goclaw_actors.ports import Limits
from goclaw_actors.spill import spill
from goclaw_actors.turns import TURN_BYTES_MAX
from goclaw_events.facts import MessageFailed, TaskCompleted, TaskEnded
from goclaw_events.frame import FRAME_BYTES_MAX
from goclaw_events.value import INLINE_BYTES_MAX, BlobRef, pack, unpack
from goclaw_events.verify import verify
from tests.actors.stage import Stage

BIG = "x" * 100_000
HALF = "x" * 40_000


def stored(stage: Stage, ref: Any) -> Any:
    """Return the value under a reference that the log holds."""
    assert isinstance(ref, BlobRef)
    return unpack(stage.journal.blob(ref))


def check_frames(stage: Stage) -> None:
    """Check that no frame and no inline value is too large, and that the log is whole."""
    for partition in range(stage.journal.partitions):
        for data in stage.journal.frames(partition):
            assert len(data) <= FRAME_BYTES_MAX
    for said in stage.log():
        assert len(pack(list(said.fact))) <= INLINE_BYTES_MAX + 4_096
    assert verify(stage.journal).problems == []


def test_only_values_over_the_limit_move_out() -> None:
    """A field that is not a value stays, whatever its size; nothing to move gives the fact."""
    blobs: dict[bytes, bytes] = {}
    small = TaskCompleted(1, 1, HALF)
    assert spill(small, blobs) is small
    moved = spill(TaskEnded("a", 0, "failed", BIG, ["e", "m"]), blobs)
    assert unpack(blobs[moved.result.sha256]) == BIG
    assert moved.error == ["e", "m"]
    assert spill(TaskEnded("a" * 70_000, 0, "failed", None, None), {}).task == "a" * 70_000


def test_rendered_parameters_over_the_limit_are_kept_as_a_blob() -> None:
    """Live and replayed state both refer to it, and the start does."""
    tasks = {
        "a": {"agent": "x"},
        "b": {"agent": "x"},
        "c": {
            "agent": "x",
            "needs": ["a", "b"],
            "with": {"a": "${tasks.a.result}", "b": "${tasks.b.result}"},
        },
    }
    stage = Stage()
    stage.submit(tasks)
    stage.rest()
    stage.end_all(HALF)
    stage.rest()
    (attempt,) = stage.executor.held.values()
    assert stored(stage, attempt.params) == {"a": HALF, "b": HALF}
    assert stage.check_live() >= 2
    stage.finish()
    check_frames(stage)


@pytest.mark.parametrize("messages_max", [1, 4096])
def test_a_large_result_is_read_before_it_is_durable(messages_max: int) -> None:
    """A condition and a text of the same batch see it."""
    tasks = {
        "a": {"agent": "x"},
        "yes": {"agent": "x", "needs": ["a"], "when": "${tasks.a.result.n} > 1"},
        "no": {"agent": "x", "needs": ["a"], "when": "${tasks.a.result.n} > 5"},
        "text": {"agent": "x", "needs": ["a"], "with": {"t": "n=${tasks.a.result.n}"}},
    }
    stage = Stage(limits=Limits(batch_messages_max=messages_max, commits_in_flight_max=3))
    stage.submit(tasks)
    stage.rest()
    stage.end_all({"n": 2, "big": BIG})
    stage.decide()
    stage.rest()
    params = {found.task_id: found.params for found in stage.executor.held.values()}
    assert params == {"yes": {}, "text": {"t": "n=2"}}
    stage.finish()
    assert stage.ended["r"][0] == "completed"
    check_frames(stage)


def test_a_large_input_is_read_with_the_submission() -> None:
    """Its blob comes with the command and is not durable yet when the roots are scheduled."""
    tasks = {"a": {"agent": "x", "when": "${input.n} > 1", "with": {"t": "n=${input.n}"}}}
    types = {"n": {"type": "integer"}, "big": {"type": "string"}}
    stage = Stage()
    stage.submit(tasks, given={"n": 2, "big": BIG}, input=types)
    stage.rest()
    assert [found.params for found in stage.executor.held.values()] == [{"t": "n=2"}]
    assert stored(stage, stage.facts("workflow/r")[0].input) == {"n": 2, "big": BIG}
    assert stage.check_live() >= 2


@pytest.mark.parametrize("partitions", [1, 4])
def test_large_parameters_of_many_tasks_fit_into_frames(partitions: int) -> None:
    """What waits in inboxes at the end of a batch takes no room in its frame."""
    count = 120
    tasks: dict[str, Any] = {"a": {"agent": "x"}}
    for number in range(count):
        shared = {"number": number, "text": "${tasks.a.result}"}
        tasks[f"t{number}"] = {"agent": "x", "needs": ["a"], "with": shared}
    stage = Stage(partitions=partitions)
    stage.submit(tasks)
    stage.rest()
    stage.end_all("x" * 60_000)
    stage.finish()
    assert stage.ended["r"][0] == "completed"
    starts = [found for found in stage.executor.started if found.task_id != "a"]
    assert len(starts) == count
    for found in starts[:: count // 4]:
        params = found.params
        assert len((stored(stage, params) if isinstance(params, BlobRef) else params)["text"]) == (
            60_000
        )
    check_frames(stage)


def test_a_fan_out_of_many_thousand_tasks_fits_into_frames() -> None:
    """A run goes on with itself after what it told others, so little waits when a batch ends."""
    stage = Stage(limits=Limits(batch_messages_max=4096, batch_time_s=60.0))
    count = 6_000
    tasks = {f"task-with-a-rather-long-name-{n}": {"agent": "x"} for n in range(count)}
    stage.submit(tasks)
    left: list[int] = []
    while stage.node.run_once():
        stage.commit()
        left.append(stage.rows("inbox"))
    assert max(left) < 1_500
    assert sum(len(fact.queued) for fact in stage.facts("lane//default")) == count
    check_frames(stage)


def test_a_command_whose_facts_are_too_large_is_refused() -> None:
    """By code; nothing of it is recorded."""
    stage = Stage()
    message = stage.submission({"a": {"agent": "x"}})
    message.body = message.body._replace(labels={"k": "v" * (TURN_BYTES_MAX + 1)})
    stage.node.accept(message)
    stage.rest()
    answer = stage.replies[0].answer
    assert isinstance(answer, Refused)
    assert answer.code == "turn_too_large"
    assert stage.facts("workflow/r") == []
    assert stage.executor.started == []


def test_a_message_whose_facts_are_too_large_is_not_lost() -> None:
    """Nobody waits for an answer to it: it is parked, with its large values as blobs."""
    stage = Stage()
    lane = "l" * (TURN_BYTES_MAX + 1)
    message = stage.submission({"a": {"agent": "x"}})
    stage.node.accept(message)
    stage.rest()
    other = stage.submission({"a": {"agent": "x"}}, "s")
    other.target = "task/s/a"
    other.body = ScheduleTask(other.body.definition, 0, BIG, lane, 0)
    other.reply_to = None
    stage.node.accept(other)
    stage.rest()
    (failed,) = [said.fact for said in stage.log() if isinstance(said.fact, MessageFailed)]
    assert failed.code == "turn_too_large"
    assert stored(stage, failed.message)[3] == lane
    assert stage.rows("parked") == 1
    stage.finish()
    assert stage.ended["r"][0] == "completed"
    check_frames(stage)


def test_a_large_outcome_that_meets_a_bug_is_parked_by_reference() -> None:
    """Its blobs are stored beside the fact, not within it."""
    stage = Stage(change=_raise_in_task)
    stage.submit({"a": {"agent": "x"}})
    stage.rest()
    stage.end_all(BIG)
    stage.rest()
    (failed,) = [said.fact for said in stage.log() if isinstance(said.fact, MessageFailed)]
    assert stored(stage, failed.message[3]) == BIG
    check_frames(stage)


def _raise_in_task(kinds: dict[str, Any]) -> None:
    from dataclasses import replace

    decider = kinds["task"]

    def decide(state: Any, message: Any, moment: Any) -> Any:
        if type(message).__name__ == "Outcome":
            msg = "a bug"
            raise ValueError(msg)
        return decider.decide(state, message, moment)

    kinds["task"] = replace(decider, decide=decide)
