"""Rebuilt equals incremental: however frames are grouped, and wherever the process stops."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from goclaw_events import facts
from goclaw_events.ids import partition_of
from goclaw_events.memory_journal import MemoryJournal
from goclaw_events.value import BlobRef
from goclaw_projections.counts import CountsReader
from goclaw_projections.errors import ViewsUnavailable
from goclaw_projections.every import all_projections
from goclaw_projections.lanes import LanesReader
from goclaw_projections.runner import ProjectionRunner, RunnerSettings
from goclaw_projections.runs import RunsReader
from goclaw_projections.states import RUN_ENDED
from goclaw_projections.store import MemoryViewStore
from goclaw_projections.verify import differences
from tests.projections.lane_model import LaneModel
from tests.projections.log_writer import LogWriter, Said, ended, scheduled, submitted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from goclaw_projections.store import Change

RUNS = ("r1", "r2", "r2.x", "z")
TASKS = ("a", "b", "a.b")

values = st.sampled_from([None, 1, "text", {"k": [1.5]}, BlobRef(b"\x02" * 32, 70_000)])
statuses = st.sampled_from(["completed", "failed", "cancelled"])
words = st.sampled_from(["", "why", "a\nb"])
workflow_facts = st.one_of(
    st.builds(submitted, st.sampled_from(["digest", "audit"])),
    st.builds(ended, st.sampled_from(TASKS), statuses, values),
    st.builds(facts.TasksSkipped, st.lists(st.sampled_from(TASKS), max_size=3), words),
    st.builds(facts.RunCancelRequested, words, words),
    st.builds(facts.RunCompleted, values),
    st.builds(facts.RunFailed, words, words, words),
    st.builds(facts.RunCancelled, words),
)
numbers = st.integers(1, 3)
task_facts = st.one_of(
    st.builds(scheduled, words, numbers),
    st.builds(facts.TaskWaiting, st.just(BlobRef(b"p" * 32, 9)), numbers, numbers),
    st.builds(facts.AttemptStarted, numbers, numbers, words),
    st.builds(facts.ProgressReported, numbers, st.none() | st.floats(0, 1), words),
    st.builds(
        facts.AttemptFailed, numbers, numbers, words, words, words, st.booleans(),
        st.none() | numbers,
    ),
    st.builds(facts.AttemptLost, numbers, numbers, words),
    st.builds(facts.TaskRequeued, numbers, numbers),
    st.builds(facts.OutcomeRefused, numbers, words),
    st.builds(facts.TaskCancelRequested, words),
    st.builds(facts.TaskCompleted, numbers, numbers, values),
    st.builds(facts.TaskFailed, words, words),
    st.builds(facts.TaskCancelled, words, st.booleans()),
)  # fmt: skip


def told(stream: str, facts_told: list[Any]) -> Said:
    """Return a turn of a stream."""
    return Said(stream, tuple(facts_told))


def owner_of(turn: Said) -> str:
    """Return the stream whose partition records the turn; a poisoned stream's is its own."""
    fact = turn.facts[0]
    return fact.stream if isinstance(fact, facts.StreamPoisoned) else turn.stream


run_streams = st.sampled_from([f"workflow/{run}" for run in RUNS])
task_streams = st.sampled_from([f"task/{run}/{task}" for run in RUNS for task in TASKS])
turns = st.one_of(
    st.builds(told, run_streams, st.lists(workflow_facts, min_size=1, max_size=3)),
    st.builds(told, task_streams, st.lists(task_facts, min_size=1, max_size=3)),
    st.builds(
        lambda stream: Said("$partition", (facts.StreamPoisoned(stream, "c", "m"),)),
        run_streams | task_streams,
    ),
    st.builds(
        lambda node, boot: Said("$partition", (facts.PartitionOpened(node, boot, "1"),)),
        words,
        words,
    ),
)
lane_steps = st.tuples(
    st.sampled_from(["d/io", "/io"]), st.integers(0, 3), st.integers(-1, 1), st.booleans()
)
steps = st.lists(
    st.one_of(
        turns,
        turns,
        lane_steps,
        st.sampled_from(["fold", "restart", "crash", "rebuild"]),
    ),
    max_size=40,
)


class Crashing(MemoryViewStore):
    """A store whose process dies at one write."""

    dies = False

    def write(self, changes: Sequence[Change], dropped: Sequence[bytes] = ()) -> None:
        """Write nothing when the process dies."""
        if self.dies:
            msg = "died"
            raise ViewsUnavailable(msg)
        super().write(changes, dropped)


@settings(max_examples=200)
@given(
    partitions=st.sampled_from([1, 4]),
    frames_max=st.integers(1, 5),
    cache=st.sampled_from([0, 2, 100]),
    plan=steps,
)
def test_rebuilt_equals_incremental(
    partitions: int, frames_max: int, cache: int, plan: list[Any]
) -> None:
    """Any facts, folded in any groups with restarts and crashes between, make the same rows."""
    journal = MemoryJournal(partitions=partitions)
    writer = LogWriter(journal)
    store = Crashing()
    limits = RunnerSettings(frames_max=frames_max, cache_rows_max=cache)
    runner = ProjectionRunner(journal, store, all_projections(), limits)
    lanes = {"d/io": LaneModel(), "/io": LaneModel()}
    for step in plan:
        if isinstance(step, tuple) and not isinstance(step, Said):
            lane, task, priority, at_once = step
            writer.frame(
                Said("lane/" + lane, (lanes[lane].step(f"t{task}", priority, at_once=at_once),))
            )
        elif isinstance(step, Said):
            writer.frame(step, partition=partition_of(owner_of(step), partitions))
        elif step == "fold":
            runner.catch_up()
        elif step == "rebuild":
            runner.rebuild("lanes")
        else:
            if step == "crash":
                store.dies = True
                with contextlib.suppress(ViewsUnavailable):
                    runner.catch_up()
                store.dies = False
            runner = ProjectionRunner(journal, store, all_projections(), limits)
    runner.catch_up()
    assert list(differences(journal, store, all_projections())) == []
    assert all(status.state == "running" for status in runner.status())
    assert [runner.lag(partition) for partition in range(partitions)] == [0] * partitions
    for lane, model in lanes.items():
        view = LanesReader(store).get(lane)
        assert model.is_shown_by(view)
    total = CountsReader(store).total()
    named = CountsReader(store).by_name(limit=100).items
    assert sum(each.counts.submitted for each in named) == total.submitted
    hours = CountsReader(store).by_hour(limit=100).items
    assert sum(hour.counts.submitted for hour in hours) == total.submitted
    assert min(*total.tasks.values(), *total.runs.values()) >= 0
    for run in RunsReader(store).list(limit=100).runs:
        assert (run.ended_at_ns is not None) >= (run.status in RUN_ENDED)
