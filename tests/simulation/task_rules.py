"""The rules that the facts of one task keep to, written down apart from its decider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.simulation.history import Entry

ENDS = {"task.completed", "task.failed", "task.cancelled", "task.dropped"}
AFTER_THE_END = {"task.outcome_refused", "task.attempt_returned"}
OF_AN_ATTEMPT = {
    "task.completed",
    "task.attempt_failed",
    "task.attempt_lost",
    "task.attempt_limited",
    "task.attempt_slept",
}


def check_task(stream: str, entries: list[Entry]) -> None:
    """Check one result, growing tokens, no overlap of attempts, and timers that are not early."""
    _one_result_a_life(stream, entries)
    token = attempt = 0
    running = False
    stopping = False
    due_ns = 0
    for entry in entries:
        name, fact = entry.fact.type, entry.decoded
        if name == "task.attempt_started":
            assert not running, f"{stream} starts an attempt while one runs"
            assert not stopping, f"{stream} starts an attempt after it was told to stop"
            assert fact.token == entry.number > token, "a token is the position of its own fact"
            assert fact.attempt == attempt + 1, f"{stream} skips an attempt"
            token, attempt, running = fact.token, fact.attempt, True
        elif name in OF_AN_ATTEMPT and token:
            assert running, f"{stream} has {name} while nothing runs"
            if hasattr(fact, "token"):
                assert fact.token == token, f"{stream} has {name} of a token that is not current"
            running = False
            due_ns = _wakes_ns(name, fact, due_ns)
        elif name == "task.interrupted":
            running = False
        elif name == "task.waiting":
            due_ns = fact.due_ns
        elif name == "task.outcome_refused":
            assert fact.token != token or not running, f"{stream} refuses its own result"
        elif name == "task.cancel_requested":
            stopping = True
        elif name == "task.retried":
            running = stopping = False  # both were of a life that has ended
        if name == "task.requeued" or (name == "task.completed" and not token):
            assert entry.time_ns >= due_ns, f"{stream} wakes {due_ns - entry.time_ns} ns early"


def _wakes_ns(name: str, fact: Any, known_ns: int) -> int:
    """Return before when the next attempt does not follow, now that one is over."""
    if name == "task.attempt_failed" and fact.retry_due_ns is not None:
        return int(fact.retry_due_ns)
    if name == "task.attempt_slept":
        return 0 if fact.awaited else int(fact.due_ns)  # what it awaits may wake it
    return known_ns


def check_slots(stream: str, entries: list[Entry]) -> None:
    """Check that the slot of an attempt comes back apart from it only if it was abandoned."""
    token, kept = 0, set()
    for entry in entries:
        name, fact = entry.fact.type, entry.decoded
        if name == "task.attempt_started":
            token = fact.token
        elif getattr(fact, "abandoned", False):
            kept.add(token)
        elif name == "task.attempt_returned":
            assert fact.token in kept, f"{stream} gives the slot of {fact.token} back again"
            kept.remove(fact.token)


def _one_result_a_life(stream: str, entries: list[Entry]) -> None:
    """Check the results; a compensation that a person has tried again has another life."""
    lives: list[list[Entry]] = [[]]
    for entry in entries:
        if entry.fact.type == "task.retried":
            lives.append([])
        lives[-1].append(entry)
    for life in lives:
        _one_result(stream, life)
    for life in lives[:-1]:
        assert any(entry.fact.type in ENDS for entry in life), f"{stream} has two lives at once"


def _one_result(stream: str, entries: list[Entry]) -> None:
    types = [entry.fact.type for entry in entries]
    ends = [name for name in types if name in ENDS]
    assert len(ends) <= 1, f"{stream} has the results {ends}"
    if ends:
        after = set(types[types.index(ends[0]) + 1 :]) - AFTER_THE_END
        assert not after, f"{stream} went on after its end with {after}"
