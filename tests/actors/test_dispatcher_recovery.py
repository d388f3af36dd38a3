"""The same command again, failed commits, restarts: nothing is lost, nothing happens twice."""

from __future__ import annotations

import pytest

from goclaw_actors.decider import Accepted
from goclaw_actors.message import Message
from goclaw_actors.messages import LoseAttempt
from goclaw_actors.path_order import Wanted
from goclaw_actors.ports import Limits
from goclaw_actors.rebuild import actor_at
from goclaw_events.errors import JournalBroken, JournalFull, JournalUnavailable
from goclaw_events.facts import AttemptLost, OutcomeRefused, TaskCompleted
from goclaw_events.verify import verify
from tests.actors.stage import CHAIN, LANES, MANY, ONE, Stage
from tests.actors.test_path import change


@pytest.mark.parametrize("how", ["live", "passivated", "restarted"])
def test_a_command_is_carried_out_once(how: str) -> None:
    """By its id: the same body gets the same answer, another body is a conflict."""
    stage = Stage(limits=Limits(live_actors_max=1 if how == "passivated" else 100))
    stage.submit(CHAIN)
    stage.submit(CHAIN, "other")
    stage.rest()
    stage.cancel("r", "c1")
    stage.rest()
    if how == "restarted":
        stage = stage.crash()
        stage.rest()
    facts = len(stage.facts("workflow/r"))
    stage.cancel("r", "c1")
    stage.rest()
    assert stage.replies[-1].answer == Accepted("r", repeated=True)
    stage.cancel("r", "c1", reason="another body")
    stage.rest()
    assert getattr(stage.replies[-1].answer, "code", "") == "command_conflict"
    assert len(stage.facts("workflow/r")) == facts


@pytest.mark.parametrize("partitions", [1, 4])
def test_a_command_without_an_engine_begins_nothing(partitions: int) -> None:
    """A run is cancelled; what its slot would go to, and what ran, wait for the next process."""
    stage = Stage(partitions=partitions)
    for run in ("first", "second"):
        stage.submit({"a": {"agent": "x", "lane": "io"}}, run, lanes={"io": {"concurrency": 1}})
    stage.submit(ONE, "other")
    stage.rest()
    names = {run: stage.names(f"task/{run}/a") for run in ("second", "other")}
    stage = stage.crash(attending=True)
    stage.cancel("first")
    stage.rest()
    assert stage.ended == {"first": ("cancelled", None)}
    assert stage.executor.started == []
    assert {run: stage.names(f"task/{run}/a") for run in names} == names
    stage = stage.crash(attending=True)  # a slot that was kept back stays so
    stage.rest()
    stage = stage.crash(attending=False)
    stage.rest()
    assert {(each.run_id, each.attempt) for each in stage.executor.started} == {
        ("second", 1),
        ("other", 2),
    }
    stage.finish()
    assert {status for status, _ in stage.ended.values()} == {"completed"}
    assert verify(stage.journal).problems == []


def test_a_lane_that_let_go_of_a_task_is_heard_behind_the_slot_that_it_gave() -> None:
    """Without an engine a slot waits, and so does what the lane says after it."""
    stage, lane = Stage(), {"io": {"concurrency": 1}}
    for run in ("s", "r"):
        stage.submit({"a": {"agent": "x", "lane": "io"}}, run, lanes=lane)
        stage.rest()
    stage = stage.crash(attending=True)
    stage.cancel("s")
    stage.rest()
    assert stage.rows("inbox") == 1, "the slot is for the task of r"
    assert change(stage, Wanted(rerun=("a",))) == Accepted("one")
    stage = stage.crash(attending=False)
    stage.rest()
    (running,) = stage.executor.held.values()
    lent = actor_at(stage.journal, stage.kinds, 0, "lane/w/io").state.leased
    assert (running.run_id, running.generation, list(lent)) == ("r", 1, ["task/r/a"])
    stage.finish()
    assert verify(stage.journal).problems == []


