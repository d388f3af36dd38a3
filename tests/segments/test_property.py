"""Random logs, archived at random places and stopped between any two steps, read as before."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from goclaw_events.frame import decode_frame
from goclaw_events.framing import EncodedFrame
from goclaw_events.reading import after_prefix
from goclaw_events.rocks import RocksJournal, verify_directory
from goclaw_events.rocks.archiving import STEPS as DROP_STEPS
from goclaw_events.rocks.archiving import drop_archived
from goclaw_events.rocks.store import RocksStore
from goclaw_events.segments.sealing import STEPS as SEAL_STEPS
from goclaw_events.segments.sealing import frame_start, seal
from goclaw_events.tables import derive, is_of_archive, u16
from goclaw_events.tips import meta_rows
from tests.segments.archive import Author, contents

STEPS = (*SEAL_STEPS, *(f"drop {step}" for step in DROP_STEPS), "told", "")
EXAMPLES = 15


class Killed(Exception):
    """The process died at a step."""


def at(step: str, prefix: str = "") -> Any:
    """Return a hook that dies at a step."""

    def reached(name: str) -> None:
        if prefix + name == step:
            raise Killed

    return reached


def kill(author: Author, path: Path) -> Author:
    """Open what was written so far again; opening finishes what was begun."""
    author.settle()
    author.journal.close()
    author.continue_in(RocksJournal(path))
    return author


def archive(author: Author, number: int, step: str) -> None:
    """Archive below a number, and die at a step."""
    author.settle()
    journal = author.journal
    stop = frame_start(journal, 0, number)
    if stop <= journal.floor(0):
        return
    info = seal(journal, 0, stop, step=at(step))
    author.tell(info)
    if step == "told":
        raise Killed
    drop_archived(journal, 0, step=at(step, "drop "))


ACTION = st.one_of(
    st.tuples(st.just("run"), st.integers(0, 9)),
    st.tuples(st.just("begin"), st.integers(0, 9)),
    st.tuples(st.just("work"), st.integers(0, 9)),
    st.tuples(st.just("archive"), st.integers(0, 100), st.sampled_from(STEPS)),
    st.tuples(st.just("reopen")),
)


@given(actions=st.lists(ACTION, min_size=4, max_size=14), last=st.integers(1, 100))
@settings(max_examples=EXAMPLES, deadline=None)
def test_an_archived_log_reads_as_it_was_written(actions: list[Any], last: int) -> None:
    """Frames, streams, places in them and digests: as in the same log without an archive."""
    with TemporaryDirectory() as root:
        path = Path(root) / "data"
        author = Author(RocksJournal(path, create=True))
        written: list[bytes] = []
        author.writer.journal = author.journal
        append = author.writer.append

        def noted(*args: Any, **wanted: Any) -> Any:
            frame = append(*args, **wanted)
            written.append(frame.data)
            return frame

        author.writer.append = noted  # type: ignore[method-assign]
        for place, action in enumerate((*actions, ("archive", last, ""))):
            match action:
                case ("run", int(run)):
                    author.whole_run(f"r{run}-{place}")
                case ("begin", int(run)):
                    author.begin(f"r{run}")
                case ("work", int(run)):
                    author.work(f"r{run}")
                case ("archive", int(percent), str(step)):
                    author.settle()
                    number = 1 + author.journal.durable(0) * percent // 100
                    try:
                        archive(author, number, step)
                    except Killed:
                        author = kill(author, path)
                case _:
                    author = kill(author, path)
        author.settle()
        check(author.journal, written, Path(root))


def check(journal: RocksJournal, written: list[bytes], root: Path) -> None:
    """Compare a log with one that got the same frames and was never archived."""
    assert list(journal.frames(0)) == written
    found = contents(journal)
    floor = journal.floor(0)
    below = [int.from_bytes(key[2:], "big") for key, _ in journal.tables.scan("log", b"", None)]
    assert min(below, default=floor) >= floor
    rows = journal.tables.scan("streams", u16(0), after_prefix(u16(0)))
    assert all(int.from_bytes(value[:8], "big") >= floor for _, value in rows)
    journal.close()
    assert verify_directory(journal.path).problems == []
    plain = unarchived(journal, written, root)
    try:
        assert contents(plain) == found
    finally:
        plain.close()


def unarchived(journal: RocksJournal, written: list[bytes], root: Path) -> RocksJournal:
    """Return a log of its own with these frames, in tables alone."""
    (root / "plain" / "log").mkdir(parents=True)
    store = RocksStore(root / "plain" / "log", create=True)
    store.write(meta_rows(journal.log_id, 1, 1))
    store.flush()
    store.close()
    plain = RocksJournal(root / "plain")
    author = Author(plain)
    for data in written:
        frame = decode_frame(data)
        rows = [row for row in derive(frame, data) if not is_of_archive(row)]
        author.writer.append(EncodedFrame(frame.header, data, rows, {}))
    author.settle()
    return plain
