"""The last look at a world of sagas: log and ledger against what the journeys expect."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from goclaw_events.facts import (
    AttemptStarted,
    CompensationBegun,
    SagaAlarmed,
    SagaCompensated,
    SagaCompleted,
    SagaSubmitted,
)
from goclaw_events.ids import saga_key, saga_stream, task_stream
from scripts.harness.audit import facts_of
from scripts.harness.journeys import UNDO, Journey, journey
from scripts.harness.last_look import last_look
from scripts.harness.ledger import effects_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from goclaw_events.journal import Journal
    from scripts.harness.ledger import Entry
    from scripts.harness.nursery import Talk

_ENDS = {"completed": SagaCompleted, "compensated": SagaCompensated}


def play(request: dict[str, Any], talk: Talk) -> None:
    """Say every fault of the world in `home`, then what was found; `sagas` were acknowledged."""
    made = [journey(request["seed"], number) for number in request["sagas"]]

    def look(journal: Journal, entries: list[Entry], counts: Counter[str]) -> Iterator[str]:
        by_saga: dict[str, list[Entry]] = {saga_key(one.saga_id): [] for one in made}
        for entry in entries:
            by_saga.setdefault(entry.key.partition("/")[0], []).append(entry)
        for one in made:
            yield from _log_faults(journal, one, counts)
            mine = by_saga.pop(saga_key(one.saga_id))
            yield from ledger_faults(one, mine, _begun(journal, one), counts)
        yield from (f"effects of no saga: {key}" for key in sorted(by_saga))

    lanes = {lane: slots for one in made for lane, slots in one.lanes().items()}
    last_look(request, talk, lanes, look)


def _log_faults(journal: Journal, made: Journey, counts: Counter[str]) -> list[str]:
    """Check how a saga ended, and that it turned back once at most."""
    kinds = Counter(type(fact) for fact in facts_of(journal, saga_stream(made.saga_id)))
    counts["alarms"] += kinds[SagaAlarmed]
    counts[made.fate] += 1
    ends = [status for status, fact in _ENDS.items() for _ in range(kinds[fact])]
    turns = kinds[CompensationBegun]
    if kinds[SagaSubmitted] != 1 or ends != [made.status] or turns != (made.fate != "goes"):
        return [f"{made.saga_id} ({made.fate}) ended {ends}, having turned back {turns} times"]
    return []


def _begun(journal: Journal, made: Journey) -> set[str]:
    """Return the steps of which an attempt was recorded: it may have been killed at once."""
    key = saga_key(made.saga_id)
    return {
        step
        for step in made.needs
        if any(isinstance(f, AttemptStarted) for f in facts_of(journal, task_stream(key, step)))
    }


def ledger_faults(
    made: Journey, entries: Sequence[Entry], begun: set[str], counts: Counter[str]
) -> list[str]:
    """Compare what stands of a saga, and when what was undone, with what it expects.

    `begun`: the steps of which the log has an attempt.
    """
    effects, _ = effects_of(entries)
    taken: dict[str, int] = {}
    undone: dict[str, int] = {}
    faults = []
    for entry in entries:
        step = entry.key.split("/")[1].removesuffix(UNDO)
        if entry.kind == "effect":
            taken[step] = entry.at_ns
            if step in undone:
                faults.append(f"{entry.key} took effect after it was undone")
        elif entry.kind == "undo":
            key, in_doubt = entry.what
            counts["undone in doubt"] += bool(in_doubt)
            if key != f"{saga_key(made.saga_id)}/{step}/0":
                faults.append(f"{entry.key} undid {key}")
            undone.setdefault(step, entry.at_ns)
    own = {effect.item.split("/")[1]: effect for effect in effects.values()}
    totals = dict.fromkeys(made.totals, 0)
    for step, effect in own.items():
        totals[effect.counter] += 0 if step in undone else effect.amount
    if totals != made.totals:
        faults.append(f"totals of {made.saga_id} ({made.fate}) are {totals}, not {made.totals}")
    if missing := sorted(made.sure - taken.keys()):
        faults.append(f"{made.saga_id} ({made.fate}) never did {missing}")
    if unbegun := sorted((undone.keys() | taken.keys()) - begun):
        faults.append(f"{made.saga_id}: {unbegun} never began, and did something or was undone")
    return faults + _order_faults(made, undone)


def _order_faults(made: Journey, undone: dict[str, int]) -> list[str]:
    """Check that what needs a step was undone before it."""
    if undone and made.fate == "goes":
        return [f"{made.saga_id} completed, and undid {sorted(undone)}"]
    return [
        f"{made.saga_id}: {need} was undone before {step}"
        for step, needs in made.needs.items()
        for need in needs
        if step in undone and need in undone and undone[need] < undone[step]
    ]
