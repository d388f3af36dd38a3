"""The run: which task starts when, how a run ends, and what its templates read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goclaw_actors.decider import Accepted, Refused, RunEnded
from goclaw_actors.lending import DeclareLane
from goclaw_actors.messages import CancelRun, FailRun, ScheduleMore, SubmitRun
from goclaw_actors.workflow import workflow_decider
from goclaw_actors.workflow.draft import FACTS_MAX, SENDS_MAX
from goclaw_events.facts import RunCancelled, RunFailed, TaskEnded
from tests.actors.given import Scenario, Shelf
from tests.actors.play import STREAM, Play, check_end

if TYPE_CHECKING:
    from random import Random

    from goclaw_actors.workflow import Run


def oracle(play: Play, fails: set[str]) -> dict[str, str]:
    """Return how each task ends where failures do not stop the run, from the rules alone."""
    found: dict[str, str] = {}
    for task in play.plan.tasks:  # in topological order
        needs = [found[play.plan.tasks[need].id] for need in task.needs]
        if any(need in ("failed", "needs_failed") for need in needs):
            found[task.id] = "needs_failed"
        elif needs and all(need in ("condition", "needs_skipped") for need in needs):
            found[task.id] = "needs_skipped"
        elif task.when is not None:
            found[task.id] = "condition"
        else:
            found[task.id] = "failed" if task.id in fails else "completed"
    return found


@st.composite
def dags(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a graph of up to twelve tasks; some have a condition that does not hold."""
    count = draw(st.integers(1, 12))
    tasks: dict[str, Any] = {}
    for number in range(count):
        needs = (
            draw(st.lists(st.sampled_from(range(number)), unique=True, max_size=4))
            if (number)
            else []
        )
        task: dict[str, Any] = {"agent": "x", "needs": [f"t{need}" for need in needs]}
        if draw(st.integers(0, 5)) == 0:
            task["when"] = "1 > 2"
        tasks[f"t{number}"] = task
    return tasks


def play_on(play: Play, fails: set[str], chance: Random, cancel_after: int = -1) -> None:
    """Report active tasks in random order until none is left."""
    reports = 0
    while play.active:
        if reports == cancel_after and play.status in ("running", "failing"):
            assert play.tell(CancelRun("enough", "me")).reply == Accepted("r")
        reports += 1
        task = chance.choice(sorted(play.active))
        if task in play.cancelled:
            play.report(task, chance.choice(["cancelled", "cancelled", "completed"]))
        else:
            play.report(task, "failed" if task in fails else "completed")


@given(dags(), st.sets(st.integers(0, 11), max_size=3), st.randoms(use_true_random=False))
@settings(max_examples=150)
def test_a_run_that_continues_agrees_with_the_oracle(
    tasks: dict[str, Any], failing: set[int], chance: Random
) -> None:
    """Which tasks run, fail and are skipped, and why, does not depend on the order of reports."""
    fails = {f"t{number}" for number in failing}
    play = Play(tasks, on_failure="continue")
    play_on(play, fails, chance)
    assert {**play.ended, **play.skipped} == oracle(play, fails)
    assert play.status == ("failed" if "failed" in play.ended.values() else "completed")
    check_end(play)


@given(
    dags(),
    st.sets(st.integers(0, 11), min_size=1, max_size=4),
    st.sampled_from(["fail_fast", "let_finish"]),
    st.randoms(use_true_random=False),
)
@settings(max_examples=150)
def test_a_failure_lets_nothing_new_start(
    tasks: dict[str, Any], failing: set[int], policy: str, chance: Random
) -> None:
    """What is active is stopped, or waited for; the run fails with the first failure."""
    fails = {f"t{number}" for number in failing}
    play = Play(tasks, on_failure=policy)
    first = ""
    while play.active:
        task = chance.choice(sorted(play.active))
        stopped = task in play.cancelled
        others = set(play.active) - {task}
        play.report(task, "cancelled" if stopped else "failed" if task in fails else "completed")
        if first:
            assert set(play.active) == others, "a task started after the failure"
        elif task in fails:
            first = task
            assert set(play.active) == others
            assert set(play.cancelled) == (others if policy == "fail_fast" else set())
    expected = oracle(play, fails)
    if first:
        assert play.run.facts[-1] == RunFailed("boom", "why", first)
        assert all(expected[task] == how for task, how in play.skipped.items())
    else:
        assert {**play.ended, **play.skipped} == expected
        assert play.status == "completed"
    check_end(play)


