"""The journal on disk keeps the contract."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from goclaw_events.errors import CodedError
from goclaw_events.rocks import RocksJournal
from tests.contracts.frame_writer import WAIT_S
from tests.contracts.journal_contract import JournalContract

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from goclaw_events.journal import Journal


class Steps:
    """Hold a flush, or let it fail, on the committer's thread."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.at_flush = threading.Event()
        self.fail_with: Exception | None = None

    def __call__(self, step: str) -> None:
        """Be called before each step of a commit."""
        if step != "flush":
            return
        self.at_flush.set()
        assert self.open.wait(WAIT_S)
        error, self.fail_with = self.fail_with, None
        if error is not None:
            raise error


class TestRocksJournal(JournalContract):
    """The contract, with a directory for each journal."""

    @pytest.fixture(autouse=True)
    def _directories(self, tmp_path: Path) -> Iterator[None]:
        self.root = tmp_path
        self.opened: list[RocksJournal] = []
        self.steps = Steps()
        yield
        self.steps.open.set()
        for journal in self.opened:
            with suppress(CodedError):
                journal.close()

    def create(self, partitions: int = 1) -> Journal:
        """Return a new, empty journal."""
        path = self.root / f"data{len(self.opened)}"
        self.opened.append(RocksJournal(path, partitions=partitions, create=True, step=self.steps))
        return self.opened[-1]

    def reopen(self, journal: Journal) -> Journal:
        """Close a journal and open the same log again."""
        assert isinstance(journal, RocksJournal)
        journal.close()
        self.opened.append(RocksJournal(journal.path, step=self.steps))
        return self.opened[-1]

    def hold(self, journal: Journal) -> None:  # noqa: ARG002 - one journal at a time
        """Let commits wait before their flush until `let_go`."""
        self.steps.open.clear()
        self.steps.at_flush.clear()

    def let_go(self, journal: Journal) -> None:  # noqa: ARG002
        """Let what waits, and all later commits, go on."""
        assert self.steps.at_flush.wait(WAIT_S)
        self.steps.open.set()

    def fail_next(self, journal: Journal) -> None:  # noqa: ARG002
        """Let the next commit fail after its rows were written."""
        self.steps.fail_with = Exception("IO error: No space left on device: While appending")
