"""What was written is read, or refused with its place; it is never lost in silence."""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from goclaw_events.errors import CodedError, LogBehindWatermark, LogDamaged, LogMissing
from goclaw_events.rocks import RocksJournal, verify_directory
from goclaw_events.value import BlobRef, blob_of, pack
from tests.contracts.frame_writer import FrameWriter

if TYPE_CHECKING:
    from pathlib import Path

FRAMES = 120


def written(path: Path, frames: int = FRAMES, killed: Path | None = None) -> list[bytes]:
    """Write a log of some frames and close it, which moves it into SST files.

    `killed` gets a copy made before closing, as a killed process leaves it: all in the
    write-ahead log.
    """
    journal = RocksJournal(path, create=True)
    writer = FrameWriter(journal)
    for place in range(frames):
        writer.append(turns={f"workflow/r{place}": [[f"reason {place} " * 20]]})
    writer.settle()
    found = list(journal.frames(0))
    if killed is not None:
        shutil.copytree(path, killed)
    journal.close()
    return found


def flip(path: Path, offset: int) -> None:
    """Turn one byte of a file over."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes((byte ^ 0xFF,)))


def read_or_refused(path: Path) -> list[bytes] | None:
    """Return the frames of a log, or None where it was refused as damaged."""
    journal = None
    try:
        journal = RocksJournal(path)
        return list(journal.frames(0))
    except LogDamaged:
        return None
    finally:
        if journal is not None:
            with suppress(CodedError):
                journal.close()


def test_a_flipped_byte_in_the_wal_is_refused(tmp_path: Path) -> None:
    """Wherever a byte of the write-ahead log is turned over, the log does not open shortened."""
    whole = written(tmp_path / "first", killed=tmp_path / "data")
    (wal,) = (tmp_path / "data" / "log").glob("*.log")
    size = wal.stat().st_size
    refused = 0
    for step in range(40):
        copy = tmp_path / f"copy{step}"
        shutil.copytree(tmp_path / "data", copy)
        flip(copy / "log" / wal.name, size * step // 40 + step % 11)
        found = read_or_refused(copy)
        assert found in (None, whole), step
        refused += found is None
    assert refused >= 38


@pytest.mark.parametrize("kind", [5, 6, 7, 8, 11, 0xFF])
def test_a_garbage_tail_is_found_before_rocksdb_reads_it(tmp_path: Path, kind: int) -> None:
    """Record kinds that make RocksDB read for ever are found first, with file and offset."""
    whole = written(tmp_path / "first", 3, killed=tmp_path / "data")
    (wal,) = (tmp_path / "data" / "log").glob("*.log")
    end = wal.stat().st_size
    with wal.open("ab") as file:
        file.write(b"\x01\x02\x03\x04\x10\x00" + bytes((kind,)) + b"garbage" * 9)
    with pytest.raises(LogDamaged) as caught:
        RocksJournal(tmp_path / "data", trust_watermark=False)
    assert caught.value.details == {"file": wal.name, "offset": end}
    assert read_or_refused(tmp_path / "data") == whole


@pytest.mark.parametrize("cut", [1, 9, 400])
def test_a_torn_tail_above_the_watermark_is_cut_off(tmp_path: Path, cut: int) -> None:
    """A record that was never acknowledged and is torn goes; the rest is whole and goes on."""
    whole = written(tmp_path / "first", 20)
    path = tmp_path / "data"
    journal = RocksJournal(tmp_path / "first")
    watermark = (tmp_path / "first" / "watermark").read_bytes()
    writer = FrameWriter(journal)
    writer.append(turns={"workflow/torn": [["x" * 500]]})
    writer.settle()
    shutil.copytree(tmp_path / "first", path)
    journal.close()
    (wal,) = (path / "log").glob("*.log")
    wal.write_bytes(wal.read_bytes()[:-cut])
    (path / "watermark").write_bytes(watermark)
    journal = RocksJournal(path)
    assert list(journal.frames(0)) == whole
    journal.close()
    assert verify_directory(path).whole


def test_a_flipped_byte_in_a_table_file_is_never_silent(tmp_path: Path) -> None:
    """A damaged SST file is refused on opening, on reading, or by the verification."""
    whole = written(tmp_path / "data", 400)
    tables = sorted((tmp_path / "data" / "log").glob("*.sst"))
    assert tables
    largest = max(tables, key=lambda path: path.stat().st_size)
    refused = 0
    for step in range(24):
        copy = tmp_path / f"copy{step}"
        shutil.copytree(tmp_path / "data", copy)
        flip(copy / "log" / largest.name, largest.stat().st_size * step // 24)
        found = read_or_refused(copy)
        assert found in (None, whole), step
        refused += found is None
        assert (found is None) <= (not verify_directory(copy).whole), step
    assert refused >= 12


def test_a_missing_table_file_is_damage(tmp_path: Path) -> None:
    """A log whose SST file is gone does not open."""
    written(tmp_path)
    for path in (tmp_path / "log").glob("*.sst"):
        path.unlink()
    with pytest.raises(LogDamaged):
        RocksJournal(tmp_path)
    assert not verify_directory(tmp_path).whole


def test_an_older_copy_of_the_log_is_behind_the_watermark(tmp_path: Path) -> None:
    """A log that forgot acknowledged facts is refused, and says how many are missing."""
    written(tmp_path, 5)
    shutil.copytree(tmp_path / "log", tmp_path / "old")
    journal = RocksJournal(tmp_path)
    writer = FrameWriter(journal)
    for _ in range(3):
        writer.append(turns={"workflow/later": [["a"]]})
    writer.settle()
    journal.close()
    shutil.rmtree(tmp_path / "log")
    (tmp_path / "old").rename(tmp_path / "log")
    with pytest.raises(LogBehindWatermark, match="3 facts are missing") as caught:
        RocksJournal(tmp_path)
    assert caught.value.details == {"partition": 0, "number": 6}
    report = verify_directory(tmp_path)
    assert [(p.code, p.place) for p in report.problems] == [("log_behind_watermark", "0:6")]
    reading = RocksJournal(tmp_path, trust_watermark=False)
    assert len(list(reading.frames(0))) == 5
    reading.close()


def test_another_history_of_the_same_length_is_refused(tmp_path: Path) -> None:
    """A log as long as the watermark says, but with another frame there, is damaged."""
    written(tmp_path, 5)
    shutil.copytree(tmp_path, tmp_path / "other")
    for path, word in ((tmp_path, "one"), (tmp_path / "other", "two")):
        journal = RocksJournal(path)
        writer = FrameWriter(journal)
        writer.append(turns={f"workflow/{word}": [["a"]]})
        writer.settle()
        journal.close()
    shutil.copy(tmp_path / "other" / "watermark", tmp_path / "watermark")
    with pytest.raises(LogDamaged, match="0:6 is not what was acknowledged"):
        RocksJournal(tmp_path)


def test_a_missing_watermark_is_noticed(tmp_path: Path) -> None:
    """Without its watermark a log that holds facts does not open: losses could not be seen."""
    written(tmp_path, 2)
    (tmp_path / "watermark").unlink()
    with pytest.raises(LogDamaged, match="watermark is missing"):
        RocksJournal(tmp_path)


@pytest.mark.parametrize("size", [70_000, 2_000_000])
def test_a_damaged_blob_is_never_served(tmp_path: Path, size: int) -> None:
    """A blob whose bytes changed, in a row's file or its own, is refused and found by `verify`."""
    data = pack(bytes(range(256)) * (size // 256))
    ref = blob_of(data)
    journal = RocksJournal(tmp_path, create=True)
    writer = FrameWriter(journal)
    writer.append(
        turns={"workflow/r": [[ref]]}, fill=lambda builder: builder.blobs.update({ref.sha256: data})
    )
    writer.settle()
    journal.close()
    if size > 1_000_000:
        flip(tmp_path / "blobs" / ref.hex[:2] / ref.hex, size // 2)
    else:
        largest = max((tmp_path / "log").glob("*.sst"), key=lambda path: path.stat().st_size)
        flip(largest, 300)
    assert not verify_directory(tmp_path).whole
    journal = RocksJournal(tmp_path)
    with pytest.raises(LogDamaged):
        journal.blob(ref)
    journal.close()


def test_a_lost_blob_is_found(tmp_path: Path) -> None:
    """A reference whose file is gone is `blob_missing`, with the fact that refers to it."""
    data = pack("x" * 2_000_000)
    ref = blob_of(data)
    journal = RocksJournal(tmp_path, create=True)
    writer = FrameWriter(journal)
    writer.append(
        turns={"workflow/r": [["a"], [{"deep": [ref]}]]},
        fill=lambda builder: builder.blobs.update({ref.sha256: data}),
    )
    writer.settle()
    journal.close()
    journal.blob_files.path_of(ref.sha256).unlink()
    report = verify_directory(tmp_path)
    assert [(p.code, p.place) for p in report.problems] == [("blob_missing", f"0:2 blob {ref.hex}")]


def test_a_reference_inside_a_blob_is_followed(tmp_path: Path) -> None:
    """A blob that refers to a blob that is not stored is found through the first one."""
    missing = BlobRef(bytes(32), 100_000)
    data = pack(["x" * 70_000, missing])
    ref = blob_of(data)
    journal = RocksJournal(tmp_path, create=True)
    writer = FrameWriter(journal)
    writer.append(
        turns={"workflow/r": [[ref]]}, fill=lambda builder: builder.blobs.update({ref.sha256: data})
    )
    writer.settle()
    journal.close()
    (problem,) = verify_directory(tmp_path).problems
    assert (problem.code, problem.place) == ("blob_missing", f"blob {ref.hex} blob {missing.hex}")


def test_there_is_no_log(tmp_path: Path) -> None:
    """Opening without `create` where there is no log raises `LogMissing` and makes nothing."""
    with pytest.raises(LogMissing):
        RocksJournal(tmp_path / "data")
    with pytest.raises(LogMissing):
        verify_directory(tmp_path / "data")
    assert not (tmp_path / "data").exists()
