"""Versions that commands insist on: of runs, sagas and lanes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.compensating import CompensateSaga, ResolveSaga
from goclaw_actors.decider import Accepted, Refused
from goclaw_actors.lending import ControlLane
from goclaw_actors.message import Message
from goclaw_actors.messages import CancelRun
from goclaw_actors.rebuild import fold
from goclaw_actors.scheduling import DeleteSchedule, PauseSchedule
from goclaw_actors.signalling import HoldWork, ResumeWork
from goclaw_actors.versions import command_digest
from goclaw_events.ids import kind_of, schedule_stream
from goclaw_events.replay import stream_turns
from tests.actors.sagas import CHAIN as STEPS
from tests.actors.sagas import S, SagaStage
from tests.actors.stage import CHAIN, LANES, MANY, Stage
from tests.actors.test_schedule import MINUTE_NS, set_schedule

if TYPE_CHECKING:
    from goclaw_actors.message import Reply

RUN = "workflow/r"
PAUSE = HoldWork("", "paused", "", "me", 0.0)
RESUME = ResumeWork("", "me")


def say(
    stage: Stage, stream: str, body: Any, if_version: int | None, command_id: str | None = None
) -> Any:
    """Give a command that insists on a version; return its answer."""
    heard: list[Reply] = []
    message = Message(stream, body)
    message.if_version, message.command_id = if_version, command_id
    message.digest = command_digest(body, if_version)
    message.reply_to = heard.append
    stage.node.accept(message)
    stage.rest()
    return heard[0].answer


def version(stage: Stage, stream: str) -> int | None:
    """Return the version that the durable log folds to."""
    decider = stage.kinds[kind_of(stream)]
    assert decider.version is not None
    return decider.version(fold(decider, stream, stream_turns(stage.journal, stream)))


def code_of(answer: Any) -> str:
    """Return the code of a refusal; '': it is none."""
    return answer.code if isinstance(answer, Refused) else ""


def held_run() -> Stage:
    """Return a run of two tasks that was paused, and goes on: its version is 3."""
    stage = Stage()
    stage.submit(CHAIN)
    stage.rest()
    say(stage, RUN, PAUSE, None)
    say(stage, RUN, RESUME, None)
    return stage


def test_what_was_decided_counts_and_what_tasks_did_does_not() -> None:
    """Submitted, paused, resumed, ended: four; that two tasks completed is not counted."""
    stage = held_run()
    assert version(stage, RUN) == 3
    stage.finish()
    assert version(stage, RUN) == 4


@pytest.mark.parametrize("wanted", [0, 2, 4])
def test_a_command_on_another_version_changes_nothing(wanted: int) -> None:
    """It is refused, says which version there is, and leaves no fact."""
    stage = held_run()
    before = stage.log()
    answer = say(stage, RUN, CancelRun("", ""), wanted)
    assert code_of(answer) == "run_changed"
    assert f"its version is 3, not {wanted}" in answer.message
    assert "runs show" in answer.hint
    assert stage.log() == before


def test_of_two_that_looked_at_the_same_one_comes_first() -> None:
    """In one batch, too: the second sees what the first decided."""
    stage = held_run()
    heard: list[Reply] = []
    for sender in ("me", "you"):
        message = Message(RUN, HoldWork("", "paused", "", sender, 0.0))
        message.if_version, message.reply_to = 3, heard.append
        stage.node.accept(message)
    stage.rest()
    assert [code_of(reply.answer) for reply in heard] == ["", "run_changed"]


def test_a_repeat_gets_the_first_answer_whatever_the_version_is_now() -> None:
    """Also after a restart; the same id with another version is another command."""
    stage = held_run()
    assert code_of(say(stage, RUN, PAUSE, 3, "c")) == ""
    stage = stage.crash()
    assert say(stage, RUN, PAUSE, 3, "c") == Accepted("r", repeated=True)
    assert code_of(say(stage, RUN, PAUSE, 4, "c")) == "command_conflict"
    assert version(stage, RUN) == 4


def test_a_version_survives_a_restart() -> None:
    """What is read again from the log has the version that it had."""
    stage = held_run().crash()
    assert code_of(say(stage, RUN, PAUSE, 2)) == "run_changed"
    assert code_of(say(stage, RUN, PAUSE, 3)) == ""
    assert stage.check_live()


@pytest.mark.parametrize(
    ("stream", "body", "code"),
    [
        ("workflow/none", CancelRun("", ""), "run_not_found"),
        ("saga/~none", ResolveSaga("done", "me"), "saga_not_found"),
        ("lane/w/none", ControlLane("paused", {}, reset=False, by="me"), "lane_not_found"),
    ],
)
def test_what_is_not_there_has_no_version(stream: str, body: Any, code: str) -> None:
    """The refusal is the one that it would be without a version."""
    assert code_of(say(Stage(), stream, body, 1)) == code


def test_a_saga_counts_what_is_decided_about_it() -> None:
    """Submitted and started, sent back, undone: who saw it go forth does not undo it again."""
    stage = SagaStage()
    stage.begin(STEPS)
    assert version(stage, S) == 2
    assert code_of(say(stage, S, CompensateSaga("", "me"), 1)) == "saga_changed"
    assert code_of(say(stage, S, CompensateSaga("", "me"), 2)) == ""
    stage.finish()
    assert version(stage, S) == 4
    assert code_of(say(stage, S, CompensateSaga("", "you"), 3)) == "saga_changed"


@pytest.mark.parametrize(("wanted", "code"), [(0, "lane_changed"), (2, "lane_changed"), (1, "")])
def test_a_lane_counts_what_it_was_told(wanted: int, code: str) -> None:
    """Whoever looked at a lane that was changed meanwhile is told so, and changes nothing."""
    stage = Stage()
    stage.submit(MANY, **LANES)
    stage.rest()
    lane = "lane/w/io"
    say(stage, lane, ControlLane(None, {"concurrency": 2}, reset=False, by="me"), 0)
    assert version(stage, lane) == 1
    assert (
        code_of(say(stage, lane, ControlLane("paused", {}, reset=False, by="me"), wanted)) == code
    )
    assert version(stage, lane) == (1 if code else 2)


def test_a_schedule_counts_how_it_was_set_and_not_how_often_it_fired() -> None:
    """Made and paused: two; who saw the first does not delete it, also after it was made again."""
    stage = Stage()
    stream = schedule_stream("s")
    set_schedule(stage)
    stage.rest()
    stage.clock.ns += 10 * MINUTE_NS
    stage.finish()
    assert version(stage, stream) == 1
    assert code_of(say(stage, stream, PauseSchedule("", "me"), 1)) == ""
    assert code_of(say(stage, stream, DeleteSchedule("me"), 1)) == "schedule_changed"
    assert code_of(say(stage, stream, DeleteSchedule("me"), 2)) == ""
    assert code_of(say(stage, stream, DeleteSchedule("me"), 2)) == "schedule_changed"
    assert say(stage, stream, DeleteSchedule("me"), 0) == Accepted("s", repeated=True)
    set_schedule(stage)
    stage.rest()
    assert code_of(say(stage, stream, DeleteSchedule("me"), 1)) == "schedule_changed"
    assert version(stage, stream) == 4
