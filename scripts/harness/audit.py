"""The last look at an engine's world: log, views and ledger against what the programs expect."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goclaw_events.codec import FACTS
from goclaw_events.errors import CodedError, HistoryExpired
from goclaw_events.facts import (
    AttemptFailed,
    AttemptStarted,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunSubmitted,
    TaskCompleted,
    TaskEnded,
    TasksSkipped,
)
from goclaw_events.ids import task_stream, workflow_stream
from goclaw_events.replay import stream_turns
from goclaw_events.rocks import verify_directory
from goclaw_events.rocks.backup import restore
from scripts.harness.last_look import last_look
from scripts.harness.ledger import effects_of, is_of_step, totals
from scripts.harness.programs import program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw_events.journal import Journal
    from scripts.harness.ledger import Entry
    from scripts.harness.nursery import Talk
    from scripts.harness.programs import Program

_ENDS = {RunCompleted: "completed", RunFailed: "failed", RunCancelled: "cancelled"}
_REASONS = {"condition": "skipped", "needs_skipped": "skipped", "needs_failed": "blocked"}


def play(request: dict[str, Any], talk: Talk) -> None:
    """Say every fault of the world in `home`, then what was found; `runs` were acknowledged.

    Of those in `cancelled` it is not known how far they came; `backups` must be whole.
    """
    home = Path(request["home"])
    programs = [program(request["seed"], number) for number in request["runs"]]
    cancelled = {program(request["seed"], number).run_id for number in request["cancelled"]}
    for made in programs:
        made.exact = made.exact and made.run_id not in cancelled

    def look(journal: Journal, entries: list[Entry], counts: Counter[str]) -> Iterator[str]:
        yield from effect_faults(programs, entries)
        for made in programs:
            may_end = {made.status, "cancelled"} if made.run_id in cancelled else {made.status}
            try:
                yield from run_faults(journal, made, entries, may_end)
            except HistoryExpired:
                # verified by replay as far as it is there; its effects are counted
                counts["given_up"] += 1
        for place, backup in enumerate(request["backups"]):
            yield from _backup_faults(Path(backup), home / f"restored-{place}")
        counts["segments"] = sum(1 for _ in journal.rows("meta", b"segment/"))
        counts["snapshots"] = sum(1 for _ in journal.rows("snapshots"))
        counts["steps"] = sum(is_of_step(key) for key in effects_of(entries)[0])
        counts["tasks"] = sum(len(made.statuses) for made in programs)

    lanes = {lane: slots for made in programs for lane, slots in made.lanes.items()}
    last_look(request, talk, lanes, look)


def effect_faults(programs: list[Program], entries: list[Entry]) -> list[str]:
    """Compare the ledger, once for each key, with the totals that the programs expect."""
    found, faults = effects_of(entries)[0], list[str]()
    for made in programs:
        mine = {key: found.pop(key) for key in list(found) if key.startswith(made.run_id + "/")}
        for key, effect in mine.items():
            if made.effects.get(key) != effect:
                faults.append(f"{key} did {effect}, expected {made.effects.get(key)}")
        if made.exact and totals(mine.values()) != totals(made.effects.values()):
            missing = sorted(made.effects.keys() - mine.keys())
            faults.append(f"totals of {made.run_id} differ; missing: {missing}")
    if found:
        faults.append(f"effects of no run: {sorted(found)}")
    return faults


def _backup_faults(backup: Path, here: Path) -> list[str]:
    """Restore a copy that was said to be whole, and verify it."""
    try:
        restore(backup, here)
    except CodedError as error:
        return [f"{backup.name} cannot be restored: {error}"]
    return [f"{backup.name}: {problem}" for problem in verify_directory(here).problems]


def run_faults(
    journal: Journal, made: Program, entries: list[Entry], may_end: set[str]
) -> list[str]:
    """Compare the facts of a run and its tasks with the program and the ledger."""
    faults = []
    kinds: Counter[type] = Counter()
    statuses: dict[str, str] = {}
    for fact in facts_of(journal, workflow_stream(made.run_id)):
        kinds[type(fact)] += 1
        if isinstance(fact, TaskEnded):
            statuses[fact.task] = fact.status
        elif isinstance(fact, TasksSkipped):
            statuses |= dict.fromkeys(fact.tasks, _REASONS[fact.reason])
    ended = [status for kind, status in _ENDS.items() for _ in range(kinds[kind])]
    if kinds[RunSubmitted] != 1 or len(ended) != 1 or ended[0] not in may_end:
        faults.append(f"{made.run_id} ended {ended}, expected {made.status}; {dict(kinds)}")
    if made.exact and statuses != made.statuses:
        differ = sorted(statuses.items() ^ made.statuses.items())
        faults.append(f"tasks of {made.run_id} ended otherwise: {differ}")
    mine = [entry for entry in entries if entry.key.startswith(made.run_id + "/")]
    for task in made.statuses:
        place = f"{made.run_id}/{task}"
        facts = facts_of(journal, task_stream(made.run_id, task))
        own = [entry for entry in mine if entry.key.rpartition("/")[0] == place]
        faults += _task_faults(made, task, facts, own)
    return faults


def _task_faults(made: Program, task: str, facts: list[Any], entries: list[Entry]) -> list[str]:
    place = f"{made.run_id}/{task}"
    started = {fact.attempt for fact in facts if isinstance(fact, AttemptStarted)}
    begun = {entry.attempt for entry in entries if entry.kind == "begin"}
    completed = [fact for fact in facts if isinstance(fact, TaskCompleted)]
    acted = {entry.attempt for entry in entries if entry.kind == "effect"}
    acts = any(key.rpartition("/")[0] == place for key in made.effects)
    faults = [
        f"{place}: attempt {fact.attempt} completed and did nothing"
        for fact in completed
        if acts and fact.token and fact.attempt not in acted
    ]
    if not begun <= started:
        faults.append(f"{place}: attempts {sorted(begun - started)} ran and were not recorded")
    if len(completed) > 1:
        faults.append(f"{place} completed {len(completed)} times")
    failed = sum(1 for fact in facts if isinstance(fact, AttemptFailed))
    least, most = made.failures.get(task, (0, 0))
    if made.exact and not least <= failed <= most:
        faults.append(f"{place}: {failed} attempts failed, expected {least} to {most}")
    return faults


def facts_of(journal: Journal, stream: str) -> list[Any]:
    """Return the facts of a stream, decoded."""
    return [
        FACTS.decode(fact.type, fact.version, fact.data)
        for turn in stream_turns(journal, stream)
        for fact in turn.facts
    ]
