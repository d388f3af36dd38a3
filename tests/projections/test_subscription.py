"""Subscriptions: every durable fact once, in order, from a position on, at the reader's pace."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from goclaw_events import facts
from goclaw_events.envelope import Cursor, Position
from goclaw_events.errors import CursorFromLostHistory
from goclaw_events.memory_journal import MemoryJournal, MemoryRows
from goclaw_events.tables import Row, u64
from goclaw_projections.subscription import Recorded, Tail
from tests.projections.log_writer import PLAN, SECOND_NS, T0, LogWriter, said, scheduled, submitted

if TYPE_CHECKING:
    from goclaw_projections.subscription import Subscription

WAIT_S = 10.0


def positions(found: list[Recorded]) -> list[Position]:
    """Return the positions of facts."""
    return [recorded.position for recorded in found]


def drain(subscription: Subscription, limit: int = 7) -> list[Recorded]:
    """Read until there is nothing."""
    found = []
    while batch := subscription.poll(limit):
        assert len(batch) <= limit
        found.extend(batch)
    return found


def some_log(partitions: int = 1) -> tuple[MemoryJournal, LogWriter, Tail]:
    """Return a log with three runs and its tail."""
    journal = MemoryJournal(partitions=partitions)
    writer = LogWriter(journal)
    for number in range(3):
        writer.run(f"r{number}", ["a", "b"])
    return journal, writer, Tail(journal)


def test_fact_comes_as_it_was_recorded() -> None:
    """A fact has its position, time, stream, sequence, type, object and cause."""
    journal = MemoryJournal()
    LogWriter(journal).frame(
        said("workflow/r", submitted()), said("task/r/a", scheduled(), facts.TaskRequeued(1))
    )
    found = drain(Tail(journal).subscribe())
    assert [recorded.fact for recorded in found] == [
        submitted(), facts.TaskScheduled(PLAN, 0, {}, "digest/io", 0), facts.TaskRequeued(1),
    ]  # fmt: skip
    last = found[2]
    assert last.position == Position(0, 3)
    assert (last.time_ns, last.stream, last.seq) == (T0 + SECOND_NS, "task/r/a", 2)
    assert last.type == "task.requeued"
    assert last.cause == (None,) * 6


@pytest.mark.parametrize("partitions", [1, 4])
def test_every_fact_comes_once_in_the_order_of_its_partition(partitions: int) -> None:
    """From the start, nothing is left out, doubled or out of order."""
    journal, _, tail = some_log(partitions)
    found = positions(drain(tail.subscribe()))
    for partition in range(partitions):
        wanted = [(partition, n + 1) for n in range(journal.durable(partition))]
        assert [place for place in found if place[0] == partition] == wanted


@pytest.mark.parametrize("partitions", [1, 4])
def test_cursor_continues_where_it_was_taken(partitions: int) -> None:
    """Reading some, then the rest through the cursor's text, is reading all."""
    _, _, tail = some_log(partitions)
    wanted = positions(drain(tail.subscribe()))
    for count in range(len(wanted)):
        first = tail.subscribe()
        begun = first.poll(count) if count else []
        rest = tail.subscribe(Cursor.parse(str(first.cursor)))
        assert sorted(positions(begun) + positions(drain(rest))) == sorted(wanted)


def test_subscription_from_the_end_sees_only_what_is_new() -> None:
    """The cursor of the end, or a number for each partition, leaves out what was before."""
    journal, writer, tail = some_log(4)
    from_end = tail.subscribe(tail.end())
    from_numbers = tail.subscribe({p: journal.durable(p) for p in range(4)})
    assert from_end.poll() == from_numbers.poll() == []
    writer.frame(said("workflow/new", submitted()))
    assert [recorded.stream for recorded in from_end.poll()] == ["workflow/new"]
    assert [recorded.stream for recorded in from_numbers.poll()] == ["workflow/new"]


def test_filters_leave_out_partitions_and_streams() -> None:
    """Only the wanted partitions and streams come, and the cursor still moves past the others."""
    journal, _, tail = some_log(4)
    some = tail.subscribe(partitions=[1, 2])
    assert {recorded.position.partition for recorded in drain(some)} <= {1, 2}
    one = tail.subscribe(keep=lambda stream: stream == "workflow/r1")
    assert [recorded.stream for recorded in drain(one)] == ["workflow/r1"] * 4
    assert [number for _, number in one.cursor.places] == [journal.durable(p) for p in range(4)]


