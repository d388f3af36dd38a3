"""Given facts, then rows: the view `inbox`, the most urgent first."""

from __future__ import annotations

from typing import Any

import pytest

from goclaw_events import facts
from tests.projections.log_writer import PLAN, SECOND_NS, T0, Said, said
from tests.projections.test_folds import given

HOUR_NS = 3_600 * SECOND_NS


def asks(task: str, due_s: int = 0, run_id: str = "r1") -> Said:
    """Return the turn in which a task asks people; `due_s`: after T0."""
    due_ns = T0 + due_s * SECOND_NS if due_s else 0
    asked = {"who": ["anyone"], "message": task, "arguments": None, "schema": None}
    return said(f"task/{run_id}/{task}", facts.TaskAwaiting(PLAN, 0, "", asked, due_ns))


def test_the_most_urgent_comes_first() -> None:
    """By deadline, then the oldest, then by name; what has no deadline comes behind all."""
    views = given(
        [asks("old")], [asks("late", 9_000)], [asks("b", 500, "r2"), asks("b", 500)],
        [asks("soon", 90)], [asks("a", 500)], [asks("new")],
    )  # fmt: skip
    listed = views.inbox.list().items
    assert [(one.run_id, one.task) for one in listed] == [
        ("r1", "soon"), ("r1", "b"), ("r2", "b"), ("r1", "a"), ("r1", "late"),
        ("r1", "old"), ("r1", "new"),
    ]  # fmt: skip
    assert listed[0].due_ns == T0 + 90 * SECOND_NS
    assert listed[-1].due_ns is None


def test_pages_go_on_in_order() -> None:
    """Also where what ended a page is answered before the next one is asked for."""
    questions = [[asks(f"t{n}", 1_000 - n)] for n in range(5)]
    first = given(*questions).inbox.list(limit=2)
    assert [one.task for one in first.items] == ["t4", "t3"]
    over = said("task/r1/t3", facts.TaskCancelled("stopped", abandoned=False))
    rest = given(*questions, [over]).inbox.list(cursor=first.cursor)
    assert [one.task for one in rest.items] == ["t2", "t1", "t0"]
    assert rest.cursor is None


@pytest.mark.parametrize(
    "told",
    [
        facts.TaskAnswered("d", "approved", None, "uid:1"),
        facts.TaskFailed("timeout", "nobody decided"),
        facts.TaskCancelled("stopped", abandoned=False),
        facts.TaskDropped("skipped"),
    ],
)
def test_what_is_over_is_listed_no_more(told: Any) -> None:
    """Whichever way it ended; one that asks again stands where its new deadline puts it."""
    begun = [[asks("a", 100)], [asks("b", 200)], [said("task/r1/a", told)]]
    views = given(*begun)
    assert [one.task for one in views.inbox.list().items] == ["b"]
    assert views.inbox.get("r1", "a") is None
    views = given(*begun, [asks("a", 300)])
    assert [one.task for one in views.inbox.list().items] == ["b", "a"]


def test_one_that_stands_still_keeps_its_place() -> None:
    """Its deadline is a point in time: it is as urgent as before."""
    held = said("task/r1/a", facts.TaskPaused("a look", "uid:1", in_force=True))
    views = given([asks("a", 100), asks("b", 200)], [held])
    assert [(one.task, one.is_held) for one in views.inbox.list().items] == [
        ("a", True), ("b", False),
    ]  # fmt: skip
    poisoned = facts.StreamPoisoned("task/r1/a", "internal_bug", "boom")
    views = given([asks("a", 100), asks("b", 200)], [said("$partition", poisoned)])
    assert [one.task for one in views.inbox.list().items] == ["b"]
    assert views.inbox.get("r1", "b") == views.inbox.list().items[0]
