"""Streams that were given up: which they are, and what those that wait for them are told."""

from __future__ import annotations

from itertools import islice
from logging import getLogger
from typing import TYPE_CHECKING, Final, NamedTuple

from goclaw_actors.decider import Send
from goclaw_actors.lending import RefuseWaiting
from goclaw_actors.messages import (
    MESSAGES,
    POISONED,
    FailRun,
    KeyRefused,
    RoomRefused,
    SlotRefused,
    TimerFired,
)
from goclaw_actors.parked import said_again
from goclaw_events.errors import BlobMissing, JournalUnavailable, LogBehindWatermark, LogDamaged
from goclaw_events.facts import MessageFailed, MessageSettled
from goclaw_events.ids import kind_of
from goclaw_events.tables import u16
from goclaw_events.value import unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from goclaw_actors.actor import Entity
    from goclaw_events.journal import Journal

REFUSALS_PER_TURN_MAX: Final = 256
SHARED: Final = frozenset({"lane", "unique"})
"""Kinds of streams in which tasks of many runs wait."""
_TIMER_FIRED: Final = MESSAGES.names[TimerFired].name
_DAMAGE: Final = frozenset(kind.code for kind in (LogDamaged, LogBehindWatermark, BlobMissing))

log = getLogger(__name__)


class GivenUp(NamedTuple):
    """Streams of a partition that were given up; `mendable`: lanes that damage kept from reading.

    Those are tried again whenever the log is opened: it may have been mended meanwhile. So is what
    `woke` schedules in vain: they have one timer, and that is gone.
    """

    poisoned: set[str]
    mendable: set[str]
    woke: list[tuple[MessageSettled, Send]]


def gives_up(stream: str, message_type: str) -> bool:
    """Tell whether a failed message costs its stream: what many use, a run that cannot fail."""
    return kind_of(stream) in SHARED or message_type == MESSAGES.names[FailRun].name


def given_up(journal: Journal, partition: int) -> GivenUp:
    """Return the streams of a partition that were given up, from its parked messages."""
    poisoned: set[str] = set()
    damaged: set[str] = set()
    woke: list[tuple[MessageSettled, Send]] = []
    for key, value in journal.rows("parked", u16(partition)):
        failed = MessageFailed(*unpack(value))
        if kind_of(failed.target) == "schedule" and failed.message_type == _TIMER_FIRED:
            number = int.from_bytes(key[2:], "big")
            settled = MessageSettled(number, "redelivered", "the log was opened again", "")
            woke.append((settled, said_again(failed, journal)))
        if gives_up(failed.target, failed.message_type):
            is_mendable = kind_of(failed.target) == "lane" and failed.code in _DAMAGE
            (damaged if is_mendable else poisoned).add(failed.target)
    return GivenUp(poisoned, damaged - poisoned, woke)


class Refusals:
    """Tell the tasks that wait in a lane given up that it will not lease, some in each turn.

    Such a lane changes no more. Who was told is not kept: after an opening all are told again,
    and a task that does not wait any more passes over it.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, Iterator[Send]] = {}

    def clear(self) -> None:
        """Begin anew: the batches that told may have been abandoned."""
        self._waiting.clear()

    def next(self, entity: Entity, load: Callable[[], None]) -> list[Send]:
        """Return what is said next on behalf of a lane; `load` has its state read."""
        waiting = self._waiting.get(entity.stream)
        if waiting is None:
            try:
                if entity.state is None:
                    load()
            except JournalUnavailable:
                raise
            except Exception:
                log.exception("%s cannot be read: who waits in it waits on", entity.stream)
                entity.forget()
                return []
            waiting = self._waiting[entity.stream] = iter(_refusals(entity))
        told = list(islice(waiting, REFUSALS_PER_TURN_MAX))
        if len(told) == REFUSALS_PER_TURN_MAX:
            return [*told, Send(entity.stream, RefuseWaiting())]
        del self._waiting[entity.stream]
        return told


def _refusals(entity: Entity) -> list[Send]:
    """Return what is said to the tasks that wait, and to the runs that wait for room in a lane."""
    if kind_of(entity.stream) == "unique":
        text = f"{entity.stream} was given up"
        return [Send(task, KeyRefused(POISONED, text)) for task in entity.state.waiting()]
    lane = entity.stream.partition("/")[2]
    told = [Send(task, SlotRefused(POISONED)) for task in entity.state.queued]
    told += [Send(run, RoomRefused(lane, POISONED)) for run in entity.state.room.waiters]
    return told
