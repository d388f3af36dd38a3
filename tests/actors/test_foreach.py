"""Runs that work on the items of a list: so many at a time, in order, by a rule for failures."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goclaw_actors.answering import AskSignal, AwaitTask, SendNamed
from goclaw_actors.decider import Refused
from goclaw_actors.messages import (
    CancelRun,
    ChildEnded,
    ScheduleTask,
    SubmitRun,
    TaskReported,
    TimerFired,
)
from goclaw_actors.pathing import ChangePath
from goclaw_actors.task import task_decider
from goclaw_actors.workflow import mail, workflow_decider
from goclaw_actors.workflow.deadline import DEADLINE
from goclaw_events.facts import RunCompleted, TaskCompleted
from goclaw_events.items import ITEMS_MAX
from goclaw_events.plan import mapped_ref
from goclaw_events.verify import verify
from tests.actors.given import Scenario, Shelf, kinds, moment, plan_of
from tests.actors.play import Play
from tests.actors.stage import Stage

if TYPE_CHECKING:
    from goclaw_actors.workflow.state import Run

LIST = ["a", "b", "c", "d", "e"]


def over(items: Any = None, **task: Any) -> dict[str, Any]:
    """Return tasks of which one works on a list."""
    said = {"agent": "x", "foreach": "${tasks.scan.result}", "needs": ["scan"], **task}
    return {"scan": {"agent": "x"}, "each": {"with": {"one": "${item}"}, **said}}


class Items(Play):
    """A run over a list, whose items the test plays; `most` were at work at a time."""

    most = 0

    def __init__(self, items: list[Any], **task: Any) -> None:
        super().__init__(over(**task))
        base = self.ref
        self.ref = mapped_ref(base, "each", len(items))
        self.plan = self.shelf.plan(self.ref)
        self.run = Scenario(workflow_decider(self.shelf), "workflow/r", large=len(items) > 100)
        self.active.clear()
        self.ends.clear()
        self.most = 0
        self.submitted = self.tell(
            SubmitRun(self.ref, "w", {"items": items}, {}, b"d", None, "", "task/above/each", 1)
        )

    def _hear_of_task(self, task: str, body: Any, *, fresh: bool) -> None:
        if isinstance(body, ChildEnded):
            return
        super()._hear_of_task(task, body, fresh=fresh)
        self.most = max(self.most, len(self.active))

    @property
    def result(self) -> Any:
        """Return the result of the run."""
        return self.ends[0].result


def test_so_many_are_at_work_and_the_next_follows_any_that_ends() -> None:
    """A slow item holds up no other: what follows it begins when another ends."""
    play = Items(LIST, parallel=2)
    assert list(play.active) == ["each:0", "each:1"]
    assert [body.params for body in play.active.values()] == [{"one": "a"}, {"one": "b"}]
    for done, begun in ((1, 2), (2, 3), (3, 4)):
        play.report(f"each:{done}", result=done)
        assert list(play.active) == ["each:0", f"each:{begun}"]
    play.report("each:4", result=4)
    play.report("each:0", result=0)
    assert play.status == "completed"
    assert play.result == [0, 1, 2, 3, 4], "in the order of the list, however they ended"
    assert play.run.encoded() == play.run.replayed()


def test_an_empty_list_is_an_empty_result() -> None:
    """Nothing begins; the run that has nothing to do has done it."""
    play = Items([])
    assert (play.status, play.result) == ("completed", [])


@pytest.mark.parametrize(("rule", "ended"), [("fail_fast", 4), ("let_finish", 4)])
def test_by_default_a_failure_ends_it(rule: str, ended: int) -> None:
    """fail_fast stops the others, let_finish waits for them; nothing further begins."""
    play = Items(LIST, parallel=4, on_item_failure=rule)
    play.report("each:1", "failed")
    assert play.cancelled == (["each:0", "each:2", "each:3"] if rule == "fail_fast" else [])
    for index in (0, 2, 3):
        play.report(f"each:{index}")
    assert play.status == "failed"
    assert play.ends[0].error == ("boom", "why", "each:1")
    assert play.run.state.ended == ended, "the fifth never began"


def test_some_may_fail() -> None:
    """With continue the others go on; null stands in the place of what failed."""
    play = Items(LIST, on_item_failure="continue", item_failures_max=2)
    for index in range(5):
        play.report(f"each:{index}", "failed" if index in (1, 3) else "completed", index)
    assert (play.status, play.result) == ("completed", [0, None, 2, None, 4])


def test_more_than_may_fail_it() -> None:
    """The one beyond `item_failures_max` stops what is at work."""
    play = Items(LIST, parallel=3, on_item_failure="continue", item_failures_max=1)
    play.report("each:0", "failed")
    assert play.cancelled == []
    play.report("each:1", "failed", code="worse")
    assert play.cancelled == ["each:2", "each:3"]
    play.report("each:2")
    play.report("each:3", "cancelled")
    assert play.status == "failed"
    assert play.ends[0].error == ("boom", "why", "each:0")


def test_a_list_that_is_out_of_time_fails_by_that_and_not_by_what_might_fail() -> None:
    """An item that failed within the rule is not why the list did."""
    play = Items(LIST[:2], on_item_failure="continue")
    play.report("each:0", "failed")
    play.tell(TimerFired(DEADLINE))
    play.report("each:1", "cancelled")
    assert play.status == "failed"
    code, _, task = play.ends[0].error or ("", "", "")
    assert (code, task) == ("timeout", "")
    assert play.run.encoded() == play.run.replayed()


def test_outcomes_say_how_each_ended() -> None:
    """With `item_results: outcomes` a failure is told from a result that is null."""
    play = Items(LIST[:2], on_item_failure="continue", item_results="outcomes")
    play.report("each:0", "failed")
    play.report("each:1", result=None)
    assert play.result == [
        {"status": "failed", "result": None, "error": {"code": "boom", "message": "why"}},
        {"status": "completed", "result": None, "error": None},
    ]


def test_items_read_what_their_task_could() -> None:
    """The input, results and the id of the run above, beside the item and its place."""
    reads = {
        "item": "${item.n}", "at": "${index}", "text": "no. ${index} of ${input.who}",
        "all": "${tasks.scan.result}", "how": "${tasks.scan.status}", "needs": "${needs.scan[0]}",
        "run": "${run.id}", "task": "${task.id}", "key": "${secret.KEY}",
    }  # fmt: skip
    tasks = over(**{"with": reads})
    play = Play(tasks, {"who": "me"}, input={"who": {}})
    play.report("scan", result=[{"n": 7}])
    order: ScheduleTask = play.active["each"]
    assert order.child is not None
    assert order.child[:2] == [mapped_ref(play.ref, "each", 1), 1]
    run: Scenario[Any] = Scenario(workflow_decider(play.shelf), "workflow/c")
    decision = run.when(
        SubmitRun(order.child[0], "w", order.params, {}, b"d", None, "", "task/r/each", 1)
    )
    params = next(s.body.params for s in decision.sends if isinstance(s.body, ScheduleTask))
    assert str(params.pop("key")) == "${secret.KEY}"
    assert params == {
        "item": 7, "at": 0, "text": "no. 0 of me", "all": [{"n": 7}], "how": "completed",
        "needs": {"n": 7}, "run": "r", "task": "each:0",
    }  # fmt: skip


def test_a_large_list_is_read_where_it_stands() -> None:
    """The items stay a reference in the input; each task is given its own as a value."""
    shelf = Shelf()
    ref = shelf.put_plan(plan_of(over()))
    large = shelf.put_value([{"n": 1}, {"n": 2}])
    run: Scenario[Any] = Scenario(workflow_decider(shelf), "workflow/c")
    decision = run.when(
        SubmitRun(mapped_ref(ref, "each", 2), "w", {"items": large}, {}, b"d", None, "")
    )
    given_ = [s.body.params for s in decision.sends if isinstance(s.body, ScheduleTask)]
    assert given_ == [{"one": {"n": 1}}, {"one": {"n": 2}}]


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("text", "foreach_invalid"), (None, "foreach_invalid"), ({"a": 1}, "foreach_invalid"),
        ([0] * (ITEMS_MAX + 1), "fan_out_too_large"),
    ],
)  # fmt: skip
def test_what_is_no_list_or_too_long_fails_the_task(value: Any, code: str) -> None:
    """The task ends before it begins, with a code of its own; its run fails."""
    play = Play(over())
    play.report("scan", result=value)
    assert play.status == "failed"
    assert play.ends[0].error is not None
    assert (play.ends[0].error[0], play.ends[0].error[2]) == (code, "each")
    assert ("is a mapping, not a list" in play.ends[0].error[1]) == isinstance(value, dict)


def test_lists_in_lists_are_bounded_in_depth() -> None:
    """A run of items is one below the task's own, and counts as any child."""
    play = Play(over())
    play.run.state.depth = 16
    play.report("scan", result=[1])
    assert play.ends[0].error is not None
    assert play.ends[0].error[0] == "child_too_deep"


