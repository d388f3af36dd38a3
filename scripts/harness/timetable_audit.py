"""The last look at a schedule: each of its times has one run, or one fact that says why not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from goclaw_actors.schedule.naming import run_id_of
from goclaw_events.codec import FACTS
from goclaw_events.facts import (
    FiredRunEnded,
    FiringQueued,
    FiringsSkipped,
    ScheduleDeleted,
    ScheduleFired,
    ScheduleSet,
)
from goclaw_events.ids import partition_of, schedule_stream
from goclaw_events.replay import stream_turns
from scripts.harness.programs import Program
from scripts.harness.timetables import effect_of, workflow_of
from tests.simulation.history import Entry
from tests.simulation.room_model import turns_of
from tests.simulation.schedule_model import Model

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Sequence

    from goclaw_events.journal import Journal


class Fired(NamedTuple):
    """What is wrong with a schedule, and the runs that it began, each with how it may end."""

    faults: list[str]
    programs: list[tuple[Program, set[str]]]


def timetable_faults(
    journal: Journal, seed: str, name: str, done: Sequence[Sequence[Any]], counts: Counter[str]
) -> Fired:
    """Check a schedule turn by turn; `done` is what was acknowledged: [kind, answer]."""
    entries = _entries(journal, schedule_stream(name))
    facts = [entry.decoded for entry in entries]
    faults = [*model_faults(name, entries), *trigger_faults(name, facts, done)]
    programs = _programs(seed, name, facts)
    counts["fired"] += len(programs)
    counts["skipped"] += sum(f.number for f in facts if isinstance(f, FiringsSkipped))
    return Fired(faults, programs)


def _entries(journal: Journal, stream: str) -> list[Entry]:
    """Return the facts of a stream as the model of the simulation takes them."""
    partition = partition_of(stream, journal.partitions)
    return [
        Entry(
            partition,
            turn.number + place,
            turn.time_ns,
            turn.cause,
            fact,
            FACTS.decode(fact.type, fact.version, fact.data),
        )
        for turn in stream_turns(journal, stream)
        for place, fact in enumerate(turn.facts)
    ]


def model_faults(name: str, entries: list[Entry]) -> Iterator[str]:
    """Hold what a schedule says against the model of the simulation; at last it is deleted."""
    model = Model(schedule_stream(name))
    try:
        for turn in turns_of(entries):
            model.turn(turn)
    except AssertionError as error:
        yield f"schedule {name}: {error}"
    if entries and not isinstance(entries[-1].decoded, ScheduleDeleted | FiredRunEnded):
        yield f"schedule {name} was deleted, and says {entries[-1].decoded}"


def trigger_faults(name: str, facts: Sequence[Any], done: Sequence[Sequence[Any]]) -> Iterator[str]:
    """Check that each trigger that was acknowledged is there, as a run of its own."""
    known = {
        run_id_of(name, fact.planned_ns, fact.trigger)
        for fact in facts
        if isinstance(fact, ScheduleFired | FiringQueued)
    }
    answers = [answer for kind, answer in done if kind == "trigger"]
    for answer in answers:
        if answer not in known:
            yield f"{answer} was acknowledged, and is lost"
    if len(set(answers)) < len(answers):
        yield f"triggers of {name} share runs: {sorted(answers)}"


def _programs(seed: str, name: str, facts: Sequence[Any]) -> list[tuple[Program, set[str]]]:
    """Return the runs that a schedule began; where its rule cancels one, that may have come."""
    workflow, cancels = workflow_of(seed, name), False
    found: list[tuple[Program, set[str]]] = []
    for fact in facts:
        if isinstance(fact, ScheduleSet):
            cancels = fact.overlap == "cancel"
        elif isinstance(fact, ScheduleFired):
            program = Program(fact.run_id, workflow, exact=True, statuses={"do": "completed"})
            effect = effect_of(seed, name, fact.run_id)
            program.effects[f"{fact.run_id}/do/0"] = effect
            found.append((program, {"completed"}))
        elif isinstance(fact, FiringQueued) and cancels:
            program, may_end = found[-1]
            program.exact = False
            may_end.add("cancelled")
    return found
