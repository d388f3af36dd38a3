"""What went wrong with sagas elsewhere, each a test that it cannot go wrong here.

The names are those of the findings (C35 to C42): a saga outlives its process in the direction in
which it went, no timeout defeats what it calls for, and nothing is undone twice.
"""

from __future__ import annotations

from goclaw_actors.lending import DeclareLane
from goclaw_actors.message import Message
from goclaw_actors.saga.decide import SAGAS
from goclaw_events.facts import CompensationBegun
from goclaw_events.ids import lane_stream
from tests.actors.sagas import CHAIN, UNDO, S, SagaStage, step


def begun(saga_id: str = "s") -> SagaStage:
    """Return a stage on which a chain of three steps was begun."""
    stage = SagaStage()
    stage.begin(CHAIN, saga_id)
    return stage


def test_c35_a_saga_goes_on_after_a_restart_by_its_own_definition() -> None:
    """The definition and the input are in the log: no process has to be given them again."""
    stage = begun()
    stage.done("a")
    stage = stage.crash()
    stage.rest()
    assert stage.running == ["b"]
    stage.compensate("after the restart")
    stage.done("b", status="cancelled", code="cancelled")
    stage.done("b" + UNDO, "a" + UNDO)
    assert stage.ended["~s"][0] == "compensated"


def test_c36_a_crash_while_it_goes_back_goes_on_going_back() -> None:
    """Nothing of the way forth begins again, and what was undone is not undone again."""
    stage = begun()
    stage.done("a", "b")
    stage.fail("c")
    stage.done("b" + UNDO)
    stage = stage.crash()
    stage.rest()
    assert stage.running == ["a" + UNDO]
    stage.done("a" + UNDO)
    assert stage.ended["~s"][0] == "compensated"
    assert stage.task_facts("c").count("AttemptStarted") == 1
    assert stage.task_facts("b" + UNDO).count("AttemptStarted") == 1


def test_c36_what_is_over_stays_over_after_a_restart() -> None:
    """A saga that was compensated does not run forth again, whatever it is told."""
    stage = begun()
    stage.fail("a")
    assert stage.ended["~s"][0] == "compensated"
    before = stage.names(S)
    stage = stage.crash()
    stage.rest()
    assert stage.retry().code == "saga_finished"
    assert stage.compensate().repeated is True
    stage.begin(CHAIN)
    assert stage.running == []
    assert stage.names(S) == before


def test_c37_a_timeout_does_not_defeat_its_own_compensation() -> None:
    """What undoes has no part in the time that was over, however long it takes."""
    stage = SagaStage()
    stage.begin(CHAIN, timeout="10s")
    stage.done("a")
    assert stage.attempt("b").timeout_s is not None
    stage.clock.ns += 11_000_000_000
    stage.rest()
    fact = next(found for found in stage.facts(S) if isinstance(found, CompensationBegun))
    assert (fact.cause, fact.code) == ("timeout", "timeout")
    stage.done("b", status="cancelled", code="cancelled")
    assert stage.attempt("b" + UNDO).timeout_s is None
    stage.clock.ns += 3_600_000_000_000
    stage.rest()
    stage.done("b" + UNDO, "a" + UNDO)
    assert stage.ended["~s"][0] == "compensated"
    assert stage.rows("timers") == 0


def test_c38_a_saga_that_skips_its_compensation_ends() -> None:
    """It is over, in a state that says so, and waits for nothing."""
    stage = SagaStage()
    stage.begin(CHAIN, policy="skip")
    stage.done("a")
    stage.fail("b")
    assert stage.ended["~s"][0] == stage.saga().status == "compensated"
    assert stage.rows("open") == 0


def test_c39_siblings_that_end_together_are_all_recorded() -> None:
    """Twenty steps end in one batch, forth and back: none is lost, none twice."""
    wide = {f"t{number}": step() for number in range(20)}
    stage = SagaStage()
    stage.begin({**wide, "last": step(*wide)})
    while stage.running != ["last"]:
        stage.end_all()
        stage.rest()
    stage.fail("last")
    while stage.executor.held:
        stage.end_all()
        stage.rest()
    assert stage.ended["~s"][0] == "compensated"
    for name in wide:
        assert stage.task_facts(name).count("TaskCompleted") == 1
        assert stage.task_facts(name + UNDO).count("TaskCompleted") == 1


