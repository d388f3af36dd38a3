"""How far a projection is, and whether that still lies in the history that the log holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from goclaw_events.errors import LogDamaged
from goclaw_events.frame import read_header
from goclaw_events.value import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from goclaw_events.journal import Journal


class Place(NamedTuple):
    """The last number that was read of a partition, and the era in which it was written."""

    era: int
    number: int


START = Place(0, 0)


class Checkpoint(NamedTuple):
    """What a projection has folded: written in the same write as the rows it stands for.

    `lacks` has, for each partition, the number below which nothing was folded because it had been
    given up (0: all was; empty: of every partition).
    """

    version: int
    log_id: bytes
    places: tuple[Place, ...]
    lacks: tuple[int, ...] = ()

    def packed(self) -> bytes:
        """Write the checkpoint as a row's value."""
        return pack(self)

    @classmethod
    def read(cls, data: bytes) -> Checkpoint | None:
        """Read `packed`; None for what is none (another format: the rows are built again)."""
        try:
            version, log_id, places, *more = unpack(data)
            lacks = tuple(more[0]) if more else ()
            return cls(version, log_id, tuple(Place(*place) for place in places), lacks)
        except (LogDamaged, ValueError, TypeError):
            return None


def checkpoint_key(name: str) -> bytes:
    """Key of a projection's checkpoint; `!` sorts before every projection's rows."""
    return b"!checkpoint/" + name.encode()


def is_lost(journal: Journal, partition: int, place: Place) -> bool:
    """Tell whether a place is not (or no longer) part of the partition's history.

    It is when the log ends before it, or when what now stands there was written in a later era:
    then the era began at or before it, and what was read there was given up.
    """
    if place.number == 0:
        return False
    if place.number > journal.durable(partition):
        return True
    frames = journal.frames(partition, place.number, place.number)
    for data in frames:
        return read_header(data).era > place.era
    return True


def reason_to_rebuild(
    journal: Journal, version: int, found: Checkpoint | None, begins: Sequence[int]
) -> str | None:
    """Return why rows cannot be continued from their checkpoint; None if they can.

    `begins` has, for each partition, the first number that can still be read.
    """
    if found is None:
        return "there is no checkpoint"
    if found.version != version:
        return f"the rows are of version {found.version}, this build makes {version}"
    if found.log_id != journal.log_id or len(found.places) != journal.partitions:
        return "the rows were made from another log"
    for partition, place in enumerate(found.places):
        if place.number < begins[partition] - 1:
            return f"facts behind {partition}:{place.number} were given up"
        if place.number >= begins[partition] and is_lost(journal, partition, place):
            return f"history beyond {partition}:{place.number} was given up"
    return None
