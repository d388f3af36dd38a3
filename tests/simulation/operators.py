"""Whoever changes lanes while they work: at random, and at the end so that all goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.decider import Refused
from goclaw_actors.lane.control import DRAINING, OPEN, PAUSED
from goclaw_actors.lending import ControlLane
from goclaw_actors.message import Message, Reply
from tests.simulation.invariants import lane_of

if TYPE_CHECKING:
    from tests.simulation.world import World

LANES: Final = (
    *(f"lane/w{name}/l{lane}" for name in range(3) for lane in range(2)),
    "lane//shared",
)
LIMITS: Final[dict[str, tuple[Any, ...]]] = {
    "concurrency": (1, 1, 2, 5, None),
    "capacity": (1, 3, 100, None),
    "per_tenant": (1, 2, None),
    "scale": ([1, 4, 1.0, 5.0], None),
    "rate": ([2.0, 2, "token_bucket"], [5.0, 1, "leaky_bucket"], None),
}


def control(world: World) -> None:
    """Change a lane in some way; now and then the same change twice, or of another version."""
    rng = world.rng
    limits = {name: rng.choice(LIMITS[name]) for name in LIMITS if rng.random() < 0.25}
    mode = rng.choice([None, None, OPEN, PAUSED, PAUSED, DRAINING])
    version = rng.choice([None, None, None, 1])
    body = ControlLane(mode, limits, rng.random() < 0.1, "uid:1", "sim")
    command_id = rng.choice([None, repr((*body, version))])
    for _ in range(rng.choice([1, 1, 2])):
        _send(world, rng.choice(LANES), body, command_id, version)


def resume(world: World) -> None:
    """Let every lane go on that is not open; one that was given up takes no more commands."""
    world.history.update(world.journal)
    for stream, _ in world.history.of_kind("lane"):
        if stream not in world.history.poisoned and lane_of(world, stream).control.mode != OPEN:
            _send(world, stream, ControlLane(OPEN, {}, reset=True, by="uid:1"), None, None)


def _send(
    world: World, stream: str, body: ControlLane, command_id: str | None, version: int | None
) -> None:
    message = Message(stream, body)
    message.if_version = version
    message.command_id = command_id
    message.digest = command_id.encode() if command_id else None
    message.reply_to = lambda reply: _answered(world, stream, body, reply)
    world.node.accept(message)


def _answered(world: World, stream: str, body: ControlLane, reply: Reply) -> None:
    world.points.hit("reply")
    if isinstance(reply.answer, Refused):
        world.clients.check_refused(reply.answer, stream)
        return
    world.clients.check_durable(stream, reply)
    world.note(f"lane {body.mode or 'limits'}: accepted", stream)
