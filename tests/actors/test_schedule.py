"""Schedules: one run a firing, whatever goes on, was missed, or is asked twice."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.collecting import MembersReported, WatchTasks
from goclaw_actors.decider import Accepted, Decision, Refused, Send, SetTimer
from goclaw_actors.message import Message
from goclaw_actors.messages import CancelRun, SubmitRun, TimerFired
from goclaw_actors.schedule import Schedule, schedule_decider
from goclaw_actors.scheduling import (
    DeleteSchedule,
    PauseSchedule,
    ResumeSchedule,
    SetSchedule,
    TriggerSchedule,
)
from goclaw_events.facts import (
    FiredRunEnded,
    FiringPlanned,
    FiringQueued,
    FiringsSkipped,
    MessageFailed,
    MessageSettled,
    ScheduleFired,
)
from goclaw_events.ids import schedule_stream, workflow_stream
from goclaw_events.plan import pack_plan
from goclaw_events.value import BlobRef, blob_of
from goclaw_events.verify import verify
from tests.actors.given import NOW_NS, Scenario, Shelf, kinds, plan_of
from tests.actors.stage import ONE, Stage

if TYPE_CHECKING:
    from goclaw_actors.decider import Decider

SECOND_NS = 10**9
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 60 * MINUTE_NS
STREAM = schedule_stream("s")
FIRST_NS = NOW_NS + MINUTE_NS
REF = BlobRef(bytes(32), 1)


def setting(digest: bytes = b"d", **changes: Any) -> SetSchedule:
    """Return what makes a schedule of every minute."""
    asked = SetSchedule(
        REF, "w", {"a": 1}, {"k": "v"}, None, digest, "", "UTC", MINUTE_NS, 0, "skip", "one",
        MINUTE_NS, 3, "", paused=False, replace=False, set_by="me",
    )  # fmt: skip
    return asked._replace(**changes)


def schedule(**changes: Any) -> Scenario[Schedule]:
    """Return a schedule of every minute."""
    scenario = Scenario(schedule_decider(Shelf()), STREAM)
    scenario.when(setting(**changes))
    return scenario


def fire(scenario: Scenario[Schedule], now_ns: int | None = None) -> Decision:
    """Let the timer fire when it is due, or later."""
    due_ns = scenario.state.due_ns
    decision = scenario.when(TimerFired("fire"), due_ns if now_ns is None else now_ns)
    assert scenario.encoded() == scenario.replayed()
    return decision


def end(scenario: Scenario[Schedule], status: str = "completed") -> Decision:
    """Let the run that goes on end."""
    decision = scenario.when(MembersReported(scenario.state.running, [["", 0, status, ""]]))
    assert scenario.encoded() == scenario.replayed()
    return decision


def begun(decision: Decision) -> list[int]:
    """Return the planned times of the firings that began a run, in minutes after the first."""
    fired = [fact for fact in decision.facts if isinstance(fact, ScheduleFired)]
    runs = [send.target for send in decision.sends if isinstance(send.body, SubmitRun)]
    assert runs == [workflow_stream(fact.run_id) for fact in fired]
    return [(fact.planned_ns - FIRST_NS) // MINUTE_NS for fact in fired]


def skipped(decision: Decision) -> list[tuple[int, int, int, str]]:
    """Return what was skipped: from, to (in minutes after the first), how many, why."""
    return [
        ((fact.first_ns - FIRST_NS) // MINUTE_NS, (fact.last_ns - FIRST_NS) // MINUTE_NS, *fact[2:])
        for fact in decision.facts
        if isinstance(fact, FiringsSkipped)
    ]


def test_a_firing_begins_one_run_and_the_next_is_planned() -> None:
    """The facts say when it was planned, and when it was; the run's id follows from the former."""
    scenario = schedule(planned_input="at")
    assert scenario.facts[1] == FiringPlanned(FIRST_NS, FIRST_NS)
    late_ns = FIRST_NS + 5 * SECOND_NS
    decision = fire(scenario, late_ns)
    fired, planned = decision.facts
    assert fired == ScheduleFired(FIRST_NS, late_ns, "s:20231114T221420Z")
    assert planned == FiringPlanned(FIRST_NS + MINUTE_NS, FIRST_NS + MINUTE_NS)
    assert decision.effects == [SetTimer("fire", FIRST_NS + MINUTE_NS)]
    order = decision.sends[0].body
    assert isinstance(order, SubmitRun)
    text = "2023-11-14T22:14:20Z"
    assert order.input == {"a": 1, "at": text}
    assert order.labels == {"k": "v", "schedule": "s", "planned": text}
    assert (order.idempotency_key, order.submitted_by) == (f"s@{text}", STREAM)
    assert decision.sends[1].body == WatchTasks(STREAM, [""], None)


