"""A log as one file: what comes out of it is what went in, or it is refused."""

from __future__ import annotations

import gzip
from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from goclaw_events.errors import (
    BlobMissing,
    CodedError,
    DirectoryNotEmpty,
    ExportInvalid,
    LogDamaged,
    LogMissing,
    LogUnfinished,
)
from goclaw_events.frame import decode_frame
from goclaw_events.ids import kind_of, routing_key
from goclaw_events.memory_journal import MemoryJournal
from goclaw_events.portable import check_portable, digest_of, export_log, export_run
from goclaw_events.rocks import RocksJournal
from goclaw_events.rocks.intake import import_log
from goclaw_events.rocks.staging import staged
from goclaw_events.tables import u64
from goclaw_events.value import BlobRef, blob_of, pack
from tests.actors.stage import CHAIN, LANES, MANY, ONE, Stage
from tests.contracts.frame_writer import FrameWriter
from tests.golden.play import record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from goclaw_events.envelope import Fact
    from goclaw_events.journal import Journal


def exported(journal: Journal, run_id: str = "") -> bytes:
    """Return the bytes of an export."""
    file = BytesIO()
    if run_id:
        export_run(journal, file, run_id, "test")
    else:
        export_log(journal, file, "test")
    return file.getvalue()


def facts_by_stream(journal: Journal) -> dict[str, list[Fact]]:
    """Return the facts of every stream but `$partition`."""
    found: dict[str, list[Fact]] = {}
    for partition in range(journal.partitions):
        for data in journal.frames(partition):
            for _, _, fact in decode_frame(data).facts():
                if kind_of(fact.stream) != "$partition":
                    found.setdefault(fact.stream, []).append(fact)
    return found


@lru_cache(maxsize=1)
def small() -> bytes:
    """Return the export of a small log in which everything happens."""
    return record(1, unfinished=True)


@pytest.mark.parametrize("partitions", [1, 3])
def test_a_copy_has_the_same_frames(partitions: int, tmp_path: Path) -> None:
    """Imported into as many partitions every frame is there byte by byte, in a new era."""
    source = RocksJournal(tmp_path / "source", create=True, partitions=partitions)
    writer = FrameWriter(source)
    data = pack("x" * 1_500_000)
    ref = blob_of(data)
    for place in range(20):
        turns = {f"workflow/r{place % 4}": [[place]], "task/r/t": [[ref]]}
        blobs = {ref.sha256: data}
        writer.append(
            partition=place % partitions,
            turns=turns,
            fill=lambda builder, given=blobs: builder.blobs.update(given),
        )
    writer.settle()
    (tmp_path / "log.export").write_bytes(exported(source))
    import_log(tmp_path / "log.export", tmp_path / "copy")
    copy = RocksJournal(tmp_path / "copy")
    assert copy.log_id == source.log_id
    for partition in range(partitions):
        assert list(copy.frames(partition)) == list(source.frames(partition))
        head = copy.head(partition)
        assert head.era == source.head(partition).era + 1
        assert copy.get("meta", f"era/{partition}/{head.era}".encode()) == u64(head.number + 1)
    assert copy.blob(ref) == data
    assert digest_of(copy) == digest_of(source)
    copy.close()
    source.close()


def test_a_copy_of_a_copy_keeps_its_eras(tmp_path: Path) -> None:
    """Where an era began is known of a copy too."""
    source = MemoryJournal()
    FrameWriter(source).append()
    for number in range(3):
        file = tmp_path / f"{number}.export"
        file.write_bytes(exported(source))
        import_log(file, tmp_path / str(number))
        source.close()
        source = RocksJournal(tmp_path / str(number))  # type: ignore[assignment]
        writer = FrameWriter(source)
        writer._seqs[0, "workflow/r"] = number + 1
        writer.append()
        writer.settle()
    assert [source.get("meta", f"era/0/{era}".encode()) for era in (2, 3, 4)] == [
        u64(2), u64(3), u64(4),
    ]  # fmt: skip
    source.close()


@pytest.mark.parametrize("partitions", [1, 4])
def test_a_run_is_exported_alone(partitions: int, tmp_path: Path) -> None:
    """It holds the facts of the run and its tasks, with what they refer to, and nothing else."""
    stage = Stage(partitions=partitions)
    for run, tasks in (("one", CHAIN), ("two", MANY), ("three", ONE)):
        stage.submit(tasks, run, **LANES, given={"big": "b" * 70_000})
    stage.finish()
    stage.clock.ns += 2 * 10**9  # one of them waits for a second
    stage.finish()
    file = tmp_path / "two.export"
    file.write_bytes(exported(stage.journal, "two"))
    manifest = import_log(file, tmp_path / "data")
    journal = RocksJournal(tmp_path / "data")
    every = facts_by_stream(stage.journal)
    wanted = {
        stream: facts
        for stream, facts in every.items()
        if kind_of(stream) != "lane" and routing_key(stream) == "two"
    }
    assert facts_by_stream(journal) == wanted
    assert manifest.blobs == 2
    given = wanted["workflow/two"][0].data[2]
    assert isinstance(given, BlobRef)
    assert journal.blob(given) == pack({"big": "b" * 70_000})
    journal.close()