@given(
    dags(),
    st.sets(st.integers(0, 11), max_size=2),
    st.sampled_from(["fail_fast", "let_finish", "continue"]),
    st.integers(0, 6),
    st.randoms(use_true_random=False),
)
@settings(max_examples=150)
def test_a_run_cancelled_at_any_moment_ends_cancelled(
    tasks: dict[str, Any], failing: set[int], policy: str, cancel_after: int, chance: Random
) -> None:
    """Every active task is told; results that come first count; nothing new starts."""
    play = Play(tasks, on_failure=policy)
    play_on(play, {f"t{number}" for number in failing}, chance, cancel_after)
    asked = any(type(fact).__name__ == "RunCancelRequested" for fact in play.run.facts)
    if asked:
        assert play.run.facts[-1] == RunCancelled("enough")
        assert play.ends[0].status == "cancelled"
    check_end(play)


def test_many_roots_are_scheduled_over_several_turns() -> None:
    """3,000 roots: each once, in turns of bounded size, and the run completes."""
    tasks: dict[str, Any] = {f"t{number}": {"agent": "x"} for number in range(3_000)}
    play = Play(tasks)
    assert len(play.active) == 3_000
    turns = [send for send in play.submitted.sends if isinstance(send.body, ScheduleMore)]
    assert len(play.submitted.sends) == SENDS_MAX + len(turns)
    for task in list(play.active):
        play.report(task)
    assert play.status == "completed"
    check_end(play)


def test_many_dependents_are_scheduled_over_several_turns() -> None:
    """3,000 tasks that become ready at once, and a task after them all."""
    tasks: dict[str, Any] = {"first": {"agent": "x"}}
    tasks |= {f"t{number}": {"agent": "x", "needs": ["first"]} for number in range(3_000)}
    tasks["last"] = {"agent": "x", "needs": [f"t{number}" for number in range(3_000)]}
    play = Play(tasks)
    play.report("first")
    assert len(play.active) == 3_000
    for task in list(play.active):
        play.report(task)
    assert list(play.active) == ["last"]
    play.report("last")
    check_end(play)


def test_many_skips_take_several_turns() -> None:
    """Conditions that do not hold, 3,000 of them, and what follows: bounded turns, one end."""
    tasks: dict[str, Any] = {
        f"t{number}": {"agent": "x", "when": "false"} for number in range(3_000)
    }
    tasks |= {f"u{number}": {"agent": "x", "needs": [f"t{number}"]} for number in range(3_000)}
    play = Play(tasks)
    reasons = list(play.skipped.values())
    assert (reasons.count("condition"), reasons.count("needs_skipped")) == (3_000, 3_000)
    assert play.status == "completed"
    check_end(play)


def test_many_tasks_that_cannot_be_told_fail_over_several_turns() -> None:
    """A turn has a bounded number of facts also where every template fails."""
    tasks: dict[str, Any] = {
        f"t{number}": {"agent": "x", "when": "${input.n} > 1"} for number in range(1_000)
    }
    play = Play(tasks, {"n": "text"}, on_failure="continue", input={"n": {"type": "string"}})
    assert len(play.submitted.facts) <= FACTS_MAX + 1
    assert sum(isinstance(fact, TaskEnded) for fact in play.run.facts) == 1_000
    assert play.run.facts[-1].code == "condition_failed"
    check_end(play)


