"""The timers of a partition: a window over the table, each fired once, in order of time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from goclaw_actors.timers import WINDOW_NS, Timers
from goclaw_events.envelope import TimerRow
from goclaw_events.tables import timer_key

if TYPE_CHECKING:
    from collections.abc import Iterator

S_NS = 1_000_000_000


class Table:
    """The `timers` table, as a journal shows it."""

    def __init__(self) -> None:
        self.timers: set[TimerRow] = set()
        self.reads = 0

    def rows(self, table: str, prefix: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows below `stop`, in order."""
        assert table == "timers"
        self.reads += 1
        for key in sorted(timer_key(0, row) for row in self.timers):
            if key.startswith(prefix) and key < stop:
                yield key, b""


def row(due_ns: int, name: str = "due") -> TimerRow:
    """Return a timer."""
    return TimerRow(due_ns, "task/r/a", name)


def timers(table: Table) -> Timers:
    """Return the timers over a table."""
    return Timers(cast("Any", table), 0)


def test_overdue_timers_fire_late_rather_than_never() -> None:
    """Those of the time before a start come first, in order of time."""
    table = Table()
    table.timers = {row(5), row(3), row(100 * S_NS)}
    assert timers(table).due(50) == [row(3), row(5)]


def test_each_timer_fires_once() -> None:
    """Also when it is armed while it stands in the table already."""
    table = Table()
    table.timers = {row(5)}
    subject = timers(table)
    assert subject.due(1) == []
    subject.arm(row(5))
    assert subject.due(10) == [row(5)]
    assert subject.due(20) == []


def test_what_a_timer_said_is_not_said_again_while_it_waits() -> None:
    """However long that takes: it stands in the table until it is handled."""
    table = Table()
    table.timers = {row(5)}
    subject = timers(table)
    assert subject.due(10) == [row(5)]
    assert subject.due(10 * WINDOW_NS) == []
    subject.handled(row(5))
    assert subject.due(20 * WINDOW_NS) == [row(5)], "it was set anew for the same time"
    subject.handled(row(5))
    table.timers.clear()
    assert subject.due(30 * WINDOW_NS) == []


def test_a_far_timer_waits_in_the_table() -> None:
    """It is read when its window comes, although nobody arms it again."""
    table = Table()
    far = row(10 * WINDOW_NS)
    subject = timers(table)
    assert subject.due(0) == []
    table.timers.add(far)
    subject.arm(far)
    assert subject.next_ns() < far.due_ns
    now_ns = 0
    looks = 0
    fired: list[TimerRow] = []
    while not fired:
        now_ns = max(now_ns + 1, subject.next_ns())
        fired = subject.due(now_ns)
        looks += 1
        assert looks < 30
    assert (fired, now_ns) == ([far], far.due_ns)


def test_a_cleared_timer_does_not_fire() -> None:
    """Nor does it wake anybody."""
    subject = timers(Table())
    subject.due(0)
    subject.arm(row(5))
    subject.disarm(row(5))
    assert subject.next_ns() > 5
    assert subject.due(10) == []


def test_an_idle_partition_reads_the_table_twice_a_window() -> None:
    """Not with every batch."""
    table = Table()
    subject = timers(table)
    for now_ns in range(0, WINDOW_NS, WINDOW_NS // 100):
        subject.due(now_ns)
    assert table.reads <= 3


@given(st.lists(st.tuples(st.sampled_from("asc"), st.integers(0, 200)), max_size=60))
@settings(max_examples=80)
def test_timers_agree_with_a_set(steps: list[tuple[str, int]]) -> None:
    """Set, cleared and fired in any order: exactly those that are due and stand."""
    table = Table()
    subject = timers(table)
    now_ns = 0
    subject.due(now_ns)
    for step, number in steps:
        timer = row(now_ns + number * S_NS, f"t{number}")
        if step == "s":
            table.timers.add(timer)
            subject.arm(timer)
        elif step == "c" and table.timers:
            gone = sorted(table.timers)[number % len(table.timers)]
            table.timers.remove(gone)
            subject.disarm(gone)
        else:
            now_ns += number * S_NS
            expected = sorted(timer for timer in table.timers if timer.due_ns <= now_ns)
            assert subject.due(now_ns) == expected
            # What fired is deleted with the frame that handles it; here that is at once.
            table.timers -= set(expected)
    assert subject.next_ns() <= min((timer.due_ns for timer in table.timers), default=2**63)
