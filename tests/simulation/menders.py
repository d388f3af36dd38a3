"""Whoever sees to parked messages: has each said once more, or puts it away, once at most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from goclaw_actors.errors import NotParked
from goclaw_actors.given_up import gives_up
from goclaw_actors.parked import said_again
from goclaw_events.facts import MessageFailed, MessageSettled
from goclaw_events.ids import PARTITION_STREAM
from goclaw_events.tables import u16
from goclaw_events.value import unpack

if TYPE_CHECKING:
    from goclaw_actors.dispatcher import Dispatcher
    from goclaw_events.errors import CodedError
    from tests.simulation.world import World

REDELIVERED: Final = "redelivered"
DISCARDED: Final = "discarded"


class _Parked(NamedTuple):
    """A parked message: whose partition it is in, and at which number."""

    dispatcher: Dispatcher
    number: int
    failed: MessageFailed


def see_to(world: World) -> None:
    """Have some parked message said once more, or put away; now and then two do so at once."""
    found = _parked(world)
    if found:
        one = world.rng.choice(found)
        for _ in range(world.rng.choice([1, 1, 2])):
            _settle(world, one, world.rng.choice([REDELIVERED, REDELIVERED, DISCARDED]))


def see_to_all(world: World) -> None:
    """See to every one, now that no bug strikes any more."""
    for one in _parked(world):
        _settle(world, one, world.rng.choice([REDELIVERED, DISCARDED]))


def _parked(world: World) -> list[_Parked]:
    """Return the parked messages that did not cost their streams."""
    if world.node.failure is not None:
        return []
    rows = [
        _Parked(dispatcher, int.from_bytes(key[2:], "big"), MessageFailed(*unpack(value)))
        for dispatcher in world.node.dispatchers
        for key, value in world.journal.rows("parked", u16(dispatcher.partition))
    ]
    return [one for one in rows if not gives_up(one.failed.target, one.failed.message_type)]


def _settle(world: World, parked: _Parked, how: str) -> None:
    """Do as `goclaw dead redrive` and `discard` do."""
    dispatcher, number, failed = parked
    sends = (said_again(failed, world.journal),) if how == REDELIVERED else ()
    fact = MessageSettled(number, how, "seen", "sim")
    dispatcher.record([fact], lambda error: _told(world, how, error), sends)


def _told(world: World, how: str, error: CodedError | None) -> None:
    world.points.hit("done")
    if error is None:
        world.note(f"parked message {how}")
    elif isinstance(error, NotParked):
        world.note("parked message settled by another")


def check_settled(world: World) -> None:
    """Check that each parked message was seen to once at most, and that it had been parked."""
    for stream, entries in world.history.of_kind(PARTITION_STREAM):
        parked: set[int] = set()
        for entry in entries:
            if entry.fact.type == "partition.message_failed":
                parked.add(entry.number)
            elif entry.fact.type == "partition.message_settled":
                settled = entry.decoded.number
                assert settled in parked, f"{stream} settled {settled}, which is not parked"
                parked.remove(settled)
