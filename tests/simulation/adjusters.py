"""Whoever changes how tasks are run, and that what was accepted holds from then on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_actors.adjusting import AdjustTask
from goclaw_actors.message import Message
from goclaw_events.ids import workflow_stream
from tests.simulation.talkers import answered, some_task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw_events.plan import PlannedTask
    from tests.simulation.history import Entry
    from tests.simulation.world import World

ADJUSTMENTS_PER_TASK = 6


def adjust(world: World) -> None:
    """Change how some task of some run is run; now and then as it was changed before."""
    rng = world.rng
    run_id, task = some_task(world)
    number = rng.randrange(ADJUSTMENTS_PER_TASK)
    signal = f"adjust-{task}-{number}"
    changes: dict[str, Any] = {}
    if number % 3 == 0:
        changes["priority"] = number - 2
    if number % 2 == 0:
        changes["lane"] = rng.choice(_lanes(world, run_id, task))
    if number % 3 == 1:
        changes["timeout_s"] = rng.choice([0.5, 90.0, None])
        changes["retry"] = {"attempts_max": rng.choice([1, 2, 5]), "initial_s": 0.01}
    if number == 5:
        later_ns = rng.choice([10**8, 10**10, 10**13])
        changes["deadline_ns"] = rng.choice([0, world.clock.now_ns() + later_ns])
    body = AdjustTask(task, signal, changes, "sim", signal.encode())
    message = Message(workflow_stream(run_id), body)
    message.command_id, message.digest = signal, body.digest
    message.reply_to = lambda reply: answered(world, run_id, body, reply)
    world.node.accept(message)


def _lanes(world: World, run_id: str, task: str) -> list[str]:
    """Return lanes to which a task may be moved: one that takes units stays where it is."""
    submitted = world.clients.submitted.get(run_id)
    index = None if submitted is None else submitted[0].plan.index.get(task)
    if submitted is None or index is None:
        return ["/shared"]
    plan = submitted[0].plan
    planned: PlannedTask = plan.tasks[index]
    if planned.slot.units or not planned.lane:
        return [planned.lane]
    return sorted({*plan.lanes, "/shared"})


def priorities_of(entries: list[Entry]) -> set[int]:
    """Return the priorities with which a task may ever have asked for a slot."""
    facts = [entry.decoded for entry in entries]
    said = {entry.decoded.priority for entry in entries if entry.fact.type == "task.scheduled"}
    changed = [fact.changes for fact in facts if hasattr(fact, "changes")]
    return said | {changes["priority"] for changes in changed if "priority" in changes}


def adjusted(entries: list[Entry]) -> Mapping[str, Any]:
    """Return what was changed of a task in all."""
    changes: dict[str, Any] = {}
    for entry in entries:
        if entry.fact.type == "task.adjusted":
            changes |= entry.decoded.changes
    return changes


def check_adjusted(world: World) -> None:
    """Check that what was answered is in the log, once."""
    for run_id, task, signal in sorted(world.adjusted):
        entries = world.history.streams.get(f"task/{run_id}/{task}", [])
        found = [
            e for e in entries if e.fact.type == "task.adjusted" and e.decoded.signal == signal
        ]
        assert len(found) == 1, (
            f"{signal} of {run_id} was answered, and is there {len(found)} times"
        )


def check_attempts(stream: str, entries: list[Entry], attempts_max: int) -> None:
    """Check that nothing is tried again after more failures than the policy of then allows."""
    failures = 0
    for entry in entries:
        if entry.fact.type == "task.adjusted":
            attempts_max = entry.decoded.changes.get("retry", {}).get("attempts_max", attempts_max)
        elif entry.fact.type == "task.attempt_failed":
            failures += 1
            again = entry.decoded.retry_due_ns is not None
            assert not again or failures < attempts_max, f"{stream} is tried {failures + 1} times"
