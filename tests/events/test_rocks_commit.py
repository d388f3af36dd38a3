"""Group commit on disk: grouping, limits, failures, one process, one writer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from goclaw_events import committer
from goclaw_events.errors import (
    DirectoryBusy,
    EngineRunning,
    JournalBroken,
    JournalFull,
    JournalUnavailable,
    LogDamaged,
    LogMismatch,
)
from goclaw_events.rocks import RocksJournal, verify_directory
from goclaw_events.rocks.failure import classify
from goclaw_events.rocks.store import RocksStore
from goclaw_events.tables import Row, u64
from tests.contracts.frame_writer import WAIT_S, FrameWriter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Held:
    """Count the groups of a journal and hold them before their flush."""

    def __init__(self) -> None:
        self.groups = 0
        self.open = threading.Event()
        self.reached = threading.Event()

    def __call__(self, step: str) -> None:
        """Be called before each step of a commit."""
        self.groups += step == "write"
        if step == "flush":
            self.reached.set()
            assert self.open.wait(WAIT_S)


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[Held, FrameWriter]]:
    """Yield a journal whose first group is held before its flush."""
    hold = Held()
    journal = RocksJournal(tmp_path / "data", create=True, step=hold)
    writer = FrameWriter(journal)
    writer.append()
    assert hold.reached.wait(WAIT_S)
    yield hold, writer
    hold.open.set()
    journal.close()


def test_what_queues_behind_a_flush_is_one_group(held: tuple[Held, FrameWriter]) -> None:
    """Frames that arrive while a flush runs are written and flushed together."""
    hold, writer = held
    for _ in range(50):
        writer.append()
    assert writer.acks.seen == []
    hold.open.set()
    writer.settle()
    assert [mark for mark, _ in writer.acks.seen] == list(range(1, 52))
    assert hold.groups == 2


def test_a_full_queue_makes_append_wait(
    held: tuple[Held, FrameWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over the limit of queued frames `append` blocks until the committer took some."""
    hold, writer = held
    monkeypatch.setattr(committer, "QUEUE_FRAMES_MAX", 2)
    writer.append()
    writer.append()
    began, ended = threading.Event(), threading.Event()

    def third() -> None:
        began.set()
        writer.append()
        ended.set()

    thread = threading.Thread(target=third)
    thread.start()
    assert began.wait(WAIT_S)
    assert not ended.wait(0.05)
    hold.open.set()
    assert ended.wait(WAIT_S)
    thread.join()
    writer.settle()


def test_an_unknown_outcome_is_told_to_all_behind(tmp_path: Path) -> None:
    """An error between write and acknowledgement fails everything queued; recover tells."""
    hold = Held()
    broken = threading.Event()

    def step(name: str) -> None:
        hold(name)
        if name == "watermark" and broken.is_set():
            raise OSError(5, "Input/output error")

    journal = RocksJournal(tmp_path, create=True, step=step)
    writer = FrameWriter(journal)
    broken.set()
    writer.append()
    assert hold.reached.wait(WAIT_S)
    for _ in range(4):
        writer.append()
    hold.open.set()
    seen = writer.acks.wait(5)
    assert [(mark, type(error)) for mark, error in seen] == [
        (mark, JournalBroken) for mark in range(1, 6)
    ]
    assert journal.durable(0) == 0
    broken.clear()
    journal.recover()
    assert journal.head(0).number == journal.durable(0) == 1  # it was flushed after all
    journal.close()
    assert verify_directory(tmp_path).whole


