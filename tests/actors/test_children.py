"""Runs that are tasks of other runs: begun once, told of, cancelled with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.messages import (
    CancelRun,
    CancelTask,
    ChildEnded,
    ScheduleTask,
    SlotLeased,
    SubmitRun,
    TimerFired,
)
from goclaw_actors.task import task_decider
from goclaw_actors.task.child import child_id
from goclaw_actors.workflow import workflow_decider
from goclaw_events.facts import ChildStarted
from goclaw_events.plan import pack_plan
from goclaw_events.value import blob_of
from goclaw_events.verify import verify
from tests.actors.given import NOW_NS, Scenario, Shelf, kinds, plan_of
from tests.actors.stage import Stage

if TYPE_CHECKING:
    from goclaw_actors.task import Task
    from goclaw_events.plan import Plan
    from goclaw_events.value import BlobRef

S_NS = 10**9
CHILD: dict[str, Any] = {"c": {"agent": "x", "with": {"n": "${input.n}"}}}
INPUT = {"n": {"type": "integer"}}
PARENT: dict[str, Any] = {
    "a": {"workflow": "sub", "with": {"n": 7}},
    "b": {"agent": "x", "with": {"got": "${tasks.a.result}"}, "needs": ["a"]},
}


def sub_plan(**head: Any) -> Plan:
    """Return the plan of the child."""
    return plan_of(CHILD, **{"input": INPUT, **head})


class Family(Stage):
    """A stage on which runs have children."""

    def submit_with(
        self, tasks: dict[str, Any], children: dict[str, Plan], run_id: str = "r", **head: Any
    ) -> None:
        """Submit a run with the plans that its tasks may name."""
        message = self.submission(tasks, run_id, **head)
        blobs = {blob_of(pack_plan(plan)): pack_plan(plan) for plan in children.values()}
        refs = {name: blob_of(pack_plan(plan)) for name, plan in children.items()}
        message.body = message.body._replace(children=refs)
        assert message.blobs is not None
        message.blobs |= {ref.sha256: data for ref, data in blobs.items()}
        self.node.accept(message)


def family(stage: Stage) -> Family:
    """Return the next process as a stage for children."""
    made = Family(stage.journal, limits=stage.limits, boot=stage.boot)
    made.clock.ns = stage.clock.ns
    return made


def task(**fields: Any) -> tuple[Scenario[Task], BlobRef, ScheduleTask]:
    """Return a task that is to stand for a run, and what schedules it."""
    shelf = Shelf()
    definition = {"a": {"workflow": "sub", "with": {"n": 7}, **fields}}
    plan = plan_of(definition, lanes={"io": {}})
    ref, child = shelf.put_plan(plan), shelf.put_plan(sub_plan())
    lane = plan.tasks[0].lane
    message = ScheduleTask(ref, 0, {"n": 7}, lane, 0, 0, [child, 1, None])
    return Scenario(task_decider(shelf), "task/r/a"), child, message


def submitted(decision: Any) -> SubmitRun:
    """Return the submission that a decision sends."""
    return next(send.body for send in decision.sends if isinstance(send.body, SubmitRun))


def test_without_a_lane_the_child_begins_at_once() -> None:
    """Two facts; the submission says whose child it is; the result is the child's."""
    scenario, child, message = task()
    decision = scenario.when(message)
    assert kinds(decision.facts) == ["TaskScheduled", "ChildStarted"]
    run_id = child_id("r", "a", 0, 1)
    assert decision.facts[1] == ChildStarted(1, run_id, child)
    assert [send.target for send in decision.sends] == [f"workflow/{run_id}"]
    body = submitted(decision)
    assert (body.parent, body.depth, body.input) == ("task/r/a", 1, {"n": 7})
    ended = scenario.when(ChildEnded(run_id, "completed", {"big": 1}, None))
    assert kinds(ended.facts) == ["TaskCompleted"]
    assert kinds(ended.sends) == ["TaskReported"]
    assert scenario.when(ChildEnded(run_id, "completed", 2, None)).facts == ()
    assert scenario.encoded() == scenario.replayed()


def test_with_a_lane_it_begins_with_a_slot_and_waits_without() -> None:
    """The child begins when the slot comes, and the slot goes back at once: who waits holds none.

    The end gives it back again: in a log of before, it was held all the time.
    """
    scenario, _, message = task(lane="io")
    assert kinds(scenario.when(message).sends) == ["Enqueue"]
    begun = scenario.when(SlotLeased())
    assert kinds(begun.facts) == ["ChildStarted"]
    assert kinds(begun.sends) == ["Release", "SubmitRun"]
    ended = scenario.when(ChildEnded(begun.facts[0].run_id, "completed", 1, None))
    assert kinds(ended.sends) == ["Release", "TaskReported"]


