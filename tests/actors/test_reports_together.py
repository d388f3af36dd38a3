"""Several tasks of a run that ended, heard of in one turn."""

from __future__ import annotations

from typing import Any

from goclaw_actors.decider import Refused
from goclaw_actors.message import Message
from goclaw_actors.messages import CancelTask, ScheduleTask, StopMore, SubmitRun, TaskReported
from goclaw_actors.ports import Limits
from goclaw_actors.workflow import Run, workflow_decider
from goclaw_events.errors import JournalFull
from goclaw_events.facts import RunCompleted, TaskEnded
from goclaw_events.replay import stream_turns
from tests.actors.given import Scenario, Shelf, kinds, moment, plan_of
from tests.actors.stage import Stage

TASKS: dict[str, Any] = {
    "a": {"agent": "x"},
    "b": {"agent": "x", "needs": ["a"]},
    "c": {"agent": "x"},
    "d": {"agent": "x", "needs": ["a", "c"]},
}


def begun(**head: Any) -> Scenario[Run]:
    """Return a run of TASKS that was submitted."""
    shelf = Shelf()
    ref = shelf.put_plan(plan_of(TASKS, **head))
    scenario = Scenario(workflow_decider(shelf), "workflow/r")
    scenario.when(SubmitRun(ref, "w", {}, {}, b"d", None, ""))
    return scenario


def report(task: str, status: str = "completed") -> TaskReported:
    """Return what a task says when it ends."""
    error = ["boom", "it broke"] if status == "failed" else None
    return TaskReported(task, 0, status, None, error)


def together(scenario: Scenario[Run], *messages: TaskReported) -> Any:
    """Have reports answered in one turn, and apply its facts."""
    assert scenario.decider.pool is not None
    before = scenario.encoded()
    decision = scenario.decider.pool.decide(scenario.state, messages, moment())
    assert scenario.encoded() == before, "deciding changed the state"
    scenario.given(*decision.facts)
    assert scenario.encoded() == scenario.replayed()
    return decision


def test_what_becomes_ready_is_scheduled_once() -> None:
    """Whatever of its needs ended in the turn; a repeated report is passed over."""
    scenario = begun()
    decision = together(scenario, report("a"), report("c"), report("a"))
    assert [fact.task for fact in decision.facts] == ["a", "c"]
    assert [(send.target, type(send.body)) for send in decision.sends] == [
        ("task/r/b", ScheduleTask),
        ("task/r/d", ScheduleTask),
    ]
    assert together(scenario, report("a"), report("c")).facts == ()


def test_the_last_reports_end_the_run() -> None:
    """With one fact more."""
    scenario = begun()
    together(scenario, report("a"), report("c"))
    decision = together(scenario, report("b"), report("d"))
    assert kinds(decision.facts) == ["TaskEnded", "TaskEnded", "RunCompleted"]


def test_what_one_made_ready_is_stopped_where_another_failed() -> None:
    """It was never scheduled, but the run counts on hearing of it."""
    scenario = begun()
    decision = together(scenario, report("a"), report("c", "failed"))
    assert [type(send.body) for send in decision.sends] == [StopMore]
    stopping = scenario.when(decision.sends[0].body)
    assert [(send.target, type(send.body)) for send in stopping.sends] == [("task/r/b", CancelTask)]
    ended = scenario.when(report("b", "cancelled"))
    assert kinds(ended.facts) == ["TaskEnded", "RunFailed"]


def test_a_run_hears_of_all_that_ended_in_a_batch_at_once() -> None:
    """In one turn of its stream, for one message each."""
    stage = Stage()
    stage.submit({f"t{number}": {"agent": "x"} for number in range(8)})
    stage.rest()
    stage.end_all()
    stage.finish()
    facts = stage.facts("workflow/r")
    assert [type(fact) for fact in facts[1:]] == [TaskEnded] * 8 + [RunCompleted]
    assert len(list(stream_turns(stage.journal, "workflow/r"))) == 2
    assert len(stage.facts("lane//default")) == 2


def test_a_command_that_waits_in_an_inbox_is_answered_when_a_commit_fails() -> None:
    """A full batch may leave it there, behind what its actor pools; it was not recorded."""
    stage = Stage(limits=Limits(batch_messages_max=1, commits_in_flight_max=9))
    stage.submit({"a": {"agent": "x"}, "b": {"agent": "x", "needs": ["a"]}})
    stage.rest()
    answered = len(stage.replies)
    run = stage.node.dispatchers[0].turns.directory.entity("workflow/r")
    run.tell(Message("workflow/r", report("a"), id=(1, 1)))
    stage.cancel("r")
    run.tell(stage.node.dispatchers[0].commands.pop())
    stage.node.dispatchers[0].abandon(JournalFull("no space"))
    (reply,) = stage.replies[answered:]
    assert isinstance(reply.answer, Refused)
    assert reply.answer.code == JournalFull.code
