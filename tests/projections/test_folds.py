"""Given facts, then rows: the tables of the views `runs`, `tasks` and `timeline`."""

from __future__ import annotations

from typing import Any

import pytest

from goclaw_events import facts
from goclaw_events.envelope import Position
from goclaw_events.memory_journal import MemoryJournal
from goclaw_events.value import BlobRef
from goclaw_projections import states
from goclaw_projections import tasks as tasks_view
from goclaw_projections.runs import RunError, RunView
from goclaw_projections.store import MemoryViewStore
from goclaw_projections.tasks import PENDING, TaskError, TaskProgress, TaskView
from goclaw_projections.timeline import TimelineEntry
from goclaw_projections.views import Views
from tests.projections.log_writer import (
    PLAN,
    SECOND_NS,
    T0,
    LogWriter,
    Said,
    ended,
    said,
    scheduled,
    submitted,
)

RUN = "workflow/r1"
TASK = "task/r1/a"


def given(*frames: list[Said]) -> Views:
    """Return the views of a log with these frames; frame n is n seconds after T0."""
    journal = MemoryJournal()
    writer = LogWriter(journal)
    for turns in frames:
        writer.frame(*turns)
    views = Views(journal, MemoryViewStore())
    views.runner.catch_up()
    return views


def run_after(*told: Any) -> RunView:
    """Return the row of a run that was submitted at second 1 and then said one fact a second."""
    views = given([said(RUN, submitted())], *[[said(RUN, fact)] for fact in told])
    run = views.runs.get("r1")
    assert run is not None
    return run


def task_after(*told: Any) -> TaskView:
    """Return the row of a task that said one fact a second, from second 1 on."""
    task = given(*[[said(TASK, fact)] for fact in told]).tasks.get("r1", "a")
    assert task is not None
    return task


def at(seconds: int) -> int:
    """Return the time of the frame of that second."""
    return T0 + seconds * SECOND_NS


def failed_attempt(retry_due_ns: int | None) -> facts.AttemptFailed:
    """Return a failed first attempt."""
    return facts.AttemptFailed(1, 7, "timeout", "too slow", "trace", False, retry_due_ns)


STARTED = facts.AttemptStarted(1, 7, "node:boot")


def test_submitted_run_has_everything_it_was_submitted_with() -> None:
    """A submission makes a running row with name, labels, plan, time and position."""
    views = given([said(RUN, submitted("digest", team="red"))])
    assert views.runs.get("r1") == RunView(
        run_id="r1",
        name="digest",
        status="running",
        labels={"team": "red"},
        submitted_at_ns=at(1),
        ended_at_ns=None,
        definition=PLAN,
        counts={"completed": 0, "failed": 0, "cancelled": 0, "skipped": 0},
        error=None,
        result=None,
        position=Position(0, 1),
        version=1,
    )


@pytest.mark.parametrize(
    ("told", "status", "ended_at", "error"),
    [
        ([ended("a")], "running", None, None),
        ([ended("a", "failed")], "failing", None, None),
        ([facts.RunCancelRequested("no", "me")], "cancelling", None, None),
        ([facts.RunCancelRequested("no", "me"), ended("a", "failed")], "cancelling", None, None),
        ([ended("a"), facts.RunCompleted(5)], "completed", at(3), None),
        ([facts.RunFailed("c", "m", "a")], "failed", at(2), RunError("c", "m", "a")),
        (
            [facts.RunCancelRequested("no", "me"), facts.RunCancelled("no")],
            "cancelled",
            at(3),
            None,
        ),
    ],
)
def test_status_of_a_run(
    told: list[Any], status: str, ended_at: int | None, error: RunError | None
) -> None:
    """Each fact of a run leads to its status; the last facts set the end and the error."""
    run = run_after(*told)
    assert (run.status, run.ended_at_ns, run.error) == (status, ended_at, error)
    assert run.has_ended == (ended_at is not None)
    assert run.status in states.RUN_STATES