def test_a_run_under_way_is_exported_and_not_imported(tmp_path: Path) -> None:
    """Its facts can be looked at; to go on with it takes the whole log."""
    stage = Stage()
    stage.submit(CHAIN, "r")
    stage.rest()
    file = tmp_path / "r.export"
    file.write_bytes(exported(stage.journal, "r"))
    with pytest.raises(LogUnfinished, match="run r has not ended"):
        import_log(file, tmp_path / "data")
    with pytest.raises(LogMissing):
        exported(stage.journal, "other")


def test_a_log_with_a_missing_blob_is_not_exported() -> None:
    """An export is whole, or it is none."""
    journal = MemoryJournal()
    writer = FrameWriter(journal)
    writer.append(turns={"workflow/r": [[BlobRef(bytes(32), 9)]]})
    with pytest.raises(BlobMissing):
        exported(journal)


@given(st.data())
def test_a_damaged_file_is_refused(data: st.DataObject) -> None:
    """Whatever byte is changed or cut off: it is refused by name, or holds what it held."""
    whole = small()
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        damaged = whole[:place]
    else:
        flipped = whole[place] ^ data.draw(st.integers(1, 255))
        damaged = whole[:place] + bytes([flipped]) + whole[place + 1 :]
    try:
        found = check_portable(BytesIO(damaged))
    except (ExportInvalid, LogDamaged):
        return
    assert found == check_portable(BytesIO(whole))


def records(data: bytes) -> list[Any]:
    """Return the values of an export."""
    return list(msgpack.Unpacker(BytesIO(gzip.decompress(data)), max_buffer_size=0))


def kind(records: list[Any], name: str) -> list[int]:
    """Return the places of the values of a kind."""
    return [place for place, value in enumerate(records) if value[0] == name]


def without_a_frame(found: list[Any]) -> None:
    """Leave one out."""
    del found[kind(found, "frame")[5]]


def without_the_last_frame(found: list[Any]) -> None:
    """Leave the last one out."""
    del found[kind(found, "frame")[-1]]


def without_a_blob(found: list[Any]) -> None:
    """Leave one out."""
    del found[kind(found, "blob")[0]]


def with_another_blob(found: list[Any]) -> None:
    """Change one."""
    found[kind(found, "blob")[0]][2] += b"x"


def without_an_end(found: list[Any]) -> None:
    """Leave the end out."""
    del found[-1]


def with_more_behind(found: list[Any]) -> None:
    """Say the end twice."""
    found.append(found[-1])


def with_another_digest(found: list[Any]) -> None:
    """Change the digest."""
    found[-1][1]["digest"] = bytes(32)


def with_another_head(found: list[Any]) -> None:
    """Change where it ends."""
    found[-1][1]["heads"][0][1] += 1


def with_another_id(found: list[Any]) -> None:
    """Say that it is another log."""
    found[0][2]["log_id"] = bytes(16)


def with_no_partition(found: list[Any]) -> None:
    """Say that it has none."""
    found[0][2]["partitions"] = 0


def with_something_unknown(found: list[Any]) -> None:
    """Say what no version says."""
    found.insert(3, ["surprise", 1])


@pytest.mark.parametrize(
    "change",
    [
        without_a_frame,
        without_the_last_frame,
        without_a_blob,
        with_another_blob,
        without_an_end,
        with_more_behind,
        with_another_digest,
        with_another_head,
        with_another_id,
        with_no_partition,
        with_something_unknown,
    ],
)
def test_a_file_that_was_made_up_is_refused(change: Callable[[list[Any]], None]) -> None:
    """What is whole as a file and not as a log is damage too."""
    found = records(small())
    change(found)
    with pytest.raises(LogDamaged):
        check_portable(BytesIO(gzip.compress(b"".join(map(msgpack.packb, found)))))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no gzip at all",
        gzip.compress(b""),
        gzip.compress(msgpack.packb(["another", 1, {}])),
        gzip.compress(msgpack.packb(["goclaw-log", 3, {}])),
    ],
    ids=["empty", "text", "empty gzip", "another kind", "newer"],
)
def test_another_file_is_refused(data: bytes) -> None:
    """A file of another kind, or of a format to come, is no damaged export."""
    with pytest.raises(ExportInvalid):
        check_portable(BytesIO(data))


def test_nothing_is_written_over(tmp_path: Path) -> None:
    """A directory that holds anything is left as it is."""
    (tmp_path / "log.export").write_bytes(small())
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine").write_text("mine")
    with pytest.raises(DirectoryNotEmpty):
        import_log(tmp_path / "log.export", tmp_path / "data")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["mine"]


@pytest.mark.parametrize("existed", [False, True])
def test_a_directory_is_whole_or_not_there(existed: bool, tmp_path: Path) -> None:
    """After an error on the way the target is as it was."""
    target = tmp_path / "data"
    if existed:
        target.mkdir()

    def fill() -> None:
        with staged(target) as stage:
            (stage / "log").mkdir()
            msg = "on the way"
            raise OSError(msg)

    with pytest.raises(CodedError, match="on the way"):
        fill()
    assert target.exists() == existed
    assert not existed or list(target.iterdir()) == []