def test_an_attempt_is_one_run_and_a_retry_is_another() -> None:
    """Ids follow from run, task, generation and attempt: the same whenever it is decided."""
    retry = {"attempts": 2, "initial": "1s", "jitter": "none"}
    scenario, _, message = task(retry=retry)
    first = scenario.when(message).facts[1].run_id
    failed = scenario.when(ChildEnded(first, "failed", None, ["boom", "why"]))
    assert kinds(failed.facts) == ["AttemptFailed"]
    assert failed.sends == ()
    assert f"run {first} failed: why" in failed.facts[0].message
    again = scenario.when(TimerFired("due"), NOW_NS + S_NS)
    assert kinds(again.facts) == ["ChildStarted"]
    second = again.facts[0].run_id
    assert (first, second) == tuple(child_id("r", "a", 0, attempt) for attempt in (1, 2))
    assert scenario.when(ChildEnded(first, "completed", 1, None)).facts == (), "of the first run"
    assert kinds(scenario.when(ChildEnded(second, "failed", None, ["e", "m"])).facts) == [
        "AttemptFailed", "TaskFailed",
    ]  # fmt: skip


def test_a_deadline_is_never_later_than_the_parents() -> None:
    """The narrowest of the run's, the task's total and the attempt's timeout."""
    for fields, parents_s, expected_s in (
        ({}, 0, 0), ({}, 9, 9), ({"timeout": "5s"}, 9, 5), ({"timeout": "20s"}, 9, 9),
        ({"total_timeout": "3s", "timeout": "5s"}, 9, 3),
    ):  # fmt: skip
        scenario, _, message = task(**fields)
        parents_ns = NOW_NS + parents_s * S_NS if parents_s else 0
        body = submitted(scenario.when(message._replace(deadline_ns=parents_ns)))
        assert body.deadline_ns == (NOW_NS + expected_s * S_NS if expected_s else 0)
    shelf = Shelf()
    ref = shelf.put_plan(sub_plan(timeout="1h"))
    run = Scenario(workflow_decider(shelf), "workflow/r")
    submit = SubmitRun(ref, "w", {"n": 1}, {}, b"d", None, "", "task/p/a", 1, NOW_NS + S_NS)
    assert run.when(submit).facts[0].deadline_ns == NOW_NS + S_NS


def test_input_that_does_not_fit_fails_the_task() -> None:
    """Typed, before anything is submitted."""
    scenario, _, message = task()
    for params in ({"n": "text"}, {}, {"n": 1, "more": 2}):
        fresh = Scenario(scenario.decider, "task/r/a")
        decision = fresh.when(message._replace(params=params))
        assert kinds(decision.facts) == ["TaskScheduled", "TaskFailed"]
        assert decision.facts[1].code == "invalid_input"
        assert kinds(decision.sends) == ["TaskReported"]


def test_cancelling_a_task_cancels_its_child_and_waits() -> None:
    """What was already queued only is left alone; the task ends when the child has ended."""
    scenario, _, message = task()
    run_id = scenario.when(message).facts[1].run_id
    assert scenario.when(CancelTask("why", queued_only=True)).facts == ()
    cancelled = scenario.when(CancelTask("why"))
    assert [(send.target, send.body) for send in cancelled.sends] == [
        (f"workflow/{run_id}", CancelRun("why", "task/r/a"))
    ]
    ended = scenario.when(ChildEnded(run_id, "cancelled", None, None))
    assert kinds(ended.facts) == ["TaskCancelled"]


def test_an_id_that_is_taken_is_told_to_the_parent() -> None:
    """A run that somebody else submitted under the child's id is not taken for it."""
    shelf = Shelf()
    ref = shelf.put_plan(sub_plan())
    run = Scenario(workflow_decider(shelf), "workflow/r")
    own = SubmitRun(ref, "w", {"n": 1}, {}, b"d", None, "")
    run.when(own)
    told = run.when(own._replace(parent="task/p/a"))
    assert told.facts == ()
    assert [(send.target, send.body.error[0]) for send in told.sends] == [
        ("task/p/a", "command_conflict")
    ]


def test_a_child_says_its_end_again_when_it_is_asked_again() -> None:
    """A submission that is delivered twice begins nothing; one that came late is answered."""
    shelf = Shelf()
    ref = shelf.put_plan(plan_of({"w": {"agent": "x", "when": "1 > 2"}}))
    run = Scenario(workflow_decider(shelf), "workflow/r")
    submit = SubmitRun(ref, "w", {}, {}, b"d", None, "", "task/p/a", 1)
    first = run.when(submit)
    assert "ChildEnded" in kinds(first.sends)
    again = run.when(submit)
    assert (again.facts, kinds(again.sends)) == ((), ["ChildEnded"])


