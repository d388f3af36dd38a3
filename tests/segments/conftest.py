"""What tests of segments share: an author with a new log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from goclaw_events.rocks import RocksJournal
from tests.segments.archive import Author

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def author(tmp_path: Path) -> Iterator[Author]:
    """Return who writes a new log of one partition."""
    found = Author(RocksJournal(tmp_path / "data", create=True))
    yield found
    found.journal.close()
