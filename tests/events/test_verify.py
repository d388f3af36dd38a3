"""The verification finds what is missing, what is too much, and what is not as it was written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from goclaw_events.envelope import AttemptRow, TimerRow
from goclaw_events.memory_journal import MemoryJournal, MemoryRows
from goclaw_events.tables import Row, attempt_key, log_key, open_key, stream_key, timer_key, u64
from goclaw_events.verify import PROBLEMS_MAX, Report, verify
from tests.contracts.frame_writer import FrameWriter

if TYPE_CHECKING:
    from goclaw_events.framing import FrameBuilder

TIMER = TimerRow(5, "task/r/t", "one")


def fill(builder: FrameBuilder) -> None:
    """Add a timer and an attempt to a frame."""
    if builder.first == 1:
        builder.timers_added.append(TIMER)
        builder.attempts_added.append(AttemptRow(1, "task/r/t", 1, "n:b", 9))


def built(
    partitions: int = 1, fact_type: str = "run.cancelled"
) -> tuple[MemoryJournal, MemoryRows]:
    """Return a log of six frames a partition, and its rows, to be spoiled."""
    journal = MemoryJournal(partitions=partitions)
    writer = FrameWriter(journal)
    for place in range(6 * partitions):
        turns = {"workflow/r": [["a"], ["b"]], f"workflow/r{place}": [["c"]]}
        writer.append(partition=place % partitions, turns=turns, fill=fill, fact_type=fact_type)
    return journal, journal._rows


def places(report: Report) -> list[tuple[str, str]]:
    """Return code and place of each problem."""
    return [(problem.code, problem.place) for problem in report.problems]


@pytest.mark.parametrize("partitions", [1, 4])
def test_a_whole_log(partitions: int) -> None:
    """A log that nobody spoiled has no problem, and everything in it was counted."""
    report = verify(built(partitions)[0])
    assert report.problems == []
    assert report.whole
    assert (report.frames, report.facts) == (6 * partitions, 18 * partitions)
    assert report.streams == partitions + 6 * partitions
    assert report.ends == [18] * partitions
    assert report.rows["streams"] == 12 * partitions
    assert report.rows["timers"] == report.rows["attempts"] == partitions


@pytest.mark.parametrize(
    ("row", "place"),
    [
        (Row("streams", stream_key(0, "workflow/r2", 1), None), "0:7"),
        (Row("timers", timer_key(0, TIMER), None), "table timers"),
        (Row("attempts", attempt_key(0, 1), b"other"), "table attempts"),
        (Row("open", open_key(0, "workflow/r"), b"extra"), "table open"),
        (Row("meta", b"token/0/0", u64(77)), "table meta"),
        (Row("parked", log_key(0, 3), b"extra"), "table parked"),
        (Row("blobs", bytes(32), b"not this"), f"blob {bytes(32).hex()}"),
    ],
)
def test_a_spoiled_row_is_found(row: Row, place: str) -> None:
    """A row that is missing, changed or too much is named with its table or position."""
    journal, rows = built()
    rows.write([row])
    report = verify(journal)
    assert not report.whole
    assert ("log_damaged", place) in places(report)


def test_an_extra_stream_row_is_found() -> None:
    """A row of `streams` that no frame gives breaks its stream's seq and the count."""
    journal, rows = built()
    rows.write([Row("streams", stream_key(0, "workflow/r", 99), u64(1) + bytes(4))])
    assert places(verify(journal)) == [("log_damaged", "0:1"), ("log_damaged", "table streams")]


def test_a_missing_frame_is_found() -> None:
    """A frame that is gone is a gap at the one behind it, and the rest is still looked at."""
    journal, rows = built()
    rows.write([Row("log", log_key(0, 7), None)])
    report = verify(journal)
    assert ("log_damaged", "0:10") in places(report)
    assert report.frames == 5


def test_a_changed_frame_is_found() -> None:
    """A frame whose bytes changed does not match its hash."""
    journal, rows = built()
    data = bytearray(rows.get("log", log_key(0, 4)) or b"")
    data[-20] ^= 1
    rows.write([Row("log", log_key(0, 4), bytes(data))])
    assert ("log_damaged", "0:4") in places(verify(journal))


def test_a_frame_of_another_history_is_found() -> None:
    """A whole frame that is not the one that was written breaks the chain behind it."""
    journal, rows = built()
    other = FrameWriter(MemoryJournal(log_id=journal.log_id))
    turns = {"workflow/r": [["a"], ["other"]], "workflow/r0": [["c"]]}
    frame = other.append(turns=turns, fill=fill)
    rows.write([Row("log", log_key(0, 1), frame.data)])
    assert places(verify(journal)) == [("log_damaged", "0:4")]


def test_an_unknown_fact_is_found() -> None:
    """A fact of a type that this build does not know is named with its position."""
    report = verify(built(fact_type="run.unheard")[0])
    assert places(report)[0] == ("unknown_type", "0:1")
    assert report.problems_count == 18


def test_problems_are_counted_beyond_those_that_are_kept() -> None:
    """A report keeps a bounded number of problems and counts all."""
    report = Report()
    for number in range(PROBLEMS_MAX + 5):
        report.add("log_damaged", f"0:{number}", "spoiled")
    assert (len(report.problems), report.problems_count) == (PROBLEMS_MAX, PROBLEMS_MAX + 5)
