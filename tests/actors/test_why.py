"""Why runs and tasks wait: of a node at work, and of a log that nobody works on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.adjusting import AdjustTask
from goclaw_actors.answering import AskSignal
from goclaw_actors.contents import StoredContents
from goclaw_actors.directory import deciders
from goclaw_actors.lending import Release
from goclaw_actors.letters import RedriveTask
from goclaw_actors.message import Message
from goclaw_actors.messages import (
    LaneFull,
    RoomFor,
    ScheduleTask,
    SlotLeased,
    TaskReported,
)
from goclaw_actors.signalling import HoldWork
from goclaw_actors.why import explain
from goclaw_actors.why import reason as kinds
from goclaw_actors.why.explain import TASKS_MAX
from goclaw_actors.why.live import LiveSight
from goclaw_actors.why.passive import Passive
from goclaw_actors.why.run import DEPTH_MAX
from goclaw_actors.why.stored import StoredSight
from goclaw_events.facts import TaskMoved
from goclaw_events.ids import kind_of, workflow_stream
from tests.actors.stage import CHAIN, LANES, MANY, ONE, Stage

if TYPE_CHECKING:
    from goclaw_actors.why import Reason, Sight

SLEEPY: dict[str, Any] = {"a": {"agent": "x", "retry": {"attempts": 3, "initial": "10s"}}}


def live(stage: Stage) -> LiveSight:
    """Return the node as it is."""
    held = stage.executor.held
    return LiveSight(
        stage.node.dispatchers,
        Passive(stage.journal, stage.kinds),
        lambda token: "here" if token in held else "",
        stage.clock.ns,
    )


def stored(stage: Stage) -> StoredSight:
    """Return the log as it would be found."""
    passive = Passive(stage.journal, deciders(StoredContents(stage.journal)))
    return StoredSight(passive, stage.clock.ns)


def why(sight: Sight, task: str | None = None, run_id: str = "r") -> Reason:
    """Return why a run, or a task of it, waits."""
    found = explain(sight, run_id, task)
    assert found is not None
    return found


def chain(reason: Reason) -> list[str]:
    """Return the kinds along the first branch."""
    return [reason.kind, *(chain(reason.because[0]) if reason.because else [])]


def lose(stage: Stage, kind: type) -> None:
    """Lose the next message of a kind on its way to an inbox: what no engine should ever do."""
    for dispatcher in stage.node.dispatchers:
        _lose(dispatcher.turns, kind)


def _lose(turns: Any, kind: type) -> None:
    deliver = turns.deliver

    def but_one(message: Message) -> None:
        if type(message.body) is kind:
            turns.deliver = deliver
        else:
            deliver(message)

    turns.deliver = but_one


def test_what_is_not_there_is_not_explained() -> None:
    """No run, no task: None."""
    stage = Stage()
    assert explain(live(stage), "r") is None
    stage.submit(ONE)
    stage.rest()
    assert explain(live(stage), "r", "nope") is None
    assert explain(stored(stage), "other") is None


def test_a_chain_ends_at_what_runs() -> None:
    """A task waits for the one that it needs, which runs, since its attempt began."""
    stage = Stage()
    stage.submit(CHAIN)
    stage.rest()
    began_ns = stage.clock.ns
    stage.clock.ns += 5 * 10**9
    for sight, last in ((live(stage), kinds.RUNNING), (stored(stage), kinds.RESTART)):
        found = why(sight, "b")
        assert chain(found) == [kinds.DEPENDENCY, last]
        assert found.details == {"needs": ["a"], "unmet": 1}
        assert 0 < found.because[0].since_ns <= began_ns
        assert chain(why(sight)) == [kinds.RUN, last]
    stage.finish()
    assert why(live(stage), "b").details["status"] == "completed"
    assert why(stored(stage)).kind == kinds.ENDED


def test_who_holds_the_slots_is_named() -> None:
    """Behind three slots: who has them, and how many are before in the queue."""
    stage = Stage()
    stage.submit(MANY, **LANES)
    stage.rest()
    for sight in (live(stage), stored(stage)):
        found = why(sight, "t5")
        slots, order = found.because
        assert (found.kind, slots.kind, order.kind) == ("lane", "lane_slots", "lane_order")
        assert [holder.task for holder in slots.holders] == [f"task/r/t{n}" for n in range(3)]
        assert {holder.status for holder in slots.holders} == {"running"}
        assert order.details == {"ahead": 2, "queued": 9}
    whole = why(live(stage))
    assert [below.kind for below in whole.because].count(kinds.RUNNING) == 3
    assert whole.details == {"name": "w", "status": "running", "tasks": 14, "ended": 0,
                             "active": 13}  # fmt: skip


def test_a_timer_and_a_backoff_say_when() -> None:
    """Until when a wait and a retry last; and why the last attempt failed."""
    stage = Stage()
    stage.submit({"w": {"wait": "30s"}}, "timed")
    stage.submit(SLEEPY)
    stage.rest()
    stage.end(next(iter(stage.executor.held.values())), "failed")
    stage.rest()
    for sight in (live(stage), stored(stage)):
        timer, backoff = why(sight, "w", "timed"), why(sight, "a")
        assert (timer.kind, backoff.kind) == (kinds.TIMER, kinds.BACKOFF)
        assert timer.until_ns - timer.since_ns == 30 * 10**9
        assert backoff.until_ns - backoff.since_ns > 10**9
        assert backoff.details["code"] == "boom"


@pytest.mark.parametrize("how", ["paused", "interrupted"])
def test_a_run_that_stands_still_says_so(how: str) -> None:
    """Its tasks may be what they were; the run is not said to be running."""
    stage = Stage()
    stage.submit({"w": {"wait": "30s"}})
    stage.rest()
    message = Message(workflow_stream("r"), HoldWork("", how, "why", "me", 0.0, "h", b"h"))
    message.command_id, message.digest, message.reply_to = "h", b"h", stage.replies.append
    stage.node.accept(message)
    stage.rest()
    for sight in (live(stage), stored(stage)):
        assert why(sight).details["status"] == how


def test_who_is_past_its_deadline_is_not_stuck() -> None:
    """It gave back what came since, so its run knows no more that it waits: an engine ends it."""
    stage = Stage()
    lose(stage, AskSignal)
    stage.submit({"w": {"wait_for": {"signal": "go", "deadline": "30s"}}})
    stage.rest()
    assert why(stored(stage), "w").kind == kinds.NOTHING
    stage.clock.ns += 30 * 10**9
    assert why(stored(stage), "w").kind == kinds.SIGNAL


def test_a_long_chain_is_cut_short_and_a_wide_run_too() -> None:
    """Beyond `DEPTH_MAX` needs of needs only what holds them all up is named; nothing is lost."""
    stage = Stage()
    names = [f"t{n}" for n in range(200)]
    tasks = {name: {"agent": "x", "needs": names[at - 1 : at]} for at, name in enumerate(names)}
    tasks["t0"] = {"agent": "x"}
    stage.submit(tasks)
    stage.submit({f"w{n}": {"agent": "x"} for n in range(100)}, "wide")
    stage.rest()
    found = chain(why(live(stage), "t199"))
    assert found == [kinds.DEPENDENCY] * (DEPTH_MAX + 1) + [kinds.RUNNING]
    last = [reason for reason in why(live(stage), "t199").walk() if reason.details.get("through")]
    assert last[0].details["through"] == 199 - DEPTH_MAX - 1
    assert len(why(live(stage), None, "wide").because) == TASKS_MAX


def test_what_stops_does_not_start() -> None:
    """A task of a run that is being cancelled will not start; the one that runs is stopping."""
    stage = Stage()
    stage.submit(CHAIN)
    stage.rest()
    stage.cancel("r")
    stage.rest()
    assert why(live(stage), "b").kind == kinds.RUN_STOPPING
    assert why(live(stage), "a").kind == kinds.STOPPING


@pytest.mark.parametrize("partitions", [1, 4])
def test_what_is_on_its_way_is_no_reason_for_worry(partitions: int) -> None:
    """At no step of a run that goes well is anything taken for stuck."""
    stage = Stage(partitions=partitions)
    stage.submit(MANY, **LANES)
    seen = set()
    for _ in range(300):
        stage.node.run_once()
        found = explain(live(stage), "r", tasks_max=100)
        if found is not None:
            assert not found.lost, found.lost
            seen |= {reason.kind for reason in found.walk()}
        stage.commit()
        stage.end_all()
        stage.clock.ns += 10**7
    assert kinds.ENDED in seen
    assert partitions == 1 or kinds.OTHER_PARTITION in seen


@pytest.mark.parametrize("partitions", [1, 4])
def test_who_goes_to_another_lane_is_on_its_way(partitions: int) -> None:
    """At no step between two lanes, or of being ranked anew, is a task taken for stuck."""
    stage = Stage(partitions=partitions)
    lanes = {name: {"concurrency": 1} for name in ("one", "two")}
    stage.submit({f"t{n}": {"agent": "x", "lane": "one"} for n in range(6)}, lanes=lanes)
    for step in range(240):
        stage.node.run_once()
        if step % 5 == 1:
            each: list[dict[str, Any]] = [
                {"lane": "w/two"}, {"priority": step}, {"lane": "w/one"},
            ]  # fmt: skip
            body = AdjustTask(f"t{step % 6}", f"j{step}", each[step // 5 % 3], "me", b"")
            stage.node.accept(Message("workflow/r", body))
        found = explain(live(stage), "r", tasks_max=100)
        assert found is None or not found.lost, (step, found)
        stage.commit()
        if step % 20 == 19 and stage.executor.held:
            stage.end(next(iter(stage.executor.held.values())))
    facts = [fact for n in range(6) for fact in stage.facts(f"task/r/t{n}")]
    assert sum(isinstance(fact, TaskMoved) for fact in facts) > 1


@pytest.mark.parametrize(
    ("lost", "evidence"),
    [
        (ScheduleTask, "never told"),
        (SlotLeased, "a slot that it never heard of"),
        (TaskReported, "its run was never told"),
    ],
)
def test_a_message_that_is_lost_is_seen(lost: type, evidence: str) -> None:
    """Where nothing is coming, nothing will wake the task: it is said what is missing."""
    stage = Stage()
    lose(stage, lost)
    stage.submit(ONE)
    stage.finish()
    for sight in (live(stage), stored(stage)):
        found = why(sight, "a")
        assert found.kind == kinds.NOTHING
        assert evidence in found.details["evidence"]
        assert why(sight).lost == (found,)


def test_an_attempt_that_nobody_holds_is_seen() -> None:
    """An attempt that the executor lost has no outcome to come."""
    stage = Stage()
    stage.submit(ONE)
    stage.rest()
    stage.executor.held.clear()
    assert "is nowhere" in why(live(stage), "a").details["evidence"]


def test_a_slot_that_is_never_given_back_is_seen() -> None:
    """Whoever waits for a slot of a task that has ended, and did not say so, is stuck."""
    stage = Stage()
    tasks = {name: {"agent": "x", "lane": "io"} for name in "ab"}
    stage.submit(tasks, lanes={"io": {"concurrency": 1}})
    stage.rest()
    lose(stage, Release)
    stage.finish()
    found = why(live(stage), "b")
    assert "will give it back" in found.lost[0].details["evidence"]
    assert kind_of(found.lost[0].subject) == "lane"


def test_looking_changes_nothing() -> None:
    """No actor is activated, no fact recorded."""
    stage = Stage()
    stage.submit(MANY, **LANES)
    stage.rest()
    stage = stage.crash(0)
    stage.rest()
    before = stage.live(), len(stage.log())
    assert why(live(stage)).kind == kinds.RUN
    assert (stage.live(), len(stage.log())) == before


BLOCKING: dict[str, Any] = {"io": {"concurrency": 1, "capacity": 1, "overflow": "block"}}
WIDE: dict[str, Any] = {f"t{n}": {"agent": "x", "lane": "io"} for n in range(4)}


@pytest.mark.parametrize("see", [live, stored])
def test_who_is_held_back_waits_for_room(see: Any) -> None:
    """The lane is full: how full, and how many runs are before, for a task of either run."""
    stage = Stage()
    for run in ("r", "other"):
        stage.submit(WIDE, run, lanes=BLOCKING)
        stage.rest()
    for run, before in (("r", 0), ("other", 1)):
        reason = why(see(stage), "t3", run)
        assert chain(reason) == [kinds.LANE, kinds.LANE_FULL]
        assert reason.because[0].details == {"queued": 1, "capacity": 1, "runs_before": before}


@pytest.mark.parametrize("kind", [LaneFull, RoomFor])
def test_who_is_held_back_and_forgotten_is_stuck(kind: type) -> None:
    """A word that is lost between the lane and the run is found: nothing will wake the task."""
    stage = Stage()
    stage.submit(WIDE, lanes=BLOCKING)
    if kind is LaneFull:
        lose(stage, kind)
    stage.rest()
    if kind is RoomFor:
        lose(stage, kind)
        stage.end_all()
        stage.rest()
    assert why(live(stage), "t3").lost


@pytest.mark.parametrize("see", [live, stored])
def test_who_joins_waits_for_the_one_with_the_key(see: Any) -> None:
    """It is named, with the key."""
    unique = {"key": "${input.k}", "on_duplicate": "join"}
    stage = Stage()
    for run in ("first", "r"):
        task = {"a": {"agent": "x", "unique": unique}}
        stage.submit(task, run, input={"k": {}}, given={"k": "rome"})
        stage.rest()
    reason = why(see(stage), "a")
    assert reason.kind == kinds.UNIQUE
    assert reason.details == {"key": "rome", "on_duplicate": "join", "holder": "task/first/a"}


def test_a_dead_letter_waits_for_a_person() -> None:
    """Nothing is missing to its run; once it is redriven it waits for what any task waits for."""
    stage = Stage()
    stage.submit({"a": {"agent": "x", "retry": {"on_exhausted": "dead_letter"}}})
    stage.rest()
    stage.end(next(iter(stage.executor.held.values())), "failed", code="boom")
    stage.rest()
    for sight in (live(stage), stored(stage)):
        assert chain(why(sight)) == [kinds.RUN, kinds.DEAD_LETTER]
        assert why(sight, "a").details["code"] == "boom"
    stage.node.accept(Message("workflow/r", RedriveTask("a", None, None, "", "me")))
    stage.rest()
    assert chain(why(live(stage))) == [kinds.RUN, kinds.RUNNING]