def test_a_loss_that_is_said_again_without_an_engine_waits_for_one() -> None:
    """As what was parked is: another attempt would begin that nobody runs."""
    stage = Stage()
    stage.submit(ONE)
    stage.rest()
    (token,) = stage.executor.held
    names = stage.names("task/r/a")
    stage = stage.crash(attending=True)
    again = Message("task/r/a", LoseAttempt(token.number, 3))
    again.id = (token.number, 0)
    stage.node.accept(again)
    stage.rest()
    assert (stage.names("task/r/a"), stage.rows("inbox")) == (names, 1)
    stage = stage.crash(attending=True)
    stage.rest()
    assert stage.names("task/r/a") == names
    stage = stage.crash(attending=False)
    stage.finish()
    assert stage.names("task/r/a") == [
        *names, "AttemptLost", "AttemptStarted", "TaskCompleted"
    ]  # fmt: skip
    assert stage.rows("inbox") == 0
    assert verify(stage.journal).problems == []


def test_a_process_that_only_took_a_command_is_no_stop_of_the_one_that_died() -> None:
    """What was lost with a crash counts as such, and what a stop cost does not."""
    for stopped in (False, True):
        stage = Stage()
        stage.submit(ONE)
        stage.submit(CHAIN, "s")
        stage.rest()
        if stopped:
            stage.node.record_closed()
            stage.commit()
        stage = stage.crash(attending=True)
        stage.cancel("s")
        stage.rest()
        stage.node.record_closed()
        stage.commit()
        stage = stage.crash(attending=False)
        stage.rest()
        lost = [fact for fact in stage.facts("task/r/a") if type(fact) is AttemptLost]
        assert [fact.stopped for fact in lost] == [stopped]


def test_a_refusal_is_not_remembered() -> None:
    """A command that was refused may be sent again with the same id, and succeed."""
    stage = Stage()
    stage.cancel("r", "c1")
    stage.submit(ONE)
    stage.cancel("r", "c1")
    stage.rest()
    answers = [reply.answer for reply in stage.replies]
    assert getattr(answers[0], "code", "") == "run_not_found"
    assert answers[2] == Accepted("r")


@pytest.mark.parametrize("restart", [False, True])
def test_a_submission_is_known_by_its_run_id(restart: bool) -> None:
    """The same request is a repeat, another one a conflict; also after a restart."""
    stage = Stage()
    stage.submit(ONE)
    stage.finish()
    if restart:
        stage = stage.crash()
    stage.submit(ONE)
    stage.submit(ONE, digest=b"other")
    stage.rest()
    same, other = (reply.answer for reply in stage.replies[-2:])
    assert same == Accepted("r", repeated=True)
    assert getattr(other, "code", "") == "command_conflict"


@pytest.mark.parametrize("partitions", [1, 4])
@pytest.mark.parametrize("stored", [False, True])
def test_a_failed_commit_loses_nothing(stored: bool, partitions: int) -> None:
    """Outcomes are handled again, commands are answered `outcome_unknown`, work goes on."""
    stage = Stage(partitions=partitions)
    stage.submit(MANY, **LANES)
    stage.rest()
    for attempt in list(stage.executor.held.values()):
        stage.end(attempt, value=attempt.task_id)
    stage.submit(CHAIN, "s")
    stage.decide()
    stage.journal.fail_next(JournalFull("no space"), stored=stored)
    stage.commit()
    assert getattr(stage.replies[-1].answer, "code", "") == "outcome_unknown"
    assert stage.replies[-1].position is None
    stage.submit(CHAIN, "s")
    assert getattr(stage.replies[-1].answer, "code", "") == "disk_full"
    stage.rest()
    stage.submit(CHAIN, "s")
    stage.rest()
    assert stage.replies[-1].answer == Accepted("s", repeated=stored)
    stage.clock.ns += 2_000_000_000
    stage.finish()
    assert {run: status for run, (status, _) in stage.ended.items()} == {
        "r": "completed",
        "s": "completed",
    }
    assert len({attempt.token for attempt in stage.executor.started}) == len(stage.executor.started)
    assert [
        fact for said in stage.log() for fact in [said.fact] if type(fact) is OutcomeRefused
    ] == []
    results = [said.fact.result for said in stage.log() if isinstance(said.fact, TaskCompleted)]
    assert {"t0", "t1", "t2"} <= set(results)
    assert verify(stage.journal).problems == []


