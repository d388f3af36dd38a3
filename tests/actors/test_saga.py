"""Sagas: forth by needs, back in reverse order, and what a person decides."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.decider import NOTHING
from goclaw_actors.lending import DeclareLane
from goclaw_actors.message import Message
from goclaw_actors.messages import MESSAGES, FailRun, ScheduleTask
from goclaw_actors.saga.decide import SAGAS
from goclaw_actors.saga.turn import SENDS_MAX
from goclaw_actors.task import task_decider
from goclaw_actors.work import RETURNED, Outcome, Stepped
from goclaw_events.facts import (
    CompensationBegun,
    SagaAlarmed,
    SagaResolved,
    StepEnded,
    TaskCancelled,
)
from goclaw_events.ids import lane_stream
from goclaw_events.memory_journal import MemoryJournal
from tests.actors.given import Scenario, Shelf, kinds
from tests.actors.sagas import CHAIN, UNDO, S, SagaStage, step

if TYPE_CHECKING:
    from goclaw_actors.decider import Decider

TIMED_OUT = {"status": "failed", "code": "timeout"}


def begun(steps: dict[str, Any] | None = None, **head: Any) -> SagaStage:
    """Return a stage on which the saga `s` was begun."""
    stage = SagaStage()
    stage.begin(CHAIN if steps is None else steps, **head)
    return stage


def check_over(stage: SagaStage, status: str) -> None:
    """Check that the saga ended so, and that nothing of it is left anywhere."""
    assert stage.ended["~s"][0] == stage.saga().status == status
    assert stage.running == []
    assert (stage.rows("open"), stage.rows("timers"), stage.rows("attempts")) == (0, 0, 0)
    stage.check_live()


def test_steps_begin_when_all_that_they_need_completed() -> None:
    """Forth goes by needs, and the results of the steps that none needs are the saga's."""
    stage = begun({"a": step(), "b": step(), "c": step("a", "b")})
    assert stage.running == ["a", "b"]
    stage.done("a")
    assert stage.running == ["b"]
    stage.done("b")
    stage.done("c", value=7)
    assert stage.ended["~s"] == ("completed", 7)
    check_over(stage, "completed")


def test_a_failure_undoes_what_completed_in_reverse_order() -> None:
    """The step that failed by its own word is not undone; those that it needed are, one by one."""
    stage = begun()
    stage.done("a", "b")
    stage.fail("c")
    assert stage.running == ["b" + UNDO]
    stage.done("b" + UNDO)
    assert stage.running == ["a" + UNDO]
    stage.done("a" + UNDO)
    check_over(stage, "compensated")
    assert stage.saga().error == ("boom", "", "c")


def test_compensations_run_side_by_side_where_the_graph_allows() -> None:
    """Two steps of which none needs the other are undone at once; what both need comes last."""
    stage = begun({"a": step(), "b": step("a"), "c": step("a"), "d": step("b", "c")})
    stage.done("a", "b", "c")
    stage.fail("d")
    assert stage.running == ["b" + UNDO, "c" + UNDO]
    stage.done("c" + UNDO)
    assert stage.running == ["b" + UNDO]
    stage.done("b" + UNDO, "a" + UNDO)
    check_over(stage, "compensated")


def test_what_has_no_compensation_is_passed_over() -> None:
    """A step without one, or with policy skip, does not hold up those that it needed."""
    steps = {"a": step(), "b": step("a", undo=False), "c": step("b", policy="skip"), "d": step("c")}
    stage = begun(steps)
    stage.done("a", "b", "c")
    stage.fail("d")
    assert stage.running == ["a" + UNDO]
    stage.done("a" + UNDO)
    check_over(stage, "compensated")


@pytest.mark.parametrize("said", [TIMED_OUT, {"status": "failed", "code": "worker_died"}])
def test_a_step_in_doubt_is_undone_and_told_so(said: dict[str, Any]) -> None:
    """Nobody knows whether it took effect: its compensation gets the action's key, and in_doubt."""
    told = {"key": "${action.key}", "doubt": "${action.in_doubt}", "result": "${action.result}"}
    steps = {"a": step()}
    steps["a"]["compensation"]["with"] = told
    stage = begun(steps)
    key = stage.attempt("a").idempotency_key
    stage.done("a", **said)
    expected = {"key": key, "doubt": True, "result": None}
    assert stage.attempt("a" + UNDO).params == expected
    stage.done("a" + UNDO)
    check_over(stage, "compensated")


