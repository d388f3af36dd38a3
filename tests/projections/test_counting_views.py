"""Given facts, then rows: the views `lanes`, `counts`, `workers` and `durations`."""

from __future__ import annotations

from typing import Any

import pytest

from goclaw_events import facts
from goclaw_events.memory_journal import MemoryJournal
from goclaw_projections.counts import HOUR_NS
from goclaw_projections.durations import SAMPLES_MAX
from goclaw_projections.rows import Rows
from goclaw_projections.store import MemoryViewStore
from goclaw_projections.views import Views
from goclaw_projections.workers import RunningAttempt
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

LANE = "lane/d/io"
RUN, TASK = "workflow/r1", "task/r1/a"
STARTED = facts.AttemptStarted(1, 7, "n:b1")
HOUR = T0 // HOUR_NS * HOUR_NS


def given(*frames: list[Said]) -> Views:
    """Return the views of a log with these frames; frame n is n seconds after T0."""
    journal = MemoryJournal()
    writer = LogWriter(journal)
    for turns in frames:
        writer.frame(*turns)
    views = Views(journal, MemoryViewStore())
    views.runner.catch_up()
    assert all(status.state == "running" for status in views.runner.status())
    return views


def advanced(**parts: list[Any]) -> list[Said]:
    """Return a frame in which a lane advanced."""
    came = parts.get("queued", []), parts.get("leased", [])
    fact = facts.LaneAdvanced(parts.get("released", []), parts.get("withdrawn", []), *came)
    return [said(LANE, fact)]


def at(seconds: int) -> int:
    """Return the time of the frame of that second."""
    return T0 + seconds * SECOND_NS


def failed_attempt(retry_due_ns: int | None, code: str = "timeout") -> facts.AttemptFailed:
    """Return a failed attempt."""
    return facts.AttemptFailed(1, 7, code, "m", "t", False, retry_due_ns)


# -- lanes


def test_lane_shows_limits_queue_and_the_oldest_waiting() -> None:
    """Declared limits, who waits by priority and since when, who runs, and totals."""
    views = given(
        [said(LANE, facts.LaneDeclared(2, 10, "reject", "d"))],
        advanced(queued=[("t1", 0, False)], leased=["t1"]),
        advanced(queued=[("t2", 0, False), ("t3", 5, False)]),
        advanced(queued=[("t4", 0, False), ("t5", 0, False)]),
        advanced(released=["t1"], leased=["t3"]),
        advanced(withdrawn=["t2"]),
        [said(LANE, facts.LaneRefused(["t8", "t9"], "lane_full"))],
    )
    lane = views.lanes.get("d/io")
    assert lane is not None
    assert lane[:5] == ("d/io", 2, 10, "reject", "d")
    assert (lane.queued, lane.running, dict(lane.queued_by_priority)) == (2, 1, {0: 2})
    assert lane.oldest_queued_at_ns == at(4)
    assert (lane.arrived_total, lane.leased_total, lane.released_total) == (5, 2, 1)
    assert (lane.withdrawn_total, lane.refused_total) == (1, 2)
    assert lane.waited_ns_total == 2 * SECOND_NS
    assert (lane.updated_at_ns, lane.poisoned) == (at(7), "")


def test_one_fact_of_a_lane_may_tell_of_many_tasks() -> None:
    """Tasks queued and leased by one fact never waited; others of it do."""
    views = given(
        advanced(
            queued=[("t1", 0, False), ("t2", 3, False), ("t3", 0, False)], leased=["t2", "t1"]
        ),
        advanced(released=["t1", "t2"], queued=[("t2", 3, True)], leased=["t2", "t3"]),
    )
    lane = views.lanes.get("d/io")
    assert lane is not None
    assert (lane.queued, lane.running, lane.oldest_queued_at_ns) == (0, 2, None)
    assert (dict(lane.queued_by_priority), lane.waited_ns_total) == ({}, SECOND_NS)
    assert lane.concurrency is None


def test_lane_that_cannot_go_on_says_why() -> None:
    """A poisoned lane carries the code."""
    views = given([said("$partition", facts.StreamPoisoned("lane/d/io", "internal_bug", "m"))])
    lane = views.lanes.get("d/io")
    assert lane is not None
    assert lane.poisoned == "internal_bug"


def test_lanes_are_listed_in_pages_and_filtered() -> None:
    """By definition, shared ones, busy ones; a cursor continues a page."""
    told = facts.LaneDeclared(1, 1, "reject", "x")
    views = given(
        *[[said("lane/" + lane, told)] for lane in ("a/one", "a/two", "b/one", "/default")],
        [said("lane/b/one", facts.LaneAdvanced([], [], [("t", 0, False)], []))],
    )

    def names(**filters: Any) -> list[str]:
        return [lane.lane for lane in views.lanes.list(**filters).items]

    assert names() == ["/default", "a/one", "a/two", "b/one"]
    assert names(definition="a") == ["a/one", "a/two"]
    assert names(definition="") == ["/default"]
    assert names(busy=True) == ["b/one"]
    page = views.lanes.list(limit=3)
    assert page.cursor == "a/two"
    assert names(cursor=page.cursor) == ["b/one"]
    assert views.lanes.list(limit=4).cursor is None
    assert views.lanes.get("nowhere") is None