def test_counts_and_position_of_a_run() -> None:
    """Tasks that ended are counted by how; the position is that of the run's last fact."""
    skipped = facts.TasksSkipped(["d", "e"], "needs_failed")
    run = run_after(ended("a"), ended("b"), ended("c", "failed"), skipped, ended("f", "cancelled"))
    assert run.counts == {"completed": 2, "failed": 1, "cancelled": 1, "skipped": 2}
    assert run.position == Position(0, 6)


def test_large_result_of_a_run_stays_a_reference() -> None:
    """A result that is a blob is kept as its reference."""
    ref = BlobRef(b"\x01" * 32, 100_000)
    assert run_after(facts.RunCompleted(ref)).result == ref


def test_poisoned_run_is_failed() -> None:
    """A run whose stream cannot go on shows failed, although it did not say so itself."""
    poisoned = facts.StreamPoisoned(RUN, "internal_bug", "cannot be rebuilt")
    run = given([said(RUN, submitted())], [said("$partition", poisoned)]).runs.get("r1")
    assert run is not None
    assert (run.status, run.ended_at_ns) == ("failed", at(2))
    assert run.error == RunError("internal_bug", "cannot be rebuilt", "")


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (
            [scheduled("d/io")],
            TaskView("scheduled", lane="d/io", scheduled_at_ns=at(1)),
        ),
        (
            [scheduled("d/io"), STARTED],
            TaskView("running", 0, 1, "d/io", at(1), at(2)),
        ),
        (
            [scheduled("d/io"), STARTED, facts.TaskCompleted(1, 7, "r")],
            TaskView("completed", 0, 1, "d/io", at(1), at(2), at(3), result_number=3),
        ),
        (
            [scheduled("d/io"), STARTED, facts.ProgressReported(7, 0.5, "half")],
            TaskView(
                "running", 0, 1, "d/io", at(1), at(2), progress=TaskProgress(0.5, "half")
            ),
        ),
        (
            [scheduled("d/io"), STARTED, failed_attempt(at(9))],
            TaskView(
                "retrying", 0, 1, "d/io", at(1), at(2), wake_ns=at(9),
                error=TaskError("timeout", "too slow"),
            ),
        ),
        (
            [scheduled("d/io"), STARTED, failed_attempt(at(9)), facts.TaskRequeued(2)],
            TaskView(
                "scheduled", 0, 1, "d/io", at(1), at(2), error=TaskError("timeout", "too slow")
            ),
        ),
        (
            [
                scheduled("d/io"), STARTED, failed_attempt(at(9)), facts.TaskRequeued(2),
                facts.AttemptStarted(2, 9, "n:b"), facts.TaskCompleted(2, 9, None),
            ],
            TaskView("completed", 0, 2, "d/io", at(1), at(2), at(6), result_number=6),
        ),
        (
            [scheduled("d/io"), STARTED, failed_attempt(None), facts.TaskFailed("timeout", "slow")],
            TaskView(
                "failed", 0, 1, "d/io", at(1), at(2), at(4), error=TaskError("timeout", "slow")
            ),
        ),
        (
            [scheduled("d/io"), STARTED, facts.AttemptLost(1, 7, "n:b")],
            TaskView("scheduled", 0, 1, "d/io", at(1), at(2)),
        ),
        (
            [scheduled("d/io"), STARTED, facts.TaskCancelRequested("stop")],
            TaskView("cancelling", 0, 1, "d/io", at(1), at(2), reason="stop"),
        ),
        (
            [scheduled("d/io"), facts.TaskCancelled("stop", False)],
            TaskView("cancelled", 0, 0, "d/io", at(1), None, at(2), reason="stop"),
        ),
        (
            [scheduled("d/io"), STARTED, facts.OutcomeRefused(3, "completed")],
            TaskView("running", 0, 1, "d/io", at(1), at(2)),
        ),
        (
            [facts.TaskWaiting(PLAN, 0, at(60))],
            TaskView("waiting", scheduled_at_ns=at(1), wake_ns=at(60)),
        ),
        (
            [scheduled(), STARTED, facts.TaskFailed("c", "m"), scheduled("d/cpu", 1)],
            TaskView("scheduled", 1, 0, "d/cpu", at(4)),
        ),
    ],
)  # fmt: skip
def test_row_of_a_task(told: list[Any], expected: TaskView) -> None:
    """Each sequence of a task's facts makes exactly this row."""
    assert task_after(*told) == expected
    assert expected.has_ended == (expected.completed_at_ns is not None)


