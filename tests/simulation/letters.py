"""Whoever decides about dead letters: at random, and at the end so that every run ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.decider import Refused
from goclaw_actors.letters import DiscardTask, RedriveTask
from goclaw_actors.message import Message, Reply
from goclaw_events.ids import workflow_stream
from tests.simulation.menders import see_to
from tests.simulation.pathways import generations

if TYPE_CHECKING:
    from tests.simulation.history import Entry
    from tests.simulation.world import World

GONE = {"not_dead", "run_finished", "run_not_found"}
"""Why a letter that was seen a moment ago may be none any more."""
AFTER_DEATH = {
    "task.failed", "task.cancelled", "task.dropped", "task.outcome_refused",
    "task.attempt_returned", "task.signal_ended",
}  # fmt: skip
"""What may follow in the generation of a dead letter."""
RATES: Final = (0.5, 10.0, 1_000.0)
"""At which letters run again; in the end at the last of them."""
SLASHES: Final = 2
"""In the name of a task that was not spawned."""


def decide(world: World) -> None:
    """Redrive or discard some task: mostly one that is a dead letter, now and then twice."""
    if world.options.rate("bug") and world.rng.random() < 0.3:
        see_to(world)
        return
    world.history.update(world.journal)
    tasks = world.history.of_kind("task")
    streams = [stream for stream, _ in tasks if stream.count("/") == SLASHES]
    found = _letters(world) or streams
    if found:
        _say(world, world.rng.choice(found), world.rng.choice([1, 1, 2]))


def settle_all(world: World) -> None:
    """Decide about every dead letter of a run that goes on."""
    world.history.update(world.journal)
    for stream in _letters(world):
        _say(world, stream, 1)


def _letters(world: World) -> list[str]:
    history = world.history
    return [
        stream
        for stream, entries in history.of_kind("task")
        if stream.count("/") == SLASHES  # who spawned another hears of its end, and goes on
        and _is_dead(generations(entries)[-1])
        and stream.split("/")[1] not in history.ended
        and workflow_stream(stream.split("/")[1]) not in history.poisoned
        and stream not in history.poisoned
    ]


def _is_dead(entries: list[Entry]) -> bool:
    types = [entry.fact.type for entry in entries]
    over = ("task.failed", "task.cancelled", "task.dropped")
    return "task.died" in types and not any(name in types for name in over)


def _say(world: World, stream: str, times: int) -> None:
    rng = world.rng
    _, run_id, task = stream.split("/")
    begun = [e.decoded for e in world.history.streams[stream] if hasattr(e.decoded, "generation")]
    generation = begun[-1].generation if begun and rng.random() < 0.8 else None
    edits = {"edit": rng.randrange(3)} if rng.random() < 0.3 else None
    rates = RATES[-1:] if world.calm else RATES
    rate_per_s = rng.choice(rates) if rng.random() < 0.4 else None
    body: Any = RedriveTask(task, generation, edits, "mended", "sim", rate_per_s)
    if rng.random() < 0.4:
        body = DiscardTask(task, generation, "no use", "sim")
    for _ in range(times):
        message = Message(workflow_stream(run_id), body)
        message.reply_to = lambda reply: _answered(world, run_id, body, reply)
        world.node.accept(message)


def _answered(world: World, run_id: str, body: Any, reply: Reply) -> None:
    world.points.hit("reply")
    if isinstance(reply.answer, Refused):
        if reply.answer.code not in GONE:
            world.clients.check_refused(reply.answer, run_id)
        return
    stream = workflow_stream(run_id)
    if not reply.answer.repeated:
        world.clients.check_durable(stream, reply)
    world.history.update(world.journal)
    kind = "redriven" if isinstance(body, RedriveTask) else "discarded"
    is_planned = kind == "redriven" and body.rate_per_s is not None
    said = world.history.streams[stream]
    wanted = {f"run.letter_{kind}"} | ({"run.redrive_planned"} if is_planned else set())
    found = [e.decoded.task for e in said if e.fact.type in wanted]
    if kind == "redriven" and reply.answer.repeated:  # a change of the path does it, too
        found += [t for e in said if e.fact.type == "run.path_changed" for t in e.decoded.reopened]
    assert body.task in found, f"{body} was answered and is lost"
    world.note(f"letter {kind}{' at a rate' if is_planned else ''}", run_id)


# -- what must hold -------------------------------------------------------------------------------


def check_letters(world: World, run_id: str, entries: list[Entry]) -> None:
    """Check that each generation of a letter is decided about once, and begins with its edits."""
    decided: set[tuple[str, int]] = set()
    edits: dict[str, dict[str, Any]] = {}
    for entry in entries:
        fact = entry.decoded
        if entry.fact.type == "run.letter_redriven":
            assert (fact.task, fact.generation) not in decided, f"{fact} of {run_id} twice"
            decided.add((fact.task, fact.generation))
            edits[fact.task] = {**edits.get(fact.task, {}), **(fact.edits or {})}
            own = world.history.streams.get(f"task/{run_id}/{fact.task}", [])
            for begun in own:
                is_it = begun.fact.type == "task.scheduled"
                if is_it and begun.decoded.generation == fact.generation:
                    params = begun.decoded.params
                    given = {key: params[key] for key in edits[fact.task]}
                    assert given == edits[fact.task], f"{run_id}/{fact.task} lost its edits"
        elif entry.fact.type == "run.task_ended":
            edits.pop(fact.task, None)
        elif entry.fact.type == "run.path_changed":
            for task in fact.reopened:
                edits.pop(task, None)


def check_death(stream: str, entries: list[Entry]) -> None:
    """Check that nothing begins in a generation whose task is a dead letter."""
    types = [entry.fact.type for entry in entries]
    if "task.died" in types:
        after = set(types[types.index("task.died") + 1 :]) - AFTER_DEATH
        assert not after, f"{stream} went on as a dead letter with {after}"