def test_what_keeps_killing_its_worker_fails_whatever_its_policy_says() -> None:
    """Three workers in a row are enough, for an action and for what undoes it."""
    often = {"attempts": 50, "initial": 1, "jitter": "none"}
    steps = {"a": step(retry=often)}
    steps["a"]["compensation"]["retry"] = often
    stage = begun(steps)
    for task in ("a", "a" + UNDO):
        for _ in range(3):
            stage.fail(task, code="worker_died")
            stage.clock.ns += 10_000_000_000
            stage.rest()
        assert stage.task_facts(task).count("AttemptStarted") == 3
    assert stage.saga().status == "compensation_failed"


@pytest.mark.parametrize(("name", "is_undone"), [("charge", True), ("$now", False)])
def test_what_did_a_durable_step_and_failed_is_in_doubt(name: str, *, is_undone: bool) -> None:
    """A part of it is done, whatever it says itself; time, chance and sleep are no effects."""
    steps = {"a": step()}
    steps["a"]["compensation"]["with"] = {"doubt": "${action.in_doubt}"}
    stage = begun(steps)
    attempt = stage.attempt("a")
    did = Stepped(attempt.stream, attempt.token, name, "", b"d", 5)
    stage.node.accept(Message(attempt.stream, did))
    stage.rest()
    stage.fail("a")
    assert stage.running == (["a" + UNDO] if is_undone else [])
    if is_undone:
        assert stage.attempt("a" + UNDO).params == {"doubt": True}
        stage.done("a" + UNDO)
    check_over(stage, "compensated")


def test_a_refusal_says_what_people_can_do() -> None:
    """Where a saga waits for a person, which commands there are; where it undoes, what it does."""
    stage = begun({"a": step(policy="manual"), "b": step("a"), "c": step("b")})
    stage.done("a", "b")
    stage.fail("c")
    assert "goclaw why s" in stage.resolve().hint
    stage.done("b" + UNDO)
    assert "goclaw sagas compensate s, or goclaw sagas resolve s" in stage.retry().hint
    stage.compensate()
    stage.fail("a" + UNDO)
    assert "goclaw sagas retry s, or goclaw sagas resolve s" in stage.compensate().hint


def test_a_doubt_of_an_earlier_attempt_stays() -> None:
    """The first attempt timed out; that the second one says it failed does not take that back."""
    stage = begun({"a": step(retry={"attempts": 2, "initial": 1, "jitter": "none"})})
    stage.done("a", **TIMED_OUT)
    stage.clock.ns += 2_000_000_000
    stage.rest()
    stage.fail("a")
    assert stage.running == ["a" + UNDO]


def test_a_saga_may_doubt_every_failure() -> None:
    """With `in_doubt: failed` an action that failed by its own word is undone, too."""
    stage = begun({"a": step(in_doubt="failed")})
    stage.fail("a")
    assert stage.running == ["a" + UNDO]


def test_what_did_not_begin_is_not_undone() -> None:
    """A step that waited for its lane took no effect, whatever its definition doubts."""
    lanes = {"io": {"concurrency": 1}}
    steps = {name: step(in_doubt="failed", action={"lane": "io"}) for name in "ab"}
    stage = begun(steps, lanes=lanes)
    assert len(stage.running) == 1
    first = stage.running[0]
    stage.compensate()
    stage.done(first, status="cancelled", code="cancelled")
    assert stage.running == [first + UNDO]
    stage.done(first + UNDO)
    check_over(stage, "compensated")


def test_a_failure_stops_what_runs_beside_it() -> None:
    """A sibling is stopped, and undone when its attempt has ended: it may have taken effect."""
    stage = begun({"a": step(), "b": step()})
    stage.fail("a")
    assert [stop.token for stop in stage.executor.stops] == [stage.attempt("b").token]
    assert stage.running == ["b"]
    stage.done("b", status="cancelled", code="cancelled")
    assert stage.running == ["b" + UNDO]


def test_a_sibling_that_completes_all_the_same_is_undone_with_its_result() -> None:
    """A stop that came too late leaves a result, which its compensation reads."""
    steps = {"a": step(), "b": step()}
    steps["b"]["compensation"]["with"] = {"id": "${action.result.id}"}
    stage = begun(steps)
    stage.fail("a")
    stage.done("b", value={"id": 5})
    assert stage.attempt("b" + UNDO).params == {"id": 5}


