"""How long a history may grow, who is refused then, and what goes on all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.actor import Entity
from goclaw_actors.compensating import CompensateSaga, ResolveSaga, RetrySaga
from goclaw_actors.decider import Accepted, Moment, Refused
from goclaw_actors.directory import deciders
from goclaw_actors.history import LONG_MAX, TASK_FACTS, Grown, Histories
from goclaw_actors.message import Message
from goclaw_actors.messages import CancelRun, LoseAttempt
from goclaw_actors.ports import Limits
from goclaw_actors.rebuild import Unheard, load
from goclaw_actors.shell import keep, kept_of
from goclaw_actors.signalling import HoldWork, ResumeWork, SendSignal, WithdrawSignal
from goclaw_actors.task import task_decider
from goclaw_actors.work import AttemptToken, Full, Outcome, Progress, Recorded, Saved, Stepped
from goclaw_events.facts import TaskFailed
from tests.actors.given import HOLDER, NOW_NS, Shelf, kinds
from tests.actors.stage import ONE, Stage
from tests.actors.test_answers import send as send_named
from tests.actors.test_signals import answers, begin, send, task, told

if TYPE_CHECKING:
    from collections.abc import Sequence

TASK = "task/r/a"
RUN = "workflow/r"
SMALL = Limits(history_facts_max=100)
FULL = Refused("history_full", "the history of task a of run r is full", "start anew")


def begun(tasks: dict[str, Any] = ONE, limits: Limits = SMALL, **more: Any) -> Stage:
    """Return a stage with a run that has begun."""
    stage = Stage(limits=limits)
    stage.submit(tasks, **more)
    stage.rest()
    stage.replies.clear()
    return stage


def talk(stage: Stage, count: int, first: int = 0) -> list[Any]:
    """Send the task patches of its parameters; return the answers."""
    for number in range(first, first + count):
        send(stage, f"m{number}", kind="params", body={"n": number}, names=["n"])
        stage.rest()
    return answers(stage)


def refusal(stage: Stage) -> Refused:
    """Return the last answer, which says no."""
    answer = stage.replies[-1].answer
    assert isinstance(answer, Refused)
    return answer


def save(stage: Stage, count: int, first: int = 1, size: int = 0) -> None:
    """Let the attempt save its state, `count` times."""
    (start,) = stage.executor.held.values()
    for number in range(first, first + count):
        state = {"n": number, "text": "x" * size}
        stage.node.accept_outcomes([Saved(start.stream, start.token, number, state)])
    stage.rest()


def entity_of(stage: Stage, stream: str) -> Entity:
    """Return an actor as the log has it."""
    entity = Entity(stream, stage.kinds[stream.partition("/")[0]], Unheard())
    load(entity, stage.journal, 0, [], None, 0)
    return entity


def ask(stage: Stage, body: Any, command_id: str) -> Any:
    """Tell the run something from outside; return what was accepted, or the code of the refusal."""
    message = Message(RUN, body)
    message.command_id, message.digest = command_id, b"d"
    message.reply_to = stage.replies.append
    stage.node.accept(message)
    stage.rest()
    answer = stage.replies[-1].answer
    return answer.code if isinstance(answer, Refused) else answer


# -- who is refused --------------------------------------------------------------------------------


def test_nothing_more_is_said_to_a_task_whose_history_is_full() -> None:
    """Every signal before was accepted, each after is refused; the attempt may still complete."""
    stage = begun()
    found = talk(stage, 110)
    accepted = [f"m{number}" for number in range(98)]
    assert found == [*accepted, *["history_full"] * 12]
    assert len(stage.facts(TASK)) == 100
    save(stage, 1)
    stage.finish("done")
    assert stage.ended["r"] == ("completed", "done")
    send(stage, "late")
    stage.rest()
    assert answers(stage) == ["task_finished"]


def test_the_refusal_says_what_is_full_how_full_and_what_to_do() -> None:
    """Who reads it knows the task, the figures, the limits and the settings."""
    stage = begun()
    talk(stage, 98)
    send(stage, "one more")
    stage.rest()
    code, text, hint = refusal(stage)
    assert code == "history_full"
    size = entity_of(stage, TASK).size
    limit = SMALL.history_bytes_max
    figures = f"100 facts and {size} bytes, of 100 and {limit}"
    assert text == f"the history of task a of run r is full: {figures}"
    assert "engine.history_facts_max" in hint


def test_what_was_accepted_before_is_answered_as_before() -> None:
    """A repeat makes no history longer."""
    stage = begun()
    talk(stage, 99)
    assert talk(stage, 1, first=7) == ["again"]


def test_a_crash_leaves_a_full_history_full() -> None:
    """What counts is in the log, with or without a snapshot; a higher limit makes room again."""
    for every in (10**9, 200):
        limits = Limits(history_facts_max=300, snapshot_every_facts=every)
        stage = begun(limits=limits)
        talk(stage, 298)
        stage = stage.crash()
        stage.rest()
        stage.replies.clear()
        assert talk(stage, 1, first=500) == ["history_full"]
        stage = stage.crash(limits=Limits(history_facts_max=400, snapshot_every_facts=every))
        stage.rest()
        stage.replies.clear()
        assert talk(stage, 1, first=501) == ["m501"]


def test_bytes_fill_a_history_as_facts_do() -> None:
    """Few facts of many bytes each; what is kept apart as a blob does not count."""
    stage = begun(limits=Limits(history_bytes_max=1 << 16))
    save(stage, 1, size=200_000)
    assert talk(stage, 1) == ["m0"]
    save(stage, 7, first=2, size=10_000)
    assert entity_of(stage, TASK).size >= 1 << 16
    assert talk(stage, 1, first=1) == ["history_full"]


@pytest.mark.parametrize("every", [10**9, 200])
def test_bytes_are_counted_the_same_live_and_rebuilt(every: int) -> None:
    """From facts alone, and from a snapshot and the facts behind it."""
    stage = begun(limits=Limits(snapshot_every_facts=every, batch_messages_max=7))
    save(stage, 450, size=30)
    talk(stage, 3)
    live = stage.node.dispatchers[0].turns.directory.live[TASK]
    rebuilt = entity_of(stage, TASK)
    assert (rebuilt.seq, rebuilt.size) == (live.seq, live.size)
    assert (rebuilt.base is not None) == (every == 200)


def test_a_snapshot_of_before_there_was_a_limit_is_read() -> None:
    """It holds answers alone: what is before it counts by its facts, not by its bytes."""
    stage = begun()
    talk(stage, 2)
    entity = entity_of(stage, TASK)
    kept: Any = kept_of(entity)
    size, answered = entity.size, entity.replies
    assert (kept[0], len(kept[1])) == (size, 2)
    for before, counted in ((kept[1], 0), (kept, size)):
        again: Any = Entity(TASK, stage.kinds["task"], Unheard())
        keep(again, before)
        assert (again.size, again.replies) == (counted, answered)


@pytest.mark.parametrize(
    ("kind", "refused", "decided"),
    [
        (
            "task",
            [SendSignal("a", "s", "message", "steer", 1, "me", b""), HoldWork("a", "", "", "", 0)],
            [ResumeWork("a", "me"), WithdrawSignal("a", "s", ""), CancelRun("", "")],
        ),
        (
            "workflow",
            [HoldWork("", "paused", "", "me", 0.0)],
            [HoldWork("a", "paused", "", "me", 0.0), ResumeWork("", "me"), CancelRun("", "")],
        ),
        ("saga", [RetrySaga("me")], [ResolveSaga("", "me"), CompensateSaga("", "me")]),
    ],
)
def test_only_what_need_not_be_said_is_refused(
    kind: str, refused: Sequence[Any], decided: Sequence[Any]
) -> None:
    """To stop, to go on and to undo is never too much."""
    bound = Stage().kinds[kind].bound
    assert bound is not None
    assert [bound.grows(body) for body in refused] == [True] * len(refused)
    assert [bound.grows(body) for body in decided] == [False] * len(decided)


def test_what_goes_on_for_ever_has_no_limit() -> None:
    """A lane, a schedule, a catalogue: their snapshots keep them short to read."""
    unbound = {kind for kind, found in Stage().kinds.items() if found.bound is None}
    assert unbound == {"lane", "schedule", "catalogue", "unique", "collector"}


# -- what goes on ----------------------------------------------------------------------------------


def test_a_task_that_is_tried_for_ever_ends_with_what_it_is() -> None:
    """The failure says that the history is full, and how the last attempt failed."""
    retry = {"attempts": 1000, "backoff": "fixed", "initial": "1s", "max": "1s"}
    stage = begun({"a": {"agent": "x", "retry": retry}})
    for _ in range(40):
        for attempt in list(stage.executor.held.values()):
            stage.end(attempt, "failed", message="no route")
        stage.rest()
        stage.clock.ns += 10**9
        stage.rest()
    assert stage.ended["r"][0] == "failed"
    failed = stage.facts(TASK)[-1]
    assert isinstance(failed, TaskFailed)
    assert failed.code == "history_full"
    assert failed.message.endswith("its last attempt failed with boom: no route")
    assert 100 <= len(stage.facts(TASK)) <= 103


def test_an_attempt_that_was_lost_begins_again() -> None:
    """The engine's own faults end no task: what it records to go on is always accepted."""
    stage = begun()
    talk(stage, 98)
    (start,) = stage.executor.held.values()
    stage.executor.held.clear()
    lost = Message(TASK, LoseAttempt(start.token.number, 10))
    stage.node.accept(lost)
    stage.rest()
    assert kinds(stage.facts(TASK))[-2:] == ["AttemptLost", "AttemptStarted"]
    stage.finish()
    assert stage.ended["r"][0] == "completed"