def test_places_in_a_task_row_are_the_fields_of_its_view() -> None:
    """The row's places have the order of `TaskView`'s fields."""
    names = [
        "STATUS", "GENERATION", "ATTEMPTS", "LANE", "SCHEDULED", "STARTED", "COMPLETED", "WAKE",
        "ERROR", "PROGRESS", "REASON", "RESULT", "CHILD",
    ]  # fmt: skip
    places = [getattr(tasks_view, "_" + name) for name in names]
    assert places == list(range(len(TaskView._fields)))
    for name, field in zip(names, TaskView._fields, strict=True):
        assert field.startswith(name.lower())


def test_tasks_of_a_plan_without_rows_are_pending_or_cancelled() -> None:
    """The plan's tasks come in its order; those without a row depend on whether the run ended."""
    views = given(
        [said(RUN, submitted(), facts.TasksSkipped(["z"], "condition"))],
        [said(TASK, scheduled())],
        [said("task/r1.x/q", scheduled())],
    )
    plan = ["z", "b", "a"]
    running = views.tasks.tasks_of("r1", plan, run_ended=False)
    over = views.tasks.tasks_of("r1", plan, run_ended=True)
    assert list(running) == plan
    assert [task.status for task in running.values()] == ["skipped", "pending", "scheduled"]
    assert [task.status for task in over.values()] == ["skipped", "cancelled", "scheduled"]
    assert running["z"].reason == "condition"
    assert running["b"] == PENDING


def test_a_task_that_could_not_begin_is_failed_and_says_why() -> None:
    """Only its run tells of such a task; what its own facts say of another one is not changed."""
    why = ["invalid_time", "'soon' is not a point in time"]
    views = given(
        [said(RUN, submitted())],
        [said(TASK, scheduled(), facts.TaskCancelled("enough", False))],
        [
            said(
                RUN,
                facts.TaskEnded("z", 2, "failed", None, why),
                facts.TaskEnded("a", 0, "failed", None, ["other", "words"]),
                facts.TaskEnded("b", 0, "completed", None, None),
            )
        ],
    )
    tasks = dict(views.tasks.recorded("r1"))
    assert tasks["z"] == PENDING._replace(
        status="failed", generation=2, completed_at_ns=T0 + 3 * SECOND_NS, error=TaskError(*why)
    )
    assert (tasks["a"].status, tasks["a"].error) == ("cancelled", None)
    assert "b" not in tasks


def test_poisoned_task_is_failed() -> None:
    """A task whose stream cannot go on shows failed; one that had ended keeps its end."""
    poisoned = [facts.StreamPoisoned(f"task/r1/{t}", "internal_bug", "no") for t in "ab"]
    views = given(
        [said(TASK, scheduled()), said("task/r1/b", scheduled(), facts.TaskCompleted(1, 1, 1))],
        [said("$partition", *poisoned)],
    )
    tasks = dict(views.tasks.recorded("r1"))
    assert (tasks["a"].status, tasks["a"].error) == ("failed", TaskError("internal_bug", "no"))
    assert (tasks["b"].status, tasks["b"].error) == ("completed", None)


