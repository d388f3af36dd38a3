"""What a power cut left of the last record is set aside; what had been flushed never is."""

from __future__ import annotations

import random
import shutil
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

import pytest

from goclaw_events.errors import LogDamaged
from goclaw_events.rocks import RocksJournal, verify_directory
from goclaw_events.rocks.crc32c import crc32c
from goclaw_events.rocks.fsck import fsck
from goclaw_events.rocks.tail import find_damage, find_tail
from tests.contracts.frame_writer import FrameWriter

if TYPE_CHECKING:
    from pathlib import Path

FRAMES = 40
SECTOR = 512


class Cut(NamedTuple):
    """A log as a power cut leaves it: `flushed` bytes of the WAL, then one record that was not."""

    path: Path
    wal: Path
    flushed: int
    frames: list[bytes]

    def tear(self, tail: bytes) -> None:
        """Put other bytes in the place of what was not flushed."""
        self.wal.write_bytes(self.wal.read_bytes()[: self.flushed] + tail)

    @property
    def tail(self) -> bytes:
        """Return what was not flushed."""
        return self.wal.read_bytes()[self.flushed :]


@pytest.fixture(name="cut")
def _cut(tmp_path: Path) -> Cut:
    living = tmp_path / "living"
    with closing(RocksJournal(living, create=True)) as journal:
        writer = FrameWriter(journal)
        for place in range(FRAMES):
            writer.append(turns={f"workflow/r{place}": [[f"reason {place} " * 50]]})
            writer.settle()
        frames = list(journal.frames(0))
        (wal,) = (living / "log").glob("*.log")
        flushed, mark = wal.stat().st_size, (living / "watermark").read_bytes()
        noise = random.Random(4).randbytes(3_000).hex()
        writer.append(turns={"workflow/torn": [[noise]]})
        writer.settle()
        path = tmp_path / "data"
        shutil.copytree(living, path)
        (path / "watermark").write_bytes(mark)
    return Cut(path, path / "log" / wal.name, flushed, frames)


def holes(tail: bytes, rng: random.Random) -> bytes:
    """Leave zeros in the place of some sectors."""
    sectors = [tail[at : at + SECTOR] for at in range(0, len(tail), SECTOR)]
    return b"".join(rng.choice([sector, bytes(len(sector))]) for sector in sectors)


def read(path: Path) -> list[bytes]:
    """Open a log as an engine does and return its frames."""
    with closing(RocksJournal(path)) as journal:
        return list(journal.frames(0))


def test_the_checksum_is_that_of_the_standard() -> None:
    """The check values of RFC 3720."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA


def test_a_whole_log_has_no_tail(cut: Cut) -> None:
    """Every record that RocksDB wrote is whole to us, over the ends of blocks too."""
    assert cut.wal.stat().st_size > 32 * 1024
    assert find_tail(cut.path / "log") is None
    assert find_damage(cut.path / "log") is None


@pytest.mark.parametrize("seed", range(12))
def test_a_torn_last_record_is_set_aside(cut: Cut, seed: int) -> None:
    """Zeros, holes, garbage: all that was acknowledged opens by itself, the rest is kept."""
    rng = random.Random(seed)
    tail, reached = cut.tail, rng.randrange(len(cut.tail))
    torn = [
        tail[:reached] + bytes(len(tail) - reached),
        holes(tail, rng),
        tail[:reached] + rng.randbytes(len(tail) - reached),
        bytes(len(tail)),
    ][seed % 4]
    cut.tear(torn)
    assert read(cut.path) == cut.frames
    kept = [path.read_bytes() for path in cut.path.glob("log.torn.*")]
    assert kept == [torn] or (not kept and bytes(7) in torn), "RocksDB itself ends at zeros"
    assert verify_directory(cut.path).whole
    assert not (cut.path / "log.copy").exists()


def test_what_was_set_aside_can_be_put_back(cut: Cut) -> None:
    """The name says which file and which byte, so nothing is destroyed."""
    torn = cut.tail[:100] + b"\xff" * (len(cut.tail) - 100)
    cut.tear(torn)
    assert read(cut.path) == cut.frames
    (kept,) = cut.path.glob("log.torn.*")
    assert kept.name == f"log.torn.1.{cut.wal.stem}.{cut.flushed}"
    assert kept.read_bytes() == torn


def test_a_flipped_bit_in_what_was_acknowledged_is_refused(cut: Cut) -> None:
    """Below the watermark nothing is set aside, though it is the last record; nothing changes."""
    data = bytearray(cut.wal.read_bytes()[: cut.flushed])
    data[-40] ^= 4
    cut.wal.write_bytes(data)
    for _ in range(2):
        with pytest.raises(LogDamaged):
            RocksJournal(cut.path)
    assert cut.wal.read_bytes() == data
    assert not list(cut.path.glob("log.torn.*"))
    loss = fsck(cut.path).loss
    assert loss is not None
    assert (loss.facts, loss.certain) == (1, True)


def test_damage_with_whole_records_behind_it_is_refused(cut: Cut) -> None:
    """What was flushed and not the last is never given up unasked, wherever the watermark is."""
    data = bytearray(cut.wal.read_bytes())
    data[cut.flushed + 30 : cut.flushed + 34] = b"\xff" * 4
    data += cut.tail + cut.tail  # the record again, whole: as if it had been written behind it
    first = int.from_bytes(cut.tail[7:15], "little")
    assert first > 0
    cut.wal.write_bytes(data)
    with pytest.raises(LogDamaged, match="with a whole record at"):
        RocksJournal(cut.path)
    assert cut.wal.read_bytes() == data
    found = fsck(cut.path)
    assert found.loss is not None
    assert (found.loss.facts, found.loss.certain) == (0, False)
    assert fsck(cut.path, repair=True).mended == [], "not without consent"
    assert fsck(cut.path, accept=0).whole
    assert read(cut.path) == cut.frames


def test_an_older_record_behind_the_end_is_no_record(cut: Cut) -> None:
    """Old contents of a disk may be a whole record of this very log; numbers tell it is old."""
    old = cut.wal.read_bytes()[:4_000]
    cut.tear(b"\xff" * 600 + old)
    tail = find_tail(cut.path / "log")
    assert tail is not None
    assert (tail.cut, tail.followed) == (cut.flushed, None)
    assert read(cut.path) == cut.frames


def test_a_verification_changes_nothing(cut: Cut) -> None:
    """`log verify` and `fsck` name a torn tail and leave it; opening the log mends it."""
    cut.tear(cut.tail[:200] + bytes(len(cut.tail) - 200))
    before = cut.wal.read_bytes()
    assert not verify_directory(cut.path).whole
    assert fsck(cut.path).loss is None
    assert cut.wal.read_bytes() == before
    assert read(cut.path) == cut.frames


def test_a_crash_while_it_is_set_aside_is_harmless(cut: Cut) -> None:
    """Copied and not yet cut off: the next opening sets it aside once more, under another name."""
    torn = cut.tail[:100] + b"\xff" * (len(cut.tail) - 100)
    cut.tear(torn)
    kept = cut.path / f"log.torn.1.{cut.wal.stem}.{cut.flushed}"
    kept.write_bytes(torn[:50])
    (cut.path / "log.copy").mkdir()
    assert read(cut.path) == cut.frames
    assert [path.read_bytes() for path in sorted(cut.path.glob("log.torn.*"))] == [torn[:50], torn]
