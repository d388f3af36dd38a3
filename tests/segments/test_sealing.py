"""What is archived is read as before; tables give it up only when its segment is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from goclaw_events.rocks import RocksJournal, verify_directory
from tests.segments.archive import Author, contents

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def author(tmp_path: Path) -> Iterator[Author]:
    """Return who writes a new log."""
    journal = RocksJournal(tmp_path / "data", create=True)
    found = Author(journal)
    yield found
    found.journal.close()


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