def test_code_that_cannot_be_stopped_is_waited_for_before_it_is_undone() -> None:
    """An abandoned attempt may take effect yet: it is undone when its code, or its grace, ended."""
    stage = begun({"a": step()})
    token = stage.attempt("a").token
    stage.done("a", **TIMED_OUT, abandoned=True)
    assert stage.running == []
    assert stage.saga().status == "compensating"
    stage.node.accept_outcomes([Outcome("task/~s/a", token, RETURNED, code="grace")])
    stage.rest()
    assert stage.running == ["a" + UNDO]
    stage.done("a" + UNDO)
    check_over(stage, "compensated")


def test_the_process_that_ran_abandoned_code_dies_and_it_is_undone() -> None:
    """With its process the code is gone: the next one undoes it."""
    stage = begun({"a": step()})
    stage.done("a", **TIMED_OUT, abandoned=True)
    stage = stage.crash()
    stage.rest()
    assert stage.running == ["a" + UNDO]


def test_a_person_lets_manual_steps_be_undone() -> None:
    """The saga waits for a person where nothing else is left to do, holding no slot."""
    stage = begun({"a": step(policy="manual"), "b": step("a"), "c": step("b")})
    stage.done("a", "b")
    stage.fail("c")
    stage.done("b" + UNDO)
    assert stage.running == []
    assert stage.saga().status == "awaiting_compensation"
    assert stage.ended["~s"][0] == "awaiting_compensation"
    assert not stage.saga().holds
    assert stage.rows("open") == 1
    assert stage.compensate().repeated is False
    assert stage.running == ["a" + UNDO]
    stage.done("a" + UNDO)
    check_over(stage, "compensated")


def test_a_saga_of_policy_skip_undoes_nothing() -> None:
    """Nothing is to be undone, so that is done at once, and the saga is over."""
    stage = begun(policy="skip")
    stage.done("a", "b")
    stage.fail("c")
    check_over(stage, "compensated")


def test_a_compensation_that_fails_raises_an_alarm() -> None:
    """The saga waits for a person, and says what was not undone; other branches go on first."""
    stage = begun({"a": step(), "b": step("a"), "x": step(), "y": step("b", "x")})
    stage.done("a", "b", "x")
    stage.fail("y")
    stage.fail("b" + UNDO)
    assert stage.running == ["x" + UNDO]
    stage.done("x" + UNDO)
    alarm = next(f for f in stage.facts(S) if isinstance(f, SagaAlarmed))
    assert alarm == SagaAlarmed([["b", "boom", ""]], ["a", "b"])
    assert stage.ended["~s"][0] == "compensation_failed"
    assert stage.rows("open") == 1


def test_a_compensation_that_is_tried_again_while_code_of_it_runs_on_is_at_work() -> None:
    """What runs of it is told of when it ends again: nobody waits for its rest meanwhile."""
    stage = begun()
    stage.done("a", "b")
    stage.fail("c")
    stage.end(stage.attempt("b" + UNDO), "failed", code="timeout", abandoned=True, retryable=False)
    stage.rest()
    assert stage.saga().unrest, "its code may still run"
    stage.retry()
    assert stage.saga().unrest == set()
    stage.done("b" + UNDO, "a" + UNDO)
    assert stage.saga().status == "compensated"
    stage.check_live()


def test_compensations_are_tried_again_with_their_old_key() -> None:
    """`retry` goes on where it failed; a service that knows the key undoes nothing twice."""
    stage = begun()
    stage.done("a", "b")
    stage.fail("c")
    key = stage.attempt("b" + UNDO).idempotency_key
    stage.fail("b" + UNDO)
    assert stage.retry().repeated is False
    again = stage.attempt("b" + UNDO)
    assert (again.idempotency_key, again.attempt) == (key, 2)
    stage.done("b" + UNDO, "a" + UNDO)
    check_over(stage, "compensated")


def test_a_compensation_that_could_not_begin_is_tried_again() -> None:
    """One whose parameters could not be made has no task yet: `retry` begins it, and fails anew."""
    steps = {"a": step(), "b": step("a")}
    steps["a"]["compensation"]["with"] = {"text": "id ${action.result}"}
    stage = begun(steps)
    stage.done("a", value=b"\x00")
    stage.fail("b")
    assert stage.saga().status == "compensation_failed"
    stage.retry()
    assert stage.saga().status == "compensation_failed"
    assert stage.names(S).count("SagaAlarmed") == 2