# -- counts


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ([scheduled()], "scheduled"),
        ([facts.TaskWaiting(PLAN, 0, 5)], "waiting"),
        ([scheduled(), STARTED], "running"),
        ([scheduled(), STARTED, failed_attempt(9)], "retrying"),
        ([scheduled(), STARTED, failed_attempt(9), facts.TaskRequeued(2)], "scheduled"),
        ([scheduled(), STARTED, facts.TaskCancelRequested("no")], "cancelling"),
        ([scheduled(), STARTED, facts.TaskCancelRequested("no"),
          facts.TaskCancelled("no", False)], "cancelled"),
        ([scheduled(), STARTED, facts.TaskCompleted(1, 7, 1)], "completed"),
        ([scheduled(), STARTED, facts.TaskCompleted(1, 7, 1),
          facts.OutcomeRefused(3, "completed")], "completed"),
        ([scheduled(), STARTED, failed_attempt(None), facts.TaskFailed("timeout", "m")], "failed"),
        ([facts.TaskCancelled("before it began", False)], "cancelled"),
    ],
)  # fmt: skip
def test_task_is_counted_in_one_state(told: list[Any], state: str) -> None:
    """Whether its facts come one a frame or all in one turn, a task counts once."""
    alone = [[said(TASK, fact)] for fact in told]
    for frames in (alone, [[said(TASK, *told)]]):
        counts = given([said(RUN, submitted("digest"))], *frames).counts.of("digest")
        assert {name: count for name, count in counts.tasks.items() if count} == {state: 1}


def test_counts_by_definition_and_in_sum() -> None:
    """Runs and tasks by state of each definition; failures by code; retries and losses."""
    views = given(
        [said(RUN, submitted("digest")), said("workflow/r2", submitted("audit"))],
        [said(TASK, scheduled(), STARTED, facts.AttemptLost(1, 7, "n:b1"))],
        [said(TASK, STARTED, failed_attempt(9), facts.TaskRequeued(2))],
        [said(TASK, STARTED, failed_attempt(None, "bad"), facts.TaskFailed("bad", "m")),
         said(RUN, ended("a", "failed"), facts.TasksSkipped(["b", "c"], "needs_failed"))],
        [said(RUN, facts.RunFailed("bad", "m", "a"))],
    )  # fmt: skip
    digest = views.counts.of("digest")
    assert (digest.runs["failed"], digest.runs["running"], digest.submitted) == (1, 0, 1)
    assert (digest.tasks["failed"], digest.tasks["skipped"]) == (1, 2)
    assert (digest.failures, digest.run_failures) == ({"bad": 1}, {"bad": 1})
    assert (digest.retried, digest.lost) == (1, 1)
    assert [named.name for named in views.counts.by_name().items] == ["audit", "digest"]
    assert views.counts.by_name(limit=1).cursor == "audit"
    assert [n.name for n in views.counts.by_name(cursor="audit").items] == ["digest"]
    total = views.counts.total()
    assert (total.submitted, total.runs["running"], total.tasks["skipped"]) == (2, 1, 2)
    assert views.counts.of("nobody").submitted == 0


def test_runs_move_from_state_to_state() -> None:
    """A failed task makes the run failing, a cancel cancelling; the end is final."""
    start = [said(RUN, submitted("digest"))]
    failing = given(start, [said(RUN, ended("a", "failed"))]).counts.of("digest")
    assert failing.runs["failing"] == 1
    cancelling = [said(RUN, facts.RunCancelRequested("no", "me"))]
    assert given(start, cancelling).counts.of("digest").runs["cancelling"] == 1
    over = given(start, cancelling, [said(RUN, facts.RunCancelled("no"))]).counts.of("digest")
    assert sum(over.runs.values()) == over.runs["cancelled"] == 1
    poisoned = said("$partition", facts.StreamPoisoned(RUN, "internal_bug", "m"))
    gone = given(start, [poisoned]).counts.of("digest")
    assert (gone.runs["failed"], gone.run_failures) == (1, {"internal_bug": 1})


