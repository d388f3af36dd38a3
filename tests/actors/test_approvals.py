"""Tasks that ask people: decided once, by somebody who may, and what follows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.answering import DecideTask
from goclaw_actors.approval import ASKED_BYTES_MAX, may_decide
from goclaw_actors.decider import Accepted, Refused
from goclaw_actors.message import Message
from goclaw_actors.signalling import HoldWork, ResumeWork
from goclaw_actors.task import task_decider
from goclaw_events.facts import TaskAnswered, TaskAwaiting, TaskEnded
from goclaw_events.ids import task_stream, workflow_stream
from goclaw_events.value import BlobRef, pack
from tests.actors.given import NOW_NS, Scenario, Shelf
from tests.actors.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

RUN = workflow_stream("r")
S = 10**9
SHAPE = {"type": "object", "properties": {"sum": {"type": "number", "maximum": 100}}}


def asks(**more: Any) -> dict[str, Any]:
    """Return a workflow of a task that asks uid 1, and one that goes on with the answer."""
    question = {"who": ["uid:1"], "arguments": {"sum": 5}, **more}
    read = {"got": "${tasks.ok.result}"}
    return {"ok": {"approval": question}, "go": {"agent": "x", "needs": ["ok"], "with": read}}


def begun(stage: Stage | None = None, **more: Any) -> Stage:
    """Return a stage on which a task asks."""
    stage = stage or Stage()
    stage.submit(asks(**more))
    stage.rest()
    return stage


def tell(stage: Stage, body: Any, command: str) -> Any:
    """Give the run a command; return the answer, or the code of the refusal."""
    message = Message(RUN, body)
    message.command_id, message.digest = command, body.digest
    message.reply_to = stage.replies.append
    stage.node.accept(message)
    stage.rest()
    answer = stage.replies[-1].answer
    return answer.code if isinstance(answer, Refused) else answer


def decide(
    stage: Stage, verdict: str = "approved", uid: int = 1, command: str = "d", **more: Any
) -> Any:
    """Decide; `arguments` in `more` edit those that were asked about."""
    arguments, edited = more.get("arguments"), "arguments" in more
    claimed, reason = more.get("claimed", ""), more.get("reason", "why")
    sender = f"uid:{uid}/{claimed}" if claimed else f"uid:{uid}"
    digest = pack([verdict, arguments, sender, reason])
    body = DecideTask(
        "ok", command, verdict, arguments, edited, sender, [f"uid:{uid}"], claimed, reason, digest
    )
    return tell(stage, body, command)


def given(stage: Stage) -> Any:
    """Return what the task behind it was given, once it runs."""
    return stage.executor.started[-1].params["got"]


def ends(stage: Stage) -> dict[str, str]:
    """Return how tasks ended, as the run heard it."""
    return {fact.task: fact.status for fact in stage.facts(RUN) if isinstance(fact, TaskEnded)}


def test_what_is_approved_goes_on_with_who_decided_and_why() -> None:
    """It holds no slot meanwhile; question and answer are facts."""
    stage = begun(message="${run.id}?", deadline="1h")
    assert stage.rows("attempts") == 0
    asked = stage.facts(task_stream("r", "ok"))[0]
    assert isinstance(asked, TaskAwaiting)
    assert (asked.asked["message"], asked.asked["arguments"]) == ("r?", {"sum": 5})
    assert decide(stage) == Accepted("d")
    assert given(stage) == {
        "approved": True, "by": "uid:1", "reason": "why", "arguments": {"sum": 5}, "edited": False,
    }  # fmt: skip
    assert stage.rows("timers") == 0
    stage.finish()
    assert stage.ended["r"][0] == "completed"
    stage.check_live()


def test_edited_arguments_take_the_place_of_those_that_were_asked_about() -> None:
    """Both are kept; what is approved has to be of the shape that the definition says."""
    stage = begun(schema=SHAPE)
    assert decide(stage, arguments={"sum": 500}) == "approval_invalid"
    assert decide(stage, arguments={"sum": "x" * ASKED_BYTES_MAX}) == "approval_invalid"
    assert decide(stage, "rejected", arguments={"sum": 1}) == "approval_invalid"
    assert decide(stage, arguments={"sum": 50}) == Accepted("d")
    assert (given(stage)["arguments"], given(stage)["edited"]) == ({"sum": 50}, True)
    asked, answered, _ = stage.facts(task_stream("r", "ok"))
    assert asked.asked["arguments"] == {"sum": 5}
    assert answered == TaskAnswered("d", "approved", {"arguments": {"sum": 50}}, "uid:1", "why")
    other = begun(schema=SHAPE, arguments={"sum": 900})
    assert decide(other) == "approval_invalid"
    assert decide(other, "rejected") == Accepted("d")


@pytest.mark.parametrize(
    ("who", "proved", "claimed", "may"),
    [
        (["uid:1"], ["uid:1", "user:ann"], "", True),
        (["user:ann"], ["uid:1", "user:ann"], "", True),
        (["uid:1"], ["uid:2"], "uid:1", False),
        (["user:ann"], ["uid:2"], "user:ann", False),
        (["ann"], ["uid:2"], "ann", True),
        (["ann"], ["uid:2", "user:ann"], "", False),
        (["anyone"], ["uid:2"], "", True),
        (["uid:1", "bob"], ["uid:2"], "bob", True),
        (["uid:1"], ["uid:2"], "anyone", False),
    ],
)
def test_who_may_decide(who: list[str], proved: list[str], claimed: str, may: bool) -> None:
    """A name that has to be proved cannot be claimed; another one can."""
    assert may_decide(who, proved, claimed) is may


def test_whoever_may_not_is_refused_and_the_task_goes_on_asking() -> None:
    """What somebody claims to be does not help where proof is asked for."""
    stage = begun()
    assert decide(stage, uid=2) == "approval_forbidden"
    assert decide(stage, uid=2, claimed="uid:1", command="e") == "approval_forbidden"
    assert decide(stage, command="f") == Accepted("f")


def test_it_is_decided_once() -> None:
    """A repeat gets the first answer; a second decision is told who decided, after a crash too."""
    stage = begun()
    assert decide(stage, claimed="ann") == Accepted("d")
    assert decide(stage, claimed="ann") == Accepted("d", repeated=True)
    stage = stage.crash()
    stage.rest()
    assert decide(stage, "rejected") == "command_conflict"
    assert decide(stage, "rejected", command="e") == "approval_decided"
    answer = stage.replies[-1].answer
    assert isinstance(answer, Refused)
    assert "was approved by uid:1/ann already" in answer.message
    stage.finish()
    assert decide(stage, "rejected", command="f") == "approval_decided"
    assert stage.names(task_stream("r", "ok")).count("TaskAnswered") == 1


def test_a_crash_before_the_decision_is_durable_asks_again() -> None:
    """Nobody was told that it was taken, and it is not."""
    stage = begun()
    digest = b"d"
    body = DecideTask("ok", "d", "approved", None, False, "uid:1", ["uid:1"], "", "", digest)
    message = Message(RUN, body)
    message.command_id, message.digest = "d", digest
    message.reply_to = stage.replies.append
    before = len(stage.replies)
    stage.node.accept(message)
    stage.decide()
    assert len(stage.replies) == before
    stage = stage.crash()
    stage.rest()
    assert decide(stage, "rejected", command="e") == Accepted("e")
    assert stage.names(task_stream("r", "ok")).count("TaskAnswered") == 1


@pytest.mark.parametrize(
    ("how", "status", "end"),
    [
        ("fail", "failed", {"ok": "failed"}),
        ("skip", "completed", {"ok": "skipped"}),
        ("continue", "completed", {"ok": "completed", "go": "completed"}),
    ],
)
def test_what_is_rejected_ends_as_the_definition_says(
    how: str, status: str, end: Mapping[str, str]
) -> None:
    """With the code `approval_rejected`, who and why; or skipped; or as an answer that is a no."""
    stage = begun(on_reject=how)
    assert decide(stage, "rejected", reason="too much") == Accepted("d")
    if how == "continue":
        assert (given(stage)["approved"], given(stage)["reason"]) == (False, "too much")
    stage.finish()
    assert stage.ended["r"][0] == status
    assert ends(stage) == end
    if how == "fail":
        last = stage.facts(task_stream("r", "ok"))[-1]
        assert tuple(last) == ("approval_rejected", "uid:1 rejected it: too much")


@pytest.mark.parametrize(
    ("how", "last", "end"),
    [
        ("fail", "TaskFailed", {"ok": "failed"}),
        ("reject", "TaskFailed", {"ok": "failed"}),
        ("skip", "TaskDropped", {"ok": "skipped"}),
        ("approve", "TaskCompleted", {"ok": "completed", "go": "completed"}),
    ],
)
def test_a_deadline_decides_as_the_definition_says(
    how: str, last: str, end: Mapping[str, str]
) -> None:
    """Restarts keep it; who decides afterwards is told; the answer says that nobody did."""
    stage = begun(deadline="90s", on_deadline=how)
    ns = stage.clock.ns
    stage = stage.crash()
    stage.clock.ns = ns + 89 * S
    stage.rest()
    assert ends(stage) == {}
    stage.clock.ns = ns + 91 * S
    stage.rest()
    assert stage.names(task_stream("r", "ok"))[-1] == last
    late = decide(stage)
    assert late == ("approval_decided" if how in ("approve", "reject") else "approval_not_open")
    if how == "approve":
        assert (given(stage)["by"], given(stage)["approved"]) == (None, True)
    stage.finish()
    assert ends(stage) == end
    stage.check_live()


@pytest.mark.parametrize("verdict", ["approved", "rejected"])
def test_who_decides_after_the_deadline_is_too_late_also_where_no_engine_ran(verdict: str) -> None:
    """No timer has told of it: the definition decides all the same, once one does."""
    asked = {
        "who": ["anyone"], "message": "", "arguments": None, "schema": None,
        "on_deadline": "reject", "on_reject": "fail",
    }  # fmt: skip
    task = Scenario(task_decider(Shelf()), task_stream("r", "ok"))
    task.given(TaskAwaiting(BlobRef(bytes(32), 1), 0, "", asked, NOW_NS + S))
    late = DecideTask("ok", "d", verdict, None, False, "me", ["uid:1"], "", "", b"d")
    refused = task.when(late, NOW_NS + S)
    assert isinstance(refused.reply, Refused)
    assert (refused.reply.code, refused.facts) == ("approval_not_open", ())
    assert task.when(late, NOW_NS + S - 1).reply == Accepted("d")


def test_a_question_is_withdrawn_while_the_task_stands_still_and_when_it_is_cancelled() -> None:
    """Then nobody decides; it is asked again when the task goes on, with the deadline it had."""
    stage = begun(deadline="1h")
    for how in ("paused", "interrupted"):
        tell(stage, HoldWork("ok", how, "why", "me", 0.0, f"h{how}", b"h"), f"h{how}")
        assert stage.rows("timers") == 0
        assert decide(stage, command=how) == "approval_not_open"
        tell(stage, ResumeWork("ok", "me", f"r{how}", b"r"), f"r{how}")
        assert stage.rows("timers") == 1
    stage.cancel("r")
    stage.finish()
    assert decide(stage, command="late") == "approval_not_open"
    assert stage.ended["r"][0] == "cancelled"


def test_what_asks_nobody_cannot_be_decided() -> None:
    """A task of another kind, one that has not begun, one that there is not, no run at all."""
    stage = Stage()
    later = {"approval": {"who": ["uid:1"]}, "needs": ["a"]}
    stage.submit({"a": {"agent": "x"}, "ok": later})
    stage.rest()
    assert decide(stage) == "approval_not_open"
    body = DecideTask("a", "d", "approved", None, False, "me", ["uid:1"], "", "", b"d")
    assert tell(stage, body, "d") == "approval_not_open"
    assert tell(stage, body._replace(task="zz"), "e") == "task_not_found"
    assert decide(Stage()) == "run_not_found"


def test_what_cannot_be_asked_fails_the_task() -> None:
    """A template that yields no name, or more than a question may hold."""
    for given_, more in (({"who": [1]}, {}), ({"who": "x"}, {"message": "${input.big}"})):
        stage = Stage()
        question = {"who": ["${input.who}"], **more}
        data = {**given_, "big": "x" * ASKED_BYTES_MAX}
        inputs: dict[str, Any] = {"who": {}, "big": {}}
        stage.submit({"ok": {"approval": question}}, given=data, input=inputs)
        stage.rest()
        ended = next(fact for fact in stage.facts(RUN) if isinstance(fact, TaskEnded))
        assert ended.error is not None
        assert ended.error[0] == "approval_invalid"
