"""The view `durations`: how long the tasks of each definition took lately."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_events import facts
from goclaw_events.value import unpack
from goclaw_projections.served import ServedRows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw_projections.projection import ReadFrame, ReadTurn
    from goclaw_projections.rows import Rows
    from goclaw_projections.store import ViewStore

SAMPLES_MAX: Final = 32
"""Keep so many of the last attempts of a task that completed, for each partition."""


class LearnedDuration(NamedTuple):
    """How long the attempts of a task took that completed: of `samples` recent ones, in seconds.

    `completed_total` counts all that ever did.
    """

    median_s: float
    p90_s: float
    samples: int
    completed_total: int


class DurationsProjection:
    """Fold completed attempts into `of/<definition>/<task>/<partition>`.

    A row is [count, durations in µs], the latest at place `count - 1` modulo `SAMPLES_MAX`. Besides
    `name/<run id>` while a run goes on, and `since/<run id>/<task>` while an attempt runs.
    """

    name = "durations"
    version = 1

    def apply(self, frame: ReadFrame, rows: Rows) -> None:
        """Change the rows by one frame."""
        for turn in frame.turns:
            if turn.kind == "task":
                _apply_task(turn, frame, rows)
            elif turn.kind == "workflow":
                _apply_run(turn, rows)
            elif turn.kind == "saga":
                _apply_saga(turn, rows)

    def reads(self, frame: ReadFrame, rows: Rows) -> Iterator[str]:
        """Yield when attempts began, and what is known of tasks that completed."""
        for turn in frame.turns:
            if turn.kind == "task" and turn.seq > 1:
                yield "since/" + turn.name
                if any(type(fact) is facts.TaskCompleted for fact in turn.facts):
                    name = rows.held_row("name/" + turn.run_id)
                    if name is not None:
                        yield f"of/{name}/{turn.task_id}/{frame.partition:04x}"


def _apply_run(turn: ReadTurn, rows: Rows) -> None:
    key = "name/" + turn.run_id
    if turn.seq == 1:
        rows.absent(key)
    for fact in turn.facts:
        kind = type(fact)
        if kind is facts.RunSubmitted:
            rows.put(key, fact.name)
        elif kind in _RUN_ENDS:
            rows.delete(key)


def _apply_saga(turn: ReadTurn, rows: Rows) -> None:
    key = "name/" + turn.run_id
    for fact in turn.facts:
        kind = type(fact)
        if kind is facts.SagaSubmitted:
            rows.put(key, fact.name)
        elif kind in _SAGA_ENDS:
            rows.delete(key)


def _apply_task(turn: ReadTurn, frame: ReadFrame, rows: Rows) -> None:
    key = "since/" + turn.name
    if turn.seq == 1:
        rows.absent(key)
    for fact in turn.facts:
        kind = type(fact)
        if kind is facts.AttemptStarted:
            rows.put(key, frame.time_ns)
        elif kind in _ATTEMPT_ENDS:
            since_ns = rows.get(key)
            if since_ns is not None:
                rows.delete(key)
                if kind is facts.TaskCompleted:
                    _learn(turn, frame.partition, (frame.time_ns - since_ns) // 1000, rows)


def _learn(turn: ReadTurn, partition: int, took_us: int, rows: Rows) -> None:
    name = rows.get("name/" + turn.run_id)
    if name is None:
        return
    key = f"of/{name}/{turn.task_id}/{partition:04x}"
    row: list[Any] = rows.get(key) or [0, []]
    if len(row[1]) < SAMPLES_MAX:
        row[1].append(took_us)
    else:
        row[1][row[0] % SAMPLES_MAX] = took_us
    row[0] += 1
    rows.put(key, row)


_RUN_ENDS: Final = frozenset({facts.RunCompleted, facts.RunFailed, facts.RunCancelled})
_SAGA_ENDS: Final = frozenset({facts.SagaCompleted, facts.SagaCompensated, facts.SagaResolved})
_ATTEMPT_ENDS: Final = frozenset(
    {
        facts.TaskCompleted,
        facts.AttemptFailed,
        facts.AttemptLost,
        facts.AttemptLimited,
        facts.AttemptSlept,
        facts.EndPutOff,
        facts.TaskCancelled,
    }
)


class DurationsReader:
    """Answer how long tasks take. Any thread; sees what the runner has written."""

    def __init__(self, store: ViewStore) -> None:
        self._rows = ServedRows(store, "durations")

    def of(self, definition: str) -> dict[str, LearnedDuration]:
        """Return what was learned of the tasks of a definition, by task."""
        samples: dict[str, list[int]] = {}
        totals: dict[str, int] = {}
        for key, data in self._rows.scan(f"of/{definition}/"):
            task = key.split("/")[2]
            count, taken = unpack(data)
            samples.setdefault(task, []).extend(taken)
            totals[task] = totals.get(task, 0) + count
        return {
            task: LearnedDuration(
                _quantile(sorted(taken), 0.5) / 1e6,
                _quantile(sorted(taken), 0.9) / 1e6,
                len(taken),
                totals[task],
            )
            for task, taken in samples.items()
        }


def _quantile(ordered: list[int], share: float) -> float:
    """Return the value below which `share` of the samples lie, interpolated between two."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