@pytest.mark.parametrize("partitions", [1, 4])
def test_a_result_travels_up(partitions: int) -> None:
    """Through partitions; large results too; nothing is left in any table; the log is whole."""
    stage = Family(partitions=partitions)
    stage.submit_with(PARENT, {"sub": sub_plan()})
    stage.rest()
    (attempt,) = stage.executor.held.values()
    assert (attempt.run_id, attempt.params) == (child_id("r", "a", 0, 1), {"n": 7})
    stage.end(attempt, value="x" * 100_000)
    stage.finish()
    assert stage.ended["r"][0] == stage.ended[attempt.run_id][0] == "completed"
    (last,) = [one for one in stage.executor.started if one.task_id == "b"]
    assert last.params["got"].size > 100_000
    assert [stage.rows(table) for table in ("timers", "open", "inbox", "attempts")] == [0] * 4
    assert verify(stage.journal).problems == []
    assert stage.check_live() > 0


@pytest.mark.parametrize("partitions", [1, 4])
@pytest.mark.parametrize("survive", range(0, 9, 2))
def test_a_crash_anywhere_makes_no_second_child(partitions: int, survive: int) -> None:
    """Whatever frames reached the disk, every run is submitted once and everything ends."""
    stage = Family(partitions=partitions)
    stage.submit_with(PARENT, {"sub": sub_plan()})
    stage.decide()
    for _ in range(3):
        stage = family(stage.crash(survive))
        stage.decide()
    if not stage.log() or not stage.names("workflow/r"):
        stage.submit_with(PARENT, {"sub": sub_plan()})
    stage.finish()
    names = [type(said.fact).__name__ for said in stage.log()]
    assert (names.count("RunSubmitted"), names.count("ChildStarted")) == (2, 1)
    assert names.count("RunCompleted") == 2
    assert stage.rows("open") == 0


def test_a_failure_and_a_cancel_travel() -> None:
    """Up: the child's code is the task's. Down: cancelling the parent ends what runs below."""
    stage = Family(partitions=4)
    nested = {"a": {"workflow": "middle"}}
    children = {"middle": plan_of({"m": {"workflow": "sub", "with": {"n": 1}}}), "sub": sub_plan()}
    stage.submit_with(nested, children, "fails")
    stage.submit_with(nested, children, "stops")
    stage.rest()
    first, second = stage.executor.held.values()
    owner = {said.fact.run_id: said.stream for said in stage.log()
             if isinstance(said.fact, ChildStarted)}  # fmt: skip
    top = owner[owner[first.run_id].split("/")[1]].split("/")[1]
    failing, stopping = (first, second) if top == "fails" else (second, first)
    stage.end(failing, "failed")
    stage.cancel("stops")
    stage.rest()
    assert stage.ended["fails"][0] == "failed"
    error = stage.facts("workflow/fails")[-1]
    assert (error.code, error.task) == ("boom", "a")
    assert [stop.token for stop in stage.executor.stops] == [stopping.token]
    assert "stops" not in stage.ended, "it waits for what is below it"
    stage.end(stopping, "cancelled")
    stage.rest()
    assert stage.ended["stops"][0] == "cancelled"
    assert stage.ended[stopping.run_id][0] == "cancelled"
    assert stage.rows("open") == 0


def test_recursion_ends_at_the_limit() -> None:
    """A definition that calls itself without end fails typed, 16 runs below the first."""
    stage = Family()
    again = {"a": {"workflow": "w"}}
    stage.submit_with(again, {"w": plan_of(again)})
    stage.finish()
    names = [type(said.fact).__name__ for said in stage.log()]
    assert names.count("RunSubmitted") == 17
    failed = stage.facts("workflow/r")[-1]
    assert failed.code == "child_too_deep"
    assert stage.rows("open") == 0


def test_a_definition_that_nobody_knew_fails_its_task() -> None:
    """A plan that a run was not given cannot be begun by it."""
    stage = Family()
    stage.submit(PARENT)
    stage.finish()
    assert stage.facts("workflow/r")[-1].code == "definition_unknown"


def test_a_bug_in_a_child_reaches_the_parent() -> None:
    """Where the submission itself cannot be handled, nobody waits for ever."""

    def change(kinds_of: dict[str, Any]) -> None:
        from dataclasses import replace

        decider = kinds_of["workflow"]

        def decide(state: Any, message: Any, moment: Any) -> Any:
            if isinstance(message, SubmitRun) and message.parent:
                msg = "a bug"
                raise RuntimeError(msg)
            return decider.decide(state, message, moment)

        kinds_of["workflow"] = replace(decider, decide=decide)

    stage = Family(change=change)
    stage.submit_with(PARENT, {"sub": sub_plan()})
    stage.finish()
    assert stage.ended["r"][0] == "failed"
    assert stage.facts("workflow/r")[-1].code == "internal_bug"