def test_timeline_has_every_fact_of_the_run_and_its_tasks() -> None:
    """Entries come in the order of the log, with number, time, task, type and a brief."""
    views = given(
        [said(RUN, submitted()), said(TASK, scheduled("d/io")), said("workflow/r2", submitted())],
        [said("lane/d/io", facts.LaneAdvanced([], [], [], [TASK])), said(TASK, STARTED)],
        [said(TASK, failed_attempt(at(5)))],
        [said("$partition", facts.StreamPoisoned(TASK, "internal_bug", "no"))],
    )
    assert list(views.timeline.entries("r1")) == [
        TimelineEntry(1, at(1), "", "run.submitted", "digest"),
        TimelineEntry(2, at(1), "a", "task.scheduled", "d/io"),
        TimelineEntry(5, at(2), "a", "task.attempt_started", "attempt 1"),
        TimelineEntry(
            6, at(3), "a", "task.attempt_failed", "attempt 1, retries: timeout: too slow"
        ),
        TimelineEntry(7, at(4), "a", "partition.stream_poisoned", "internal_bug: no"),
    ]
    assert [entry.number for entry in views.timeline.entries("r1", after=2)] == [5, 6, 7]


@pytest.mark.parametrize(
    ("fact", "brief"),
    [
        (ended("a", "failed"), "a failed"),
        (facts.TasksSkipped(["x", "y"], "needs_failed"), "needs_failed: 2 x, y"),
        (facts.RunCancelRequested("why", "me"), "why"),
        (facts.RunFailed("c", "m", "t"), "c: m"),
        (facts.RunCancelled("w" * 1000), "w" * 200),
        (facts.RunCompleted(1), ""),
        (facts.ProgressReported(1, 0.25, "page 3"), "25% page 3"),
        (facts.ProgressReported(1, None, ""), ""),
        (facts.AttemptLost(2, 5, "n:b"), "attempt 2"),
        (facts.OutcomeRefused(1, "completed"), "completed"),
        (facts.TaskCancelRequested("stop"), "stop"),
        (facts.TaskCancelled("stop", True), "stop"),
        (facts.TaskFailed("c", "m" * 1000), "c: " + "m" * 197),
        (facts.TaskRequeued(2), ""),
    ],
)
def test_brief_of_a_fact(fact: Any, brief: str) -> None:
    """Every kind of fact is told in at most 200 characters."""
    stream = TASK if type(fact) in facts.TaskFact.__args__ else RUN
    views = given([said(stream, fact)])
    assert [entry.brief for entry in views.timeline.entries("r1")] == [brief]


def test_runs_are_listed_newest_first_by_page_and_filter() -> None:
    """A listing goes by time of submission, takes filters, and continues at its cursor."""
    views = given(
        [said("workflow/c", submitted("x", team="red"))],
        [said("workflow/a", submitted("y", team="red", tier="1"))],
        [said("workflow/b", submitted("x")), said("workflow/bb", submitted("x"))],
        [said("workflow/c", facts.RunCompleted(None))],
    )
    reader = views.runs

    def ids(**wanted: Any) -> list[str]:
        return [run.run_id for run in reader.list(**wanted).runs]

    assert ids() == ["bb", "b", "a", "c"]
    assert ids(status="completed") == ["c"]
    assert ids(name="x") == ["bb", "b", "c"]
    assert ids(labels={"team": "red"}) == ["a", "c"]
    assert ids(labels={"team": "red", "tier": "1"}) == ["a"]
    page = reader.list(limit=2)
    assert ([run.run_id for run in page.runs], page.cursor is None) == (["bb", "b"], False)
    rest = reader.list(limit=2, cursor=page.cursor)
    assert ([run.run_id for run in rest.runs], rest.cursor) == (["a", "c"], None)
    newest = reader.newest()
    assert newest is not None
    assert newest.run_id == "bb"
    assert reader.starting_with("b") == ["b", "bb"]
    assert reader.starting_with("b", limit=1) == ["b"]
    assert reader.get("nobody") is None
