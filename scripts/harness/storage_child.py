"""The child of the storage harness: look over the log, then append to it until it is killed."""

from __future__ import annotations

import json
import random
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from goclaw_events.chain import Chain
from goclaw_events.rocks import RocksJournal
from goclaw_events.rocks.store import RocksStore
from goclaw_events.verify import verify
from goclaw_events.watermark import Watermark, read_watermark
from scripts.harness.author import Author
from scripts.harness.failpoint import killer
from scripts.harness.nursery import Harm
from scripts.harness.power import Flushed

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_events.errors import CodedError
    from goclaw_events.framing import EncodedFrame
    from scripts.harness.nursery import Talk

MARK_BEFORE: Final = "watermark.before"


def play(request: dict[str, Any], talk: Talk) -> None:
    """Open the log of a world, compare it with what was acknowledged, append.

    `home` holds the data directory `data` and the acknowledgements `acks`; `kill_at` is a step of
    the commit and how often it is reached before the child kills itself; `power` records what was
    flushed; `frames` bounds what is appended (0: look only).
    """
    home = Path(request["home"])
    data = home / "data"
    mark = data / "watermark"
    if mark.exists():
        shutil.copyfile(mark, home / MARK_BEFORE)
    if request["power"]:
        _watch_flushes(Flushed(home))
    step = killer(request["kill_at"])
    journal = RocksJournal(data, create=True, partitions=request["partitions"], step=step)
    inspect(journal, home, power=bool(request["power"]))
    talk.say("ready", [journal.head(p).number for p in range(journal.partitions)])
    rng = random.Random(f"{request['seed']}")  # noqa: S311 - to be repeated
    if request["frames"]:
        _append(journal, Author(journal, rng), rng, request["frames"], talk)
    journal.close()
    talk.say("closed")


def _watch_flushes(flushed: Flushed) -> None:
    """Record what is durable whenever a flush returns: the WAL's length, or the watermark."""
    flush, sync = RocksStore.flush, Watermark.sync

    def flush_wal(self: RocksStore) -> None:
        flush(self)
        flushed.record()  # the committer alone writes, so nothing was written since

    def sync_mark(self: Watermark) -> None:
        sync(self)
        flushed.keep_mark()

    RocksStore.flush = flush_wal  # type: ignore[method-assign]
    Watermark.sync = sync_mark  # type: ignore[method-assign]


def _append(
    journal: RocksJournal, author: Author, rng: random.Random, count: int, talk: Talk
) -> None:
    """Append, some frames in flight; say each acknowledged place before the next one can be."""
    room = threading.Semaphore(rng.choice([1, 2, 8, 32]))
    errors: list[CodedError] = []

    def done_with(frame: EncodedFrame) -> Callable[[CodedError | None], None]:
        def done(error: CodedError | None) -> None:
            if error is None:
                talk.say("ack", frame.header.partition, frame.last, frame.hash.hex())
            else:
                errors.append(error)
            room.release()

        return done

    for _ in range(count):
        room.acquire()
        if errors:
            raise errors[0]
        frame = author.frame()
        journal.append(frame, done_with(frame))


def inspect(journal: RocksJournal, home: Path, *, power: bool) -> None:
    """Raise `Harm` unless the log is whole and holds everything that was acknowledged."""
    report = verify(journal)
    if not report.whole:
        text = f"the log is not whole: {report.problems_count} problems, {report.problems[:3]}"
        raise Harm(text)
    acks = [json.loads(line) for line in _lines(home / "acks")]
    hashes = {partition: _hashes(journal, partition) for partition in range(journal.partitions)}
    for partition, number, digest in acks:
        found = hashes[partition].get(number)
        if found != digest:
            ends = f"the log ends at {journal.head(partition).number}"
            text = (
                f"acknowledged {partition}:{number} is {found or 'missing'}, not {digest}; {ends}"
            )
            raise Harm(text)
    before = home / MARK_BEFORE
    marks = read_watermark(before, journal.log_id, journal.partitions) if before.exists() else None
    for partition, mark in enumerate(marks or ()):
        last = max((n for p, n, _ in acks if p == partition), default=0)
        head = journal.head(partition).number
        if mark.number > head or (mark.number < last and not power):
            text = f"the watermark of {partition} is {mark.number}, acknowledged {last}, end {head}"
            raise Harm(text)


def _hashes(journal: RocksJournal, partition: int) -> dict[int, str]:
    chain, found = Chain(partition, 1), {}
    for data in journal.frames(partition):
        chain.follow(chain.last + 1, data)
        found[chain.last] = data[-16:].hex()
    return found


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
