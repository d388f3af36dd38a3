"""What the templates of a run read, and what its result is."""

from __future__ import annotations

from typing import Any

import pytest

from goclaw_actors.messages import WaitTask
from goclaw_events.facts import TaskEnded
from tests.actors.given import NOW_NS
from tests.actors.play import Play, check_end


def test_templates_read_input_results_and_needs() -> None:
    """Whole values stay values; text is written; a status is a word; a place is followed."""
    tasks = {
        "a": {"agent": "x", "with": {"root": "${input.root}", "id": "${run.id}/${task.id}"}},
        "b": {
            "agent": "x",
            "needs": ["a"],
            "with": {
                "n": "${tasks.a.result.items[1]}",
                "text": "got ${tasks.a.result.items}",
                "status": "${tasks.a.status}",
                "all": "${needs}",
                "none": "${tasks.a.result.missing}",
            },
        },
    }
    play = Play(tasks, {"root": "/x"}, input={"root": {"type": "string"}})
    assert play.active["a"].params == {"root": "/x", "id": "r/a"}
    play.report("a", result={"items": [1, 2]})
    assert play.active["b"].params == {
        "n": 2,
        "text": "got [1, 2]",
        "status": "completed",
        "all": {"a": {"items": [1, 2]}},
        "none": None,
    }


def test_a_large_value_stays_a_reference_until_it_is_read() -> None:
    """Parameters refer to a place in it; conditions and text read it."""
    tasks = {
        "a": {"agent": "x"},
        "b": {"agent": "x", "needs": ["a"], "with": {"place": "${tasks.a.result.big}"}},
        "c": {"agent": "x", "needs": ["a"], "when": "${tasks.a.result.n} > 3"},
        "d": {"agent": "x", "needs": ["a"], "with": {"text": "n=${tasks.a.result.n}"}},
        "e": {"agent": "x", "needs": ["a"], "with": {"text": "all: ${needs}"}},
    }
    play = Play(tasks)
    ref = play.shelf.put_value({"n": 3, "big": "b"})
    play.report("a", result=ref)
    assert play.active["b"].params["place"].path == ("big",)
    assert play.skipped == {"c": "condition"}
    assert play.active["d"].params == {"text": "n=3"}
    assert play.active["e"].params == {"text": 'all: {"a": {"n": 3, "big": "b"}}'}


@pytest.mark.parametrize(
    ("task", "code"),
    [
        ({"agent": "x", "when": "${input.s} < 3"}, "condition_failed"),
        ({"wait": "${input.s}"}, "invalid_duration"),
        ({"wait": {"until": "${input.s}"}}, "invalid_time"),
        ({"wait": {"until": "2999-01-01T00:00:00Z"}}, "invalid_time"),
        ({"wait_for": {"signal": "go", "deadline": "${input.s}"}}, "invalid_duration"),
        ({"approval": {"who": ["me"], "deadline": {"until": "${input.s}"}}}, "invalid_time"),
        ({"agent": "x", "with": {"t": "text ${tasks.a.result}"}}, "template_failed"),
    ],
)
def test_what_cannot_be_made_fails_the_task_with_its_code(task: dict[str, Any], code: str) -> None:
    """A condition, a duration or a text that cannot be made is a failure, not a bug."""
    tasks = {"a": {"agent": "x"}, "b": {**task, "needs": ["a"]}}
    play = Play(tasks, {"s": "text"}, input={"s": {"type": "string"}})
    play.report("a", result=b"bytes")
    assert play.run.facts[-1].code == code
    assert play.run.facts[-1].task == "b"
    check_end(play)


def test_a_wait_is_told_when_it_is_due() -> None:
    """Its duration counts from when it becomes ready."""
    play = Play({"w": {"wait": "2s"}})
    assert play.active["w"] == WaitTask(play.ref, 0, NOW_NS + 2_000_000_000)


@pytest.mark.parametrize(
    ("until", "due_ns"),
    [
        ("1970-01-01T01:00:01+01:00", 10**9),
        ("${input.at}", 3_600 * 10**9),
        ("2026-12-01T09:00:00.000001Z", 1_796_115_600_000_001_000),
    ],
)
def test_a_wait_until_a_time_is_due_then(until: str, due_ns: int) -> None:
    """Whatever its zone; what is past is due at once, and no earlier than now."""
    play = Play({"w": {"wait": {"until": until}}}, {"at": "1970-01-01T01:00:00Z"}, input={"at": {}})
    assert play.active["w"] == WaitTask(play.ref, 0, max(due_ns, NOW_NS))


def test_the_output_is_the_run_s_result() -> None:
    """Rendered at the end; without one, the results of the tasks that nothing needs."""
    tasks = {"a": {"agent": "x"}, "b": {"agent": "x"}}
    play = Play(tasks, output={"sum": "${tasks.a.result.n}"})
    play.report("b", result=2)
    play.report("a", result={"n": 1})
    assert play.ends[0].result == {"sum": 1}
    plain = Play(tasks)
    plain.report("b", result=2)
    plain.report("a", result=1)
    assert plain.ends[0].result == {"a": 1, "b": 2}
    single = Play({"a": {"agent": "x"}})
    single.report("a", result=3)
    assert single.ends[0].result == 3


def test_an_output_that_cannot_be_made_fails_the_run() -> None:
    """With the code of what went wrong, and no task."""
    play = Play({"a": {"agent": "x"}}, output="text ${tasks.a.result}")
    play.report("a", result=b"bytes")
    assert (play.run.facts[-1].code, play.run.facts[-1].task) == ("template_failed", "")
    check_end(play)


def test_only_results_that_are_read_are_kept() -> None:
    """A result that nothing reads stays with its task alone."""
    tasks = {
        "a": {"agent": "x"},
        "b": {
            "agent": "x",
            "needs": ["a", "c"],
            "with": {"n": "${tasks.c.result}"},
        },
        "c": {"agent": "x"},
    }
    play = Play(tasks)
    play.report("a", result="unread")
    play.report("c", result="read")
    kept = [fact.result for fact in play.run.facts if isinstance(fact, TaskEnded)]
    assert kept == [None, "read"]