def test_a_person_resolves_what_cannot_be_undone() -> None:
    """`resolve` ends the saga with what was done about it; nothing follows it."""
    stage = begun()
    stage.done("a")
    stage.fail("b")
    stage.fail("a" + UNDO)
    assert stage.resolve("refunded by hand").repeated is False
    assert SagaResolved("refunded by hand", "me") in stage.facts(S)
    check_over(stage, "resolved")
    assert stage.resolve().repeated is True
    assert stage.retry().code == "saga_finished"


def test_nobody_compensates_what_completed() -> None:
    """A saga that completed is over, and says so."""
    stage = begun({"a": step()})
    stage.done("a")
    before = stage.names(S)
    for answer in (stage.compensate(), stage.retry(), stage.resolve()):
        assert answer.code == "saga_finished"
    assert stage.names(S) == before


def test_commands_to_a_saga_that_is_not_there_are_refused() -> None:
    """No saga begins because somebody wants it undone."""
    stage = SagaStage()
    answers = (stage.compensate(), stage.retry(), stage.resolve())
    assert {answer.code for answer in answers} == {"saga_not_found"}
    assert stage.names(S) == []


def test_a_saga_can_be_stopped_and_undone() -> None:
    """`compensate` on one that goes on stops it; manual steps need no further word."""
    stage = begun({"a": step(policy="manual"), "b": step("a")})
    stage.done("a")
    stage.compensate("changed my mind")
    fact = next(f for f in stage.facts(S) if isinstance(f, CompensationBegun))
    assert (fact.cause, fact.message, fact.by) == ("cancelled", "changed my mind", "me")
    stage.done("b", status="cancelled", code="cancelled")
    stage.done("b" + UNDO, "a" + UNDO)
    check_over(stage, "compensated")


def test_a_saga_waits_for_a_slot_and_is_stored() -> None:
    """Beyond the limit a saga is created, and begins when one before it is over."""
    stage = SagaStage()
    limits = DeclareLane(1, 10, "reject", "test")
    stage.node.accept(Message(lane_stream(SAGAS), limits))
    stage.begin({"a": step()})
    stage.begin({"b": step()}, "t")
    assert stage.running == ["a"]
    assert stage.saga("t").status == "created"
    stage = stage.crash()
    stage.rest()
    assert stage.running == ["a"]
    stage.done("a")
    assert stage.running == ["b"]
    stage.done("b")
    assert stage.rows("open") == 0


def test_a_saga_that_waits_can_be_stopped() -> None:
    """It leaves the line, and has nothing to undo."""
    stage = SagaStage()
    limits = DeclareLane(1, 10, "reject", "test")
    stage.node.accept(Message(lane_stream(SAGAS), limits))
    stage.begin({"a": step()}, "first")
    stage.begin({"a": step()})
    stage.compensate()
    assert stage.ended["~s"][0] == "compensated"
    stage.done("a")
    assert stage.running == []
    assert stage.rows("open") == 0


def test_one_saga_too_many_ends_at_once() -> None:
    """Beyond what may wait a saga is over before it began, and says why."""
    stage = SagaStage()
    limits = DeclareLane(1, 1, "reject", "test")
    stage.node.accept(Message(lane_stream(SAGAS), limits))
    for number in range(2):
        stage.begin({"a": step()}, f"t{number}")
    stage.begin({"a": step()})
    assert stage.saga().error[0] == "lane_full"  # type: ignore[index] # it has one
    assert stage.ended["~s"][0] == "compensated"


def test_a_lane_that_blocks_holds_steps_back() -> None:
    """What finds no room waits at the saga, and asks again when there is; also back."""
    lanes = {"io": {"concurrency": 1, "capacity": 1, "overflow": "block"}}
    steps = {f"t{n}": step(action={"lane": "io"}) for n in range(5)}
    for said in steps.values():
        said["compensation"]["lane"] = "io"
    steps["last"] = step(*steps)
    stage = begun(steps, lanes=lanes)
    stage.done(*[f"t{n}" for n in range(5)])
    stage.fail("last")
    for _ in range(5):
        stage.done(stage.running[0])
    check_over(stage, "compensated")


def test_a_wide_saga_goes_on_in_several_turns() -> None:
    """A step that more need than one turn can begin has them all begun, and undone."""
    wide = {f"t{n}": step("a") for n in range(SENDS_MAX + 50)}
    stage = begun({"a": step(), **wide})
    stage.done("a")
    for _ in range(40):
        if len(stage.task_facts("t0")) > 2 and not stage.executor.held:
            break
        stage.end_all()
        stage.rest()
    assert stage.ended["~s"][0] == "completed"
    assert sum(isinstance(fact, StepEnded) for fact in stage.facts(S)) == SENDS_MAX + 51


