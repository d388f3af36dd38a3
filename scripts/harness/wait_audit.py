"""The last look at a world of errands: each answer counted once, each letter decided once."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goclaw_events.facts import (
    LetterDiscarded,
    LetterLeft,
    LetterRedriven,
    SignalGiven,
    SignalReceived,
    SignalReturned,
    SignalsLeft,
    TaskAnswered,
)
from goclaw_events.ids import task_stream, workflow_stream
from scripts.harness.audit import effect_faults, facts_of, run_faults
from scripts.harness.errand_parts import errand
from scripts.harness.errands import SIGNAL
from scripts.harness.last_look import last_look
from scripts.harness.parking_audit import parking_faults
from scripts.harness.timer_audit import early_faults
from scripts.harness.timetable_audit import timetable_faults
from scripts.harness.timetables import NAMES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from goclaw_events.journal import Journal
    from scripts.harness.errands import Errand
    from scripts.harness.ledger import Entry
    from scripts.harness.nursery import Talk
    from scripts.harness.programs import Program

_AT_ITS_DEADLINE = ("", "deadline")


def play(request: dict[str, Any], talk: Talk) -> None:
    """Say every fault of the world in `home`, then what was found; `errands` were acknowledged."""
    said = json.loads((Path(request["home"]) / "acknowledged").read_text())
    made = [errand(request["seed"], number) for number in request["errands"]]

    def look(journal: Journal, entries: list[Entry], counts: Counter[str]) -> Iterator[str]:
        programs: list[tuple[Program, set[str]]] = []
        for one in made:
            run = facts_of(journal, workflow_stream(one.run_id))
            answered = {task: _answers(journal, one, task) for task in one.questions}
            yield from answer_faults(one, run, answered, said["taken"], counts)
            decided = [tuple(found[1:]) for found in said["decided"] if found[0] == one.run_id]
            yield from letter_faults(one, run, decided, counts)
            yield from early_faults(journal, one)
            programs += _programs(journal, one)
        for name in NAMES:
            done = [answer for of, *answer in said["done_to"] if of == name]
            fired = timetable_faults(journal, request["seed"], name, done, counts)
            yield from fired.faults
            programs += fired.programs
        yield from parking_faults(journal, request["seed"], said["settled"], counts)
        yield from effect_faults([program for program, _ in programs], entries)
        for program, may_end in programs:
            yield from run_faults(journal, program, entries, may_end)

    lanes = {lane: slots for one in made for lane, slots in one.program.lanes.items()}
    last_look(request, talk, {"/default": 256, **lanes}, look)


def _programs(journal: Journal, made: Errand) -> Iterator[tuple[Program, set[str]]]:
    """Yield what runs are expected of an errand, each with how it may end.

    Of one that is recalled it is not known how far it came, nor which runs it began.
    """
    for program in (made.program, *made.below):
        program.exact = not made.is_recalled
        if not made.is_recalled:
            yield program, {program.status}
        elif program is made.program or facts_of(journal, workflow_stream(program.run_id)):
            yield program, {program.status, "cancelled"}


def _answers(journal: Journal, made: Errand, task: str) -> list[str]:
    facts = facts_of(journal, task_stream(made.run_id, task))
    return [fact.answer for fact in facts if isinstance(fact, TaskAnswered)]


def answer_faults(
    made: Errand,
    run: Sequence[Any],
    answered: Mapping[str, Sequence[str]],
    taken: Collection[str],
    counts: Counter[str],
) -> Iterator[str]:
    """Check that each question was answered once at most, and what was taken did not get lost.

    `run` are the facts of the run, `answered` the answers of each task, `taken` the words that were
    acknowledged. Where it depends on the answer what must come of a task, that is decided here.
    """
    name = made.program.workflow.name
    for task, question in made.questions.items():
        found = answered[task]
        answer = found[0] if found else ""
        if len(found) > 1:
            yield f"{name}/{task} was answered {len(found)} times: {found}"
        if answer not in question.answers and not made.is_recalled:
            yield f"{name}/{task} was answered by {answer!r}, not one of {question.answers}"
        counts["deadlines" if answer in _AT_ITS_DEADLINE else "answers"] += 1
        if question.effects is not None and answer in question.effects:
            made.program.effects[question.key] = question.effects[answer]
    every = [one for found in answered.values() for one in found if one not in _AT_ITS_DEADLINE]
    for one, times in Counter(every).items():
        if times > 1:
            yield f"{name}: {one} answered {times} tasks"
    yield from _mail_faults(made, run, set(every))
    received = {fact.signal for fact in run if isinstance(fact, SignalReceived)}
    for word in (word for words in made.said for word in words):
        kept = received if word.kind == SIGNAL else every
        if word.id in taken and word.id not in kept:
            yield f"{name}: {word.id} was acknowledged, and is lost"


def _mail_faults(made: Errand, run: Sequence[Any], every: set[str]) -> Iterator[str]:
    """Check that each signal was received once, and went to one task, or was left."""
    name = made.program.workflow.name
    may_come = {word.id for words in made.said for word in words if word.taken}
    ends: Counter[str] = Counter()
    for fact in run:
        if isinstance(fact, SignalGiven):
            ends[fact.signal] += 1
        elif isinstance(fact, SignalReturned):
            ends[fact.signal] -= 1
        elif isinstance(fact, SignalsLeft):
            ends.update(fact.signals)
    received = Counter(fact.signal for fact in run if isinstance(fact, SignalReceived))
    for signal, times in received.items():
        if signal not in may_come:
            yield f"{name}: {signal} was to be refused, and was received"
        if times > 1:
            yield f"{name}: {signal} was received {times} times"
        if ends[signal] != 1:
            yield f"{name}: {signal} came to {ends[signal]} ends"
    if lost := sorted(every & may_come & _signals(made) - received.keys()):
        yield f"{name}: {lost} answered, and never came"


def _signals(made: Errand) -> set[str]:
    return {word.id for words in made.said for word in words if word.kind == SIGNAL}


def letter_faults(
    made: Errand, run: Sequence[Any], decided: Sequence[tuple[str, int]], counts: Counter[str]
) -> Iterator[str]:
    """Check that each letter was decided about once, as was drawn; `decided`: was acknowledged."""
    name = made.program.workflow.name
    for task, verdicts in made.letters.items():
        own = [fact for fact in run if getattr(fact, "task", "") == task]
        died = sum(isinstance(fact, LetterLeft) for fact in own)
        found = [
            ("redrive", fact.edits, fact.generation - 1)
            if isinstance(fact, LetterRedriven)
            else ("discard", None, fact.generation)
            for fact in own
            if isinstance(fact, LetterRedriven | LetterDiscarded)
        ]
        counts["letters"] += len(found)
        wanted = [(how, edits, place) for place, (how, edits) in enumerate(verdicts)]
        if found != wanted[: len(found) if made.is_recalled else None]:
            yield f"{name}/{task}: {found} was decided, not {wanted}"
        if died not in ({len(found), len(found) + 1} if made.is_recalled else {len(wanted)}):
            yield f"{name}/{task} died {died} times, and {len(found)} were decided"
        known = {place for _, _, place in found}
        if lost := sorted(place for of, place in decided if of == task and place not in known):
            yield f"{name}/{task}: what was decided of generations {lost} is lost"
