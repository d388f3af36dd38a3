"""What is archived is read as before; tables give it up only when its segment is whole."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from goclaw_events.envelope import InvalidPosition
from goclaw_events.errors import CodedError, JournalBroken, JournalFull, LogDamaged
from goclaw_events.portable import digest_of, export_log, export_run
from goclaw_events.rocks import RocksJournal, verify_directory
from goclaw_events.rocks.archiving import drop_archived
from goclaw_events.rocks.backup import back_up, restore
from goclaw_events.rocks.collection import collect_blobs
from goclaw_events.rocks.fsck import fsck
from goclaw_events.rocks.intake import import_log
from goclaw_events.rocks.store import RocksStore
from goclaw_events.segments.records import ARCHIVE_ROWS, OWN_ROWS, ended_key
from goclaw_events.segments.sealing import frame_start, seal
from goclaw_events.tables import Row, log_key, open_key
from tests.segments.archive import Author, contents


def test_an_archived_log_reads_as_before(author: Author) -> None:
    """Frames, streams and sequence numbers are the same; the tables hold only what is above."""
    for run in range(20):
        author.whole_run(f"r{run}")
    author.settle()
    before = contents(author.journal)
    info = author.archive(50)
    after = contents(author.journal)
    frames = before.pop("frames 0")
    assert after.pop("frames 0")[: len(frames)] == frames
    partition = after.pop("0 $partition")
    assert partition[0] == 1
    assert [s for s in after.pop("streams 0") if s != "$partition"] == before.pop("streams 0")
    assert after == before
    log = [
        int.from_bytes(key[2:], "big") for key, _ in author.journal.tables.scan("log", b"", None)
    ]
    assert min(log) == info.last + 1
    author.journal.close()
    report = verify_directory(author.journal.path)
    assert report.problems == []


@pytest.mark.parametrize("later", [False, True], ids=["at once", "in a later segment"])
def test_a_run_that_a_bug_ended_leaves_a_row(author: Author, later: bool) -> None:
    """It has no last fact of its own; the one of the partition counts, wherever that stands."""
    author.begin("bad")
    author.whole_run("good")
    author.settle()
    if later:
        assert author.archive(author.journal.durable(0) + 1).ended == 1
    author.poison("bad")
    author.settle()
    author.archive(author.journal.durable(0) + 1)
    ended = author.journal.ended(0, "bad")
    assert ended is not None
    assert (ended.state, ended.seq, ended.body_digest) == ("partition.stream_poisoned", 1, b"bad")
    assert ended.segment == 1 or later
    author.journal.close()
    assert verify_directory(author.journal.path).whole


def test_a_run_that_ended_leaves_a_row(author: Author) -> None:
    """Every fact of it is below: state, last seq, digests; not for one that has facts above."""
    for run in ("a", "b", "c"):
        author.whole_run(run)
    author.begin("open")
    author.settle()
    stop = author.journal.durable(0) + 1
    author.say("task/c/a", "task.requeued", [9])
    info = author.archive(stop)
    journal = author.journal
    assert info.ended == 2
    assert [journal.ended(0, run) is not None for run in "abc"] == [True, True, False]
    assert journal.ended(0, "open") is None
    a, b = journal.ended(0, "a"), journal.ended(0, "b")
    assert a is not None
    assert b is not None
    assert (a.state, a.seq, a.body_digest, a.segment) == ("run.completed", 2, b"a", 1)
    assert a.digest != b.digest
    author.end("open")
    author.settle()
    author.archive(author.journal.durable(0) + 1)
    late, began_before = journal.ended(0, "c"), journal.ended(0, "open")
    assert late is not None
    assert late.segment == info.last + 1
    assert began_before is not None
    assert (began_before.seq, began_before.body_digest) == (2, b"open")


def test_a_place_within_a_frame_is_refused(author: Author) -> None:
    """A segment ends where a frame ends, at something durable, above the floor."""
    author.whole_run("a")
    author.settle()
    durable = author.journal.durable(0)
    for wrong in (0, 1, 3, durable + 2):
        with pytest.raises(InvalidPosition):
            seal(author.journal, 0, wrong)
    assert frame_start(author.journal, 0, 3) == 2
    assert frame_start(author.journal, 0, durable + 1) == durable + 1
    assert list(author.journal.segments_path.iterdir()) == []
    info = author.archive(durable + 1)
    with pytest.raises(InvalidPosition):
        seal(author.journal, 0, info.last + 1)


def test_what_was_sealed_and_not_told_is_swept(author: Author) -> None:
    """A file that no fact names goes with the next collection after an opening, not before."""
    author.whole_run("a")
    author.settle()
    seal(author.journal, 0, author.journal.durable(0) + 1)
    (author.journal.segments_path / ".sealing-0").write_bytes(b"torn")
    assert collect_blobs(author.journal).files == 0
    path = author.journal.path
    author.journal.close()
    author.continue_in(RocksJournal(path))
    author.whole_run("b")
    kept = author.archive(3)
    assert collect_blobs(author.journal).files == 2
    assert [found.name for found in (path / "segments").iterdir()] == [kept.name]


@pytest.mark.parametrize("place", [2, 30, 70, 200, -1, -40, -60])
def test_a_damaged_segment_deletes_nothing(author: Author, place: int) -> None:
    """Header, blocks, directory, footer: the tables keep what it should hold, and are read."""
    for run in range(5):
        author.whole_run(f"r{run}")
    author.settle()
    before = contents(author.journal)
    info = seal(author.journal, 0, 15)
    flip(author.journal.segments_path / info.name, place)
    author.tell(info)
    with pytest.raises(LogDamaged):
        drop_archived(author.journal, 0)
    after = contents(author.journal)
    assert after["frames 0"][:-1] == before["frames 0"]
    path = author.journal.path
    author.journal.close()
    author.continue_in(RocksJournal(path))
    assert contents(author.journal) == after


@pytest.mark.parametrize("how", ["flip", "cut", "gone"])
def test_damage_to_what_is_archived_is_never_silent(author: Author, how: str) -> None:
    """Opening or reading refuses, the verification names the position, fsck gives nothing up."""
    for run in range(5):
        author.whole_run(f"r{run}")
    author.settle()
    info = author.archive(15)
    path = author.journal.path
    author.journal.close()
    file = path / "segments" / info.name
    whole = file.read_bytes()
    if how == "flip":
        flip(file, 100)
    elif how == "cut":
        file.write_bytes(whole[:-1])
    else:
        file.unlink()
    report = verify_directory(path)
    assert "0:1" in [problem.place for problem in report.problems]
    findings = fsck(path, repair=True)
    assert (findings.whole, findings.mended, findings.loss) == (False, [], None)
    if how == "flip":
        journal = RocksJournal(path)
        with pytest.raises(LogDamaged) as caught:
            list(journal.frames(0))
        assert (caught.value.details["partition"], caught.value.details["number"]) == (0, 1)
        journal.close()
    else:
        with pytest.raises(LogDamaged):
            RocksJournal(path)
    file.write_bytes(whole)
    assert fsck(path).whole
    author.continue_in(RocksJournal(path))


def flip(path: Path, place: int) -> None:
    """Turn one bit of a file over."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))