def fill_run(stage: Stage) -> None:
    """Pause the run and let it go on until it takes no more, and goes on."""
    for number in range(200):
        found = ask(stage, HoldWork("", "paused", "", "me", 0.0), f"p{number}")
        if found == "history_full":
            return
        assert found == Accepted("r")
        assert ask(stage, ResumeWork("", "me"), f"r{number}") == Accepted("r")
    msg = "there is no limit"
    raise AssertionError(msg)


def test_a_run_that_is_full_can_be_cancelled_and_no_more_paused() -> None:
    """What ends it is accepted; a task of it gives it room for some facts more."""
    stage = begun()
    fill_run(stage)
    assert len(stage.facts(RUN)) in (100 + TASK_FACTS, 101 + TASK_FACTS)
    assert ask(stage, CancelRun("", ""), "c") == Accepted("r")
    assert len(stage.executor.stops) == 1


def test_a_run_that_is_full_and_paused_goes_on() -> None:
    """To resume it is no further asking."""
    stage = begun()
    while len(stage.facts(RUN)) < 100 + TASK_FACTS - 1:
        ask(stage, HoldWork("", "paused", "", "me", 0.0), f"p{len(stage.replies)}")
        ask(stage, ResumeWork("", "me"), f"r{len(stage.replies)}")
    assert ask(stage, HoldWork("", "paused", "", "me", 0.0), "last") == Accepted("r")
    assert ask(stage, ResumeWork("", "me"), "go on") == Accepted("r")
    stage.finish()
    assert stage.ended["r"][0] == "completed"