def test_counts_by_hour() -> None:
    """What happened is counted in the hour of its fact; a range and a name narrow it."""
    journal = MemoryJournal()
    writer = LogWriter(journal)
    writer.frame(said(RUN, submitted("digest")))
    writer.time_ns += HOUR_NS
    writer.frame(said(RUN, facts.RunFailed("bad", "m", "")), said("workflow/r2", submitted("x")))
    views = Views(journal, MemoryViewStore())
    views.runner.catch_up()
    hours = views.counts.by_hour().items
    assert [(hour.hour_ns, hour.name) for hour in hours] == [
        (HOUR, "digest"), (HOUR + HOUR_NS, "digest"), (HOUR + HOUR_NS, "x"),
    ]  # fmt: skip
    assert hours[0].counts.submitted == 1
    assert sum(hours[0].counts.runs.values()) == 0
    assert (hours[1].counts.runs["failed"], hours[1].counts.run_failures) == (1, {"bad": 1})
    page = views.counts.by_hour(limit=1)
    assert len(views.counts.by_hour(cursor=page.cursor).items) == 2
    assert len(views.counts.by_hour(since_ns=HOUR + HOUR_NS + 5).items) == 2
    assert len(views.counts.by_hour(until_ns=HOUR + 1).items) == 1
    assert len(views.counts.by_hour(name="x").items) == 1


# -- workers


def test_workers_hold_attempts_and_remember_how_they_ended() -> None:
    """A holder's running attempts, its totals, when it was seen, and whether it is still there."""
    views = given(
        [said("$partition", facts.PartitionOpened("n", "b1", "0.1.0"))],
        [said(TASK, scheduled(), STARTED), said("task/r1/b", scheduled(), STARTED)],
        [said("task/r1/b", facts.TaskCompleted(1, 7, None)),
         said("task/r1/c", scheduled(), STARTED, failed_attempt(None))],
        [said("$partition", facts.PartitionOpened("n", "b2", "0.1.0"))],
        [said(TASK, facts.AttemptLost(1, 7, "n:b1"), facts.AttemptStarted(2, 9, "n:b2"))],
    )  # fmt: skip
    before, now = views.workers.list().items
    assert (before.holder, before.node, before.state, before.version) == (
        "n:b1",
        "n",
        "gone",
        "0.1.0",
    )
    assert (before.running, before.started_total, before.lost_total) == (0, 3, 1)
    assert (before.completed_total, before.failed_total) == (1, 1)
    assert (before.first_seen_ns, before.last_seen_ns) == (at(1), at(5))
    assert (now.holder, now.state, now.running) == ("n:b2", "open", 1)
    assert [worker.holder for worker in views.workers.list(state="open").items] == ["n:b2"]
    attempt = RunningAttempt("r1", "a", 2, "n:b2", at(5))
    assert views.workers.running().items == [attempt]
    assert views.workers.running(holder="n:b1").items == []


def test_worker_that_stopped_as_asked_is_closed() -> None:
    """A node that closed its partition is closed, not gone."""
    views = given(
        [said("$partition", facts.PartitionOpened("n", "b1", "0.1.0"))],
        [said("$partition", facts.PartitionClosed("n", "b1"))],
        [said("$partition", facts.PartitionOpened("n", "b2", "0.1.0"))],
    )
    assert [worker.state for worker in views.workers.list().items] == ["closed", "open"]


# -- durations


def test_durations_are_learned_of_the_last_completed_attempts() -> None:
    """Median and 90th percentile of at most `SAMPLES_MAX` attempts; failed ones teach nothing."""
    journal = MemoryJournal()
    writer = LogWriter(journal)
    for number in range(SAMPLES_MAX + 10):
        run = f"r{number}"
        writer.frame(said(f"workflow/{run}", submitted("digest")))
        writer.frame(said(f"task/{run}/a", scheduled(), STARTED))
        writer.time_ns += (number - 1) * SECOND_NS
        writer.frame(said(f"task/{run}/a", facts.TaskCompleted(1, 7, None)))
        writer.frame(said(f"task/{run}/b", scheduled(), STARTED, failed_attempt(None)))
        writer.frame(said(f"workflow/{run}", facts.RunCompleted(None)))
    views = Views(journal, MemoryViewStore())
    views.runner.catch_up()
    learned = views.durations.of("digest")
    assert list(learned) == ["a"]
    lasted = range(10, SAMPLES_MAX + 10)
    assert learned["a"].samples == SAMPLES_MAX
    assert learned["a"].completed_total == SAMPLES_MAX + 10
    assert learned["a"].median_s == pytest.approx((lasted[15] + lasted[16]) / 2)
    assert learned["a"].p90_s == pytest.approx(lasted[27] + 0.9)
    assert views.durations.of("dig") == {}


# -- rows that come and go


def test_row_that_comes_and_goes_within_a_group_is_not_written() -> None:
    """Where nothing was stored there is nothing to delete; what was stored is deleted."""
    store = MemoryViewStore()
    rows = Rows(store, "v")
    rows.absent("short")
    rows.put("short", 1)
    rows.delete("short")
    assert rows.get("unknown") is None
    rows.put("unknown", 1)
    rows.delete("unknown")
    assert rows.changes() == []
    rows.absent("kept")
    rows.put("kept", 1)
    store.write(rows.changes())
    rows.settle()
    rows.delete("kept")
    rows.absent("kept")
    rows.put("kept", 2)
    rows.delete("kept")
    assert rows.changes() == [(b"v/kept", None)]
