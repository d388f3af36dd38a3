"""The output of tasks, chunk by chunk: rows of a table of their own, no facts.

`output`: partition, run, task, generation, attempt, number of the chunk -> [time, chunk].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_events.envelope import InvalidPosition
from goclaw_events.errors import LogDamaged
from goclaw_events.tables import Row, stream_part, u16, u64
from goclaw_events.value import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw_events.journal import Journal

OUTPUT: Final = "output"
CHUNK_BYTES_MAX: Final = 64 * 1024
_U32: Final = 4
_PLACE_BYTES: Final = 16
_PARTS: Final = 3


class Place(NamedTuple):
    """Where a chunk stands in the output of a task: chunks of a later attempt come later.

    As a text it is a cursor: `generation.attempt.number`.
    """

    generation: int
    attempt: int
    number: int

    def __str__(self) -> str:
        return f"{self.generation}.{self.attempt}.{self.number}"

    def packed(self) -> bytes:
        """Return the end of the chunk's key: places sort as their bytes do."""
        ahead = self.generation.to_bytes(_U32, "big") + self.attempt.to_bytes(_U32, "big")
        return ahead + u64(self.number)

    @staticmethod
    def parse(text: str) -> Place:
        """Read a cursor; raises `InvalidPosition`."""
        parts = text.split(".")
        if len(parts) != _PARTS or not all(part.isdecimal() and len(part) < 10 for part in parts):  # noqa: PLR2004 - they fit into 32 bits
            msg = f"{text[:60]!r} is no cursor of an output"
            raise InvalidPosition(msg, hint="it looks like 0.1.42")
        return Place(*map(int, parts))


class Chunk(NamedTuple):
    """One chunk of a task's output."""

    run_id: str
    task: str
    place: Place
    time_ns: int
    value: Any


def output_prefix(partition: int, run_id: str, task: str | None = None) -> bytes:
    """Return how the keys of a run's chunks begin, or of one task's."""
    prefix = u16(partition) + stream_part(run_id)
    return prefix if task is None else prefix + stream_part(task)


def chunk_row(partition: int, chunk: Chunk) -> Row:
    """Return a chunk as its row."""
    key = output_prefix(partition, chunk.run_id, chunk.task) + chunk.place.packed()
    return Row(OUTPUT, key, pack([chunk.time_ns, chunk.value]))


def read_chunk(key: bytes, value: bytes) -> Chunk:
    """Return the chunk that a row holds; raises `LogDamaged`."""
    try:
        run_id, at = _name(key, 2)
        task, at = _name(key, at)
        place = key[at:]
        _require_place(place)
        time_ns, found = unpack(value)
        numbers = (place[:4], place[4:8], place[8:])
    except (ValueError, TypeError, IndexError) as error:
        msg = f"a row of {OUTPUT} is no chunk: {key.hex()}"
        raise LogDamaged(msg, key=key.hex()) from error
    return Chunk(
        run_id, task, Place(*(int.from_bytes(each, "big") for each in numbers)), time_ns, found
    )


def _require_place(place: bytes) -> None:
    if len(place) != _PLACE_BYTES:
        raise ValueError(len(place))


def _name(key: bytes, at: int) -> tuple[str, int]:
    end = at + 2 + int.from_bytes(key[at : at + 2], "big")
    return key[at + 2 : end].decode(), end


def read_output(
    journal: Journal, partition: int, run_id: str, task: str, after: Place | None = None
) -> Iterator[Chunk]:
    """Yield the chunks of a task behind a place, in order, that are written by now."""
    prefix = output_prefix(partition, run_id, task)
    last = None if after is None else prefix + after.packed()
    for key, value in journal.rows(OUTPUT, prefix, after=last):
        yield read_chunk(key, value)
