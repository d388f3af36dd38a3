"""The auditor: a run that nothing will wake is found, recorded once, and taken back if it moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.auditor import EVIDENCE_MAX, Auditor
from goclaw_actors.contents import StoredContents
from goclaw_actors.directory import deciders
from goclaw_actors.lending import Release
from goclaw_actors.message import Message
from goclaw_actors.messages import (
    ChildEnded,
    JudgeRun,
    ScheduleTask,
    SlotLeased,
    TaskReported,
)
from goclaw_actors.why.live import LiveSight
from goclaw_events.facts import RunStuck, RunUnstuck
from goclaw_events.ids import owner_stream
from tests.actors.stage import CHAIN, LANES, MANY, ONE, Stage
from tests.actors.test_why import lose

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_actors.why import Sight
    from goclaw_actors.why.passive import Passive

ROUNDS_MAX = 1_000


def auditor_of(stage: Stage) -> Auditor:
    """Return an auditor of a stage, which it asks between two batches."""

    def look(at: Callable[[Sight], Any], passive: Passive) -> Any:
        held = stage.executor.held
        dispatchers = stage.node.dispatchers
        place_of: Callable[[Any], str] = lambda token: "here" if token in held else ""  # noqa: E731
        return at(LiveSight(dispatchers, passive, place_of, stage.clock.ns, brief=True))

    def judge(run_id: str, evidence: list[list[str]]) -> None:
        stage.node.accept(Message(owner_stream(run_id), JudgeRun(evidence)))

    return Auditor(stage.journal, deciders(StoredContents(stage.journal)), look, judge, is_live)


def is_live(_: str) -> bool:
    """Tell that the dispatchers may have an actor in memory or not: both must do."""
    return False


def audited(stage: Stage, auditor: Auditor) -> list[str]:
    """Look at everything once, and again at what seems stuck; return who was judged."""
    for _ in range(ROUNDS_MAX):
        if auditor.look_at(2) < 2:
            break
    judged = auditor.confirm()
    stage.rest()
    return judged


def stuck(stage: Stage, run_id: str = "r") -> list[Any]:
    """Return the facts of a run about being stuck."""
    said = stage.facts(f"workflow/{run_id}")
    return [fact for fact in said if isinstance(fact, RunStuck | RunUnstuck)]


@pytest.mark.parametrize("partitions", [1, 4])
def test_what_goes_well_is_not_touched(partitions: int) -> None:
    """At any step, with messages under way, timers and queues: nobody is judged."""
    stage = Stage(partitions=partitions)
    for number in range(5):
        stage.submit(MANY, f"r{number}", **LANES)
    auditor = auditor_of(stage)
    for _ in range(60):
        stage.node.run_once()
        stage.commit()
        if not stage.journal._queue:
            auditor.look_at(3)
            assert auditor.suspects == 0
        stage.end_all()
        stage.clock.ns += 10**8
    assert not [fact for fact in stage.log() if isinstance(fact.fact, RunStuck)]


@pytest.mark.parametrize("lost", [ScheduleTask, SlotLeased, TaskReported])
def test_a_lost_message_is_found_and_recorded_once(lost: type) -> None:
    """The run gets one fact with what is missing; nothing more while it stays so; others none."""
    stage = Stage()
    stage.submit({"w": {"wait": "1h"}}, "fine")
    stage.rest()
    lose(stage, lost)
    stage.submit(CHAIN)
    stage.finish()
    auditor = auditor_of(stage)
    assert audited(stage, auditor) == ["r"]
    (fact,) = stuck(stage)
    assert fact.evidence[0][0] == "task/r/a"
    assert len(fact.evidence) <= EVIDENCE_MAX
    assert audited(stage, auditor) == []
    assert audited(stage.crash(), auditor_of(stage)) == []
    assert stuck(stage) == [fact]
    assert stuck(stage, "fine") == []


@pytest.mark.parametrize("lost", [ScheduleTask, SlotLeased, TaskReported])
def test_a_stuck_run_can_be_cancelled(lost: type) -> None:
    """Whatever was lost: cancelling ends the run, and nothing of it is left."""
    stage = Stage()
    lose(stage, lost)
    stage.submit(CHAIN)
    stage.finish()
    assert audited(stage, auditor_of(stage)) == ["r"]
    stage.cancel("r")
    stage.finish()
    assert stage.ended["r"][0] == "cancelled"
    assert [stage.rows(table) for table in ("open", "timers", "attempts", "inbox")] == [0] * 4


def test_a_run_that_moves_again_is_taken_back() -> None:
    """What was missing comes after all: that is a fact, too, and the run ends as ever."""
    stage = Stage()
    kept: list[Message] = []
    turns: Any = stage.node.dispatchers[0].turns
    deliver = turns.deliver

    def late(message: Message) -> None:
        (kept.append if type(message.body) is SlotLeased else deliver)(message)

    turns.deliver = late
    stage.submit(ONE)
    stage.rest()
    auditor = auditor_of(stage)
    assert audited(stage, auditor) == ["r"]
    turns.deliver = deliver
    stage.node.accept(Message(kept[0].target, kept[0].body))
    stage.rest()
    assert audited(stage, auditor) == ["r"]
    assert [type(fact) for fact in stuck(stage)] == [RunStuck, RunUnstuck]
    stage.finish()
    assert stage.ended["r"][0] == "completed"


def test_a_leaked_slot_is_found_by_those_behind_it() -> None:
    """All who wait for a slot that does not come back are stuck; the lane is the evidence."""
    stage = Stage()
    tasks = {name: {"agent": "x", "lane": "io"} for name in "ab"}
    lose(stage, Release)
    stage.submit(tasks, lanes={"io": {"concurrency": 1}})
    stage.submit(tasks, "r2", lanes={"io": {"concurrency": 1}})
    stage.finish()
    judged = audited(stage, auditor_of(stage))
    assert judged == ["r", "r2"]
    assert stuck(stage, judged[0])[0].evidence[0][0].startswith("lane/")


def test_a_child_that_ended_in_silence_is_found() -> None:
    """The task of the parent waits for a word that was lost: the parent is stuck, and says so."""
    stage = Stage()
    lose(stage, ChildEnded)
    parent = stage.submission({"c": {"workflow": "kid"}}, "p")
    child = stage.submission(ONE, "unused")
    assert parent.blobs is not None
    assert child.blobs is not None
    parent.blobs |= child.blobs
    parent.body = parent.body._replace(children={"kid": child.body.definition})
    stage.node.accept(parent)
    stage.finish()
    assert audited(stage, auditor_of(stage)) == ["p"]
    assert "has ended, and it was never told" in stuck(stage, "p")[0].evidence[0][1]


def test_what_was_only_late_is_not_recorded() -> None:
    """A run that seems stuck at the first look, and moves before the second, is left alone."""
    stage = Stage()
    stage.submit(ONE)
    stage.rest()
    auditor = auditor_of(stage)
    held = dict(stage.executor.held)
    stage.executor.held.clear()
    auditor.look_at(10)
    assert auditor.suspects == 1
    stage.executor.held.update(held)
    assert auditor.confirm() == []
    assert auditor.suspects == 0