def test_a_message_without_a_sender_outlives_a_failed_commit() -> None:
    """What waited when the commit failed is handled when the log is open again."""
    stage = Stage(limits=Limits(commits_in_flight_max=1))
    stage.submit(ONE)
    stage.node.run_once()
    silent = stage.submission(ONE, "silent")
    silent.reply_to = None
    stage.node.accept(silent)
    stage.journal.fail_next(JournalUnavailable("no"))
    stage.commit()
    stage.finish()
    assert stage.ended == {"silent": ("completed", None)}


def test_the_node_waits_for_a_log_that_cannot_be_opened_yet() -> None:
    """It tries again after a while; what comes meanwhile is held."""
    stage = Stage()
    stage.submit(ONE)
    stage.rest()
    stage.end_all()
    stage.decide()
    recover = stage.journal.recover
    tries: list[int] = []

    def fail_once() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise JournalUnavailable("not yet")
        recover()

    stage.journal.recover = fail_once  # type: ignore[method-assign]
    stage.journal.fail_next(JournalFull("no space"))
    stage.commit()
    assert not stage.node.run_once()
    assert not stage.node.idle
    assert not stage.node.run_once()
    assert len(tries) == 1
    stage.clock.ns = stage.node.wake_ns()
    stage.finish()
    assert stage.ended["r"][0] == "completed"


def test_a_broken_disk_stops_the_node() -> None:
    """After an input/output error nothing is tried again."""
    stage = Stage()
    stage.submit(ONE)
    stage.decide()
    stage.journal.fail_next(JournalBroken("i/o"))
    with pytest.raises(JournalBroken):
        stage.commit()


def test_a_disk_that_broke_meanwhile_stops_the_node() -> None:
    """A batch that is refused because of it ends the node, too: nobody is told to ask again."""
    stage = Stage()
    stage.submit(ONE)
    stage.decide()
    stage.journal.fail_next(JournalBroken("i/o"))
    stage.journal.commit()
    stage.submit(ONE, "late")
    with pytest.raises(JournalBroken):
        stage.decide()
    assert stage.replies == []


@pytest.mark.parametrize("survive", [0, 1, 2])
@pytest.mark.parametrize("partitions", [1, 4])
def test_a_crash_between_any_two_steps_loses_nothing(survive: int, partitions: int) -> None:
    """Unfinished runs go on by themselves; tasks end once; lost attempts start again."""
    limits = Limits(batch_messages_max=3, lost_max=1_000)
    stage = Stage(partitions=partitions, limits=limits)
    stage.submit(MANY, **LANES)
    stage.node.run_once()
    stage.commit()
    for _ in range(30):
        stage.node.run_once()
        stage.end_all()
        stage = stage.crash(survive)
        stage.node.run_once()
        stage.commit()
    stage.clock.ns += 2_000_000_000
    stage.finish()
    assert stage.facts("workflow/r")[-1].__class__.__name__ == "RunCompleted"
    for task in MANY:
        assert stage.names(f"task/r/{task}").count("TaskCompleted") == 1
    assert (stage.rows("inbox"), stage.rows("attempts"), stage.rows("timers")) == (0, 0, 0)
    assert verify(stage.journal).problems == []


def test_a_restart_activates_nothing_that_has_nothing_to_do() -> None:
    """It reads rows, not actors."""
    stage = Stage()
    stage.submit({"w": {"wait": "1h"}})
    stage.rest()
    after = stage.crash()
    after.rest()
    assert after.live() == 0
    after.clock.ns += 3_601_000_000_000
    after.rest()
    assert after.facts("workflow/r")[-1].__class__.__name__ == "RunCompleted"