def test_a_timer_that_comes_early_or_twice_begins_nothing() -> None:
    """Only what is due is."""
    scenario = schedule()
    assert fire(scenario, FIRST_NS - 1).facts == ()
    fire(scenario)
    end(scenario)
    assert fire(scenario, FIRST_NS).facts == (), "the one that is planned now is a minute later"


def test_overlap_skip_leaves_out_what_meets_a_run() -> None:
    """And asks the run once more for its end."""
    scenario = schedule()
    fire(scenario)
    met = fire(scenario)
    assert (begun(met), skipped(met)) == ([], [(1, 1, 1, "overlap")])
    assert kinds(met.sends) == ["WatchTasks"]
    assert end(scenario, "failed").facts == [FiredRunEnded("s:20231114T221420Z", "failed")]
    assert begun(fire(scenario)) == [2]


def test_overlap_queue_runs_one_after_the_other() -> None:
    """So many wait, and no more."""
    scenario = schedule(overlap="queue")
    fire(scenario)
    for _ in range(3):
        assert kinds(fire(scenario).facts) == ["FiringQueued", "FiringPlanned"]
    assert skipped(fire(scenario)) == [(4, 4, 1, "queue_full")]
    assert [begun(end(scenario))[:1] for _ in range(4)] == [[1], [2], [3], []]


def test_overlap_cancel_makes_way_for_the_newest() -> None:
    """Two never run at once: the next begins when the one before has ended."""
    scenario = schedule(overlap="cancel")
    fire(scenario)
    second = fire(scenario)
    assert kinds(second.sends) == ["CancelRun", "WatchTasks"]
    assert isinstance(second.sends[0].body, CancelRun)
    third = fire(scenario)
    assert skipped(third) == [(1, 1, 1, "replaced")]
    assert begun(end(scenario, "cancelled")) == [2]
    assert begun(fire(scenario, scenario.state.due_ns)) == []


@pytest.mark.parametrize(
    ("missed", "runs", "left_out"),
    [
        ("skip", [], [(0, 59, 60, "missed")]),
        ("one", [59], [(0, 58, 59, "missed")]),
        ("all", [57], [(0, 56, 57, "missed")]),
    ],
)
def test_what_was_missed_is_made_up_for_by_the_rule(
    missed: str, runs: list[int], left_out: list[tuple[int, int, int, str]]
) -> None:
    """None of it, the last of it, or as much as may wait: the latest."""
    scenario = schedule(missed=missed, overlap="queue", late_ns=10 * SECOND_NS)
    decision = fire(scenario, FIRST_NS + HOUR_NS - 20 * SECOND_NS)
    assert (begun(decision), skipped(decision)) == (runs, left_out)
    queued = [fact for fact in decision.facts if isinstance(fact, FiringQueued)]
    assert len(queued) == (2 if missed == "all" else 0)
    assert scenario.state.planned_ns == FIRST_NS + HOUR_NS


@pytest.mark.parametrize(("missed", "runs"), [("skip", [60]), ("one", [60]), ("all", [58])])
def test_what_is_on_time_runs_also_after_an_absence(missed: str, runs: list[int]) -> None:
    """Of a firing that is hardly late nothing was missed; `one` makes up for the others by it."""
    scenario = schedule(missed=missed, overlap="queue", late_ns=10 * SECOND_NS)
    assert begun(fire(scenario, FIRST_NS + HOUR_NS + SECOND_NS)) == runs


def test_a_large_input_is_read_where_the_planned_time_goes_into_it() -> None:
    """What a schedule keeps of it may be a reference."""
    shelf = Shelf()
    scenario = Scenario(schedule_decider(shelf), STREAM)
    scenario.when(setting(input=shelf.put_value({"text": "x" * 70_000}), planned_input="at"))
    order = fire(scenario).sends[0].body
    assert isinstance(order, SubmitRun)
    assert sorted(order.input) == ["at", "text"]


def test_a_long_absence_is_not_counted_to_its_end() -> None:
    """More than are counted is said as -1, and what is made up for is the same."""
    scenario = schedule(missed="one")
    decision = fire(scenario, FIRST_NS + 30 * 24 * HOUR_NS)
    assert begun(decision) == [30 * 24 * 60]
    assert skipped(decision)[0][2:] == (-1, "missed")


