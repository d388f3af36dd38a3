"""The interesting cases: a simulation that never meets them proves nothing, so they are counted.

Some are noted when they are made to happen; those here are read from the log that came of it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from goclaw_events.value import references
from tests.simulation.room_model import turns_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulation.history import Entry
    from tests.simulation.world import World

COMMON: Final = (
    "saga begun",
    "saga completed",
    "saga compensated",
    "saga.alarmed",
    "saga: undone in doubt",
    "child run begun",
    "run took too long",
    "task waited too long",
    "snapshot compared",
    "crash with a snapshot begun or due",
    "crash",
    "crash with attempts running",
    "crash losing frames",
    "crash: what was not flushed is there",
    "crash at a failpoint",
    "crash while reopening",
    "power loss",
    "stopped as asked",
    "stopped with attempts running",
    "disk full: not written",
    "reopened after a failed commit",
    "the node stops at an input/output error",
    "flipped bit: refused when read",
    "clock set forward",
    "clock set back",
    "clock drifts",
    "machine suspended",
    "recorded time ahead of the wall clock",
    "timer fired",
    "timer a minute late or more",
    "wait cancelled before it was due",
    "batch full: messages left in the inbox",
    "a batch waits for the flush of those before it",
    "frame without a fact of an actor",
    "message to another partition",
    "message of another partition delivered twice",
    "outbox acknowledged",
    "inbox row handled",
    "large value in a fact",
    "submission accepted",
    "repeated submission answered",
    "refused: command_conflict",
    "refused: busy",
    "refused: disk_full",
    "refused: run_not_found",
    "refused: run_finished",
    "cancel accepted",
    "repeated cancel answered",
    "cancel storm",
    "cancelled by a process that begins nothing",
    "run completed",
    "run failed",
    "run cancelled",
    "task skipped: condition",
    "task skipped: needs_failed",
    "task failed before it began",
    "task retried",
    "task failed for good",
    "task cancelled while it ran",
    "task cancelled in its queue",
    "attempt lost",
    "attempt lost with a stop",
    "completed though told to stop",
    "outcome refused",
    "outcome delivered twice",
    "late outcome delivered again",
    "outcome under a forged token",
    "progress",
    "lane at its limit, with a queue",
    "lane's limit changed",
    "task of a run below talked to",
    "slot asked for again, at the head",
    "slot asked for under a key",
    "slot given at a rate",
    "lane paused: accepted",
    "lane draining: accepted",
    "lane limits: accepted",
    "lane held",
    "lane scaled",
    "task redirected",
    "task adjusted",
    "task held back",
    "task held back asks again",
    "room kept for a run",
    "key claimed",
    "task waits for its key",
    "collector ended: met",
    "collector ended: unmet",
    "collector ended: cancelled",
    "collector takes members in",
    "SendNamed accepted",
    "DecideTask accepted",
    "signal kept",
    "signal given",
    "task waits for a signal",
    "task asks a person",
    "answer taken",
    "task collects",
    "schedule fired",
    "schedule triggered",
    "run of a schedule ended",
    "firings skipped: missed",
    "firings skipped: overlap",
    "step done",
    "step handed back",
    "attempt sleeps",
    "task awake",
    "dead letter: exhausted",
    "letter redriven",
    "letter discarded",
)
"""What must come up within every hundred seeds."""

RARE: Final = (
    "saga.compensation_awaited",
    "saga resolved",
    "task moved to another lane",
    "spawned task talked to",
    "saga begun by a task",
    "saga begun by an item",
    "item waits for a signal",
    "item asks a person",
    "step done again",
    "step done and never said",
    "sleep cancelled before it was due",
    "lane turns a task away",
    "damaged snapshot passed over",
    "flipped bit in snapshots",
    "flipped bit in chunks",
    "power loss: what could be read is lost",
    "power loss: last record torn",
    "disk full: written",
    "disk still full when reopened",
    "failed flush: written",
    "failed flush: not written",
    "input/output error while reopening",
    "flipped bit in log",
    "flipped bit in blobs",
    "flipped bit: refused at open",
    "flipped bit: the node stops",
    "crash: append",
    "crash: write",
    "crash: between writes",
    "crash: before flush",
    "crash: after flush",
    "crash: between callbacks",
    "crash: done",
    "crash: reply",
    "crash: after reply",
    "crash: start",
    "crash: between starts",
    "crash: stop",
    "crash: run ended",
    "crash: committed",
    "crash: decide",
    "crash: evolve",
    "crash: closing",
    "large value in a message",
    "refused: outcome_unknown",
    "run failed and was cancelled before",
    "task skipped: needs_skipped",
    "task failed after all its tries",
    "dead letter: lost_too_often",
    "dead letter: kills_its_worker",
    "letter withdrawn",
    "attempt abandoned",
    "slot of an abandoned attempt back: returned",
    "slot of an abandoned attempt back: grace",
    "slot of an abandoned attempt back: gone",
    "tried again while an abandoned attempt keeps its slot",
    "stopped attempt ended",
    "lane full",
    "lane's limit below what it lends",
    "left the queue",
    "room not wanted",
    "key joined",
    "key wanted next",
    "run left the line",
    "collector asks members again",
    "collector ended: partial",
    "firing waits",
    "firings skipped: queue_full",
    "firings skipped: replaced",
    "firings skipped: deleted",
    "signal given back",
    "signals left at the end",
    "kept signal withdrawn or expired",
    "saga begun by a schedule",
    "answer comes to a task that stands still",
    "wait for an answer cancelled",
    "fan-out of twenty or more",
    "bug in decide",
    "bug in evolve: state half changed",
    "message parked",
    "parked message redelivered",
    "parked message discarded",
    "parked message settled by another",
    "stream given up",
)
"""What must come up within the thousands of seeds that are run by command."""


def count_cases(world: World) -> None:
    """Count what the log of a world shows."""
    for case in _cases(world):
        world.seen[case] += 1


def _cases(world: World) -> Iterator[str]:
    for frames in world.history.frames:
        for frame in frames:
            yield from _frame(frame.body)
    for entry in world.history.entries:
        yield from _fact(entry)
    for _, entries in world.history.of_kind("task"):
        yield from _task(entries)
        yield from _abandoned(entries)
        yield from _answers(entries)
        yield from _letters(entries)
    for _, entries in world.history.of_kind("lane"):
        yield from _lane(entries)
        yield from _room(entries)
    for _, entries in world.history.of_kind("workflow"):
        types = [entry.fact.type for entry in entries]
        if "run.cancel_requested" in types and "failed" in _statuses(entries):
            yield "run failed and was cancelled before"
        for entry in entries:
            if entry.fact.type == "run.task_ended" and entry.decoded.status == "failed":
                run_id = entry.fact.stream.partition("/")[2]
                if f"task/{run_id}/{entry.decoded.task}" not in world.history.streams:
                    yield "task failed before it began"
    plans = world.clients.plans.values()
    if any(len(plan.tasks[root].dependents) >= 20 for plan in plans for root in plan.roots):
        yield "fan-out of twenty or more"


def _statuses(entries: list[Entry]) -> list[str]:
    return [e.decoded.status for e in entries if e.fact.type == "run.task_ended"]


def _frame(body: Any) -> Iterator[str]:
    if body.left:
        yield "frame with messages left"
    if body.handled:
        yield "inbox row handled"
    if body.out:
        yield "message to another partition"
    if body.acked:
        yield "outbox acknowledged"
    records = [left.message for left in body.left]
    records += [record for out in body.out for record in out.messages]
    if any(next(references(record.data[3:]), None) for record in records):
        yield "large value in a message"


_SAID: Final = {
    "lane.refused": "lane full",
    "task.outcome_refused": "outcome refused",
    "task.child_started": "child run begun",
    "run.timed_out": "run took too long",
    "partition.stream_poisoned": "stream given up",
    "partition.message_failed": "message parked",
    "partition.marked": "frame without a fact of an actor",
    "task.redirected": "task redirected",
    "task.adjusted": "task adjusted",
    "task.moved": "task moved to another lane",
    "task.joined": "task waits for its key",
    "unique.key_claimed": "key claimed",
    "unique.key_joined": "key joined",
    "unique.key_wanted": "key wanted next",
    "run.tasks_blocked": "task held back",
    "run.tasks_unblocked": "task held back asks again",
    "collector.members_added": "collector takes members in",
    "collector.members_asked": "collector asks members again",
    "schedule.firing_queued": "firing waits",
    "schedule.run_ended": "run of a schedule ended",
    "run.signal_received": "signal kept",
    "run.signal_given": "signal given",
    "run.signal_returned": "signal given back",
    "run.signal_ended": "kept signal withdrawn or expired",
    "run.signals_left": "signals left at the end",
    "task.answered": "answer taken",
}


def _fact(entry: Entry) -> Iterator[str]:
    fact = entry.decoded
    if entry.fact.type in _SAID:
        yield _SAID[entry.fact.type]
    match entry.fact.type:
        case "run.completed" | "run.failed" | "run.cancelled" as name:
            yield name.replace(".", " ")
        case "schedule.fired":
            yield "schedule triggered" if fact.trigger else "schedule fired"
        case "schedule.firings_skipped":
            yield f"firings skipped: {fact.reason}"
        case "collector.ended":
            yield f"collector ended: {fact.status}"
        case "task.scheduled" if fact.collect:
            yield "task collects"
        case "task.awaiting":
            what = "item" if "foreach" in fact.definition.path else "task"
            yield f"{what} waits for a signal" if fact.signal else f"{what} asks a person"
        case "run.tasks_skipped":
            yield f"task skipped: {fact.reason}"
        case "task.attempt_lost":
            yield "attempt lost with a stop" if fact.stopped else "attempt lost"
        case "task.completed" if next(references(fact.result), None):
            yield "large value in a fact"


def _room(entries: list[Entry]) -> Iterator[str]:
    for turn in turns_of(entries):
        facts = {entry.fact.type: entry.decoded for entry in turn}
        changed = facts.get("lane.room_changed")
        if changed is None:
            continue
        came = len(getattr(facts.get("lane.advanced"), "queued", ()))
        if sum(count for _, count in changed.used) > came:
            yield "room not wanted"
        if changed.given:
            yield "room kept for a run"
        if changed.left:
            yield "run left the line"


def _task(entries: list[Entry]) -> Iterator[str]:
    types = [entry.fact.type for entry in entries]
    due_ns = 0
    for at, entry in enumerate(entries):
        name, fact, before = entry.fact.type, entry.decoded, types[at - 1] if at else ""
        if name in ("task.attempt_failed", "task.waiting", "task.attempt_slept"):
            due_ns = fact.retry_due_ns or 0 if name == "task.attempt_failed" else fact.due_ns
            if getattr(fact, "abandoned", False):
                yield "attempt abandoned"
        if name == "task.requeued" or (name == "task.completed" and before == "task.waiting"):
            yield "timer fired"
            if entry.time_ns - due_ns > 60 * 10**9:
                yield "timer a minute late or more"
        if name == "task.requeued":
            yield "task awake" if before == "task.attempt_slept" else "task retried"
        if name == "task.failed" and fact.code == "timeout" and "_timeout" in fact.message:
            yield "task waited too long"
        if name == "task.failed":
            yield "task failed for good"
            if types.count("task.attempt_failed") > 1:
                yield "task failed after all its tries"
        if name == "task.cancelled" and before != "task.died":
            yield {
                "task.waiting": "wait cancelled before it was due",
                "task.awaiting": "wait for an answer cancelled",
                "task.attempt_slept": "sleep cancelled before it was due",
                "task.scheduled": "task cancelled in its queue",
                "task.requeued": "task cancelled in its queue",
            }.get(before, "task cancelled while it ran")
        if name == "task.completed" and "task.cancel_requested" in types:
            yield "completed though told to stop"


def _letters(entries: list[Entry]) -> Iterator[str]:
    before = ""
    for entry in entries:
        if entry.fact.type == "task.died":
            yield f"dead letter: {entry.decoded.reason}"
        elif entry.fact.type == "task.cancelled" and before == "task.died":
            yield "letter withdrawn"
        before = entry.fact.type


def _answers(entries: list[Entry]) -> Iterator[str]:
    types = [entry.fact.type for entry in entries]
    for before, name in pairwise(types):
        if name == "task.answered" and before in ("task.paused", "task.interrupted"):
            yield "answer comes to a task that stands still"


def _abandoned(entries: list[Entry]) -> Iterator[str]:
    kept = 0
    for entry in entries:
        name, fact = entry.fact.type, entry.decoded
        if getattr(fact, "abandoned", False):
            kept += 1
        elif name == "task.attempt_returned":
            kept -= 1
            yield f"slot of an abandoned attempt back: {fact.reason}"
        elif name == "task.attempt_started" and kept:
            yield "tried again while an abandoned attempt keeps its slot"


def _lane_control(entry: Entry) -> Iterator[str]:
    if entry.fact.type == "lane.refused" and entry.decoded.reason == "lane_draining":
        yield "lane turns a task away"
    elif entry.fact.type == "lane.held":
        yield "lane held"
    elif entry.fact.type == "lane.scaled":
        yield "lane scaled"


def _lane(entries: list[Entry]) -> Iterator[str]:
    concurrency, leased, queued = 16, 0, 0
    for entry in entries:
        yield from _lane_control(entry)
        fact = entry.decoded
        if entry.fact.type == "lane.declared":
            if fact.concurrency != concurrency and entry is not entries[0]:
                yield "lane's limit changed"
            concurrency = fact.concurrency
        elif entry.fact.type == "lane.advanced":
            leased += len(fact.leased) - len(fact.released)
            queued += len(fact.queued) - len(fact.leased) - len(fact.withdrawn)
            if fact.withdrawn:
                yield "left the queue"
            if any(entry[2] for entry in fact.queued):
                yield "slot asked for again, at the head"
            if any(len(entry) > 3 and entry[3][1] for entry in fact.queued):
                yield "slot asked for under a key"
            if fact.tat_ns:
                yield "slot given at a rate"
        if leased > concurrency:
            yield "lane's limit below what it lends"
        if leased >= concurrency and queued:
            yield "lane at its limit, with a queue"
