"""Keys: they sort as they should, and say what they were made of."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from goclaw_events.envelope import TimerRow
from goclaw_events.reading import after_prefix
from goclaw_events.tables import (
    DERIVED,
    TABLES,
    counter_key,
    inbox_key,
    is_derived,
    log_key,
    stream_key,
    timer_key,
    timer_of,
)

U16 = st.integers(0, 2**16 - 1)
U63 = st.integers(0, 2**63 - 1)
TIMERS = st.builds(TimerRow, U63, st.text(max_size=8), st.text(max_size=8))


@given(U16, TIMERS)
def test_a_timer_reads_back_from_its_key(partition: int, timer: TimerRow) -> None:
    """A timer's key holds the whole timer."""
    assert timer_of(timer_key(partition, timer)) == timer


@given(TIMERS, TIMERS)
def test_timers_sort_by_due_time(one: TimerRow, other: TimerRow) -> None:
    """The earlier timer has the lesser key, whatever stream and id."""
    if one.due_ns < other.due_ns:
        assert timer_key(0, one) < timer_key(0, other)


@given(st.lists(st.tuples(U16, U63), max_size=8))
def test_frames_sort_by_partition_and_number(places: list[tuple[int, int]]) -> None:
    """Keys of `log` are in the order of positions."""
    assert sorted(log_key(*place) for place in places) == [
        log_key(*place) for place in sorted(places)
    ]


@given(st.text(max_size=6), st.text(max_size=6), U63, U63)
def test_streams_do_not_mix(one: str, other: str, seq: int, other_seq: int) -> None:
    """No stream's keys stand between the keys of another one."""
    if one != other:
        low, high = sorted((stream_key(0, one, 0), stream_key(0, one, 2**64 - 1)))
        assert low <= stream_key(0, one, seq) <= high
        assert not low <= stream_key(0, other, other_seq) <= high


@given(st.binary(max_size=6), st.binary(max_size=3))
def test_after_a_prefix(prefix: bytes, rest: bytes) -> None:
    """Every key with a prefix lies below the bound behind it, and the bound has it not."""
    bound = after_prefix(prefix)
    if bound is None:
        assert prefix.strip(b"\xff") == b""
    else:
        assert prefix + rest < bound
        assert not bound.startswith(prefix) or prefix == b""


def test_what_is_derived() -> None:
    """Of `meta` only counters follow from frames; the identity of the log does not."""
    assert is_derived("meta", counter_key("in", 0, 3))
    assert is_derived("meta", counter_key("token", 0))
    assert not is_derived("meta", b"era/0")
    assert not is_derived("meta", b"partitions")
    assert is_derived("inbox", inbox_key(0, 1, 2))
    assert not is_derived("blobs", bytes(32))
    assert set(DERIVED) <= set(TABLES)
