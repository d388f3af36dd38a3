"""Parked messages: said once more, or put away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from goclaw.asker import asker
from goclaw.errors import LetterNotFound
from goclaw.letter_names import place_of
from goclaw.results import CommandRefused
from goclaw_actors.decider import Refused
from goclaw_actors.errors import NotParked
from goclaw_actors.given_up import gives_up
from goclaw_actors.messages import POISONED
from goclaw_actors.parked import said_again
from goclaw_events.envelope import Position
from goclaw_events.facts import MessageFailed, MessageSettled
from goclaw_events.tables import u16, u64
from goclaw_events.value import unpack

if TYPE_CHECKING:
    from goclaw.engine import Engine
    from goclaw_actors.decider import Send
    from goclaw_events.journal import Journal

REDELIVERED: Final = "redelivered"
DISCARDED: Final = "discarded"


def parked(journal: Journal, letter: str) -> MessageFailed | None:
    """Return what was recorded of a parked message; None: there is none, any more."""
    partition, number = place_of(letter)
    if partition >= journal.partitions:
        return None
    for _, value in journal.rows("parked", u16(partition) + u64(number)):
        return MessageFailed(*unpack(value))
    return None


async def settle(engine: Engine, letter: str, how: str, reason: str) -> Position:
    """Redeliver or discard a parked message; returns once that is durable.

    The fact and the new message stand in one frame: after a crash both are there, or neither. Of
    two who ask at once one does it. What costs its stream stays parked. Raises `LetterNotFound`,
    `CommandRefused`, `UnknownType` of one that could not be stored, and `UsageInvalid` for a log in
    memory.
    """
    house = engine.parts.housekeeping
    failed = await asyncio.to_thread(parked, engine.parts.journal, letter)
    if failed is None:
        raise _not_found(letter)
    if gives_up(failed.target, failed.message_type):
        text = f"stream {failed.target} was given up by this message, and takes no other"
        raise CommandRefused(Refused(POISONED, text, f"goclaw dead show {letter}"))
    sends: tuple[Send, ...] = ()
    if how == REDELIVERED:
        sends = (await asyncio.to_thread(said_again, failed, engine.parts.journal),)
    partition, number = place_of(letter)
    fact = MessageSettled(number, how, reason, asker())
    try:
        await asyncio.to_thread(house.archiver.record, partition, fact, *sends)
    except NotParked as error:
        raise _not_found(letter) from error
    return Position(partition, engine.parts.journal.durable(partition))


def _not_found(letter: str) -> LetterNotFound:
    msg = f"no message is parked at {letter}"
    return LetterNotFound(msg, hint="goclaw dead list --kind message")
