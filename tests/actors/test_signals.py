"""What is said to a task: who gets it, once, in order, and what becomes of the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.decider import Accepted, ClearTimer, Refused, SetTimer
from goclaw_actors.message import Message
from goclaw_actors.messages import LoseAttempt, ScheduleTask, SlotLeased, TimerFired
from goclaw_actors.ports import Limits
from goclaw_actors.signalling import EndSignals, SendSignal, WithdrawSignal
from goclaw_actors.task import task_decider
from goclaw_actors.work import (
    AttemptToken,
    Consumed,
    Offer,
    Outcome,
    Retract,
    Saved,
    Signal,
    StartAttempt,
    TellAttempt,
)
from goclaw_events.facts import SignalAccepted, SignalConsumed, SignalEnded, StateSaved
from goclaw_events.ids import workflow_stream
from goclaw_events.value import BlobRef
from tests.actors.given import NOW_NS, Scenario, Shelf, kinds, plan_of
from tests.actors.stage import CHAIN, ONE, Stage

if TYPE_CHECKING:
    from goclaw_actors.decider import Decision
    from goclaw_actors.task import Task

REF = BlobRef(bytes(32), 1)
STREAM = "task/r/a"


def task(**more: Any) -> Scenario[Task]:
    """Return a task that nobody scheduled yet."""
    shelf = Shelf()
    retry = {"attempts": 3, "backoff": "fixed", "initial": "1s"}
    one = {"agent": "x", "with": {"topic": "cats", "n": 1}, "retry": retry, **more}
    shelf.put_plan(plan_of({"a": one}), REF)
    return Scenario(task_decider(shelf), STREAM)


def say(signal: str, mode: str = "steer", body: Any = None, **more: Any) -> SendSignal:
    """Return a message to the agent."""
    said = body if body is not None else signal
    return SendSignal("a", signal, "message", mode, said, "me", b"", definition=REF, **more)


def steer(signal: str, **params: Any) -> SendSignal:
    """Return a patch of parameters."""
    return SendSignal("a", signal, "params", "steer", params, "me", b"", definition=REF)


def begin(scenario: Scenario[Task]) -> StartAttempt:
    """Schedule the task and give it a slot; return its attempt."""
    if scenario.state.status == "pending":
        scenario.when(ScheduleTask(REF, 0, {"topic": "cats", "n": 1}, "w/io", 0))
    return start_of(scenario.when(SlotLeased()))


def start_of(decision: Decision) -> StartAttempt:
    """Return the attempt that a decision starts."""
    return next(effect for effect in decision.effects if isinstance(effect, StartAttempt))


def told(decision: Decision) -> list[Any]:
    """Return what the attempt is told."""
    return [effect.word for effect in decision.effects if isinstance(effect, TellAttempt)]


def outcome(start: StartAttempt, status: str = "completed") -> Outcome:
    """Return how an attempt ends."""
    return Outcome(STREAM, start.token, status, code="" if status == "completed" else "boom")


def reply(decision: Decision) -> Any:
    """Return the code of a refusal, or what was accepted."""
    answer = decision.reply
    return answer.code if isinstance(answer, Refused) else answer


def test_a_patch_before_the_start_is_part_of_what_it_starts_with() -> None:
    """Also of every later attempt; the latest value of a key wins, and nothing waits."""
    scenario = task()
    assert reply(scenario.when(steer("p1", topic="dogs"))) == Accepted("p1")
    scenario.when(steer("p2", topic="owls"))
    first = begin(scenario)
    assert first.params == {"topic": "owls", "n": 1}
    assert first.signals == ()
    patched = scenario.when(steer("p3", n=7))
    assert told(patched) == [Offer((Signal("p3", "params", "steer", {"n": 7}, "me"),))]
    lost = scenario.when(LoseAttempt(first.token.number, 10))
    assert start_of(lost).params == {"topic": "owls", "n": 7}
    assert scenario.encoded() == scenario.replayed()


def test_parameters_are_declared_by_with_or_by_the_agent() -> None:
    """Any other is refused with what there is; so is what is no mapping, or is empty."""
    scenario = task()
    refused = scenario.when(steer("p", tpoic="x")).reply
    assert isinstance(refused, Refused)
    assert (refused.code, refused.hint) == ("params_undeclared", "it has n, topic")
    known = steer("q", style="short")._replace(names=["style"])
    assert reply(scenario.when(known)) == Accepted("q")
    bodies: list[Any] = [{}, [1], "text", None]
    for body in bodies:
        assert reply(scenario.when(steer("r")._replace(body=body))) == "signal_invalid"
    large = steer("s", topic="x" * 70_000)
    assert reply(scenario.when(large)) == "value_too_large"
    assert kinds(scenario.facts) == ["SignalAccepted"]


@pytest.mark.parametrize("kind", [{"wait": "1s"}, {"exec": ["true"]}, {"workflow": "w2"}])
def test_work_without_a_handler_takes_no_signals(kind: dict[str, Any]) -> None:
    """It is said at once, and nothing is recorded."""
    shelf = Shelf()
    shelf.put_plan(plan_of({"a": kind}), REF)
    scenario = Scenario(task_decider(shelf), STREAM)
    assert reply(scenario.when(say("m"))) == "signal_unsupported"
    assert reply(scenario.when(steer("p", n=1))) == "signal_unsupported"
    assert scenario.facts == []


def test_messages_come_in_order_and_are_consumed_once() -> None:
    """Those that wait come with the start, later ones as they come; a report again is no fact."""
    scenario = task()
    for name in ("m1", "m2"):
        scenario.when(say(name))
    start = begin(scenario)
    assert [signal.id for signal in start.signals] == ["m1", "m2"]
    assert told(scenario.when(say("m3"))) == [
        Offer((Signal("m3", "message", "steer", "m3", "me"),))
    ]
    report = Consumed(STREAM, start.token, ["m1", "m3"])
    token = start.token.number
    consumed = (SignalConsumed("m1", 1, token), SignalConsumed("m3", 1, token))
    assert scenario.when(report).facts == consumed
    assert scenario.when(report).facts == ()
    stale = Consumed(STREAM, AttemptToken(0, 1, token - 1), ["m2"])
    assert scenario.when(stale).facts == ()
    ended = scenario.when(outcome(start))
    assert kinds(ended.facts) == ["SignalEnded", "TaskCompleted"]
    assert ended.facts[0] == SignalEnded("m2", "declined", "the task completed")
    assert reply(scenario.when(say("m4"))) == "task_finished"


@pytest.mark.parametrize("end", ["lost", "failed"])
def test_what_was_taken_comes_again_unless_state_was_saved_after_it(end: str) -> None:
    """Same id, `redelivered`; what was saved is what the next attempt begins with."""
    scenario = task()
    for name in ("m1", "m2", "m3"):
        scenario.when(say(name))
    start = begin(scenario)
    scenario.when(Consumed(STREAM, start.token, ["m1"]))
    saved = scenario.when(Saved(STREAM, start.token, 1, {"seen": 1}))
    assert saved.facts == (StateSaved(1, start.token.number, {"seen": 1}, 1),)
    scenario.when(Consumed(STREAM, start.token, ["m2"]))
    # a commit failed, and both were handed over again
    assert scenario.when(Consumed(STREAM, start.token, ["m1"])).facts == ()
    assert scenario.when(Saved(STREAM, start.token, 1, {"seen": 1})).facts == ()
    if end == "lost":
        second = start_of(scenario.when(LoseAttempt(start.token.number, 10)))
    else:
        scenario.when(outcome(start, "failed"))
        scenario.when(TimerFired("due"))
        second = begin(scenario)
    assert second.state == {"seen": 1}
    # a lost attempt may have taken what it had no time to report
    assert [(one.id, one.redelivered) for one in second.signals] == [
        ("m2", True), ("m3", end == "lost"),
    ]  # fmt: skip
    assert scenario.encoded() == scenario.replayed()


def test_a_mode_says_when_it_is_offered() -> None:
    """`reject` is refused at work; what is to be merged waits for a quiet window, then comes."""
    scenario = task()
    assert reply(scenario.when(say("early", "reject"))) == Accepted("early")
    begin(scenario)
    assert reply(scenario.when(say("late", "reject"))) == "task_busy"
    assert reply(scenario.when(say("odd", "shout"))) == "signal_invalid"
    later = scenario.when(say("turn", "followup"))
    assert told(later)[0].signals[0].mode == "followup"
    first = scenario.when(say("c1", "coalesce", quiet_s=2.0))
    assert (told(first), first.effects) == ([], [SetTimer("quiet", NOW_NS + 2 * 10**9)])
    second = scenario.when(say("c2", "coalesce", quiet_s=2.0), NOW_NS + 10**9)
    assert second.effects == [
        ClearTimer("quiet", NOW_NS + 2 * 10**9), SetTimer("quiet", NOW_NS + 3 * 10**9),
    ]  # fmt: skip
    assert told(scenario.when(TimerFired("quiet"), NOW_NS + 2 * 10**9)) == []
    (word,) = told(scenario.when(TimerFired("quiet"), NOW_NS + 3 * 10**9))
    assert [signal.id for signal in word.signals] == ["c1", "c2"]


def test_sixteen_wait_and_the_next_is_told_so() -> None:
    """What was taken makes room; a patch takes none."""
    scenario = task()
    for number in range(16):
        assert reply(scenario.when(say(f"m{number}"))) == Accepted(f"m{number}")
    assert reply(scenario.when(say("more"))) == "signals_full"
    assert reply(scenario.when(steer("p", n=2))) == Accepted("p")
    start = begin(scenario)
    scenario.when(Consumed(STREAM, start.token, ["m0"]))
    assert reply(scenario.when(say("more"))) == Accepted("more")
    assert reply(scenario.when(say("yet more"))) == "signals_full"


def test_a_deadline_passes_whether_it_runs_or_not() -> None:
    """By its timer, or when an attempt starts; the attempt that had it is told."""
    scenario = task()
    due_ns = NOW_NS + 10**9
    asked = scenario.when(say("m1", deadline_ns=due_ns))
    assert asked.effects == [SetTimer("expire/m1", due_ns)]
    fired = scenario.when(TimerFired("expire/m1"), due_ns)
    assert fired.facts == (SignalEnded("m1", "expired", "its deadline was over"),)
    assert reply(scenario.when(say("m2", deadline_ns=due_ns), due_ns)) == "signal_invalid"
    scenario.when(say("m3", deadline_ns=due_ns))
    scenario.when(ScheduleTask(REF, 0, {}, "w/io", 0))
    leased = scenario.when(SlotLeased(), due_ns)
    assert start_of(leased).signals == ()
    assert kinds(leased.facts) == ["AttemptStarted", "SignalEnded"]
    scenario.when(say("m4", deadline_ns=due_ns))
    ended = scenario.when(TimerFired("expire/m4"), due_ns)
    assert told(ended) == [Retract("m4")]


def test_what_a_lost_attempt_took_is_declined_where_no_other_follows() -> None:
    """Its sender hears an end; what is overdue by then ends once, with the task."""
    scenario = task()
    due_ns = NOW_NS + 10**9
    scenario.when(say("m1", deadline_ns=due_ns))
    start = begin(scenario)
    scenario.when(Consumed(STREAM, start.token, ["m1"]))
    lost = scenario.when(LoseAttempt(start.token.number, 0), due_ns)
    assert kinds(lost.facts) == ["SignalEnded", "AttemptLost", "TaskDied"]
    assert lost.facts[0] == SignalEnded("m1", "declined", "the task is a dead letter")
    assert scenario.when(TimerFired("expire/m1"), due_ns).facts == ()


def test_what_an_attempt_took_that_failed_is_declined_where_no_other_follows() -> None:
    """As what a lost one took; and it is taken back by nobody after the end of the task."""
    scenario = task()
    scenario.when(say("m1"))
    start = begin(scenario)
    scenario.when(Consumed(STREAM, start.token, ["m1"]))
    failed = scenario.when(outcome(start, "failed")._replace(retryable=False))
    assert kinds(failed.facts) == ["SignalEnded", "AttemptFailed", "TaskFailed"]
    assert failed.facts[0] == SignalEnded("m1", "declined", "the task failed")
    assert reply(scenario.when(WithdrawSignal("a", "m1", "wrong"))) == "signal_not_found"


def test_a_message_can_be_withdrawn_until_it_is_taken() -> None:
    """A handler that takes it in the same moment is told of in the log: the later word holds."""
    scenario = task()
    scenario.when(say("m1"))
    start = begin(scenario)
    withdrawn = scenario.when(WithdrawSignal("a", "m1", "wrong"))
    assert withdrawn.facts == (SignalEnded("m1", "withdrawn", "wrong"),)
    assert told(withdrawn) == [Retract("m1")]
    crossed = Consumed(STREAM, start.token, ["m1"])
    assert kinds(scenario.when(crossed).facts) == ["SignalConsumed"]
    assert scenario.when(crossed).facts == ()
    assert reply(scenario.when(WithdrawSignal("a", "m1", ""))) == "signal_not_found"
    scenario.when(say("m2"))
    scenario.when(Consumed(STREAM, start.token, ["m2"]))
    assert reply(scenario.when(WithdrawSignal("a", "m2", ""))) == "signal_consumed"


def test_what_a_task_that_never_begins_was_told_is_declined() -> None:
    """And its timers go with it."""
    scenario = task()
    scenario.when(say("m1", deadline_ns=NOW_NS + 5))
    scenario.when(say("m2", "coalesce", quiet_s=1.0))
    over = scenario.when(EndSignals("the run ended"))
    assert over.facts == tuple(
        SignalEnded(name, "declined", "the run ended") for name in ("m1", "m2")
    )
    assert list(over.effects) == [
        ClearTimer("expire/m1", NOW_NS + 5), ClearTimer("quiet", NOW_NS + 10**9),
    ]  # fmt: skip
    assert scenario.when(EndSignals("again")).facts == ()


def test_a_task_that_ended_unbegun_takes_nothing() -> None:
    """Its run says so by naming no definition: the task itself never heard of it."""
    scenario = task()
    assert reply(scenario.when(say("m1")._replace(definition=None))) == "task_finished"
    assert scenario.facts == []


# -- with the run, the log and crashes ----------------------------------------------------------


def send(stage: Stage, signal: str, to: str = "a", run: str = "r", **more: Any) -> None:
    """Hand a message in as the engine does."""
    given = {"task": to, "digest": signal.encode(), "definition": None, **more}
    body = say(signal)._replace(**given)
    message = Message(workflow_stream(run), body)
    message.command_id, message.digest = signal, body.digest
    message.reply_to = stage.replies.append
    stage.node.accept(message)


def answers(stage: Stage) -> list[Any]:
    """Return codes of refusals, ids of what was accepted, `again` for what had been before."""
    found = []
    for said in stage.replies:
        answer = said.answer
        if isinstance(answer, Refused):
            found.append(answer.code)
        else:
            found.append("again" if answer.repeated else answer.id)
    stage.replies.clear()
    return found


def test_the_run_says_what_there_is_not() -> None:
    """No run, no such task, a task that was skipped, one that ended."""
    stage = Stage()
    tasks = {**CHAIN, "c": {"agent": "x", "when": "${input.go}"}}
    stage.submit(tasks, input={"go": {"type": "boolean"}}, given={"go": False})
    stage.rest()
    stage.replies.clear()
    for number, (run, to) in enumerate((("no", "a"), ("r", "zz"), ("r", "c"), ("r", "b"))):
        send(stage, f"m{number}", to, run)
        stage.rest()
    assert answers(stage) == ["run_not_found", "task_not_found", "task_finished", "m3"]
    stage.finish()
    send(stage, "m4")
    send(stage, "m3", "b")
    stage.rest()
    assert answers(stage) == ["task_finished", "again"]
    assert stage.ended["r"][0] == "completed"


@pytest.mark.parametrize("limits", [Limits(), Limits(batch_messages_max=1, live_actors_max=1)])
def test_a_task_that_has_not_begun_keeps_what_it_is_told(limits: Limits) -> None:
    """Through a crash, and although its stream begins before it does; repeats are known."""
    stage = Stage(limits=limits)
    stage.submit(CHAIN)
    send(stage, "m1", "b")
    send(stage, "m1", "b")
    stage.rest()
    assert answers(stage)[1:] == ["m1", "again"]
    stage = stage.crash()
    send(stage, "m1", "b")
    send(stage, "m1", "b", digest=b"other")
    send(stage, "m2", "b")
    stage.rest()
    stage.end_all()
    stage.rest()
    (start,) = stage.executor.held.values()
    assert (start.task_id, [one.id for one in start.signals]) == ("b", ["m1", "m2"])
    assert kinds(stage.facts("task/r/b"))[:3] == ["SignalAccepted"] * 2 + ["TaskScheduled"]
    assert kinds(stage.facts("workflow/r")).count("TaskSignalled") == 1
    stage.node.accept_outcomes([Consumed(start.stream, start.token, ["m1", "m2"])])
    stage.finish()
    assert stage.ended["r"][0] == "completed"


def test_nothing_is_told_before_it_is_durable() -> None:
    """The attempt hears of it, and the sender, when the frame is on the disk."""
    stage = Stage()
    stage.submit(ONE)
    stage.rest()
    stage.replies.clear()
    send(stage, "m1")
    stage.decide()
    assert (stage.executor.tells, stage.replies) == ([], [])
    stage.commit()
    assert [tell.word.signals[0].id for tell in stage.executor.tells] == ["m1"]  # type: ignore[union-attr]
    assert answers(stage) == ["m1"]


def test_a_signal_that_is_lost_with_a_commit_is_sent_again() -> None:
    """The sender had no answer; with one, the next attempt has the signal."""
    stage = Stage()
    stage.submit(ONE)
    stage.rest()
    stage.replies.clear()
    send(stage, "m1")
    stage.decide()
    stage = stage.crash(survive=0)
    stage.rest()
    assert stage.facts(STREAM)[-1].attempt == 2
    send(stage, "m1")
    stage.decide()
    stage = stage.crash(survive=1)
    stage.rest()
    (start,) = stage.executor.held.values()
    assert [(one.id, one.redelivered) for one in start.signals] == [("m1", True)]
    send(stage, "m1")
    stage.rest()
    assert answers(stage) == ["again"]
    accepted = [fact for fact in stage.facts(STREAM) if isinstance(fact, SignalAccepted)]
    assert len(accepted) == 1
