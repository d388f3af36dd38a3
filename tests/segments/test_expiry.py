"""History that was given up is gone with a name, and what it came to stays."""

from __future__ import annotations

import pytest

from goclaw_events.envelope import InvalidPosition
from goclaw_events.errors import HistoryExpired, LogDamaged, LogUnfinished
from goclaw_events.rocks import RocksJournal, verify_directory
from goclaw_events.rocks.archiving import drop_expired
from goclaw_events.rocks.fsck import fsck
from goclaw_events.rocks.store import RocksStore
from goclaw_events.segments.expiry import expiry_place, runs_below, seal_baseline, segments_of
from goclaw_events.tables import Row, open_key
from tests.segments.archive import EXPIRED, LANE, Author, contents, expire

RUNS = 12
PARTITION = "$partition"


def archived(author: Author, runs: int = RUNS, segments: int = 3) -> list[int]:
    """Write runs and archive most of them; return where the segments end."""
    places = []
    for run in range(runs):
        author.whole_run(f"r{run}")
        if run % (runs // segments) == runs // segments - 1:
            author.settle()
            places.append(author.archive(author.journal.durable(0) - 3).last + 1)
    author.settle()
    return places


def test_what_is_below_is_refused_by_name(author: Author) -> None:
    """Frames and streams below say that they are gone; what is above reads as before."""
    places = archived(author)
    before = contents(author.journal)
    frames = before["frames 0"]
    files = sorted(path.name for path in author.journal.segments_path.iterdir())
    expire(author, places[0])
    journal = author.journal
    assert journal.history(0) == places[0]
    with pytest.raises(HistoryExpired) as caught:
        list(journal.frames(0))
    assert caught.value.details == {"partition": 0, "number": places[0]}
    above = list(journal.frames(0, places[0]))
    assert above[:-1] == frames[len(frames) - len(above) + 1 :]
    for stream in ("workflow/r0", "task/r0/a", LANE):
        with pytest.raises(HistoryExpired):
            list(journal.stream_frames(0, stream))
    assert list(journal.stream_frames(0, "workflow/new")) == []
    assert journal.last_seq(0, LANE) == before[f"0 {LANE}"][0]
    assert list(journal.stream_frames(0, LANE, journal.last_seq(0, LANE)))
    assert before["0 workflow/r9"] == contents_of(journal, "workflow/r9")
    assert sorted(path.name for path in journal.segments_path.glob("*.segment")) == files[1:]
    assert len(list(journal.segments_path.glob("*.baseline"))) == 1
    ended = journal.ended(0, "r0")
    assert ended is not None
    assert (ended.state, ended.seq, ended.body_digest) == ("run.completed", 2, b"r0")


def contents_of(journal: RocksJournal, stream: str) -> object:
    """Return what `contents` has of one stream."""
    last = journal.last_seq(0, stream)
    return (
        last,
        list(journal.stream_frames(0, stream)),
        list(journal.stream_frames(0, stream, last)),
        list(journal.stream_frames(0, stream, last // 2)),
    )


def test_it_verifies_opens_and_goes_on(author: Author) -> None:
    """An expired log is whole, opens again, expires again, and takes new runs."""
    places = archived(author)
    expire(author, places[0])
    author.journal.close()
    report = verify_directory(author.journal.path)
    assert (report.problems, report.segments) == ([], 2)
    author.continue_in(RocksJournal(author.journal.path))
    assert author.journal.history(0) == places[0]
    author.whole_run("later")
    expire(author, places[1])
    author.settle()
    assert author.journal.last_seq(0, LANE) > 0
    author.journal.close()
    assert verify_directory(author.journal.path).problems == []
    assert len(list(author.journal.segments_path.glob("*.baseline"))) == 1
    author.continue_in(RocksJournal(author.journal.path))


def test_everything_sealed_may_expire(author: Author) -> None:
    """A lane of which nothing is left knows its last seq, and goes on behind it."""
    for run in range(4):
        author.whole_run(f"r{run}")
    author.settle()
    seq, last = author.journal.last_seq(0, LANE), author.journal.durable(0)
    info = author.archive(last)
    author.settle()
    expire(author, info.last + 1)
    journal = author.journal
    assert journal.last_seq(0, LANE) == seq
    assert list(journal.stream_frames(0, LANE, seq + 1)) == []
    with pytest.raises(HistoryExpired):
        list(journal.stream_frames(0, LANE, seq))
    author.work("r9")
    author.settle()
    assert journal.last_seq(0, LANE) == seq + 1
    journal.close()
    assert verify_directory(journal.path).problems == []


def test_an_unfinished_run_keeps_its_history(author: Author) -> None:
    """Neither its segment nor a later one expires, and the refusal names it."""
    author.begin("open")
    places = archived(author)
    assert expiry_place(author.journal, 0, places[-1]) == 1
    with pytest.raises(LogUnfinished, match="open"):
        seal_baseline(author.journal, 0, places[0], {})
    author.end("open")
    author.settle()
    assert expiry_place(author.journal, 0, places[1]) == places[1]
    assert expiry_place(author.journal, 0, places[1] - 1) == places[0]
    assert {"r0", "open"} <= set(runs_below(author.journal, 0, places[0]))
    expire(author, places[0])
    with pytest.raises(HistoryExpired):
        list(author.journal.stream_frames(0, "workflow/open"))
    assert list(author.journal.stream_frames(0, "workflow/open", 2))


def test_only_whole_segments_expire(author: Author) -> None:
    """Another place is refused, and so is one whose rows still stand in the tables."""
    places = archived(author)
    for wrong in (places[0] - 1, 1, author.journal.durable(0)):
        with pytest.raises(InvalidPosition):
            seal_baseline(author.journal, 0, wrong, {})
    with pytest.raises(ValueError, match="sections"):
        seal_baseline(author.journal, 0, places[0], {"goclaw.mine": []})


def test_a_baseline_keeps_the_callers_rows(author: Author) -> None:
    """Sections come back row by row, and by key."""
    places = archived(author)
    rows = [(f"{place:06d}".encode(), b"v" * 50) for place in range(5_000)]
    expire(author, places[0], mine=rows, empty=[])
    baseline = author.journal.baseline(0)
    assert baseline is not None
    assert sorted(baseline.sections) == ["empty", "goclaw.rows", "goclaw.seqs", "mine"]
    assert list(baseline.rows("mine")) == rows
    assert baseline.get("mine", b"004321") == b"v" * 50
    assert baseline.get("mine", b"x") is None
    assert list(baseline.rows("empty")) == []


def test_nothing_goes_while_the_baseline_is_damaged(author: Author) -> None:
    """The segments stay, and the verification names the baseline."""
    places = archived(author)
    journal = author.journal
    baseline = seal_baseline(journal, 0, places[0], {})
    author.say(PARTITION, EXPIRED, [places[0], baseline.name, baseline.digest, baseline.runs])
    author.settle()
    path = journal.segments_path / baseline.name
    data = bytearray(path.read_bytes())
    data[80] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(LogDamaged):
        drop_expired(journal, 0)
    assert len(list(journal.segments_path.glob("*.segment"))) == 3
    assert len(segments_of(journal, 0)) == 3
    journal.close()
    report = verify_directory(journal.path)
    assert "baseline of partition 0" in [problem.place for problem in report.problems]


def test_an_expired_log_is_mended(author: Author) -> None:
    """Its tables are derived again from the baseline, its segments and its frames."""
    places = archived(author)
    expire(author, places[0])
    author.begin("open")
    author.settle()
    before = {stream: author.journal.last_seq(0, stream) for stream in author.journal.streams(0)}
    journal = author.journal
    journal.close()
    store = RocksStore(journal.path / "log", create=False)
    store.write([Row("open", open_key(0, "workflow/open"), None)])
    store.close()
    assert not fsck(journal.path).whole
    found = fsck(journal.path, repair=True)
    assert found.whole, found.report.problems
    author.continue_in(RocksJournal(journal.path))
    assert author.journal.history(0) == places[0]
    after = {stream: author.journal.last_seq(0, stream) for stream in author.journal.streams(0)}
    assert after == before
    assert author.journal.ended(0, "r0") is not None