def test_a_late_firing_within_bounds_was_not_missed() -> None:
    """Both of the last minute run, one after the other, where they may wait."""
    scenario = schedule(missed="skip", overlap="queue", late_ns=2 * MINUTE_NS)
    decision = fire(scenario, FIRST_NS + MINUTE_NS)
    assert (begun(decision), skipped(decision)) == ([0], [])
    assert decision.facts[1] == FiringQueued(FIRST_NS + MINUTE_NS)


@pytest.mark.parametrize(("overlap", "reason"), [("skip", "overlap"), ("cancel", "replaced")])
def test_of_what_is_due_together_the_last_runs(overlap: str, reason: str) -> None:
    """Where firings do not wait for each other, one that is hardly late makes way for the next."""
    scenario = schedule(missed="skip", overlap=overlap, late_ns=5 * MINUTE_NS)
    decision = fire(scenario, FIRST_NS + 2 * MINUTE_NS)
    assert (begun(decision), skipped(decision)) == ([2], [(0, 1, 2, reason)])


def test_a_jitter_spreads_schedules_and_keeps_their_distance() -> None:
    """Each has an offset of its own, always the same; the planned times stay what they are."""
    offsets = set()
    for name in ("s", "t", "u", "v"):
        scenario = Scenario(schedule_decider(Shelf()), schedule_stream(name))
        scenario.when(setting(jitter_ns=30 * SECOND_NS))
        offset_ns = scenario.state.due_ns - FIRST_NS
        assert 0 <= offset_ns < 30 * SECOND_NS
        offsets.add(offset_ns)
        assert begun(fire(scenario)) == [0]
        assert scenario.state.due_ns == FIRST_NS + MINUTE_NS + offset_ns
    assert len(offsets) == 4


def test_what_is_paused_is_not_due() -> None:
    """What waited begins when it is resumed; what would have been due meanwhile does not."""
    scenario = schedule(overlap="queue")
    fire(scenario)
    fire(scenario)
    paused = scenario.when(PauseSchedule("quiet", "me"))
    assert kinds(paused.effects) == ["ClearTimer"]
    assert begun(end(scenario)) == []
    now_ns = FIRST_NS + HOUR_NS + SECOND_NS
    assert scenario.when(TimerFired("fire"), now_ns).facts == ()
    resumed = scenario.when(ResumeSchedule("me"), now_ns)
    assert begun(resumed) == [1]
    assert scenario.state.planned_ns == FIRST_NS + HOUR_NS + MINUTE_NS
    assert scenario.when(ResumeSchedule("me")).reply == Accepted("s", repeated=True)
    assert scenario.encoded() == scenario.replayed()


def test_a_trigger_fires_now_by_the_rule_for_overlaps() -> None:
    """Also where the schedule is paused; each has a run of its own."""
    scenario = schedule(paused=True)
    first = scenario.when(TriggerSchedule(0, "me"))
    assert first.reply == Accepted("s:trigger-1")
    assert first.facts == [ScheduleFired(NOW_NS, NOW_NS, "s:trigger-1", 1, "me")]
    busy = scenario.when(TriggerSchedule(0, "me"))
    assert isinstance(busy.reply, Refused)
    assert (busy.reply.code, busy.facts) == ("schedule_busy", ())
    end(scenario)
    assert scenario.when(TriggerSchedule(0, "me")).reply == Accepted("s:trigger-2")


def test_a_time_that_is_over_can_be_made_up_for_by_hand() -> None:
    """Its run has the id that the firing would have had: whoever was early enough began it."""
    scenario = schedule(paused=True, cron="0 * * * *", every_ns=0)
    hour_ns = NOW_NS // HOUR_NS * HOUR_NS
    past = scenario.when(TriggerSchedule(hour_ns, "me"))
    assert past.reply == Accepted("s:20231114T220000Z")
    for wrong_ns in (hour_ns + SECOND_NS, hour_ns + HOUR_NS):
        refused = scenario.when(TriggerSchedule(wrong_ns, "me")).reply
        assert isinstance(refused, Refused)
        assert refused.code == "schedule_time_invalid"


@pytest.mark.parametrize("overlap", ["skip", "queue", "cancel"])
def test_a_time_that_is_made_up_for_twice_is_one_firing(overlap: str) -> None:
    """While its run goes on, or waits for another one: nothing is cancelled, or waits, for it."""
    scenario = schedule(cron="0 * * * *", every_ns=0, overlap=overlap)
    hour_ns = NOW_NS // HOUR_NS * HOUR_NS
    asked = TriggerSchedule(hour_ns, "me")
    scenario.when(asked)
    again = scenario.when(asked)
    assert again.reply == Accepted("s:20231114T220000Z", repeated=True)
    assert (again.facts, again.sends) == ((), ())
    if overlap == "queue":
        earlier = TriggerSchedule(hour_ns - HOUR_NS, "me")
        assert kinds(scenario.when(earlier).facts) == ["FiringQueued"]
        assert scenario.when(earlier).facts == ()


