"""Signals that a run keeps: taken back, or over their deadline, before a task was given them."""

from __future__ import annotations

from typing import Any

import pytest

from goclaw_actors.answering import AnswerTask, SendNamed, WithdrawNamed
from goclaw_actors.decider import Accepted, Refused
from goclaw_actors.message import Message
from goclaw_actors.messages import FailRun
from goclaw_actors.workflow.mail import Mail, with_deadlines
from goclaw_events.facts import NamedSignalEnded, SignalReturned, SignalsLeft
from goclaw_events.ids import task_stream, workflow_stream
from tests.actors.stage import Stage
from tests.actors.test_answers import GO, LATER, results

RUN = workflow_stream("r")
S = 10**9


def tell(stage: Stage, body: Any) -> Any:
    """Say something to the run; return what was accepted, or the code of the refusal."""
    message = Message(RUN, body)
    message.reply_to = stage.replies.append
    stage.node.accept(message)
    stage.rest()
    answer = stage.replies[-1].answer
    return answer.code if isinstance(answer, Refused) else answer


def send(stage: Stage, signal: str, after_s: int = 0) -> Any:
    """Send a signal; `after_s`: it expires then."""
    deadline_ns = stage.clock.ns + after_s * S if after_s else 0
    return tell(stage, SendNamed("go", signal, signal, "me", b"d", 9, deadline_ns))


def begun(tasks: dict[str, Any]) -> Stage:
    """Return a stage with a run that goes on."""
    stage = Stage()
    stage.submit(tasks)
    stage.rest()
    return stage


def pass_s(stage: Stage, seconds: int) -> None:
    """Let time go by."""
    stage.clock.ns += seconds * S
    stage.rest()


def test_a_kept_signal_is_taken_back() -> None:
    """The next one is given in its place; a second time there is nothing to take back."""
    stage = begun(LATER)
    assert send(stage, "s", 60) == Accepted("s")
    assert send(stage, "t") == Accepted("t")
    stage = stage.crash()
    assert tell(stage, WithdrawNamed("s", "a slip", "uid:1/me")) == Accepted("s")
    assert stage.rows("timers") == 0
    assert tell(stage, WithdrawNamed("s", "again", "uid:1/me")) == "signal_not_found"
    ended = [fact for fact in stage.facts(RUN) if isinstance(fact, NamedSignalEnded)]
    assert ended == [NamedSignalEnded("s", "go", "withdrawn", "a slip", "uid:1/me")]
    stage.finish()
    assert results(stage)["w"] == "t"
    stage.check_live()


def test_what_a_task_was_given_is_not_taken_back() -> None:
    """Nor what the run was never sent; there has to be a run."""
    stage = begun({"w": GO, "x": {**GO, "needs": ["w"]}})
    assert send(stage, "s", 60) == Accepted("s")
    assert stage.rows("timers") == 0, "a task has it: no deadline counts"
    assert tell(stage, WithdrawNamed("s", "", "me")) == "signal_not_found"
    assert tell(stage, WithdrawNamed("none", "", "me")) == "signal_not_found"
    assert tell(Stage(), WithdrawNamed("s", "", "me")) == "run_not_found"
    assert results(stage)["w"] == "s"


def test_a_kept_signal_expires() -> None:
    """Also where no process ran at its deadline; the others stay, in their order."""
    stage = begun(LATER)
    for signal, after_s in (("a", 0), ("b", 60), ("c", 30), ("d", 0)):
        assert send(stage, signal, after_s) == Accepted(signal)
    start_ns = stage.clock.ns
    pass_s(stage, 31)
    assert [fact.signal for fact in stage.facts(RUN) if isinstance(fact, NamedSignalEnded)] == ["c"]
    stage = stage.crash()
    stage.clock.ns = start_ns
    pass_s(stage, 61)
    ended = [fact for fact in stage.facts(RUN) if isinstance(fact, NamedSignalEnded)]
    assert ended[1] == NamedSignalEnded("b", "go", "expired", "its deadline was over")
    assert stage.rows("timers") == 0
    stage.finish()
    assert results(stage)["w"] == "a"
    assert SignalsLeft(["d"], "the run ended") in stage.facts(RUN)
    stage.check_live()


def test_one_that_is_given_in_time_has_no_deadline_any_more() -> None:
    """Its timer goes as the task asks; a deadline that is over as it comes is refused."""
    stage = begun(LATER)
    assert send(stage, "s", 60) == Accepted("s")
    assert stage.rows("timers") == 1
    stage.end_all()
    stage.rest()
    assert (stage.rows("timers"), results(stage)["w"]) == (0, "s")
    late = SendNamed("go", "late", None, "me", b"d", 9, stage.clock.ns - S)
    assert tell(begun(LATER), late) == "signal_invalid"


@pytest.mark.parametrize(
    ("after_s", "timers", "kept"), [(0, 0, True), (60, 1, True), (-5, 0, False)]
)
def test_one_that_is_given_back_has_its_deadline_again(
    after_s: int, timers: int, *, kept: bool
) -> None:
    """A task that does not wait for it any more gives it back: it is kept, or over by now."""
    stage = begun({**LATER, "other": {"agent": "x"}})
    deadline_ns = stage.clock.ns + after_s * S if after_s else 0
    given = AnswerTask("s", "signal", "go", "s", "me", deadline_ns)
    stage.node.accept(Message(task_stream("r", "other"), given))
    stage.rest()
    assert SignalReturned("s", "go", "s", "me", deadline_ns) in stage.facts(RUN)
    assert stage.rows("timers") == timers
    ended = [fact.state for fact in stage.facts(RUN) if isinstance(fact, NamedSignalEnded)]
    assert ended == ([] if kept else ["expired"])
    stage.end_all()
    stage.rest()
    assert results(stage).get("w") == ("s" if kept else None)
    assert stage.rows("timers") == 0
    stage.check_live()


@pytest.mark.parametrize("how", ["cancelled", "failed"])
def test_the_end_of_a_run_leaves_no_timer(how: str) -> None:
    """What it kept is left; nothing wakes it any more."""
    stage = begun(LATER)
    assert send(stage, "s", 60) == Accepted("s")
    if how == "cancelled":
        stage.cancel("r")
    else:
        stage.node.accept(Message(RUN, FailRun("internal_bug", "boom", "")))
    stage.finish()
    assert (stage.rows("timers"), stage.ended["r"][0]) == (0, how)
    assert SignalsLeft(["s"], "the run ended") in stage.facts(RUN)


def test_an_older_snapshot_keeps_signals_without_deadlines() -> None:
    """As form 13 had them: no deadline; a run without mail stays as it is."""
    old = [["go", [["s", {"n": 1}, "me"]]]], [["stop", [[3, 0]]]]
    (root, maps) = with_deadlines([1, [*old]], {})
    assert (root[0], maps) == (1, {})
    mail = Mail.of_list(root[1])
    assert mail.find("s") == ("go", ("s", {"n": 1}, "me", 0, 4))
    assert mail.first("stop") == 3
    assert with_deadlines([1, None], {}) == ([1, None], {})
