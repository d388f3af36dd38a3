"""The durable steps of a run's tasks, as records that people and other programs read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw.run_records import time_text
from goclaw_actors.executors.resolve import resolved
from goclaw_events.codec import FACTS
from goclaw_events.facts import StepRecorded, TaskScheduled
from goclaw_events.ids import task_stream
from goclaw_events.replay import stream_turns

if TYPE_CHECKING:
    from collections.abc import Iterable

    from goclaw_actors.executors.resolve import Load
    from goclaw_events.journal import Journal
    from goclaw_projections.timeline import TimelineEntry

_RECORDED: Final = FACTS.names[StepRecorded].name
_SCHEDULED: Final = FACTS.names[TaskScheduled].name


def step_records(
    journal: Journal, run_id: str, timeline: Iterable[TimelineEntry], load: Load
) -> list[dict[str, Any]]:
    """Return the steps that a timeline names, in order, each with its result in full.

    A task that runs again begins a `generation` without any: those before it are shown, too.
    Raises `HistoryExpired` where the facts were given up.
    """
    tasks = dict.fromkeys(entry.task for entry in timeline if entry.type == _RECORDED)
    found: list[tuple[int, dict[str, Any]]] = []
    for task in tasks:
        generation = 0
        for turn in stream_turns(journal, task_stream(run_id, task)):
            number = turn.number
            for fact in turn.facts:
                if fact.type == _SCHEDULED:
                    generation = FACTS.decode(fact.type, fact.version, fact.data).generation
                elif fact.type == _RECORDED:
                    step = FACTS.decode(fact.type, fact.version, fact.data)
                    record = _record(task, turn.time_ns, step, load)
                    found.append((number, {**record, "generation": generation}))
                number += 1
    return [record for _, record in sorted(found, key=lambda item: item[0])]


def _record(task: str, time_ns: int, step: StepRecorded, load: Load) -> dict[str, Any]:
    return {
        "task": task,
        "step": step.name,
        "key": step.key,
        "attempt": step.attempt,
        "recorded_at": time_text(time_ns),
        "result": resolved(step.result, load),
    }
