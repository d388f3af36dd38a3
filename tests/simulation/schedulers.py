"""Whoever makes schedules, and changes them while they fire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.decider import Refused
from goclaw_actors.message import Message, Reply
from goclaw_actors.scheduling import (
    DeleteSchedule,
    PauseSchedule,
    ResumeSchedule,
    SetSchedule,
    TriggerSchedule,
)
from goclaw_events.ids import schedule_stream
from tests.simulation.clock import SECOND_NS
from tests.simulation.travellers import scheduled_saga

if TYPE_CHECKING:
    from tests.simulation.world import World

SCHEDULES: Final = 3
EXPECTED: Final = frozenset({"schedule_not_found", "schedule_exists", "schedule_busy"})
EVERY_S: Final = (1, 7, 60, 600)
CRON_MINUTES: Final = (1, 5, 30)


def schedule(world: World) -> None:
    """Make some schedule, again or another one; trigger, pause, resume or delete it."""
    rng = world.rng
    name = f"s{rng.randrange(SCHEDULES)}"
    drawn = rng.random()
    if drawn < 0.45:
        _send(world, name, _setting(world, name))
    elif drawn < 0.65:
        _send(world, name, TriggerSchedule(0, "sim"))
    elif drawn < 0.8:
        _send(world, name, PauseSchedule("sim", "sim"))
    elif drawn < 0.95:
        _send(world, name, ResumeSchedule("sim"))
    else:
        _send(world, name, DeleteSchedule("sim"))


def delete_all(world: World) -> None:
    """Let nothing be due any more, so that the world can come to rest."""
    world.history.update(world.journal)
    for stream, entries in world.history.of_kind("schedule"):
        if entries[-1].fact.type != "schedule.deleted":
            _send(world, stream.partition("/")[2], DeleteSchedule("sim"))


def scheduling(world: World) -> set[str]:
    """Return the schedules that should be deleted by now, once nothing fails any more."""
    return {
        stream
        for stream, entries in world.history.of_kind("schedule")
        if entries[-1].fact.type != "schedule.deleted" and stream not in world.history.poisoned
    }


def _setting(world: World, name: str) -> SetSchedule:
    rng = world.rng
    is_saga = rng.random() < 0.25
    definition, packed, plan_name = scheduled_saga(world) if is_saga else world.clients.child
    world.schedule_blobs[definition.sha256] = packed
    overlap = rng.choice(["skip", "queue", "cancel"])
    missed = rng.choice(["skip", "one", "all"] if overlap == "queue" else ["skip", "one"])
    # where a look at the clock takes a second, one of seconds would leave no time for commands
    is_slow = world.options.tick_ns >= SECOND_NS
    every_ns = rng.choice(EVERY_S[-1:] if is_slow else EVERY_S) * SECOND_NS
    minutes = rng.choice(CRON_MINUTES[-1:] if is_slow else CRON_MINUTES)
    cron = f"*/{minutes} * * * *" if rng.random() < 0.3 else ""
    jitter_ns = rng.choice([0, 0, SECOND_NS])
    late_ns = rng.choice([0, SECOND_NS, 60 * SECOND_NS])
    digest = f"{name} {rng.randrange(3)} {is_saga}".encode()
    return SetSchedule(
        definition, plan_name, {}, {}, None, digest, cron, "UTC", 0 if cron else every_ns,
        jitter_ns, overlap, missed, late_ns, rng.choice([1, 3, 50]), "",
        paused=rng.random() < 0.1, replace=rng.random() < 0.4, set_by="sim", is_saga=is_saga,
    )  # fmt: skip


def _send(world: World, name: str, body: Any) -> None:
    message = Message(schedule_stream(name), body)
    if isinstance(body, SetSchedule):
        message.blobs = dict(world.schedule_blobs)
    message.reply_to = lambda reply: _answered(world, name, body, reply)
    world.node.accept(message)


def _answered(world: World, name: str, body: Any, reply: Reply) -> None:
    world.points.hit("reply")
    kind = type(body).__name__
    if isinstance(reply.answer, Refused):
        if reply.answer.code not in EXPECTED:
            world.clients.check_refused(reply.answer, name)
        world.note(f"{kind} refused: {reply.answer.code}", name)
        return
    world.note(f"{kind} accepted", name)
    if reply.position is not None:
        durable = world.journal.durable(reply.position.partition)
        assert reply.position.number <= durable, f"{name} was answered before it is durable"