def test_a_named_signal_that_a_task_waits_for_is_always_given() -> None:
    """One that would only be kept is refused."""
    needs = {"wait_for": {"signal": "no"}, "needs": ["w"]}
    stage = begun({"w": {"wait_for": {"signal": "go"}}, "n": needs})
    fill_run(stage)
    assert send_named(stage, "s1", name="no") == "history_full"
    assert send_named(stage, "s2") == Accepted("s2")
    assert send_named(stage, "s3", name="no") == Accepted("s3")
    assert stage.ended["r"][0] == "completed"


def test_the_tasks_of_a_run_do_not_fill_it() -> None:
    """It may have so many facts more for each of them."""
    tasks = {f"t{number}": {"agent": "x"} for number in range(150)}
    stage = begun(tasks)
    stage.finish()
    assert stage.ended["r"][0] == "completed"
    assert len(stage.facts(RUN)) > 100
    assert stage.node.dispatchers[0].turns.histories.long == {}


# -- what an attempt says --------------------------------------------------------------------------


def decided(scenario: Any, message: Any) -> Any:
    """Return what a task decides whose history is full."""
    return scenario.decider.decide(scenario.state, message, Moment(NOW_NS, 9, 0, 1, HOLDER, FULL))


def running() -> tuple[Any, AttemptToken]:
    """Return a task whose attempt runs, and its token."""
    scenario = task()
    return scenario, begin(scenario).token