def test_the_task_stands_for_a_run_and_ends_as_it_does() -> None:
    """It holds no slot; the run of its items is begun with it, and its result is the task's."""
    shelf = Shelf()
    ref = shelf.put_plan(plan_of(over()))
    items = mapped_ref(ref, "each", 2)
    scenario = Scenario(task_decider(shelf), "task/r/each")
    begun = scenario.when(ScheduleTask(ref, 0, {"items": [1, 2]}, "", 0, 0, [items, 1, None]))
    assert kinds(begun.facts) == ["TaskScheduled", "ChildStarted"]
    body = next(send.body for send in begun.sends if isinstance(send.body, SubmitRun))
    assert (body.definition, body.input, body.parent) == (items, {"items": [1, 2]}, "task/r/each")
    ended = scenario.when(ChildEnded(begun.facts[1].run_id, "completed", [3, 4], None))
    assert kinds(ended.facts) == ["TaskCompleted"]
    assert scenario.encoded() == scenario.replayed()


def test_a_cancel_stops_what_is_at_work() -> None:
    """What has not begun never does."""
    play = Items(LIST, parallel=2)
    play.tell(CancelRun("enough", ""))
    assert play.cancelled == ["each:0", "each:1"]
    play.report("each:0", "cancelled")
    play.report("each:1", "completed", 1)
    assert play.status == "cancelled"
    assert play.run.state.ended == 2


