"""Handlers that do durable steps and sleep, counters that they add to, and what must hold of both.

What a handler does in a step is an amount on a counter, under the key of the step: whoever asks for
it twice under one key adds it once. So counters are exact however often a process dies in between.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.work import SLEPT, Outcome, Recorded, Stepped
from goclaw_events.facts import SPAWNED

if TYPE_CHECKING:
    from goclaw_actors.work import AttemptToken, StartAttempt
    from tests.simulation.history import Entry
    from tests.simulation.world import World

STEPS_PER_TASK: Final = 8
SLEEPS_NS: Final = (6 * 10**9, 10**11, 10**12)
RECORDED: Final = "task.step_recorded"


def amount(stream: str, generation: int, name: str, key: str) -> int:
    """Return what a step adds: it depends on its idempotency key alone."""
    text = f"{stream}/{generation}/{name}/{key}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=2).digest(), "big")


def step(world: World) -> None:
    """Let a handler do a step, or some at once, go on with what is recorded, or fall asleep."""
    executor, rng = world.executor, world.rng
    if not executor.held:
        return
    token = rng.choice(sorted(executor.held))
    attempt = executor.held[token]
    if attempt.kind != "agent":
        return
    if rng.random() < 0.15:
        _sleep(world, attempt)
        return
    known = _known(world, attempt)
    asked = executor.asked.setdefault(token, set())
    for _ in range(rng.choice([1, 1, 3])):
        number = rng.randrange(STEPS_PER_TASK)
        place = (f"s{number % 3}", str(number))
        if place in known or place in asked:
            world.note("step handed back")
            continue
        added = amount(attempt.stream, attempt.generation, *place)
        done = (attempt.stream, attempt.generation, *place)
        world.note("step done again" if done in world.ledger else "step done", place)
        world.ledger[done] = added
        if rng.random() < 0.1:
            world.note("step done and never said")
            continue  # its function failed at the very end, or its process dies soon
        asked.add(place)
        said = Stepped(attempt.stream, token, *place, b"d", added)
        world.node.accept_outcomes([said] * rng.choice([1, 1, 2]))


def _known(world: World, attempt: StartAttempt) -> set[tuple[str, str]]:
    """Return the steps of which a handler has the result."""
    found = {(record.name, record.key) for record in attempt.steps}
    for word in world.executor.mail.get(attempt.token, []):
        if isinstance(word, Recorded):
            found.update(word.steps)
    return found


def _sleep(world: World, attempt: StartAttempt) -> None:
    """Let a handler record a sleep and leave."""
    token = attempt.token
    due_ns = world.clock.now_ns() + world.rng.choice(SLEEPS_NS)
    place = ("$sleep", f"#{attempt.attempt}")
    said: list[Any] = [
        Stepped(attempt.stream, token, *place, b"", due_ns),
        Outcome(attempt.stream, token, SLEPT, due_ns),
    ]
    del world.executor.held[token]
    world.handed_over[token] = world.node_name
    world.note("attempt sleeps")
    world.node.accept_outcomes(said)


# -- what must hold -------------------------------------------------------------------------------


def check_steps(world: World, stream: str, entries: list[Entry]) -> None:
    """Check that a generation records a step once, and gives it to every attempt after that.

    What it came to is what was added to the counter under its key, however often it was done.
    """
    recorded: dict[tuple[str, str], Any] = {}
    token = generation = 0
    ended = False
    for entry in entries:
        name, fact = entry.fact.type, entry.decoded
        if name == "task.scheduled":
            generation = fact.generation
        elif name == "task.attempt_started":
            token = fact.token
            _check_given(world, stream, entry, recorded)
        elif name == RECORDED:
            place = (fact.name, fact.key)
            assert place not in recorded, f"{stream} records the step {place} twice"
            is_spawned = fact.name == SPAWNED  # its end, which comes when it may
            assert is_spawned or fact.token == token, f"{stream} records a step of another attempt"
            assert not ended, f"{stream} records a step after its end"
            recorded[place] = fact.result
            if not fact.name.startswith("$"):
                added = world.ledger.get((stream, generation, *place))
                assert added == fact.result, f"{stream} recorded {place}, which nobody did"
                assert added == amount(stream, generation, *place), f"{place} is another's"
        ended = ended or name in ("task.completed", "task.failed", "task.cancelled")
        ended = ended and name != "task.retried"


def _check_given(
    world: World, stream: str, entry: Entry, recorded: dict[tuple[str, str], Any]
) -> None:
    for attempt in world.ever_started.values():
        token: AttemptToken = attempt.token
        if attempt.stream == stream and token.number == entry.number:
            given = {(record.name, record.key): record.result for record in attempt.steps}
            assert given == recorded, f"{stream} begins attempt {attempt.attempt} with {given}"
