"""Tasks that wait for a signal by its name: each signal once, in order, whenever it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goclaw_actors.answering import AnswerTask, AskSignal, SendNamed
from goclaw_actors.decider import Accepted, Refused
from goclaw_actors.message import Message
from goclaw_actors.messages import CancelTask, FailRun
from goclaw_actors.path_order import Wanted
from goclaw_actors.pathing import DropTask
from goclaw_actors.ports import Limits
from goclaw_actors.signalling import HoldWork, ResumeWork
from goclaw_actors.task import task_decider
from goclaw_actors.workflow.mail import BODY_BYTES_MAX, KEPT_BYTES_MAX
from goclaw_events.facts import (
    SignalGiven,
    SignalsLeft,
    TaskAnswered,
    TaskAwaiting,
    TaskCompleted,
    TaskEnded,
)
from goclaw_events.ids import task_stream, workflow_stream
from goclaw_events.value import BlobRef, pack
from tests.actors.given import NOW_NS, Scenario, Shelf, kinds
from tests.actors.stage import Stage
from tests.actors.test_path import change

if TYPE_CHECKING:
    from collections.abc import Mapping

RUN = workflow_stream("r")
GO = {"wait_for": {"signal": "go"}}
LATER: dict[str, Any] = {"a": {"agent": "x"}, "w": {**GO, "needs": ["a"]}}
TWO: dict[str, Any] = {"one": GO, "two": {**GO, "needs": ["one"]}}
S = 10**9


def waits(**more: Any) -> dict[str, Any]:
    """Return a workflow of one task that waits for `go`."""
    return {"w": {"wait_for": {"signal": "go", **more}}}


def say(stage: Stage, body: Any) -> Any:
    """Give the run a command; return its reply."""
    message = Message(RUN, body)
    message.command_id = getattr(body, "signal", None) or body.command
    message.digest = body.digest
    message.reply_to = stage.replies.append
    stage.node.accept(message)
    stage.rest()
    return stage.replies[-1].answer


def send(stage: Stage, signal: str, body: Any = None, name: str = "go", most: int = 3) -> Any:
    """Send the run a signal; return what was accepted, or the code of the refusal."""
    digest = pack([name, body])
    answer = say(stage, SendNamed(name, signal, body, "uid:1/me", digest, most))
    return answer.code if isinstance(answer, Refused) else answer


def hold(stage: Stage, how: str = "paused", task: str = "w") -> None:
    """Make a task stand still."""
    assert say(stage, HoldWork(task, how, "why", "me", 0.0, "h", b"h")) == Accepted(task)


def results(stage: Stage) -> dict[str, Any]:
    """Return how the tasks of the run ended: with which results."""
    found: dict[str, Any] = {}
    for said in stage.log():
        if isinstance(said.fact, TaskEnded):
            ended = said.fact
            found[ended.task] = (
                found.get(ended.task) if ended.status == "completed" else ended.status
            )
        elif isinstance(said.fact, TaskCompleted):
            found[said.stream.rpartition("/")[2]] = said.fact.result
    return found


def test_the_payload_of_a_signal_is_the_result_of_the_task_that_waits() -> None:
    """It holds no slot meanwhile; who sent it is recorded with it."""
    stage = Stage()
    stage.submit(waits())
    stage.rest()
    assert (stage.rows("attempts"), stage.rows("timers")) == (0, 0)
    assert send(stage, "s", {"n": 1}) == Accepted("s")
    assert stage.ended["r"] == ("completed", {"n": 1})
    assert stage.facts(task_stream("r", "w"))[1] == TaskAnswered(
        "s", "signal", {"n": 1}, "uid:1/me"
    )
    stage.check_live()


def test_what_comes_before_a_task_waits_is_kept_and_given_in_order() -> None:
    """Each signal to one task, the oldest first; what nobody takes is told at the end."""
    stage = Stage()
    stage.submit(LATER | {"x": {**GO, "needs": ["w"]}})
    stage.rest()
    for number in range(3):
        assert send(stage, f"s{number}", number) == Accepted(f"s{number}")
    stage.finish()
    assert results(stage) == {"a": None, "w": 0, "x": 1}
    assert SignalsLeft(["s2"], "the run ended") in stage.facts(RUN)
    stage.check_live()


def test_no_more_than_the_bound_is_kept_and_the_sender_is_told() -> None:
    """So many of a name, and so much of all: the rest is refused, and nothing of it is recorded."""
    stage = Stage()
    names = {f"k{at}": {"wait_for": {"signal": f"n{at}"}, "needs": ["a"]} for at in range(4)}
    stage.submit(LATER | names)
    stage.rest()
    assert [send(stage, f"s{number}") for number in range(2)] == [Accepted("s0"), Accepted("s1")]
    assert send(stage, "s2", most=2) == "signals_full"
    assert send(stage, "big", "x" * BODY_BYTES_MAX) == "value_too_large"
    large = "x" * (BODY_BYTES_MAX - 9)
    for at in range(KEPT_BYTES_MAX // BODY_BYTES_MAX):
        assert send(stage, f"l{at}", large, name=f"n{at % 4}") == Accepted(f"l{at}")
    assert send(stage, "more", large, name="n3") == "signals_full"
    assert stage.names(RUN).count("SignalReceived") == 2 + KEPT_BYTES_MAX // BODY_BYTES_MAX


def test_a_repeat_gets_the_first_answer_and_another_signal_of_its_id_is_refused() -> None:
    """Also when the signal was taken already, and after a restart."""
    stage = Stage()
    stage.submit(TWO)
    stage.rest()
    assert send(stage, "s", 1) == Accepted("s")
    assert send(stage, "s", 1) == Accepted("s", repeated=True)
    stage = stage.crash()
    assert send(stage, "s", 1) == Accepted("s", repeated=True)
    assert send(stage, "s", 2) == "command_conflict"
    assert results(stage) == {"one": 1}


@pytest.mark.parametrize(
    ("body", "name", "code"),
    [
        ({"n": "x"}, "go", "signal_invalid"),
        ({}, "go", "signal_invalid"),
        (None, "go", "signal_invalid"),
        ({"n": 1}, "stop", "signal_unknown"),
    ],
)
def test_what_no_task_would_take_is_refused(body: Any, name: str, code: str) -> None:
    """A payload of another shape, a name that no task waits for: the task goes on waiting."""
    stage = Stage()
    shape = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    stage.submit(waits(schema=shape))
    stage.rest()
    assert send(stage, "s", body, name) == code
    assert send(stage, "t", {"n": 1}) == Accepted("t")
    assert stage.ended["r"] == ("completed", {"n": 1})


def test_a_run_that_is_over_and_a_task_that_has_its_signal_take_none() -> None:
    """The sender is told which of the two it is."""
    stage = Stage()
    stage.submit({**waits(), "b": {"agent": "x"}})
    stage.rest()
    assert send(stage, "s") == Accepted("s")
    assert send(stage, "t") == "task_finished"
    stage.finish()
    assert send(stage, "u") == "run_finished"
    other = Stage()
    assert send(other, "s") == "run_not_found"


@pytest.mark.parametrize(
    ("how", "status", "after"),
    [
        ("fail", "failed", {"w": "failed"}),
        ("skip", "completed", {"w": "skipped", "a": None}),
        ("continue", "completed", {"w": None, "a": None, "b": None}),
    ],
)
def test_a_deadline_ends_the_wait_as_the_definition_says(
    how: str, status: str, after: Mapping[str, Any]
) -> None:
    """What needs only a task that was skipped is skipped; a restart keeps the deadline."""
    needs = {"a": {"agent": "x"}, "b": {"agent": "x", "needs": ["w"]}}
    tasks = {**waits(deadline="90s", on_deadline=how), **(needs if how != "fail" else {})}
    stage = Stage()
    stage.submit(tasks)
    stage.rest()
    start_ns = stage.clock.ns
    stage = stage.crash()
    stage.clock.ns = start_ns + 89 * S
    stage.rest()
    assert "w" not in results(stage)
    stage.clock.ns = start_ns + 91 * S
    stage.finish()
    assert stage.ended["r"][0] == status
    assert results(stage) == after
    stage.check_live()


@pytest.mark.parametrize(
    ("deadline", "after_s"),
    [
        ("90s", 90),
        ("${input.long}", 90),
        ({"until": "2023-11-14T22:15:00Z"}, 100),
        ({"until": "${tasks.a.result}"}, 100),
        ({"until": "1970-01-01T01:00:00+01:00"}, 0),
    ],
)
@pytest.mark.parametrize("kind", ["wait_for", "approval"])
def test_a_deadline_is_so_long_or_at_a_time(kind: str, deadline: Any, after_s: int) -> None:
    """As a wait is, templates and all; one that is past is over at once."""
    said = {"signal": "go"} if kind == "wait_for" else {"who": ["me"]}
    task = {kind: {**said, "deadline": deadline, "on_deadline": "skip"}, "needs": ["a"]}
    stage = Stage()
    start_ns = stage.clock.ns  # 2023-11-14T22:13:20Z
    stage.submit({"a": {"agent": "x"}, "w": task}, input={"long": {}}, given={"long": "90s"})
    stage.rest()
    stage.end_all("2023-11-14T22:15:00Z")
    stage.rest()
    awaiting = stage.facts(task_stream("r", "w"))[0]
    assert awaiting.due_ns // 10**8 == (start_ns + after_s * S) // 10**8
    assert "deadline" not in awaiting.asked
    stage = stage.crash()
    stage.clock.ns = max(start_ns, awaiting.due_ns - S)
    stage.rest()
    assert ("w" in results(stage)) == (after_s == 0)
    stage.clock.ns += 2 * S
    stage.finish()
    assert results(stage)["w"] == "skipped"
    stage.check_live()


def test_a_signal_that_comes_while_the_task_stands_still_is_its_result_later() -> None:
    """Recorded at once; the deadline rests with the task, and cannot take it back."""
    stage = Stage()
    stage.submit(waits(deadline="90s"))
    stage.rest()
    hold(stage)
    assert send(stage, "s", 7) == Accepted("s")
    stage = stage.crash()
    stage.clock.ns += 100 * S
    stage.rest()
    assert results(stage) == {}
    say(stage, ResumeWork("w", "me", "go on", b"r"))
    assert stage.ended["r"] == ("completed", 7)
    stage.check_live()


def test_a_deadline_that_passed_while_the_task_stood_still_is_over_when_it_goes_on() -> None:
    """A task without a deadline sets no timer when it goes on."""
    for more, rows, ended in (({"deadline": "90s"}, 0, "failed"), ({}, 0, None)):
        stage = Stage()
        stage.submit(waits(**more))
        stage.rest()
        hold(stage, "interrupted")
        assert stage.rows("timers") == 0
        stage.clock.ns += 100 * S
        say(stage, ResumeWork("w", "me", "go on", b"r"))
        stage.rest()
        assert stage.rows("timers") == rows
        assert stage.ended.get("r", (None,))[0] == ended


def test_a_signal_that_comes_after_the_deadline_goes_back_also_where_no_timer_told_of_it() -> None:
    """As where no engine ran meanwhile: the run has it again, for the next task."""
    task = Scenario(task_decider(Shelf()), task_stream("r", "w"))
    terms = {"schema": None, "on_deadline": "fail"}
    task.given(TaskAwaiting(BlobRef(bytes(32), 1), 0, "go", terms, NOW_NS + S))
    came = AnswerTask("s", "signal", "go", 7, "me")
    late = task.when(came, NOW_NS + S)
    assert (late.facts, kinds(late.sends)) == ((), ["ReturnSignal"])
    assert kinds(task.when(came, NOW_NS + S - 1).facts) == ["TaskAnswered", "TaskCompleted"]


def test_a_task_that_was_cancelled_gives_its_place_to_the_next() -> None:
    """What it would have got goes to the task that waits now."""
    stage = Stage()
    stage.submit(waits() | {"b": {"agent": "x"}})
    stage.rest()
    stage.cancel("r")
    stage.finish()
    assert send(stage, "s") == "run_finished"
    assert stage.ended["r"][0] == "cancelled"


def test_a_run_that_a_bug_ended_notes_nobody_who_waits() -> None:
    """A task that begins to wait in the same moment is cancelled; the run has had its last fact."""
    stage = Stage()
    stage.submit(waits())
    stage.node.accept(Message(RUN, FailRun("internal_bug", "m", "w")))
    stage.node.accept(Message(RUN, AskSignal("w", 0, "go")))
    stage.rest()
    assert stage.names(RUN)[-1] == "RunFailed"
    assert stage.names(task_stream("r", "w"))[-1] == "TaskCancelled"


def test_a_signal_that_comes_to_a_task_that_has_ended_goes_to_the_next() -> None:
    """The task gives it back, and it is the oldest again: nothing is lost, nothing overtakes it."""
    stage = Stage()
    stage.submit({**TWO, "three": {**GO, "needs": ["two", "a"]}, "a": {"agent": "x"}})
    stage.rest()
    for number in range(2):
        send(stage, f"s{number}", number)
    send(stage, "s2", 2)
    late = AnswerTask("late", "signal", "go", "late", "me")
    stage.node.accept(Message(task_stream("r", "one"), late))
    stage.finish()
    assert results(stage) == {"one": 0, "two": 1, "a": None, "three": "late"}
    assert SignalsLeft(["s2"], "the run ended") in stage.facts(RUN)
    stage.check_live()


@pytest.mark.parametrize("ending", [DropTask("the path was changed"), CancelTask("enough")])
def test_a_signal_that_comes_to_a_task_that_ended_as_it_stood_still_goes_back(ending: Any) -> None:
    """That it waited as it was paused does not count any more: it has one end."""
    task = Scenario(task_decider(Shelf()), task_stream("r", "w"))
    terms = {"schema": None, "on_deadline": "fail"}
    task.given(TaskAwaiting(BlobRef(bytes(32), 1), 0, "go", terms, 0))
    task.when(HoldWork("w", "paused", "why", "me", 0.0, "h", b"h"))
    task.when(ending)
    late = task.when(AnswerTask("s", "signal", "go", 7, "me"))
    assert (late.facts, kinds(late.sends)) == ((), ["ReturnSignal"])


def test_a_task_that_is_to_run_again_waits_for_no_signal_until_then() -> None:
    """The signal goes to the one before it, which runs again first, not to who waited before."""
    stage = Stage()
    stage.submit(TWO)
    stage.rest()
    send(stage, "s0", 0)
    assert change(stage, Wanted(rerun=("one",))) == Accepted("one")
    stage = stage.crash()
    for number in (1, 2):
        assert send(stage, f"s{number}", number) == Accepted(f"s{number}")
    assert [fact.task for fact in stage.facts(RUN) if isinstance(fact, SignalGiven)] == [
        "one", "one", "two"
    ]  # fmt: skip
    assert results(stage) == {"one": 1, "two": 2}
    stage.check_live()


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_each_signal_is_given_once_whatever_happens(data: st.DataObject) -> None:
    """Sends, ends, holds and crashes in any order: tasks get the signals in the order they came."""
    chain = {f"t{at}": {**GO, "needs": [f"t{at - 1}"] if at else []} for at in range(4)}
    stage = Stage(limits=Limits(batch_messages_max=data.draw(st.integers(1, 4))))
    stage.submit({"a": {"agent": "x"}, **chain, "z": {**GO, "needs": ["a"]}})
    stage.rest()
    sent = 0
    for step in data.draw(st.lists(st.sampled_from("sshrce"), max_size=14)):
        if step == "s" and sent < 5:
            assert send(stage, f"s{sent}", sent, most=9) == Accepted(f"s{sent}")
            sent += 1
        elif step == "h":
            say(stage, HoldWork("", "paused", "why", "me", 0.0, f"h{len(stage.replies)}", b"h"))
        elif step == "r":
            say(stage, ResumeWork("", "me", f"r{len(stage.replies)}", b"r"))
        elif step == "c":
            stage = stage.crash()
            stage.rest()
        else:
            stage.end_all()
    say(stage, ResumeWork("", "me", "last", b"r"))
    while sent < 5:
        send(stage, f"s{sent}", sent, most=9)
        sent += 1
    stage.finish()
    assert stage.ended["r"][0] == "completed"
    got = results(stage)
    assert sorted(got[task] for task in got if task != "a") == list(range(5))
    assert [got[f"t{at}"] for at in range(4)] == sorted(got[f"t{at}"] for at in range(4))
    stage.check_live()