def waiting(signal: str, count: int, parallel: int = 2) -> Scenario[Run]:
    """Return the run of items that wait for signals; the first of them have asked."""
    shelf = Shelf()
    task = {"foreach": "${tasks.scan.result}", "wait_for": {"signal": signal}, "needs": ["scan"]}
    base = shelf.put_plan(plan_of({"scan": {"agent": "x"}, "each": {**task, "parallel": parallel}}))
    run = Scenario(workflow_decider(shelf), "workflow/r", large=True)
    said = {"items": list(range(count))}
    begun = run.when(
        SubmitRun(mapped_ref(base, "each", count), "w", said, {}, b"d", None, "", "task/a/each", 1)
    )
    for send in begun.sends:
        if isinstance(send.body, AwaitTask):
            task_id = send.target.rpartition("/")[2]
            run.when(AskSignal(task_id, 0, send.body.signal))
    return run


def test_a_signal_finds_its_item_or_waits_for_it() -> None:
    """Of a name that an item may have it is kept; it is given when that begins, to it alone."""
    run = waiting("n-${item}", 3)
    early = run.when(SendNamed("n-2", "s2", 2, "", b"2"))
    assert kinds(early.facts) == ["SignalReceived"]
    given = run.when(SendNamed("n-1", "s1", 1, "", b"1"))
    assert [send.target for send in given.sends] == ["task/r/each:1"]
    next_one = run.when(TaskReported("each:1", 0, "completed", 1, None))
    (order,) = (send for send in next_one.sends if isinstance(send.body, AwaitTask))
    assert (order.target, order.body.signal) == ("task/r/each:2", "n-2")
    found = run.when(AskSignal("each:2", 0, "n-2"))
    assert [send.target for send in found.sends] == ["task/r/each:2"]
    for task in ("each:0", "each:2"):
        run.when(TaskReported(task, 0, "completed", 1, None))
    assert run.state.status == "completed"
    late = run.when(SendNamed("n-1", "s3", 1, "", b"3")).reply
    assert isinstance(late, Refused)
    assert late.code == "run_finished"


