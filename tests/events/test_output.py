"""The output of tasks in the log: rows that ride with frames, or are soon written alone."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from goclaw_events.envelope import InvalidPosition
from goclaw_events.errors import JournalUnavailable, LogDamaged
from goclaw_events.memory_journal import MemoryJournal
from goclaw_events.output import OUTPUT, Chunk, Place, chunk_row, read_chunk, read_output
from goclaw_events.rocks import RocksJournal, verify_directory
from goclaw_events.rocks.forgetting import forget_output
from goclaw_events.tables import Row

if TYPE_CHECKING:
    from pathlib import Path

WAIT_S = 30.0


def chunk(number: int, value: Any = None, *, task: str = "a", attempt: int = 1) -> Chunk:
    """Return a chunk of run `r`, emitted at so many nanoseconds."""
    return Chunk("r", task, Place(0, attempt, number), number, value)


def write(journal: RocksJournal | MemoryJournal, *chunks: Chunk) -> None:
    """Write chunks, and wait until they are."""
    written = threading.Event()
    journal.ride([chunk_row(0, one) for one in chunks], written.set)
    assert written.wait(WAIT_S)


def test_a_chunk_is_its_row() -> None:
    """Whatever its names and its value are; what is no chunk is damage."""
    one = Chunk("run-ü", "a.b", Place(2, 3, 2**40), 5, {"deep": [1, None]})
    row = chunk_row(7, one)
    assert read_chunk(row.key, row.value or b"") == one
    for key, value in ((row.key[:-1], row.value), (row.key, b"\xc1"), (b"", b"")):
        with pytest.raises(LogDamaged):
            read_chunk(key, value or b"")


def test_a_cursor_is_a_place() -> None:
    """As text, and back."""
    assert Place.parse(str(Place(0, 12, 345))) == Place(0, 12, 345)
    for text in ("", "1.2", "1.2.x", "1.2.3.4", "-1.2.3", "1.2.99999999999999999999"):
        with pytest.raises(InvalidPosition):
            Place.parse(text)


@pytest.mark.parametrize("kind", ["memory", "rocks"])
def test_they_are_read_in_order(tmp_path: Path, kind: str) -> None:
    """Those of a later attempt later, those of another task not at all, behind a cursor only."""
    journal: Any = MemoryJournal() if kind == "memory" else RocksJournal(tmp_path, create=True)
    write(journal, chunk(1, "x", attempt=2), chunk(300, "w"), chunk(1, "u"), chunk(2, "v"))
    write(journal, chunk(1, "other", task="ab"))
    found = list(read_output(journal, 0, "r", "a"))
    assert [one.value for one in found] == ["u", "v", "w", "x"]
    left = read_output(journal, 0, "r", "a", found[1].place)
    assert [one.value for one in left] == ["w", "x"]
    journal.close()


def test_they_stay_and_are_verified(tmp_path: Path) -> None:
    """Also what came just before the close; a row that is no chunk is named."""
    journal = RocksJournal(tmp_path, create=True)
    write(journal, chunk(1))
    journal.ride([chunk_row(0, chunk(2))], lambda: None)
    journal.close()
    with pytest.raises(JournalUnavailable):
        journal.rewrite(lambda _: None)
    assert verify_directory(tmp_path).problems == []
    journal = RocksJournal(tmp_path)
    assert len(list(read_output(journal, 0, "r", "a"))) == 2
    journal.rewrite(lambda store: store.write([Row(OUTPUT, b"\0\0bad", b"")]))
    journal.close()
    (problem,) = verify_directory(tmp_path).problems
    assert "is no chunk" in problem.message


KILLED = """
import os, signal, sys, threading
from pathlib import Path
from goclaw_events.output import Chunk, Place, chunk_row
from goclaw_events.rocks import RocksJournal

journal, written = RocksJournal(Path(sys.argv[1]), create=True), threading.Event()
journal.ride([chunk_row(0, Chunk("r", "a", Place(0, 1, 1), 1, "kept"))], written.set)
written.wait()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_written_survives_a_kill(tmp_path: Path) -> None:
    """No frame came after it, and nobody closed the log."""
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    journal = RocksJournal(tmp_path)
    assert [one.value for one in read_output(journal, 0, "r", "a")] == ["kept"]
    journal.close()


def test_old_ones_are_forgotten(tmp_path: Path) -> None:
    """Those that were emitted before a time."""
    journal = RocksJournal(tmp_path, create=True)
    write(journal, *(chunk(number) for number in range(1, 2_502)))
    assert forget_output(journal, 0, 2_500, lambda: None) == 2_499
    assert [one.place.number for one in read_output(journal, 0, "r", "a")] == [2_500, 2_501]
    journal.close()