def test_readers_go_on_while_rows_move(author: Author) -> None:
    """Whoever reads while the tables are emptied sees every frame and every stream, each once."""
    for run in range(60):
        author.whole_run(f"r{run}")
    author.settle()
    journal = author.journal
    wanted = list(journal.frames(0))
    streams = sorted(journal.streams(0))
    faults: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                if list(journal.frames(0))[: len(wanted)] != wanted:
                    faults.append("frames")
                if sorted(set(journal.streams(0)) - {"$partition"}) != streams:
                    faults.append("streams")
                if len(list(journal.stream_frames(0, "workflow/r1"))) != 2:
                    faults.append("stream")
            except CodedError as error:
                faults.append(str(error))

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in (40, 90, 150, 200):
        author.archive(number)
    done.set()
    for thread in threads:
        thread.join()
    assert faults == []


def test_the_simplest_tools_see_no_difference(author: Author, tmp_path: Path) -> None:
    """Digest, export, import, backup and restore: as before; an import has no segments."""
    for run in range(8):
        author.whole_run(f"r{run}")
    author.settle()
    before = digest_of(author.journal)
    author.archive(20)
    author.archive(35)
    journal = author.journal
    assert digest_of(journal) == before
    with (tmp_path / "file").open("wb") as file:
        exported = export_log(journal, file, "test")
    assert exported.digest == before.hex()
    with (tmp_path / "run").open("wb") as file:
        assert export_run(journal, file, "r1", "test").facts == 4
    back_up(journal, tmp_path / "backup")
    wanted = contents(journal)
    import_log(tmp_path / "file", tmp_path / "imported")
    restore(tmp_path / "backup", tmp_path / "restored")
    for name, segments in (("imported", 0), ("restored", 2)):
        report = verify_directory(tmp_path / name)
        assert (report.problems, report.segments) == ([], segments)
        again = RocksJournal(tmp_path / name)
        assert contents(again) == wanted
        assert again.floor(0) == (journal.floor(0) if segments else 1)
        again.close()
    imported = Author(RocksJournal(tmp_path / "imported"))
    imported.writer._seqs = author.writer._seqs
    imported.archive(10)
    imported.journal.close()
    assert verify_directory(tmp_path / "imported").problems == []


