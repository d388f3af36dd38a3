"""The critical path of a run: its segments are the run's time, its chain follows the needs."""

from __future__ import annotations

from itertools import groupby, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from goclaw_projections.critical import (
    KINDS,
    Segment,
    TaskHistory,
    critical_path,
    histories,
    spent_ns,
)
from goclaw_projections.timeline import TimelineEntry

LIVES = st.lists(
    st.tuples(st.sampled_from(["queue", "run", "backoff", "wait"]), st.integers(0, 50)), max_size=5
)


@st.composite
def runs(
    draw: st.DrawFn,
) -> tuple[int, dict[str, TaskHistory], dict[str, list[str]]]:
    """Make a run that began at 1000: when it ended, what its tasks did, and their needs."""
    needs: dict[str, list[str]] = {}
    tasks: dict[str, TaskHistory] = {}
    for number in range(draw(st.integers(0, 8))):
        name = f"t{number}"
        needs[name] = draw(st.lists(st.sampled_from(sorted(tasks)), unique=True)) if tasks else []
        now = max((tasks[need].end_ns for need in needs[name]), default=1000)
        now += draw(st.integers(0, 5))
        phases = []
        for kind, took in draw(LIVES):
            phases.append((now, kind))
            now += took
        status = draw(st.sampled_from(["completed", "failed", "skipped"]))
        tasks[name] = TaskHistory(status, now, phases)
    last = max((task.end_ns for task in tasks.values()), default=1000)
    return last + draw(st.integers(0, 9)), tasks, needs


@settings(max_examples=300)
@given(runs())
def test_segments_are_the_time_of_the_run(
    run: tuple[int, dict[str, TaskHistory], dict[str, list[str]]],
) -> None:
    """They touch, cover it whole, add up to it, and each task follows one that it needs."""
    ended_ns, tasks, needs = run
    segments = critical_path(1000, ended_ns, tasks, needs)
    assert sum(spent_ns(segments).values()) == ended_ns - 1000
    assert all(segment.kind in KINDS and segment.end_ns > segment.start_ns for segment in segments)
    assert all(one.end_ns == other.start_ns for one, other in pairwise(segments))
    if segments:
        assert (segments[0].start_ns, segments[-1].end_ns) == (1000, ended_ns)
    chain = [task for task, _ in groupby(segment.task for segment in segments)]
    assert len(chain) == len(set(chain))
    ends = {segment.task: segment.end_ns for segment in segments if segment.task}
    for task, end_ns in ends.items():
        assert end_ns == tasks[task].end_ns
    named = [task for task in chain if task]
    if named:
        assert tasks[named[-1]].end_ns == max(task.end_ns for task in tasks.values())
    for before, after in pairwise(named):
        last_need = max((tasks[need].end_ns for need in needs[after]), default=0)
        assert tasks[before].end_ns <= last_need


def test_segments_are_cut_where_a_task_began_something_else() -> None:
    """Queue, run, backoff, run of the last need, then the task that waited for it, then the run."""
    kinds = [
        ("scheduled", 2), ("attempt_started", 5), ("attempt_failed", 9), ("requeued", 19),
        ("attempt_started", 20), ("completed", 30),
    ]  # fmt: skip
    entries = [
        TimelineEntry(n, time, "a", f"task.{kind}", "") for n, (kind, time) in enumerate(kinds)
    ]
    entries += [
        TimelineEntry(20, 1, "fast", "task.scheduled", ""),
        TimelineEntry(21, 3, "fast", "task.completed", ""),
        TimelineEntry(30, 31, "b", "task.waiting", ""),
        TimelineEntry(31, 41, "b", "task.completed", ""),
        TimelineEntry(32, 42, "", "run.completed", ""),
    ]
    needs = {"a": [], "fast": [], "b": ["fast", "a"]}
    segments = critical_path(0, 42, histories(entries), needs)
    assert segments == [
        Segment("a", "handover", 0, 2),
        Segment("a", "queue", 2, 5),
        Segment("a", "run", 5, 9),
        Segment("a", "backoff", 9, 19),
        Segment("a", "queue", 19, 20),
        Segment("a", "run", 20, 30),
        Segment("b", "handover", 30, 31),
        Segment("b", "wait", 31, 41),
        Segment("", "handover", 41, 42),
    ]


def test_an_attempt_of_which_nothing_came_is_lost_time() -> None:
    """So is the time until the next engine: neither is told apart, and neither is `run`."""
    kinds = [
        ("scheduled", 1), ("attempt_started", 2), ("attempt_lost", 90), ("attempt_started", 90),
        ("completed", 95),
    ]  # fmt: skip
    entries = [TimelineEntry(n, at, "a", f"task.{kind}", "") for n, (kind, at) in enumerate(kinds)]
    assert critical_path(0, 95, histories(entries), {"a": []}) == [
        Segment("a", "handover", 0, 1),
        Segment("a", "queue", 1, 2),
        Segment("a", "lost", 2, 90),
        Segment("a", "run", 90, 95),
    ]


def test_what_was_cancelled_for_a_failure_follows_the_failure() -> None:
    """A task that ran on until another one failed did not decide the end: the failure did."""
    tasks = {
        "bad": TaskHistory("failed", 50, [(1, "run")]),
        "long": TaskHistory("cancelled", 55, [(1, "run")]),
    }
    needs: dict[str, list[str]] = {"bad": [], "long": []}
    assert critical_path(0, 60, tasks, needs, "bad") == [
        Segment("bad", "handover", 0, 1),
        Segment("bad", "run", 1, 50),
        Segment("long", "handover", 50, 55),
        Segment("", "handover", 55, 60),
    ]


def test_task_that_was_opened_again_counts_with_its_last_life() -> None:
    """Facts of an earlier generation are no part of the path."""
    told = [("scheduled", 1), ("completed", 2), ("scheduled", 10), ("completed", 20)]
    entries = [
        TimelineEntry(n, time, "a", f"task.{kind}", "") for n, (kind, time) in enumerate(told)
    ]
    assert histories(entries) == {"a": TaskHistory("completed", 20, [(10, "queue")])}