def test_an_attempt_is_told_and_what_it_said_before_is_recorded() -> None:
    """State and steps that were on their way are kept: nothing is lost."""
    scenario, token = running()
    word = Full(FULL.message, FULL.hint)
    saved = decided(scenario, Saved("task/r/a", token, 1, {"n": 1}))
    assert (kinds(saved.facts), told(saved)) == (["StateSaved"], [word])
    stepped = decided(scenario, Stepped("task/r/a", token, "s", "", b"", 1))
    assert (kinds(stepped.facts), told(stepped)) == (
        ["StepRecorded"],
        [Recorded((("s", ""),)), word],
    )


def test_progress_of_a_full_task_is_not_recorded() -> None:
    """It is no state: nothing is lost with it, and the agent goes on."""
    scenario, token = running()
    found = decided(scenario, Progress("task/r/a", token, 0.5, "half"))
    assert (found.facts, found.effects) == ((), ())


def test_a_service_that_says_later_for_ever_ends_too() -> None:
    """An attempt that does not count is one that failed, once the history is full."""
    scenario, token = running()
    outcome = Outcome("task/r/a", token, "failed", code="rate_limited", limited=True)
    found = decided(scenario, outcome)
    assert kinds(found.facts) == ["AttemptFailed", "TaskFailed"]
    assert found.facts[-1].code == "history_full"


def test_an_outcome_is_always_recorded() -> None:
    """A result is not lost because there is much history before it."""
    scenario, token = running()
    found = decided(scenario, Outcome("task/r/a", token, "completed", "result"))
    assert kinds(found.facts) == ["TaskCompleted"]


# -- warnings --------------------------------------------------------------------------------------


def codes(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the codes that were logged, of histories alone."""
    found = [getattr(record, "code", "") for record in caplog.records]
    return [code for code in found if code.startswith("history")]


def test_it_is_warned_once_of_a_fifth_and_once_of_all(caplog: pytest.LogCaptureFixture) -> None:
    """Not again where the actor comes back, after a crash or from the log."""
    stage = begun()
    talk(stage, 17)
    assert codes(caplog) == []
    talk(stage, 30, first=50)
    assert codes(caplog) == ["history_long"]
    assert "task a of run r grows long: 20 facts" in caplog.text
    stage = stage.crash()
    stage.rest()
    talk(stage, 60, first=100)
    assert codes(caplog) == ["history_long", "history_full"]


def test_what_is_long_is_known_until_it_ends() -> None:
    """By its stream, with its figures; live actors alone are known, and so many at most."""
    stage = begun(limits=Limits(history_facts_max=100))
    talk(stage, 48)
    histories = stage.node.dispatchers[0].turns.histories
    assert {stream: found.facts for stream, found in histories.long.items()} == {TASK: 50}
    stage.finish()
    assert histories.long == {}
    histories.long.update((f"s{n}", Grown(1, 1, 1, 1, None)) for n in range(LONG_MAX))
    stage.submit(ONE, "r")
    entity = Entity("task/r/z", task_decider(Shelf()), Unheard())
    entity.state, entity.seq = entity.decider.initial("task/r/z"), 99
    histories.look(entity)
    assert len(histories.long) == LONG_MAX
    assert "task/r/z" in histories.long


def test_those_that_go_on_for_ever_are_not_looked_at() -> None:
    """A lane may have any number of facts."""
    histories = Histories(Limits(history_facts_max=100))
    entity = Entity("lane/w/io", deciders(Stage().contents)["lane"], Unheard())
    entity.state, entity.seq = entity.decider.initial("lane/w/io"), 10**9
    histories.look(entity)
    assert (entity.grown, histories.long) == (None, {})