def test_a_schedule_is_made_once_and_replaced_only_where_that_is_said() -> None:
    """What waits and runs goes on; a schedule that is paused stays so."""
    scenario = schedule(overlap="queue")
    assert scenario.when(setting(overlap="queue")).reply == Accepted("s", repeated=True)
    refused = scenario.when(setting(b"other")).reply
    assert isinstance(refused, Refused)
    assert refused.code == "schedule_exists"
    fire(scenario)
    fire(scenario)
    other = setting(b"other", replace=True, every_ns=HOUR_NS)
    replaced = scenario.when(other, FIRST_NS + 90 * SECOND_NS)
    assert kinds(replaced.facts) == ["ScheduleSet", "FiringPlanned"]
    assert kinds(replaced.effects) == ["ClearTimer", "SetTimer"]
    assert scenario.state.planned_ns == FIRST_NS + 90 * SECOND_NS + HOUR_NS
    assert begun(end(scenario)) == [1]
    scenario.when(PauseSchedule("", ""))
    scenario.when(setting(b"third", replace=True))
    assert (scenario.state.status, scenario.state.due_ns) == ("paused", 0)
    assert scenario.encoded() == scenario.replayed()


def test_what_is_deleted_fires_no_more_and_its_name_is_free() -> None:
    """Its run goes on; the ids of triggers are not given twice."""
    scenario = schedule(overlap="queue")
    scenario.when(TriggerSchedule(0, "me"))
    fire(scenario)
    gone = scenario.when(DeleteSchedule("me"))
    assert kinds(gone.facts) == ["FiringsSkipped", "ScheduleDeleted"]
    assert kinds(gone.sends) == ["UnwatchTasks"]
    assert kinds(gone.effects) == ["ClearTimer"]
    assert scenario.when(TimerFired("fire"), FIRST_NS + HOUR_NS).facts == ()
    assert scenario.when(DeleteSchedule("me")).reply == Accepted("s", repeated=True)
    refused = scenario.when(PauseSchedule("", "")).reply
    assert isinstance(refused, Refused)
    assert refused.code == "schedule_not_found"
    assert scenario.when(setting(b"new")).reply == Accepted("s")
    assert scenario.when(TriggerSchedule(0, "me")).reply == Accepted("s:trigger-2")


# -- with runs ------------------------------------------------------------------------------


FIRST_RUN = "s:20231114T221421Z"
"""A stage's clock moves: the schedule is counted from the next second."""


def set_schedule(stage: Stage, **changes: Any) -> None:
    """Make a schedule of a plan with one task."""
    data = pack_plan(plan_of(ONE))
    message = Message(STREAM, setting(**{"definition": blob_of(data), "input": {}, **changes}))
    message.blobs = {blob_of(data).sha256: data}
    message.reply_to = stage.replies.append
    stage.node.accept(message)
    stage.rest()


def fired(stage: Stage) -> list[str]:
    """Return the runs that were begun, as the schedule says."""
    return [fact.run_id for fact in stage.facts(STREAM) if isinstance(fact, ScheduleFired)]


@pytest.mark.parametrize("partitions", [1, 4])
def test_runs_begin_when_they_are_due(partitions: int) -> None:
    """Each is a run like any other; its end is heard, whichever partition it is in."""
    stage = Stage(partitions=partitions)
    set_schedule(stage)
    stage.clock.ns += SECOND_NS
    for count in range(1, 4):
        stage.clock.ns += MINUTE_NS
        stage.rest()
        assert [attempt.stream for attempt in stage.executor.held.values()] == [
            f"task/{fired(stage)[-1]}/a"
        ]
        stage.finish()
        assert len(fired(stage)) == count
    ended = [fact for fact in stage.facts(STREAM) if isinstance(fact, FiredRunEnded)]
    assert [fact.status for fact in ended] == ["completed"] * 3
    assert {stage.ended[run][0] for run in fired(stage)} == {"completed"}
    assert verify(stage.journal).problems == []
    stage.check_live()