def test_a_log_with_segments_is_mended(author: Author) -> None:
    """Its tables are written anew; what stands in segments stays there."""
    for run in range(8):
        author.whole_run(f"r{run}")
    author.begin("open")
    author.archive(30)
    wanted, path = contents(author.journal), author.journal.path
    author.journal.close()
    store = RocksStore(path / "log", create=False)
    store.write([Row("open", open_key(0, "workflow/open"), None)])
    store.write([Row("ended", ended_key(0, "r1"), None)])
    store.close()
    found = fsck(path, repair=True)
    assert found.whole, found.report.problems
    author.continue_in(RocksJournal(path))
    assert contents(author.journal) == wanted
    assert author.journal.ended(0, "r1") is not None
    assert author.journal.floor(0) > 1


def test_segments_whose_fact_is_lost_are_written_into_tables(author: Author) -> None:
    """Where a damaged log is cut below what told of a segment, its frames stand in tables again."""
    for run in range(8):
        author.whole_run(f"r{run}")
    info = author.archive(30)
    frames, path = list(author.journal.frames(0)), author.journal.path
    author.journal.close()
    store = RocksStore(path / "log", create=False)
    key, data = next(store.scan("log", log_key(0, info.last + 4), None))
    store.write([Row("log", key, data[:-1] + b"x")])
    store.close()
    loss = fsck(path).loss
    assert loss is not None
    found = fsck(path, accept=loss.facts)
    assert found.whole, found.report.problems
    author.continue_in(RocksJournal(path))
    kept = list(author.journal.frames(0))
    assert kept == frames[: len(kept)]
    assert author.journal.floor(0) == 1


@pytest.mark.parametrize("lost", ["shelved", "all"])
def test_segments_are_found_without_their_rows(author: Author, lost: str) -> None:
    """Where `meta` no longer tells of segments, their files do: nothing is given up."""
    for run in range(8):
        author.whole_run(f"r{run}")
    author.settle()
    seal(author.journal, 0, 10)  # an orphan beside those that fit
    author.archive(20)
    author.archive(30)
    wanted, path = contents(author.journal), author.journal.path
    author.journal.close()
    store = RocksStore(path / "log", create=False)
    keys = [key for key, _ in store.scan("meta", b"", None)]
    gone = (b"shelved/",) if lost == "shelved" else (*ARCHIVE_ROWS, *OWN_ROWS)
    store.write([Row("meta", key, None) for key in keys if key.startswith(gone)])
    store.write([Row("ended", ended_key(0, "r1"), None)])
    store.close()
    found = fsck(path, repair=True)
    assert (found.whole, found.loss) == (True, None), found.report.problems
    author.continue_in(RocksJournal(path))
    assert contents(author.journal) == wanted
    assert author.journal.floor(0) > 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_a_disk_that_fails_leaves_nothing(
    author: Author, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    """Whatever call fails, whichever time: a typed error, no file, and the next try succeeds."""
    author.whole_run("a")
    author.settle()
    journal = author.journal
    owner = Path if call == "rename" else os
    real = getattr(owner, call)
    for nth in range(1, 30):
        calls = 0

        def failing(*args: Any, nth: int = nth) -> Any:
            nonlocal calls
            calls += 1
            if calls == nth:
                raise OSError(code, os.strerror(code))
            return real(*args)

        with monkeypatch.context() as patch:
            patch.setattr(owner, call, failing)
            with suppress(JournalFull if code == errno.ENOSPC else JournalBroken):
                info = seal(journal, 0, 4)
                break
        left = [path for path in journal.segments_path.iterdir() if path.name.startswith(".")]
        assert left == []
    assert nth > 1
    author.tell(info)
    drop_archived(journal, 0)
    assert journal.floor(0) == 4
