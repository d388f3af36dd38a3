"""The logs that are damaged: small, of two partitions, with every kind of row and blob."""

from __future__ import annotations

import shutil
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

from goclaw_events.envelope import AttemptRow, OpenRow, TimerRow
from goclaw_events.ids import PARTITION_STREAM
from goclaw_events.rocks import RocksJournal
from goclaw_events.rocks.archiving import drop_archived
from goclaw_events.segments.records import SEALED
from goclaw_events.segments.sealing import frame_start, seal
from goclaw_events.value import BlobRef, blob_of, pack
from tests.contracts.frame_writer import FrameWriter

if TYPE_CHECKING:
    from pathlib import Path

    from goclaw_events.framing import FrameBuilder

PARTITIONS: Final = 2
FRAMES: Final = 80
LARGE_EVERY: Final = 20
LARGE_BYTES: Final = 1_200_000
MEDIUM_BYTES: Final = 70_000


class Base(NamedTuple):
    """A whole log to copy and damage; `frames` has the digest of every frame, by partition.

    Everything in it was acknowledged: a copy that opens must hold exactly this.
    """

    path: Path
    frames: tuple[tuple[str, ...], ...]


def digest_of(data: bytes) -> str:
    """Return a short name for a frame's bytes."""
    return blake2b(data, digest_size=8).hexdigest()


def make_base(root: Path, *, settled: bool, archived: bool = False) -> Base:
    """Write a log under `root` as a killed process leaves it.

    `settled`: half of it stands in table files, for it was closed and opened once; else all of
    it stands in the write-ahead log. `archived`: half of it stands in segments, two of the first
    partition and one of the second.
    """
    name = "archived" if archived else "settled" if settled else "fresh"
    living, path = root / "living", root / name
    journal = RocksJournal(living, create=True, partitions=PARTITIONS)
    writer = FrameWriter(journal)
    _write(writer, 0, FRAMES // 2)
    if archived:
        for partition, share in ((0, 4), (1, 2), (0, 2)):
            _archive(writer, journal, partition, journal.durable(partition) // share)
    if settled:
        journal.close()
        journal = RocksJournal(living)
        writer.journal = journal
    _write(writer, FRAMES // 2, FRAMES)
    frames = tuple(
        tuple(digest_of(data) for data in journal.frames(partition))
        for partition in range(PARTITIONS)
    )
    shutil.copytree(living, path)
    journal.close()
    shutil.rmtree(living)
    return Base(path, frames)


def _write(writer: FrameWriter, start: int, stop: int) -> None:
    for place in range(start, stop):
        blobs: dict[bytes, bytes] = {}
        data: list[object] = [f"reason {place} " * 40]
        if place % LARGE_EVERY == 0:
            size = LARGE_BYTES if place % (2 * LARGE_EVERY) else MEDIUM_BYTES
            data.append(_blob(place, size, blobs))

        def fill(
            builder: FrameBuilder, place: int = place, blobs: dict[bytes, bytes] = blobs
        ) -> None:
            builder.blobs.update(blobs)
            stream = f"task/r{place}/t"
            builder.timers_added.append(TimerRow(place, stream, "retry"))
            builder.attempts_added.append(AttemptRow(place + 1, stream, 1, "n:b", 9))
            builder.attempts_oldest = 1
            builder.open_added.append(OpenRow(f"workflow/r{place}", "task", "t", 0, place))

        turns = {f"workflow/r{place}": [[data]], "workflow/long": [["again"]]}
        writer.append(partition=place % PARTITIONS, turns=turns, fill=fill)
        writer.settle()  # a record of the write-ahead log for every frame


def _archive(writer: FrameWriter, journal: RocksJournal, partition: int, number: int) -> None:
    """Seal what is below a number and empty the tables of it. The fact is said twice: two facts."""
    info = seal(journal, partition, frame_start(journal, partition, number))
    said = {PARTITION_STREAM: [list(info), list(info)]}
    writer.append(partition=partition, turns=said, fact_type=SEALED)
    writer.settle()
    drop_archived(journal, partition)


def _blob(place: int, size: int, blobs: dict[bytes, bytes]) -> BlobRef:
    data = pack(bytes((place + at) % 251 for at in range(1000)) * (size // 1000))
    ref = blob_of(data)
    blobs[ref.sha256] = data
    return ref
