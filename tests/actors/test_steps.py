"""What a task keeps of the durable steps of its handler, and that it sleeps without a slot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_actors.adjusting import AdjustTask
from goclaw_actors.decider import ClearTimer, CloseAttempt, SetTimer
from goclaw_actors.messages import (
    CancelTask,
    CheckAttempt,
    LoseAttempt,
    ScheduleTask,
    SlotLeased,
    TimerFired,
)
from goclaw_actors.signalling import HoldWork, ResumeWork
from goclaw_actors.task import task_decider
from goclaw_actors.task.state import FORM
from goclaw_actors.task.stepping import UNUSED_MAX
from goclaw_actors.work import (
    SLEPT,
    AttemptToken,
    Outcome,
    Pause,
    Recorded,
    StartAttempt,
    Stepped,
    StepRecord,
    TellAttempt,
)
from goclaw_events.facts import StepRecorded, StepsUnused
from goclaw_events.value import BlobRef, pack
from tests.actors.given import NOW_NS, Scenario, Shelf, kinds, plan_of
from tests.actors.test_snapshot_forms import Keeper

if TYPE_CHECKING:
    from goclaw_actors.decider import Decision
    from goclaw_actors.task import Task

REF = BlobRef(bytes(32), 1)
STREAM = "task/r/a"
HOUR_NS = 3_600 * 10**9


def task(**more: Any) -> Scenario[Task]:
    """Return a task that nobody scheduled yet."""
    shelf = Shelf()
    retry = {"attempts": 3, "backoff": "fixed", "initial": "1s"}
    shelf.put_plan(plan_of({"a": {"agent": "x", "retry": retry, **more}}), REF)
    return Scenario(task_decider(shelf), STREAM)


def begin(scenario: Scenario[Task]) -> StartAttempt:
    """Give the task a slot, and schedule it before if it is new; return its attempt."""
    if scenario.state.status == "pending":
        scenario.when(ScheduleTask(REF, 0, {}, "w/io", 0))
    return start_of(scenario.when(SlotLeased()))


def start_of(decision: Decision) -> StartAttempt:
    """Return the attempt that a decision starts."""
    return next(effect for effect in decision.effects if isinstance(effect, StartAttempt))


def step(start: StartAttempt, name: str, result: Any = None, key: str = "") -> Stepped:
    """Return what an attempt says of a step."""
    return Stepped(STREAM, start.token, name, key, b"d", result)


def told(decision: Decision) -> list[Any]:
    """Return what the attempt is told."""
    return [effect.word for effect in decision.effects if isinstance(effect, TellAttempt)]


def ended(start: StartAttempt, status: str, **more: Any) -> Outcome:
    """Return how an attempt ends."""
    return Outcome(STREAM, start.token, status, code="" if status == "completed" else "e", **more)


def test_a_step_is_recorded_once_and_told_every_time() -> None:
    """What is said again changes nothing, and is answered: the answer may have been lost."""
    scenario = task()
    first = begin(scenario)
    said = scenario.when(step(first, "charge", {"paid": 5}, "k"))
    assert said.facts == (StepRecorded(1, first.token.number, "charge", "k", b"d", {"paid": 5}),)
    assert told(said) == [Recorded((("charge", "k"),))]
    again = scenario.when(step(first, "charge", "another", "k"))
    assert (kinds(again.facts), told(again)) == ([], told(said))
    other = scenario.when(step(first, "charge", 1))
    assert kinds(other.facts) == ["StepRecorded"]
    assert told(scenario.when(CheckAttempt(first.token.number))) == [
        Recorded((("charge", "k"), ("charge", ""))),
        Pause(is_on=False),
    ]
    assert scenario.encoded() == scenario.replayed()


def test_every_later_attempt_gets_what_was_recorded() -> None:
    """After a failure, a loss, and a restart of the process; never after the task has ended."""
    scenario = task()
    first = begin(scenario)
    assert first.steps == ()
    scenario.when(step(first, "a", 1))
    scenario.when(ended(first, "failed"))
    scenario.when(TimerFired("due"))
    second = begin(scenario)
    assert second.steps == (StepRecord("a", "", b"d", 1),)
    scenario.when(step(second, "b", 2))
    third = start_of(scenario.when(LoseAttempt(second.token.number, 10)))
    assert [record.name for record in third.steps] == ["a", "b"]
    scenario.when(ended(third, "completed"))
    assert scenario.state.steps is None


def test_an_attempt_that_is_over_records_nothing() -> None:
    """Nor one of another era that has the same number."""
    scenario = task()
    first = begin(scenario)
    old = step(first, "a")._replace(token=AttemptToken(0, 0, first.token.number))
    assert kinds(scenario.when(old).facts) == []
    start_of(scenario.when(LoseAttempt(first.token.number, 10)))
    late = scenario.when(step(first, "a"))
    assert (kinds(late.facts), told(late)) == ([], [])


def test_steps_that_nobody_asked_for_are_a_fact() -> None:
    """It comes before the end; of very many only some are named."""
    scenario = task()
    first = begin(scenario)
    names = tuple((f"s{number}", "") for number in range(UNUSED_MAX + 5))
    done = scenario.when(ended(first, "completed", unused=names))
    assert kinds(done.facts) == ["StepsUnused", "TaskCompleted"]
    fact = done.facts[0]
    assert isinstance(fact, StepsUnused)
    assert (fact.unused, len(fact.steps), fact.steps[0]) == (UNUSED_MAX + 5, UNUSED_MAX, ["s0", ""])


def test_who_sleeps_has_no_slot_and_comes_first_when_it_wakes() -> None:
    """The attempt is over, a timer wakes the task, and the next attempt gets the records."""
    scenario = task()
    first = begin(scenario)
    due_ns = NOW_NS + HOUR_NS
    scenario.when(step(first, "$sleep", due_ns, "#1"))
    slept = scenario.when(Outcome(STREAM, first.token, SLEPT, due_ns))
    assert kinds(slept.facts) == ["AttemptSlept"]
    assert kinds(slept.sends) == ["Release"]
    assert slept.effects == (CloseAttempt(first.token.number), SetTimer("due", due_ns))
    assert scenario.state.status == "waiting"
    woken = scenario.when(TimerFired("due"), due_ns)
    assert kinds(woken.facts) == ["TaskRequeued"]
    assert woken.sends[0].body.at_head
    second = begin(scenario)
    assert (second.attempt, second.steps[0].result) == (2, due_ns)
    assert scenario.state.failures == 0
    assert scenario.encoded() == scenario.replayed()


def test_who_sleeps_is_cancelled_or_runs_out_of_time_at_once() -> None:
    """Its timer goes; there is no slot to give back."""
    scenario = task(total_timeout="10s")
    first = begin(scenario)
    due_ns = NOW_NS + HOUR_NS
    scenario.when(Outcome(STREAM, first.token, SLEPT, due_ns))
    fork = Scenario(scenario.decider, STREAM).given(*scenario.facts)
    cancelled = fork.when(CancelTask("why"))
    assert kinds(cancelled.facts) == ["TaskCancelled"]
    assert ClearTimer("due", due_ns) in cancelled.effects
    assert kinds(cancelled.sends) == ["TaskReported"]
    late = scenario.when(TimerFired("total"), NOW_NS + 11 * 10**9)
    assert kinds(late.facts) == ["TaskFailed"]
    assert ClearTimer("due", due_ns) in late.effects
    assert kinds(late.sends) == ["TaskReported"]


def test_who_sleeps_can_stand_still_and_sleeps_on() -> None:
    """Paused or interrupted it does not wake; resumed it wakes when it would have."""
    scenario = task()
    first = begin(scenario)
    due_ns = NOW_NS + HOUR_NS
    scenario.when(Outcome(STREAM, first.token, SLEPT, due_ns))
    scenario.when(HoldWork("a", "interrupted", "why", "me", 5.0, definition=REF))
    assert scenario.state.status == "interrupted"
    resumed = scenario.when(ResumeWork("a", "me", definition=REF))
    assert resumed.effects == (SetTimer("due", due_ns),)
    assert scenario.state.status == "waiting"
    assert kinds(scenario.when(TimerFired("due"), due_ns).facts) == ["TaskRequeued"]


def test_who_sleeps_asks_the_lane_that_was_chosen_meanwhile() -> None:
    """Whenever it was chosen; the slot goes back to the lane that gave it."""
    for asleep in (False, True):
        scenario = task()
        first = begin(scenario)
        slept = Outcome(STREAM, first.token, SLEPT, NOW_NS + HOUR_NS)
        adjust = AdjustTask("a", "s", {"lane": "w/other"}, "me", b"", definition=REF)
        for message in (slept, adjust) if asleep else (adjust, slept):
            said = scenario.when(message)
            assert [send.target for send in said.sends] in ([], ["lane/w/io"])
        woken = scenario.when(TimerFired("due"), NOW_NS + HOUR_NS)
        assert kinds(woken.facts) == ["TaskMoved", "TaskRequeued"]
        assert woken.sends[0].target == "lane/w/other"
        assert scenario.encoded() == scenario.replayed()


def test_to_be_paused_it_pauses_when_it_falls_asleep() -> None:
    """The slot is given back, and it does not wake before it is resumed."""
    scenario = task()
    first = begin(scenario)
    due_ns = NOW_NS + HOUR_NS
    scenario.when(HoldWork("a", "paused", "why", "me", 0.0, definition=REF))
    slept = scenario.when(Outcome(STREAM, first.token, SLEPT, due_ns))
    assert kinds(slept.facts) == ["AttemptSlept", "TaskPaused"]
    assert kinds(slept.sends) == ["Release"]
    assert not any(isinstance(effect, SetTimer) for effect in slept.effects)
    resumed = scenario.when(ResumeWork("a", "me", definition=REF))
    assert resumed.effects == (SetTimer("due", due_ns),)


def test_steps_are_written_away_piece_by_piece() -> None:
    """And made again, also where most of them were written away before."""
    scenario = task()
    first = begin(scenario)
    keeper = Keeper(scenario.decider, STREAM)
    for number in range(200):
        scenario.when(step(first, "s", number, str(number)))
        if number % 50 == 7:
            back = keeper.through(scenario.state)
            assert pack(scenario.decider.encode(back)) == scenario.encoded()
            back_fact = StepRecorded(1, first.token.number, "s", "more", b"", 1)
            assert len(scenario.decider.evolve(back, back_fact).steps or ()) == number + 2
    assert FORM.version >= 10
    chunks = [len(chunked) for chunked in FORM.maps(scenario.state)]
    assert chunks == [200]