def test_going_on_with_what_ended_changes_nothing() -> None:
    """A task that is not active any more is neither told nor counted again."""
    play = Play({"a": {"agent": "x", "when": "false"}, "b": {"agent": "x"}, "c": {"agent": "x"}})
    play.report("b")
    again = play.tell(ScheduleMore([play.plan.index["a"], play.plan.index["b"]]))
    assert (list(again.facts), list(again.sends)) == ([], [])
    play.report("c")
    check_end(play)


def test_cancelling_many_tasks_takes_several_turns() -> None:
    """Each of 1,000 active tasks is told to stop, once."""
    play = Play({f"t{number}": {"agent": "x"} for number in range(1_000)})
    play.tell(CancelRun("enough", "me"))
    assert sorted(play.cancelled) == sorted(play.active)
    for task in list(play.active):
        play.report(task, "cancelled")
    check_end(play)


@pytest.mark.parametrize("policy", ["fail_fast", "let_finish"])
def test_a_template_that_fails_at_once_leaves_no_task_behind(policy: str) -> None:
    """Tasks that were ready with it are cancelled: the run ends when they have."""
    tasks = {
        "a": {"agent": "x", "when": "${input.n} > 1"},
        "b": {"agent": "x"},
        "c": {"agent": "x"},
    }
    play = Play(tasks, {"n": "text"}, on_failure=policy, input={"n": {"type": "string"}})
    assert play.status == "failing"
    assert sorted(play.active) == sorted(play.cancelled) == ["b", "c"]
    for task in ("b", "c"):
        play.report(task, "cancelled")
    assert play.run.facts[-1].code == "condition_failed"
    check_end(play)


def test_a_submission_is_told_apart_by_its_digest() -> None:
    """The same request again is accepted as a repeat, another one is a conflict."""
    play = Play({"a": {"agent": "x"}})
    assert play.submitted.reply == Accepted("r")
    same = SubmitRun(play.ref, "w", {}, {}, b"d", None, "")
    assert play.run.when(same).reply == Accepted("r", repeated=True)
    other = play.run.when(same._replace(digest=b"e"))
    assert isinstance(other.reply, Refused)
    assert (other.reply.code, other.facts) == ("command_conflict", ())


def test_lanes_are_declared_with_the_run() -> None:
    """Before any task asks for a slot of theirs."""
    play = Play(
        {"a": {"agent": "x", "lane": "io"}}, lanes={"io": {"concurrency": 2, "capacity": 7}}
    )
    first, second = play.submitted.sends
    assert (first.target, first.body) == ("lane/w/io", DeclareLane(2, 7, "reject", "w"))
    assert second.body.lane == "w/io"


def test_a_bug_fails_the_run_and_stops_its_tasks() -> None:
    """The run ends at once; what its tasks report later has no effect."""
    play = Play({"a": {"agent": "x"}, "b": {"agent": "x"}})
    play.tell(FailRun("internal_bug", "oops", "a"))
    assert play.ends == [RunEnded("r", "failed", None, ("internal_bug", "oops", "a"))]
    assert sorted(play.cancelled) == ["a", "b"]
    for task in ("a", "b"):
        assert play.report(task, "cancelled").facts == ()
    assert len(play.ends) == 1


def test_commands_to_a_run_that_is_not_there_or_over() -> None:
    """They are refused by name, and nothing is recorded."""
    unknown: Scenario[Run] = Scenario(workflow_decider(Shelf()), STREAM)
    reply = unknown.when(CancelRun("", "")).reply
    assert isinstance(reply, Refused)
    assert reply.code == "run_not_found"
    play = Play({"a": {"agent": "x"}})
    play.report("a")
    reply = play.run.when(CancelRun("", "")).reply
    assert isinstance(reply, Refused)
    assert reply.code == "run_finished"
