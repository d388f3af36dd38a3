"""Handlers that spawn tasks and wait for them, and what must hold of both."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Final

from goclaw_actors.work import SLEPT, Outcome, Stepped
from goclaw_events.facts import SPAWN, SPAWNED
from goclaw_events.ids import is_saga

if TYPE_CHECKING:
    from goclaw_actors.work import StartAttempt
    from tests.simulation.history import Entry
    from tests.simulation.world import World

KEYS: Final = 3
DEPTH_MAX: Final = 2
FAR_NS: Final = 10**18
ENDS: Final = ("task.completed", "task.failed", "task.cancelled")


def spawn(world: World) -> None:
    """Let a handler spawn a task, or leave until some that it spawned have ended."""
    executor, rng = world.executor, world.rng
    held = executor.held.values()
    attempts = [one for one in held if one.kind == "agent" and not is_saga(one.run_id)]
    if not attempts:
        return
    attempt = rng.choice(sorted(attempts, key=lambda one: one.token))
    spawned = _spawned(world, attempt)
    if spawned and rng.random() < 0.3:
        _await(world, attempt, rng.sample(sorted(spawned), rng.randint(1, len(spawned))))
        return
    key = f"k{rng.randrange(KEYS)}"
    if key in spawned or attempt.task_id.count("/") >= DEPTH_MAX:
        return
    lane = rng.choice(["/shared", "/shared", "none"])
    said = json.dumps({"agent": "sim.agent", "lane": lane, "retry": {"attempts": 2}})
    result = [said, {"spawned": key}, rng.random() < 0.7]
    step = Stepped(attempt.stream, attempt.token, SPAWN, key, b"d", result)
    world.executor.asked.setdefault(attempt.token, set()).add((SPAWN, key))
    world.note("task spawned", key)
    world.node.accept_outcomes([step] * rng.choice([1, 1, 2]))


def _spawned(world: World, attempt: StartAttempt) -> set[str]:
    """Return the keys of the tasks that a handler knows to have spawned."""
    known = {record.key for record in attempt.steps if record.name == SPAWN}
    asked = world.executor.asked.get(attempt.token, set())
    return known | {key for name, key in asked if name == SPAWN}


def _await(world: World, attempt: StartAttempt, keys: list[str]) -> None:
    token = attempt.token
    del world.executor.held[token]
    world.handed_over[token] = world.node_name
    world.note("attempt awaits what it spawned")
    until = [world.clock.now_ns() + FAR_NS, *keys]
    world.node.accept_outcomes([Outcome(attempt.stream, token, SLEPT, until)])


# -- what must hold -------------------------------------------------------------------------------


def check_spawned(world: World, stream: str, entries: list[Entry]) -> None:
    """Check a generation of a task: what it spawned began once, after it was recorded, and ended.

    Before the task did, which heard how; and a task that completed has no failure among those
    that may not fail.
    """
    begun: dict[str, Entry] = {}
    heard: dict[str, Entry] = {}
    end: Entry | None = None
    generation = 0
    for entry in entries:
        name, fact = entry.fact.type, entry.decoded
        if name == "task.scheduled":
            generation = fact.generation
        elif name == "task.step_recorded" and fact.name == SPAWN:
            begun[fact.key] = entry
        elif name == "task.step_recorded" and fact.name == SPAWNED:
            assert fact.key in begun, f"{stream} hears of {fact.key}, which it never spawned"
            heard[fact.key] = entry
        elif name in ENDS:
            end = entry
    for key, entry in begun.items():
        own = _generation_of(world, f"{stream}/{key}", generation)
        _check_order(f"{stream}/{key}", own, entry)
        over = [e for e in own if e.fact.type in ENDS]
        if key in heard and over:
            said = heard[key].decoded.result
            told = said if isinstance(said, list) else ["completed"]  # a large result
            assert told[0] == over[0].fact.type.partition(".")[2], f"{stream} heard {said}"
        if end is not None:
            assert key in heard, f"{stream} ended before {key}, which it spawned"
            may_fail = entry.decoded.result[2]
            said = heard[key].decoded.result
            failed = isinstance(said, list) and said[0] != "completed" and not may_fail
            assert not failed or end.fact.type != "task.completed", f"{stream}: {key} failed"
    if begun and end is not None:
        world.note("task with spawned ones ended", end.fact.type)


def _generation_of(world: World, stream: str, generation: int) -> list[Entry]:
    found: list[Entry] = []
    mine = False
    for entry in world.history.streams.get(stream, []):
        if entry.fact.type == "task.scheduled":
            mine = entry.decoded.generation == generation
        if mine:
            found.append(entry)
    return found


def _check_order(stream: str, own: list[Entry], recorded: Entry) -> None:
    types = Counter(entry.fact.type for entry in own)
    assert types["task.scheduled"] <= 1, f"{stream} begins twice"
    if own:
        assert recorded.number < own[0].number, f"{stream} begins before it is recorded"