def test_nothing_undurable_is_seen() -> None:
    """A fact that waits for its flush comes only after it."""
    journal = MemoryJournal(autocommit=False)
    writer = LogWriter(journal)
    subscription = Tail(journal).subscribe()
    writer.frame(said("workflow/r", submitted()))
    assert subscription.poll() == []
    journal.commit()
    assert positions(subscription.poll()) == [(0, 1)]


def test_blocking_reader_gets_what_another_thread_makes_durable() -> None:
    """`next` waits, wakes for each notification, and loses none between two of them."""
    journal = MemoryJournal()
    writer = LogWriter(journal)
    tail = Tail(journal)
    subscription = tail.subscribe()

    def write() -> None:
        for number in range(200):
            tail.notify(0, writer.frame(said(f"workflow/w{number}", submitted())))

    writing = threading.Thread(target=write)
    writing.start()
    streams = []
    for _ in range(200):
        recorded = subscription.next(WAIT_S)
        assert recorded is not None
        streams.append(recorded.stream)
    writing.join()
    assert streams == [f"workflow/w{number}" for number in range(200)]
    assert subscription.next(0.0) is None
    assert subscription.next(0.001) is None


def test_slow_subscriber_lags_and_loses_nothing() -> None:
    """Two readers at their own pace each see everything."""
    _, writer, tail = some_log()
    fast, slow = tail.subscribe(), tail.subscribe()
    seen = drain(fast)
    assert len(slow.poll(1)) == 1
    tail.notify(0, writer.run("more"))
    seen += drain(fast)
    assert positions(seen) == [(0, 1), *positions(drain(slow))]


def test_on_ready_is_called_once_for_each_time_there_may_be_more() -> None:
    """Between two polls, many notifications make one call; unwanted partitions make none."""
    _, writer, tail = some_log()
    calls: list[int] = []
    subscription = tail.subscribe(on_ready=lambda: calls.append(1))
    drain(subscription)
    last = 0
    for number in range(3):
        last = writer.frame(said(f"workflow/x{number}", submitted()))
        tail.notify(0, last)
    assert len(calls) == 1
    assert len(drain(subscription)) == 3
    tail.notify(0, last)
    assert len(calls) == 1
    tail.notify(0, writer.frame(said("workflow/y", submitted())))
    assert len(calls) == 2


def test_closing_ends_waiting_and_iteration() -> None:
    """Who waits in `next` or iterates is told; `on_ready` is called; closing twice is nothing."""
    _, _, tail = some_log()
    calls: list[int] = []
    subscription = tail.subscribe(tail.end(), on_ready=lambda: calls.append(1))
    ended = threading.Event()

    def read() -> None:
        assert list(subscription) == []
        ended.set()

    reading = threading.Thread(target=read)
    reading.start()
    tail.close()
    tail.close()
    assert ended.wait(WAIT_S)
    reading.join()
    assert subscription.closed
    assert calls == [1]
    with tail.subscribe() as other:
        assert other.next(0.0) is not None
    assert other.closed
    assert other.next(WAIT_S) is None
    assert other.poll() == []


def journal_in_era(era: int, runs: int) -> MemoryJournal:
    """Return a log whose frames are of an era."""
    rows = MemoryRows()
    rows.write([Row("meta", b"era/0", u64(era))])
    journal = MemoryJournal(log_id=bytes(16), rows=rows)
    writer = LogWriter(journal)
    for number in range(runs):
        writer.run(f"r{number}")
    return journal


def test_cursor_of_lost_history_is_refused() -> None:
    """A cursor at a number that a later era wrote again, or that is beyond the end, is refused."""
    before = Tail(journal_in_era(1, runs=2))
    subscription = before.subscribe()
    subscription.poll(3)
    early, late = subscription.cursor, before.end()
    after = Tail(journal_in_era(2, runs=1))
    for cursor in (early, late):
        with pytest.raises(CursorFromLostHistory):
            after.subscribe(cursor)
    start = Cursor(bytes(16), ((1, 0),))
    assert len(after.subscribe(start).poll()) > 0


def test_cursor_of_another_log_is_refused() -> None:
    """A cursor names its log; one of another log, or of other partitions, is refused."""
    _, _, tail = some_log()
    _, _, other = some_log()
    _, _, wider = some_log(4)
    for cursor in (other.end(), wider.end()):
        with pytest.raises(CursorFromLostHistory):
            tail.subscribe(cursor)