def test_a_bug_in_a_step_is_a_failure_in_doubt() -> None:
    """A step that nobody hears of again is over: it is undone, as is what it needed."""
    stage = begun()
    stage.done("a")
    stage.say(FailRun("internal_bug", "oops", "b"))
    assert stage.saga().error == ("internal_bug", "oops", "b")
    assert "b" + UNDO in stage.running
    assert [stop.token for stop in stage.executor.stops] == [stage.attempt("b").token]


def test_a_bug_while_it_is_undone_raises_the_alarm() -> None:
    """A compensation whose end was lost in a bug is taken as failed, and can be tried again."""
    stage = begun()
    stage.done("a", "b")
    stage.fail("c")
    stage.say(FailRun("internal_bug", "oops", ""))
    assert stage.saga().status == "compensation_failed"
    stage.done("b" + UNDO)
    stage.retry()
    stage.done("a" + UNDO)
    assert stage.saga().status == "compensated"


@pytest.mark.parametrize("crashes", [False, True])
def test_a_compensation_whose_order_a_bug_took_begins_when_it_is_tried_again(
    *, crashes: bool
) -> None:
    """Its task had never begun, and was cancelled: it gets the order once more, whole."""
    armed = [True]

    def strike(kinds: dict[str, Decider[Any]]) -> None:
        decider = kinds["task"]

        def decide(state: Any, message: Any, moment: Any) -> Any:
            if armed and isinstance(message, ScheduleTask) and state.task_id == "a" + UNDO:
                armed.clear()
                msg = "a bug"
                raise RuntimeError(msg)
            return decider.decide(state, message, moment)

        kinds["task"] = replace(decider, decide=decide)

    steps = {"a": step(), "b": step("a")}
    steps["a"]["compensation"]["with"] = {"text": "${action.result}"}
    stage = SagaStage(change=strike)
    stage.begin(steps)
    stage.done("a", value="x" * 100_000)
    stage.fail("b")
    assert stage.saga().status == "compensation_failed"
    assert stage.task_facts("a" + UNDO) == ["TaskCancelled"]
    if crashes:
        stage = stage.crash(9)
        stage.rest()
    stage.retry()
    again = stage.attempt("a" + UNDO)
    assert (again.idempotency_key, again.attempt) == (f"~s/a{UNDO}/0", 1)
    begun_late = ["TaskCancelled", "TaskRetried", "TaskScheduled", "AttemptStarted"]
    assert stage.task_facts("a" + UNDO) == begun_late
    stage.done("a" + UNDO)
    check_over(stage, "compensated")


def test_a_retry_of_an_older_log_begins_nothing_that_never_began() -> None:
    """It does not say with what: the saga is told that the task was cancelled."""
    said = MESSAGES.decode("task.retry", 1, [])
    scenario = Scenario(task_decider(Shelf()), "task/~s/a.compensation")
    assert scenario.when(said) == NOTHING
    scenario.given(TaskCancelled("a bug", abandoned=False))
    decision = scenario.when(said)
    assert (decision.facts, kinds(decision.sends)) == ((), ["TaskReported"])


def test_the_same_submission_again_is_the_same_saga() -> None:
    """It answers as before; another request under the same id is refused."""
    stage = begun()
    stage.begin(CHAIN)
    stage.begin({"z": step()}, digest=b"other")
    answers = [reply.answer for reply in stage.replies]
    assert [getattr(answer, "repeated", answer) for answer in answers[:2]] == [False, True]
    assert answers[2].code == "command_conflict"  # type: ignore[union-attr] # it is a refusal
    assert stage.names(S).count("SagaSubmitted") == 1


def test_a_task_that_nobody_knows_yet_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What begins has no stream, forth and back; a compensation that is tried again has one."""
    looked: list[str] = []
    read = MemoryJournal.stream_frames

    def reading(journal: MemoryJournal, partition: int, stream: str, seq: int) -> Any:
        looked.append(stream)
        return read(journal, partition, stream, seq)

    monkeypatch.setattr(MemoryJournal, "stream_frames", reading)
    stage = begun(CHAIN)
    stage.done("a", "b")
    stage.fail("c", "b" + UNDO)
    assert [stream for stream in looked if stream.startswith("task/")] == []
    stage = stage.crash()
    stage.retry()
    assert "task/~s/b" + UNDO in looked
    stage.done("b" + UNDO, "a" + UNDO)
    check_over(stage, "compensated")