def test_c40_nothing_leaves_before_it_is_durable() -> None:
    """No action starts, and nobody hears of an end, before the facts are on the disk."""
    stage = SagaStage()
    stage.begin({"a": step(), "b": step("a")})
    attempt = stage.attempt("a")
    stage.end(attempt)
    stage.decide()
    assert stage.running == []
    stage = stage.crash()
    stage.rest()
    assert stage.running == ["a"]
    assert stage.attempt("a").idempotency_key == attempt.idempotency_key


def test_c41_actions_and_compensations_keep_their_keys() -> None:
    """Every attempt of one has the same key, also after a restart, and a retry by a person."""
    stage = begun()
    keys = {stage.attempt("a").idempotency_key}
    stage = stage.crash()
    stage.rest()
    keys.add(stage.attempt("a").idempotency_key)
    stage.done("a")
    stage.fail("b")
    undo = {stage.attempt("a" + UNDO).idempotency_key}
    stage.fail("a" + UNDO)
    stage.retry()
    stage = stage.crash()
    stage.rest()
    undo.add(stage.attempt("a" + UNDO).idempotency_key)
    assert (len(keys), len(undo)) == (1, 1)
    assert keys.isdisjoint(undo)


def test_c41_two_triggers_begin_one_compensation() -> None:
    """Who asks second is told so, and nothing begins twice."""
    stage = begun()
    stage.done("a", "b", "c")
    stage = begun("t")
    stage = begun()
    stage.done("a")
    first, second = stage.compensate("one"), stage.compensate("two")
    assert (first.repeated, second.repeated) == (False, True)
    stage.done("b", status="cancelled", code="cancelled")
    stage.done("b" + UNDO, "a" + UNDO)
    assert stage.names(S).count("CompensationBegun") == 1
    assert stage.task_facts("a" + UNDO).count("AttemptStarted") == 1
    assert stage.compensate("three").repeated is True


def test_c41_a_failed_compensation_is_a_dead_letter() -> None:
    """It is recorded as an alarm, kept open, and a person can try it again or resolve it."""
    stage = begun()
    stage.done("a")
    stage.fail("b")
    stage.fail("a" + UNDO)
    stage = stage.crash()
    stage.rest()
    assert stage.rows("open") == 1
    assert "SagaAlarmed" in stage.names(S)
    stage.retry()
    stage.done("a" + UNDO)
    assert stage.ended["~s"][0] == "compensated"


def test_c41_waiting_sagas_are_stored() -> None:
    """A saga that waits for a slot is in the log: it is known, and begins after a restart."""
    stage = SagaStage()
    limits = DeclareLane(1, 10, "reject", "test")
    stage.node.accept(Message(lane_stream(SAGAS), limits))
    stage.begin({"a": step()}, "first")
    stage.begin({"b": step()})
    stage = stage.crash()
    stage.rest()
    assert stage.names(S) == ["SagaSubmitted"]
    stage.done("a")
    assert stage.running == ["b"]


def test_c42_actions_are_ordinary_tasks() -> None:
    """They go through lanes, have retries and results, and read what was before them."""
    steps = {
        "a": step(action={"lane": "io"}, retry={"attempts": 2, "initial": 1, "jitter": "none"}),
        "b": step("a", action={"with": {"id": "${steps.a.result.id}", "who": "${input.who}"}}),
    }
    stage = SagaStage()
    stage.begin(steps, lanes={"io": {"concurrency": 1}}, input={"who": {}}, given={"who": "me"})
    stage.fail("a")
    stage.clock.ns += 2_000_000_000
    stage.rest()
    assert stage.attempt("a").lane == "trip/io"
    stage.done("a", value={"id": 7})
    assert stage.attempt("b").params == {"id": 7, "who": "me"}
    stage.done("b")
    assert stage.ended["~s"][0] == "completed"