def test_no_more_is_kept_for_items_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows of a name whether an item will ask for it, so all names are counted."""
    monkeypatch.setattr(mail, "KEPT_FOR_ITEMS_MAX", 2)
    run = waiting("n-${item}", 9)
    replies = [run.when(SendNamed(f"n-{n}", f"s{n}", n, "", b"")).reply for n in range(1, 6)]
    assert [getattr(reply, "code", "") for reply in replies] == [
        "", "", "", "signals_full", "signals_full",
    ]  # fmt: skip


def test_a_signal_costs_the_same_among_many_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not looked for item by item, nor is any item of the plan made for it but one."""
    run = waiting("go", 100_000)
    made: list[int] = []
    tasks = type(run.state.plan.tasks) if run.state.plan is not None else None
    assert tasks is not None
    real = tasks.__getitem__

    def getitem(self: Any, at: int) -> Any:
        made.append(at)
        return real(self, at)

    monkeypatch.setattr(tasks, "__getitem__", getitem)
    assert kinds(run.when(SendNamed("go", "s", None, "", b"")).facts)[0] == "SignalReceived"
    assert len(made) <= 2


def test_the_path_of_items_is_the_list() -> None:
    """Nothing can be added to it, or left out: the task above can be run again."""
    play = Items(LIST)
    none: list[Any] = []
    message = ChangePath(
        "c", b"d", None, None, none, ["each:0"], none, none, none, none, "", "", None
    )
    reply = play.tell(message).reply
    assert isinstance(reply, Refused)
    assert reply.code == "path_refused"


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6))
def test_any_order_of_ends_gives_the_result_of_a_loop(seed: int) -> None:
    """Compared with the list gone through one by one; the window is never exceeded, nor idle."""
    rng = random.Random(seed)
    count, parallel = rng.choice([1, 3, 9, 300]), rng.choice([1, 2, 7, 400])
    most_failed = rng.choice([None, 0, 1, 3])
    fails = {index for index in range(count) if rng.random() < 0.02}
    play = Items(
        list(range(count)), parallel=parallel, on_item_failure="continue",
        item_failures_max=most_failed,
    )  # fmt: skip
    while play.active:
        left = count - len(play.ended)
        if play.status == "running":
            assert len(play.active) == min(parallel, left)
        task = rng.choice(list(play.active))
        index = int(task.rpartition(":")[2])
        play.report(task, "failed" if index in fails else "completed", index)
    assert play.most <= parallel
    failed = sum(1 for status in play.ended.values() if status == "failed")
    if most_failed is None or failed <= most_failed:
        assert play.result == [None if i in fails else i for i in range(count)]
    else:
        assert play.status == "failed"
    assert play.run.encoded() == play.run.replayed()


def test_reports_that_come_together_fill_the_window_once() -> None:
    """Several ends in one turn make as many begin, and none twice."""
    play = Items(list(range(10)), parallel=4)
    decider = play.run.decider
    assert decider.pool is not None
    reports = [TaskReported(f"each:{index}", 0, "completed", index, None) for index in range(3)]
    decision = decider.pool.decide(play.run.state, reports, moment())
    begun = [send.target for send in decision.sends if isinstance(send.body, ScheduleTask)]
    assert begun == ["task/r/each:4", "task/r/each:5", "task/r/each:6"]


def test_a_crash_anywhere_loses_no_item_and_begins_none_twice() -> None:
    """Whatever reached the disk, the list is worked off, each item with one result."""
    for rounds in range(8):
        for survive in (0, 1, 2):
            stage = Stage()
            stage.submit(over(parallel=2))
            for _ in range(rounds):
                work(stage)
            stage.decide()
            stage = stage.crash(survive)
            stage.submit(over(parallel=2))
            while work(stage):
                pass
            assert stage.facts("workflow/r")[-1] == RunCompleted(LIST)
            assert verify(stage.journal).whole
            done = [s.stream for s in stage.log() if isinstance(s.fact, TaskCompleted)]
            assert len(done) == len(set(done)) == len(LIST) + 2


def work(stage: Stage) -> bool:
    """Let all attempts of now end: an item as its own result; tell whether there were any."""
    stage.rest()
    held = list(stage.executor.held.values())
    for attempt in held:
        stage.end(attempt, value=LIST if attempt.task_id == "scan" else attempt.params["one"])
    return bool(held)
