"""The last look at a world of signals: what was acknowledged, taken, saved and interrupted."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goclaw_events.facts import (
    AttemptFailed,
    AttemptLost,
    AttemptStarted,
    SignalAccepted,
    SignalConsumed,
    SignalEnded,
    StateSaved,
    TaskAdjusted,
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
    TaskInterrupted,
    TaskInterruptRequested,
)
from goclaw_events.ids import task_stream, workflow_stream
from scripts.harness.audit import facts_of
from scripts.harness.last_look import last_look
from scripts.harness.output_audit import Told
from scripts.harness.talk import HOLDS, RUNS, number_of, tasks_of, word

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw_events.journal import Journal
    from scripts.harness.ledger import Entry
    from scripts.harness.nursery import Talk

_ENDS = (TaskCompleted, TaskFailed, TaskCancelled)
_OVER = (*_ENDS, AttemptFailed, AttemptLost, TaskInterrupted)


def play(request: dict[str, Any], talk: Talk) -> None:
    """Say every fault of the world in `home`, then what was found; `acked` are [run, task, n]."""
    last_look(request, talk, None, partial(_look, request))


def _look(
    request: dict[str, Any], journal: Journal, entries: list[Entry], counts: Counter[str]
) -> Iterator[str]:
    for run in range(RUNS):
        ends = [kind for kind in _types(journal, workflow_stream(f"s{run}")) if "Ended" not in kind]
        if not ends or ends[-1] not in ("RunCompleted", "RunFailed"):
            yield f"s{run} did not end: {ends[-3:]}"
        for task in tasks_of(run):
            facts = facts_of(journal, task_stream(f"s{run}", task))
            acked = [n for of, name, n in request["acked"] if (of, name) == (run, task)]
            mine = [entry for entry in entries if entry.key == f"s{run}/{task}/0"]
            of_task = _Task(f"s{run}/{task}", facts)
            yield from of_task.said(acked, [word(request["seed"], run, task, n) for n in acked])
            yield from of_task.taken()
            yield from of_task.interrupted()
            yield from _handed(of_task, mine)
            counts.update(of_task.counts)
    told = Told(journal, Path(request["home"]))
    yield from told.faults()
    counts["chunks"] = told.chunks


class _Task:
    """The facts of a task."""

    def __init__(self, name: str, facts: list[Any]) -> None:
        self.name = name
        self.facts = facts
        self.counts = Counter(type(fact).__name__ for fact in facts)

    def said(self, acked: list[int], words: list[Any]) -> list[str]:
        """Check that what was acknowledged is there, once, in the order in which it was said."""
        found = Counter(
            fact.signal for fact in self.facts if isinstance(fact, SignalAccepted | TaskAdjusted)
        )
        numbers = [number_of(signal) for signal in found if number_of(signal) >= 0]
        faults = [] if numbers == sorted(numbers) else [f"{self.name}: out of order: {numbers}"]
        faults += [
            f"{self.name}: {signal} was accepted {n} times" for signal, n in found.items() if n > 1
        ]
        return faults + [
            f"{self.name}: word {number} ({said.kind}) was acknowledged and is lost"
            for number, said in zip(acked, words, strict=True)
            if said.kind not in HOLDS and said.id not in found
        ]

    def taken(self) -> list[str]:
        """Check that each message ended, and none was taken twice by one attempt."""
        taken = Counter(
            (fact.signal, fact.token) for fact in self.facts if isinstance(fact, SignalConsumed)
        )
        over = {signal for signal, _ in taken}
        over |= {fact.signal for fact in self.facts if isinstance(fact, SignalEnded)}
        faults = [
            f"{self.name}: {signal} was taken twice" for (signal, _), n in taken.items() if n > 1
        ]
        return faults + [
            f"{self.name}: {fact.signal} was accepted, and waits for ever"
            for fact in self.facts
            if isinstance(fact, SignalAccepted)
            and fact.kind == "message"
            and fact.signal not in over
        ]

    def interrupted(self) -> list[str]:
        """Check that what was interrupted ended, and that the task did, too."""
        faults = []
        if not any(isinstance(fact, _ENDS) for fact in self.facts):
            faults.append(f"{self.name} did not end")
        for at, fact in enumerate(self.facts):
            if isinstance(fact, TaskInterruptRequested):
                later = (
                    kind
                    for kind in self.facts[at + 1 :]
                    if isinstance(kind, (*_OVER, AttemptStarted))
                )
                if isinstance(next(later, None), AttemptStarted | None):
                    faults.append(f"{self.name}: an attempt that was interrupted did not end")
        return faults

    def done_with(self) -> dict[str, int]:
        """Return what was taken before a state was saved, each with the attempt that did."""
        done: dict[str, int] = {}
        held: list[str] = []
        for fact in self.facts:
            if isinstance(fact, SignalConsumed):
                held.append(fact.signal)
            elif isinstance(fact, StateSaved):
                done.update(dict.fromkeys(held, fact.attempt))
                held = []
            elif isinstance(fact, AttemptStarted):
                held = []
        return done


def _handed(task: _Task, entries: list[Entry]) -> list[str]:
    """Compare what handlers were given with the facts: once an attempt, in order, redelivered."""
    faults: list[str] = []
    before: dict[str, int] = {}
    seen: set[tuple[str, int]] = set()
    last: dict[int, int] = {}
    done = task.done_with()
    accepted = {fact.signal: fact for fact in task.facts if isinstance(fact, SignalAccepted)}
    for entry in entries:
        ids, redelivered = entry.what
        for name in ids:
            task.counts["handed"] += 1
            if (name, entry.attempt) in seen:
                faults.append(f"{task.name}: attempt {entry.attempt} was given {name} twice")
            seen.add((name, entry.attempt))
            if name not in accepted:
                faults.append(f"{task.name}: {name} was given, and is not in the log")
                continue
            if before.get(name, entry.attempt) != entry.attempt:
                task.counts["handed_again"] += 1
                if not redelivered:
                    faults.append(f"{task.name}: {name} came again, and does not say so")
            before[name] = entry.attempt
            if done.get(name, entry.attempt) < entry.attempt:
                faults.append(f"{task.name}: {name} was done with, and came again")
            number = number_of(name)
            if accepted[name].mode == "steer" and number >= 0:
                if number <= last.get(entry.attempt, -1):
                    faults.append(f"{task.name}: attempt {entry.attempt} was given {name} late")
                last[entry.attempt] = number
    return faults


def _types(journal: Journal, stream: str) -> list[str]:
    return [type(fact).__name__ for fact in facts_of(journal, stream)]