@pytest.mark.parametrize("survive", range(6))
@pytest.mark.parametrize("partitions", [1, 4])
def test_a_crash_between_any_two_frames_loses_no_firing_and_doubles_none(
    partitions: int, survive: int
) -> None:
    """Whatever of the firing was durable: after the next start there is one run of it."""
    stage = Stage(partitions=partitions)
    set_schedule(stage)
    now_ns = stage.clock.ns = FIRST_NS + 2 * SECOND_NS
    stage.decide()
    stage = stage.crash(survive)
    stage.clock.ns = now_ns
    stage.finish()
    assert len(fired(stage)) == 1
    assert stage.names(workflow_stream(fired(stage)[0])).count("RunSubmitted") == 1
    assert stage.facts(STREAM)[-1] == FiredRunEnded(fired(stage)[0], "completed")
    assert verify(stage.journal).problems == []


def test_an_absence_is_made_up_for_after_a_restart() -> None:
    """The timer is a row of the log: it fires when a process is there again, late."""
    stage = Stage()
    set_schedule(stage)
    stage = stage.crash()
    stage.clock.ns = FIRST_NS + 10 * MINUTE_NS + 2 * SECOND_NS
    stage.finish()
    assert fired(stage) == ["s:20231114T222421Z"]
    assert [fact[2:] for fact in stage.facts(STREAM) if isinstance(fact, FiringsSkipped)] == [
        (10, "missed")
    ]


def test_a_run_that_somebody_began_under_the_id_of_a_firing_is_its_run() -> None:
    """There is one run of that id; the schedule waits for it like for any other."""
    stage = Stage()
    stage.submit(ONE, FIRST_RUN, digest=b"mine")
    set_schedule(stage)
    stage.clock.ns = FIRST_NS + 2 * SECOND_NS
    stage.finish()
    assert fired(stage) == [FIRST_RUN]
    assert stage.facts(STREAM)[-1] == FiredRunEnded(FIRST_RUN, "completed")


def strikes_once(kinds: dict[str, Decider[Any]]) -> None:
    """Let a bug strike the first timer of a schedule."""
    decider, armed = kinds["schedule"], [True]

    def decide(state: Any, message: Any, moment: Any) -> Any:
        if armed and isinstance(message, TimerFired):
            armed.clear()
            msg = "a bug"
            raise RuntimeError(msg)
        return decider.decide(state, message, moment)

    kinds["schedule"] = replace(decider, decide=decide)


def struck(partitions: int = 1) -> Stage:
    """Return a stage on which a bug took the timer of a schedule: it stands."""
    stage = Stage(partitions=partitions, change=strikes_once)
    set_schedule(stage)
    stage.clock.ns = FIRST_NS + 2 * SECOND_NS
    stage.finish()
    assert (fired(stage), stage.rows("timers"), stage.rows("parked")) == ([], 0, 1)
    return stage


def check_goes_on(stage: Stage) -> None:
    """Check that what was due has its run, and that the next time is planned."""
    stage.finish()
    assert fired(stage) == [FIRST_RUN]
    assert (stage.rows("timers"), stage.rows("parked")) == (1, 0)
    stage.clock.ns += MINUTE_NS
    stage.finish()
    assert len(fired(stage)) == 2
    assert verify(stage.journal).problems == []


@pytest.mark.parametrize("partitions", [1, 4])
@pytest.mark.parametrize("survive", [0, 1, 2, 9])
def test_a_schedule_that_a_bug_stopped_goes_on_when_the_log_is_opened(
    partitions: int, survive: int
) -> None:
    """What woke it is said once more, and parked no more, in one frame: whenever that crashes."""
    stage = struck(partitions)
    now_ns = stage.clock.ns
    stage = stage.crash()
    stage.clock.ns = now_ns
    stage.decide()
    stage = stage.crash(survive)
    stage.clock.ns = now_ns
    check_goes_on(stage)


def test_a_schedule_that_a_bug_stopped_goes_on_when_that_is_redriven() -> None:
    """As `goclaw dead redrive` does."""
    stage = struck()
    (failed,) = [said for said in stage.log() if isinstance(said.fact, MessageFailed)]
    fact = MessageSettled(failed.number, "redelivered", "mended", "me")
    stage.node.dispatchers[0].record([fact], lambda _: None, [Send(STREAM, TimerFired("fire"))])
    check_goes_on(stage)


def test_a_log_that_is_only_looked_after_wakes_no_schedule() -> None:
    """What begins nothing leaves what was parked where it is."""
    stage = struck()
    attended = Stage(stage.journal, attending=True, boot=2)
    attended.clock.ns = stage.clock.ns
    attended.rest()
    assert (fired(attended), attended.rows("parked")) == ([], 1)
