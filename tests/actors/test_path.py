"""A run whose path is changed while it goes on: skipped, added, chosen, replaced, run again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.collecting import WatchTasks
from goclaw_actors.decider import Accepted, Decision, Moment, Refused
from goclaw_actors.errors import PathRefused
from goclaw_actors.message import Message
from goclaw_actors.messages import TaskReported
from goclaw_actors.path_order import Choice, Wanted, order_change
from goclaw_actors.pathing import AskMore, ChangePath, PathAnswer, StandAside
from goclaw_actors.rebuild import actor_at
from goclaw_actors.task import task_decider
from goclaw_actors.workflow import workflow_decider
from goclaw_events.facts import (
    ChildStarted,
    PathChanged,
    PathKept,
    RunSubmitted,
    TaskDropped,
    TaskFailed,
    TaskScheduled,
)
from goclaw_events.faults import InvalidDefinition
from goclaw_events.ids import task_stream, workflow_stream
from goclaw_events.plan import pack_plan
from goclaw_events.plan.fragment import fragment_from
from goclaw_events.value import blob_of
from tests.actors.given import Scenario, Shelf, kinds, plan_of
from tests.actors.stage import Stage

if TYPE_CHECKING:
    from goclaw_actors.workflow.state import Run

CHAIN: dict[str, Any] = {
    "a": {"agent": "x"},
    "b": {"agent": "x", "needs": ["a"]},
    "c": {"agent": "x", "needs": ["b"], "with": {"got": "${tasks.b.result}"}},
}
LANE: dict[str, Any] = {"lanes": {"io": {"concurrency": 1}}}


def run_of(stage: Stage) -> Run:
    """Return the run as its durable facts have it."""
    found: Run = actor_at(stage.journal, stage.kinds, 0, workflow_stream("r")).state
    return found


def order(stage: Stage, wanted: Wanted, change: str = "one", **more: Any) -> Message:
    """Return the command that makes a change of the run as it is."""

    def has_begun(task: str) -> bool:
        found = actor_at(stage.journal, stage.kinds, 0, task_stream("r", task)).state
        return bool(found.attempt)

    made = order_change(run_of(stage), wanted, change, stage.journal.blob, has_begun, **more)
    message = Message(workflow_stream("r"), made.command)
    message.blobs = made.blobs
    message.reply_to = stage.replies.append
    if made.command.definition is not None and made.plan is not None:
        stage.contents.hold(made.command.definition, made.plan)
    return message


def change(stage: Stage, wanted: Wanted, name: str = "one", **more: Any) -> Any:
    """Change the path, let all come to rest, and return what was answered."""
    stage.node.accept(order(stage, wanted, name, **more))
    stage.rest()
    return stage.replies[-1].answer


def add(raw: dict[str, Any], *, replace: bool = False) -> Wanted:
    """Return a change that adds a fragment."""
    return Wanted(fragment=fragment_from(raw), replace=replace, said=raw)


def begun(stage: Stage) -> list[tuple[str, int]]:
    """Return which tasks run, with their generations."""
    return [(a.task_id, a.generation) for a in stage.executor.held.values()]


def ended(stage: Stage) -> tuple[str, Any]:
    """Let everything end, return what became of the run; check each live actor."""
    stage.finish(value=1)
    stage.check_live()
    return stage.ended["r"]


def test_skipped_task_is_passed_over() -> None:
    """What needs it goes on, and sees the result that was given for it."""
    stage = Stage()
    stage.submit(CHAIN)
    stage.rest()
    assert change(stage, Wanted(skip={"b": {"n": 7}})) == Accepted("one")
    stage.end_all(1)
    stage.rest()
    assert begun(stage) == [("c", 0)]
    assert stage.executor.started[-1].params == {"got": {"n": 7}}
    assert ended(stage) == ("completed", 1)


def test_skipping_the_last_ends_the_run() -> None:
    """A wait may be skipped while it lasts; a run of which nothing is left ends at once."""
    stage = Stage()
    stage.submit({"a": {"wait": "1h"}, "b": {"agent": "x", "needs": ["a"]}})
    stage.rest()
    assert change(stage, Wanted(skip={"a": None, "b": 4})) == Accepted("one")
    assert stage.ended["r"] == ("completed", 4)
    assert stage.rows("timers") == 0


def test_queued_task_leaves_its_lane() -> None:
    """A task in a lane is withdrawn first; the others go on."""
    stage = Stage()
    tasks = {name: {"agent": "x", "lane": "io"} for name in "abc"}
    stage.submit(tasks, **LANE)
    stage.rest()
    (running,) = [task for task, _ in begun(stage)]
    queued = next(task for task in "bc" if task != running)
    change(stage, Wanted(skip={queued: 5}))
    assert isinstance(stage.facts("workflow/r")[-1], PathChanged)
    assert stage.names(task_stream("r", queued))[-1] == "TaskDropped"
    status, result = ended(stage)
    assert status == "completed"
    assert result[queued] == 5


def test_begun_task_is_not_skipped() -> None:
    """A task that runs is left alone, and what stood aside for the change goes on."""
    stage = Stage()
    stage.submit({name: {"agent": "x", "lane": "io"} for name in "abc"}, **LANE)
    stage.rest()
    change(stage, Wanted(skip={"a": None, "b": None}))
    kept = stage.facts("workflow/r")[-1]
    assert isinstance(kept, PathKept)
    assert kept.code == "path_task_begun"
    status, result = ended(stage)
    assert (status, set(result)) == ("completed", {"a", "b", "c"})
    assert "TaskResumed" in stage.names("task/r/b")


def test_all_faults_are_said_at_once() -> None:
    """What is ended, unknown or said twice is refused by name, and nothing changes."""
    stage = Stage()
    stage.submit(CHAIN)
    stage.rest()
    stage.end_all(1)
    stage.rest()
    before = len(stage.log())
    answer = change(stage, Wanted(skip={"a": 1, "z": 1}, rerun=("c",)))
    assert isinstance(answer, Refused)
    assert answer.code == "path_refused"
    for code in ("task_finished: skip.a", "task_not_found: skip.z", "task_not_begun: rerun.c"):
        assert code in answer.message
    assert len(stage.log()) == before


def test_repeated_change_is_one() -> None:
    """The same id with the same words gets the first answer; with others it is a conflict."""
    stage = Stage()
    stage.submit(CHAIN)
    stage.rest()
    change(stage, Wanted(skip={"b": 1}, said=1))
    assert change(stage, Wanted(skip={"b": 1}, said=1)) == Accepted("one", repeated=True)
    answer = change(stage, Wanted(skip={"c": 1}, said=2))
    assert isinstance(answer, Refused)
    assert answer.code == "command_conflict"


def test_added_tasks_run() -> None:
    """New tasks may need those that ended and those that have not, and these may need new ones."""
    stage = Stage()
    stage.submit(CHAIN)
    stage.rest()
    stage.end_all(1)
    stage.rest()
    fragment = {
        "tasks": {
            "d": {"agent": "x", "needs": ["a"], "with": {"a": "${tasks.a.result}"}},
            "e": {"agent": "x", "needs": ["c"]},
        },
        "needs": {"c": ["d"]},
    }
    assert change(stage, add(fragment)) == Accepted("one")
    assert sorted(begun(stage)) == [("b", 0), ("d", 0)]
    assert stage.executor.started[-1].params == {"a": 1}
    for task in ("b", "d", "c"):
        (attempt,) = [a for a in stage.executor.held.values() if a.task_id == task]
        stage.end(attempt, value=2)
        stage.rest()
    assert begun(stage) == [("e", 0)]
    assert ended(stage) == ("completed", 1)


def test_added_task_that_is_wrong_is_refused() -> None:
    """A cycle, an unknown need and an id that is taken are told together, and nothing is said."""
    stage = Stage()
    stage.submit(CHAIN)
    stage.rest()
    fragment = {
        "tasks": {
            "d": {"agent": "x", "needs": ["c", "z"]},
            "a": {"agent": "x"},
        },
        "needs": {"b": ["d"]},
    }
    with pytest.raises(InvalidDefinition) as caught:
        order(stage, add(fragment))
    assert {fault.code for fault in caught.value.faults} == {
        "cycle", "dangling_need", "duplicate_task",
    }  # fmt: skip


def test_change_of_another_version_is_refused() -> None:
    """What was made against a plan that is not there any more changes nothing."""
    stage = Stage()
    stage.submit(CHAIN)
    stage.rest()
    late = order(stage, add({"tasks": {"e": {"agent": "x"}}}), "late")
    change(stage, add({"tasks": {"d": {"agent": "x"}}}))
    stage.node.accept(late)
    stage.rest()
    answer = stage.replies[-1].answer
    assert isinstance(answer, Refused)
    assert answer.code == "plan_changed"
    answer = change(stage, Wanted(skip={"c": 1}), "third", if_version=1)
    assert isinstance(answer, Refused)
    assert answer.code == "plan_changed"


def test_choice_skips_the_other_branches() -> None:
    """What is chosen runs without asking its condition; the others, and what follows, do not."""
    stage = Stage()
    tasks = {
        "a": {"agent": "x"},
        "b": {"agent": "x", "needs": ["a"], "when": "${tasks.a.result} == 5"},
        "c": {"agent": "x", "needs": ["a"]},
        "d": {"agent": "x", "needs": ["c"]},
    }
    stage.submit(tasks)
    stage.rest()
    change(stage, Wanted(choose=Choice("a", ("b",))))
    stage.end_all(1)
    stage.rest()
    assert begun(stage) == [("b", 0)]
    assert ended(stage) == ("completed", {"b": 1, "d": None})
    with pytest.raises(PathRefused, match="does not need"):
        order(stage, Wanted(choose=Choice("a", ("d",))))


def test_rest_is_replaced() -> None:
    """What has begun stays; what has not goes, queued or not, and the fragment takes its place."""
    stage = Stage()
    tasks: dict[str, Any] = {name: {"agent": "x", "lane": "io"} for name in "ab"}
    tasks["c"] = {"agent": "x", "needs": ["a", "b"]}
    stage.submit(tasks, **LANE)
    stage.rest()
    fragment = {"tasks": {"c": {"agent": "y", "needs": ["a"]}, "d": {"agent": "x", "needs": ["c"]}}}
    assert change(stage, add(fragment, replace=True)) == Accepted("one")
    assert isinstance(stage.facts("workflow/r")[-1], PathChanged)
    stage.end_all(1)
    stage.rest()
    assert [(a.task_id, a.agent) for a in stage.executor.held.values()] == [("c", "y")]
    assert ended(stage) == ("completed", 1)
    assert stage.names("task/r/b")[-1] == "TaskDropped"


def test_task_runs_again() -> None:
    """It and all that depends on it begin a new generation; what runs of it is stopped first."""
    stage = Stage()
    stage.submit({**CHAIN, "z": {"agent": "x"}})
    stage.rest()
    for _ in range(2):
        for attempt in [a for a in stage.executor.held.values() if a.task_id in "ab"]:
            stage.end(attempt, value=1)
        stage.rest()
    assert sorted(begun(stage)) == [("c", 0), ("z", 0)]
    change(stage, Wanted(rerun=("b",)))
    assert [stop.token for stop in stage.executor.stops] == [
        a.token for a in stage.executor.held.values() if a.task_id == "c"
    ]
    (stopped,) = [a for a in stage.executor.held.values() if a.task_id == "c"]
    stage.end(stopped, "cancelled")
    stage.rest()
    assert sorted(begun(stage)) == [("b", 1), ("z", 0)]
    status, result = ended(stage)
    assert (status, result) == ("completed", {"c": 1, "z": 1})
    assert [a.generation for a in stage.executor.started if a.task_id == "c"] == [0, 1]


def test_change_survives_a_crash_at_every_frame() -> None:
    """However far a change came, the next process takes it to its end."""
    for frames in range(1, 12):
        stage = Stage()
        stage.submit(
            {**CHAIN, "q": {"agent": "x", "lane": "io"}, "s": {"agent": "x", "lane": "io"}}, **LANE
        )
        stage.rest()
        stage.node.accept(order(stage, Wanted(skip={"s": 3}, rerun=("a",))))
        for _ in range(frames):
            stage.node.run_once()
            stage.commit(1)
        stage = stage.crash()
        stage.rest()
        for attempt in list(stage.executor.held.values()):
            if attempt.task_id == "a" and attempt.generation == 0 and stage.executor.stops:
                stage.end(attempt, "cancelled")
        assert ended(stage)[0] == "completed", frames


def test_collectors_hear_of_skipped_tasks() -> None:
    """Who waits for a task in a lane hears that it was skipped."""
    stage = Stage()
    stage.submit({name: {"agent": "x", "lane": "io"} for name in "ab"}, **LANE)
    watch = WatchTasks("collector/c", ["b"], None)
    stage.node.accept(Message(workflow_stream("r"), watch))
    stage.rest()
    told: list[Any] = []
    decider = stage.kinds["collector"]

    def decide(state: Any, body: Any, moment: Moment) -> Decision:
        told.append(body)
        return decider.decide(state, body, moment)

    stage.kinds["collector"] = replace(decider, decide=decide)
    change(stage, Wanted(skip={"b": None}))
    assert [body.ended for body in told] == [[["b", 0, "skipped", ""]]]


def test_a_child_runs_again() -> None:
    """A task that stands for a run cancels it, and begins another one."""
    stage = Stage()
    child = plan_of({"w": {"agent": "x"}}, name="below")
    message = stage.submission({"c": {"workflow": "below"}, "z": {"agent": "x"}})
    ref = blob_of(pack_plan(child))
    assert message.blobs is not None
    message.blobs = {**message.blobs, ref.sha256: pack_plan(child)}
    message.body = message.body._replace(children={"below": ref})
    stage.node.accept(message)
    stage.rest()
    assert [task for task, _ in begun(stage)].count("w") == 1
    change(stage, Wanted(rerun=("c",)))
    for stop in list(stage.executor.stops):
        stage.end(stage.executor.held[stop.token], "cancelled")
    stage.rest()
    runs = [fact.run_id for fact in stage.facts("task/r/c") if isinstance(fact, ChildStarted)]
    assert len(set(runs)) == 2
    assert ended(stage) == ("completed", {"c": 1, "z": 1})
    assert stage.ended[runs[0]][0] == "cancelled"


def test_a_unique_task_runs_again_within_its_window() -> None:
    """The key that its first generation completed with is its own."""
    stage = Stage()
    unique = {"key": "${task.id}", "window": "1h", "on_duplicate": "refuse"}
    stage.submit({"a": {"agent": "x", "unique": unique}, "z": {"agent": "x"}})
    stage.rest()
    (first,) = [a for a in stage.executor.held.values() if a.task_id == "a"]
    stage.end(first, value=1)
    stage.rest()
    change(stage, Wanted(rerun=("a",)))
    assert sorted(begun(stage)) == [("a", 1), ("z", 0)]
    assert ended(stage) == ("completed", {"a": 1, "z": 1})


def test_tasks_that_a_lane_has_no_room_for_are_skipped() -> None:
    """A run that holds tasks back for a full lane asks for no room for them any more."""
    stage = Stage()
    lanes = {"io": {"concurrency": 1, "capacity": 1, "overflow": "block"}}
    stage.submit({name: {"agent": "x", "lane": "io"} for name in "abcd"}, lanes=lanes)
    stage.rest()
    assert change(stage, Wanted(skip=dict.fromkeys("bcd"))) == Accepted("one")
    assert ended(stage) == ("completed", {"a": 1, "b": None, "c": None, "d": None})
    lane = actor_at(stage.journal, stage.kinds, 0, "lane/w/io").state
    assert [len(lane.queued), len(lane.leased), len(lane.room.waiters)] == [0, 0, 0]


def test_a_change_ends_with_its_run() -> None:
    """A run that is cancelled while tasks are to stop gives the change up, and ends."""
    stage = Stage()
    stage.submit(CHAIN)
    stage.rest()
    change(stage, Wanted(rerun=("a",)))
    stage.cancel("r")
    stage.rest()
    stage.end(next(iter(stage.executor.held.values())), "cancelled")
    stage.rest()
    assert stage.ended["r"][0] == "cancelled"
    assert [type(fact) for fact in stage.facts("workflow/r")].count(PathKept) == 1


def test_a_generation_that_nobody_scheduled_is_idle() -> None:
    """A change that follows another at once is answered for the generation that is to come."""
    shelf = Shelf()
    ref = shelf.put_plan(plan_of(CHAIN))
    task = Scenario(task_decider(shelf), "task/r/a")
    task.given(TaskScheduled(ref, 0, {}, "w/io", 0), TaskDropped("why"))
    asked = StandAside("p", ref, stop=True)
    (told,) = task.when(asked).sends
    assert isinstance(told.body, TaskReported)
    (told,) = task.when(asked._replace(generation=1)).sends
    assert told.body == PathAnswer("p", "a", "idle")


def test_a_task_that_ends_as_its_path_is_changed_is_not_dropped_when_it_runs_again() -> None:
    """Its run schedules the next generation as it hears of the end, before it drops the last."""
    shelf = Shelf()
    ref = shelf.put_plan(plan_of({"a": {"agent": "x"}}))
    run = Scenario(workflow_decider(shelf), "workflow/r")
    task = Scenario(task_decider(shelf), "task/r/a")
    run.given(RunSubmitted(ref, "p", {}, {}, b"d", None, "me"))
    task.given(TaskScheduled(ref, 0, {}, "w/io", 0))
    run.when(ChangePath("p", b"d", None, None, [], ["a"], [], [], [], [], "me", "", None))
    (asks,) = run.when(AskMore("p", 0)).sends
    (answers,) = task.when(asks.body).sends
    (concludes,) = run.when(answers.body).sends
    drops, *_ = run.when(concludes.body).sends
    task.given(TaskFailed("timeout", "its time is over"))
    (schedules,) = run.when(TaskReported("a", 0, "failed", None, ["timeout", ""])).sends
    assert kinds(task.when(schedules.body).facts) == ["TaskScheduled"]
    (dropped,) = run.when(drops.body).sends
    assert task.when(dropped.body).facts == ()
    assert task.state.status == "scheduled"


def test_what_stood_aside_in_a_run_that_fails_is_cancelled() -> None:
    """A change that is given up because its run fails leaves nobody standing."""
    stage = Stage()
    tasks = {name: {"agent": "x", "lane": "io"} for name in "abc"}
    stage.submit(tasks, on_failure="let_finish", lanes={"io": {"concurrency": 2}})
    stage.rest()
    first, second = stage.executor.held.values()
    stage.node.accept(order(stage, Wanted(skip={"c": None}, rerun=(second.task_id,))))
    stage.rest()
    stage.end(first, "failed")
    stage.rest()
    stage.end(second, "cancelled")
    stage.rest()
    assert stage.ended["r"][0] == "failed"
    assert stage.names("task/r/c")[-1] == "TaskCancelled"
