"""Whether anything that waited was woken before its time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_events.codec import FACTS
from goclaw_events.facts import (
    AttemptSlept,
    AttemptStarted,
    TaskAnswered,
    TaskAwaiting,
    TaskCompleted,
    TaskDropped,
    TaskFailed,
    TaskWaiting,
)
from goclaw_events.ids import task_stream
from goclaw_events.replay import stream_turns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from goclaw_events.journal import Journal
    from scripts.harness.errands import Errand

BY_DEADLINE = "deadline"
"""The answer of a definition in the place of people who did not decide."""


def early_faults(journal: Journal, made: Errand) -> Iterator[str]:
    """Check every timer of the tasks of an errand."""
    for task in made.program.statuses:
        turns = (
            (turn.time_ns, [FACTS.decode(one.type, one.version, one.data) for one in turn.facts])
            for turn in stream_turns(journal, task_stream(made.run_id, task))
        )
        yield from woken_early(f"{made.program.workflow.name}/{task}", turns)


def woken_early(name: str, turns: Iterable[tuple[int, list[Any]]]) -> Iterator[str]:
    """Check that no wait, sleep or deadline of a task was over before it was due.

    `turns`: when each was recorded, and its facts.
    """
    due_ns, is_answered = 0, False
    for now_ns, facts in turns:
        for fact in facts:
            match fact:
                case AttemptSlept() if fact.awaited:
                    due_ns = 0  # it is woken by what it waits for
                case TaskWaiting() | TaskAwaiting() | AttemptSlept():
                    due_ns, is_answered = fact.due_ns, False
                case TaskAnswered():
                    is_answered = fact.answer != BY_DEADLINE
                case AttemptStarted() | TaskCompleted() | TaskFailed() | TaskDropped():
                    if now_ns < due_ns and not is_answered:
                        yield f"{name}: {type(fact).__name__} {due_ns - now_ns} ns before its time"
                    due_ns = 0
