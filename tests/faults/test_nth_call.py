"""Let the Nth call to the disk fail, for every N: nothing acknowledged is lost."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from goclaw_events.errors import CodedError, JournalUnavailable
from goclaw_events.rocks import RocksJournal, verify_directory
from goclaw_events.rocks.failure import classify
from goclaw_events.rocks.store import RocksStore
from goclaw_events.value import blob_of, pack
from tests.contracts.frame_writer import FrameWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FRAMES = 10
CALLS_MIN = 50
VERIFY_EVERY = 7
CALLS_MAX = 400
SYSTEM = ("fsync", "pwrite", "open", "ftruncate")
STORE = ("write", "flush")


class Disk:
    """Count the calls that reach the disk, and fail the Nth of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
        self.code = code
        self.count = 0
        self.fails_at = 0
        for name in SYSTEM:
            monkeypatch.setattr(os, name, self._failing(getattr(os, name)))
        for name in STORE:  # RocksDB's own calls: what they say is made an error of ours there
            call = self._failing(getattr(RocksStore, name), typed=True)
            monkeypatch.setattr(RocksStore, name, call)

    def _failing(self, call: Callable[..., Any], *, typed: bool = False) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            if self.count == self.fails_at:
                error = OSError(self.code, os.strerror(self.code))
                raise classify(error, "testing") if typed else error
            return call(*args, **kwargs)

        return called


def played(path: Path) -> tuple[int, list[CodedError]]:
    """Write a log, one frame after the other; return the last number acknowledged, and errors."""
    acknowledged, errors = 0, []
    data = pack("x" * 1_100_000)
    ref = blob_of(data)
    journal = None
    try:
        journal = RocksJournal(path, create=True)
        acknowledged = journal.durable(0)
        writer = FrameWriter(journal)
        for place in range(FRAMES):
            blobs = {ref.sha256: data} if place == 1 else {}
            turns = {f"workflow/r{writer.tips[0][0]}": [[[place, ref] if blobs else place]]}
            writer.append(turns=turns, fill=lambda builder, b=blobs: builder.blobs.update(b))
            number, error = writer.acks.wait(place + 1)[place]
            if error is not None:
                errors.append(error)
                break
            acknowledged = writer.tips[0][0] if number else 0
    except CodedError as error:
        errors.append(error)
    finally:
        if journal is not None:
            try:
                journal.close()
            except CodedError as error:
                errors.append(error)
    return acknowledged, errors


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_every_call_to_the_disk_may_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Whichever call fails: it is told, typed, and the next process finds what was acknowledged."""
    disk = Disk(monkeypatch, code)
    for nth in range(1, CALLS_MAX):
        path = tmp_path / str(nth)
        disk.count, disk.fails_at = 0, nth
        acknowledged, errors = played(path)
        reached, disk.fails_at = disk.count, 0
        if reached < nth:
            assert errors == []
            assert nth > CALLS_MIN
            return
        # one that is cleared away (a lock, a directory to flush again) need not be told
        assert errors or acknowledged == FRAMES, nth
        assert all(isinstance(error, JournalUnavailable) for error in errors), (nth, errors)
        again, errors = played(path)
        assert errors == [], nth
        assert again >= acknowledged + FRAMES, nth
        if nth % VERIFY_EVERY == 0:
            assert verify_directory(path).problems == [], nth
    pytest.fail("the log reaches the disk without end")