def test_a_callback_that_raises_stops_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception in `done` is logged; the frames behind it are answered all the same."""
    journal = RocksJournal(tmp_path, create=True)
    writer = FrameWriter(journal)

    def broken(_: object) -> None:
        raise ValueError("a bug of the caller")

    journal.append(writer.frame(), broken)
    writer.append()
    writer.settle()
    journal.close()
    assert "a commit callback raised" in caplog.text


def test_readers_under_way_are_told_that_the_log_closed(tmp_path: Path) -> None:
    """An iteration does not keep the directory: after `close` it raises, and the lock is free."""
    journal = RocksJournal(tmp_path, create=True)
    writer = FrameWriter(journal)
    for _ in range(600):
        writer.append()
    writer.settle()
    frames = journal.frames(0)
    next(frames)
    journal.close()
    again = RocksJournal(tmp_path)
    with pytest.raises(JournalUnavailable):
        list(frames)
    assert len(list(again.frames(0))) == 600
    again.close()


def test_a_second_opener_is_told_who_holds_the_directory(tmp_path: Path) -> None:
    """In this process or another: `engine_running`, with the pid."""
    journal = RocksJournal(tmp_path, create=True)
    with pytest.raises(EngineRunning) as caught:
        RocksJournal(tmp_path)
    assert caught.value.details == {"pid": os.getpid()}
    code = (
        "import sys, pathlib\nfrom goclaw_events.rocks import RocksJournal\n"
        "from goclaw_events.errors import EngineRunning\n"
        "try: RocksJournal(pathlib.Path(sys.argv[1]))\n"
        "except EngineRunning as error: print(error.code, error.details['pid'])"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.split() == ["engine_running", str(os.getpid())]
    journal.close()
    RocksJournal(tmp_path).close()


def test_a_command_that_holds_the_directory_is_no_engine(tmp_path: Path) -> None:
    """Who opens beside it is told so: to come back, not to stop an engine."""
    journal = RocksJournal(tmp_path, create=True, passing=True)
    with pytest.raises(DirectoryBusy, match="no engine") as caught:
        RocksJournal(tmp_path)
    assert (caught.value.code, caught.value.details) == ("directory_busy", {"pid": os.getpid()})
    journal.close()


def test_partitions_are_fixed(tmp_path: Path) -> None:
    """Another number of partitions than the log was created with is refused."""
    RocksJournal(tmp_path, create=True, partitions=4).close()
    with pytest.raises(LogMismatch):
        RocksJournal(tmp_path, partitions=1)
    journal = RocksJournal(tmp_path)
    assert journal.partitions == 4
    journal.close()
    with pytest.raises(LogMismatch):
        RocksJournal(tmp_path / "other", create=True, partitions=5000)


def test_another_format_is_refused(tmp_path: Path) -> None:
    """A log of a later format, or one that does not say what it is, does not open."""
    RocksJournal(tmp_path, create=True).close()
    for row, wanted in ((u64(99), LogMismatch), (None, LogDamaged)):
        store = RocksStore(tmp_path / "log", create=False)
        store.write([Row("meta", b"format", row)])
        store.flush()
        store.close()
        with pytest.raises(wanted):
            RocksJournal(tmp_path)


def test_a_log_opened_for_reading_takes_no_frame(tmp_path: Path) -> None:
    """Without trust in the watermark nothing is written, and the watermark stays as it is."""
    RocksJournal(tmp_path, create=True).close()
    before = (tmp_path / "watermark").read_bytes()
    journal = RocksJournal(tmp_path, trust_watermark=False)
    with pytest.raises(JournalUnavailable):
        FrameWriter(journal).append()
    journal.close()
    assert (tmp_path / "watermark").read_bytes() == before
    with pytest.raises(JournalUnavailable):
        journal.get("meta", b"format")
    with pytest.raises(JournalUnavailable):
        list(journal.rows("meta"))


def test_a_linked_directory_is_refused(tmp_path: Path) -> None:
    """A data directory that is a symbolic link is not followed."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(LogMismatch, match="symbolic link"):
        RocksJournal(tmp_path / "link", create=True)


def test_only_the_owner_may_look(tmp_path: Path) -> None:
    """The directory, the log under it and the watermark are closed to others."""
    path = tmp_path / "data"
    RocksJournal(path, create=True).close()
    modes = [found.stat().st_mode & 0o777 for found in (path, path / "log", path / "watermark")]
    assert modes == [0o700, 0o700, 0o600]


def test_a_killed_process_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """What was acknowledged before SIGKILL is there afterwards, and the log is whole."""
    code = (
        "import os, pathlib, signal, sys\n"
        "from goclaw_events.rocks import RocksJournal\n"
        "from tests.contracts.frame_writer import FrameWriter\n"
        "writer = FrameWriter(RocksJournal(pathlib.Path(sys.argv[1]), create=True))\n"
        "for _ in range(300): writer.append()\n"
        "writer.acks.wait(100)\n"
        "print(len(writer.acks.seen), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == -signal.SIGKILL, result.stderr
    acknowledged = int(result.stdout)
    assert acknowledged >= 100
    assert verify_directory(tmp_path).whole
    journal = RocksJournal(tmp_path)
    assert journal.durable(0) >= acknowledged
    journal.close()


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (Exception("IO error: No space left on device: While appending to file"), JournalFull),
        (OSError(28, "No space left on device"), JournalFull),
        (OSError(5, "Input/output error"), JournalBroken),
        (Exception("IO error: While fdatasync: Input/output error"), JournalBroken),
        (Exception("Corruption: block checksum mismatch"), LogDamaged),
        (Exception("IO error: No such file or directory: 000012.sst"), LogDamaged),
        (Exception("IO error: lock hold by current process, acquire time 1"), EngineRunning),
        (Exception("IO error: While lock file: /x/LOCK: Resource temporarily"), EngineRunning),
        (Exception("Invalid argument: Column families not opened: later"), LogMismatch),
        (JournalUnavailable("as it was"), JournalUnavailable),
    ],
)
def test_errors_are_classified(error: Exception, wanted: type[Exception]) -> None:
    """What RocksDB and the system say becomes a typed error, by its text, in one place."""
    assert type(classify(error, "testing")) is wanted
