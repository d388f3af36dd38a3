"""Messages to runs that are archived: answered as their actors would, and nothing is recorded."""

from __future__ import annotations

import pytest

from goclaw_actors.archived import answer, status_of
from goclaw_actors.decider import Accepted, Refused
from goclaw_actors.message import Message
from goclaw_actors.messages import CancelTask, SlotLeased, TaskReported, TimerFired
from goclaw_events.errors import HistoryExpired
from goclaw_events.segments.records import Ended, ended_key
from goclaw_events.tables import Row
from goclaw_events.value import pack
from tests.actors.stage import LANES, ONE, Stage

ENDED = Ended("run.completed", 4, b"", b"d", 1)


def archived(state: str = "run.completed") -> Stage:
    """Return a stage with a run that ended and has a row that says so; no actor is live."""
    stage = Stage()
    stage.submit(ONE, **LANES)
    stage.finish()
    row = pack(list(ENDED._replace(state=state)))
    stage.journal._rows.write([Row("ended", ended_key(0, "r"), row)])
    return stage.crash()


def answers(stage: Stage) -> list[Accepted | Refused]:
    """Return what was replied."""
    return [reply.answer for reply in stage.replies]


def test_repeats_and_cancels_are_answered_without_an_actor() -> None:
    """The same request is repeated, another one conflicts, a cancel comes too late."""
    stage = archived()
    stage.rest()
    before = stage.journal.durable(0)
    stage.submit(ONE, **LANES)
    stage.submit(ONE, digest=b"other", **LANES)
    stage.cancel("r")
    stage.rest()
    accepted, conflict, finished = answers(stage)
    assert accepted == Accepted("r", repeated=True)
    assert isinstance(conflict, Refused)
    assert isinstance(finished, Refused)
    assert (conflict.code, finished.code) == ("command_conflict", "run_finished")
    assert stage.journal.durable(0) == before
    assert stage.live() == 0


def test_a_cancel_by_command_id_is_answered_from_history_if_it_is_kept() -> None:
    """What was accepted under an id is accepted again; under a new id it comes too late."""
    stage = Stage()
    stage.submit(ONE, **LANES)
    stage.rest()
    stage.cancel("r", command_id="c")
    stage.finish()
    stage.journal._rows.write([Row("ended", ended_key(0, "r"), pack(list(ENDED)))])
    stage = stage.crash()
    stage.cancel("r", command_id="c")
    stage.cancel("r", command_id="other")
    stage.rest()
    repeated, late = answers(stage)
    assert isinstance(repeated, Accepted)
    assert repeated.repeated
    assert isinstance(late, Refused)
    assert late.code == "run_finished"


@pytest.mark.parametrize("gone", [False, True])
def test_late_messages_do_no_harm(gone: bool) -> None:
    """Timers, cancels and reports record nothing; a slot that is offered is given back."""
    stage = archived()
    stage.rest()
    before = stage.journal.durable(0)
    if gone:

        def refuse(*_: object) -> None:
            raise HistoryExpired("it was given up")

        stage.journal.stream_frames = refuse  # type: ignore[method-assign, assignment]
    for body in (SlotLeased(), CancelTask("late"), TimerFired("due")):
        stage.node.accept(Message("task/r/a", body))
    stage.node.accept(Message("workflow/r", TaskReported("a", 0, "completed", 1, None)))
    stage.rest()
    recorded = [said.stream for said in stage.log()[before:]] if not gone else []
    assert all(not stream.startswith(("task/", "workflow/")) for stream in recorded)
    assert "MessageFailed" not in [type(said.fact).__name__ for said in stage.log()]


@pytest.mark.parametrize(
    ("state", "status"),
    [("run.failed", "failed"), ("run.cancelled", "cancelled"), ("run.completed", "completed"),
     ("partition.stream_poisoned", "failed")],
)  # fmt: skip
def test_the_final_state_is_told(state: str, status: str) -> None:
    """Whichever fact was the last; only an actor can answer what is no command."""
    ended = ENDED._replace(state=state)
    assert status_of(ended) == status
    assert answer("task/r/a", ended, SlotLeased()) is None


@pytest.mark.parametrize(
    ("digest", "code"), [(b"d", "history_expired"), (b"x", "command_conflict")]
)
def test_a_task_that_asks_for_an_archived_run_hears_that_there_is_none(
    digest: bytes, code: str
) -> None:
    """It is told once, as of a child that failed; it would wait for ever otherwise."""
    stage = archived()
    body = stage.submission(ONE, digest=digest, **LANES).body._replace(parent="task/p/child")
    decision = answer("workflow/r", ENDED, body)
    assert decision is not None
    (send,) = decision.sends
    assert send.target == "task/p/child"
    assert (send.body.run_id, send.body.status, send.body.error[0]) == ("r", "failed", code)
