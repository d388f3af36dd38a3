"""Frames: what was put in comes out, and what was changed is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goclaw_events.envelope import (
    AttemptRow,
    Cause,
    Cursor,
    Fact,
    InvalidPosition,
    MessageRecord,
    OpenRow,
    Position,
    TimerRow,
    Turn,
)
from goclaw_events.errors import LogDamaged
from goclaw_events.frame import Body, FrameHeader, Left, Out, decode_frame, read_header
from goclaw_events.framing import EncodedFrame, FrameBuilder
from goclaw_events.tables import derive
from goclaw_events.value import BlobRef, packer

U16 = st.integers(0, 2**16 - 1)
U32 = st.integers(0, 2**32 - 1)
U63 = st.integers(0, 2**63 - 1)
TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
BLOBS = st.builds(
    BlobRef,
    st.binary(min_size=32, max_size=32),
    U63,
    st.lists(st.one_of(TEXT, st.integers(-99, 99)), max_size=3).map(tuple),
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), TEXT, st.binary(max_size=12), BLOBS,
    st.floats(allow_nan=False),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=4,
)
IDS = st.lists(U63, min_size=2, max_size=3).map(tuple)
STREAMS = st.sampled_from(["workflow/a", "task/a/b", "task/a/ü", "lane//io", "$partition"])
CAUSES = st.builds(
    Cause,
    st.none() | IDS,
    st.none() | TEXT,
    st.none() | TEXT,
    st.none() | TEXT,
    st.none() | st.binary(max_size=8),
    VALUES,
)
MESSAGES = st.builds(
    MessageRecord,
    STREAMS,
    TEXT,
    U16,
    st.lists(VALUES, max_size=3),
    IDS,
    st.none() | TEXT,
    st.none() | TEXT,
)
HEADERS = st.builds(
    FrameHeader,
    st.binary(min_size=16, max_size=16),
    U16,
    U32,
    U63,
    st.integers(1, 2**62),
    st.just(0),
    U63,
    st.binary(min_size=16, max_size=16),
)


@st.composite
def bodies(draw: st.DrawFn) -> Body:
    """Draw what a frame says, its facts numbered as a writer would number them."""
    seqs: dict[str, int] = {}
    turns = []
    for _ in range(draw(st.integers(1, 5))):
        stream = draw(STREAMS)
        facts = []
        for _ in range(draw(st.integers(1, 3))):
            seqs[stream] = seqs.get(stream, 0) + 1
            facts.append(
                Fact(stream, seqs[stream], draw(TEXT), 1, draw(st.lists(VALUES, max_size=3)))
            )
        turns.append(Turn(draw(CAUSES), facts))
    left = [
        Left(place, record) for place, record in enumerate(draw(st.lists(MESSAGES, max_size=3)))
    ]
    pairs = st.tuples(U63, U32)
    return Body(
        turns,
        left,
        draw(st.lists(pairs, max_size=2)),
        draw(
            st.lists(
                st.builds(Out, U16, U32, st.lists(MESSAGES, min_size=1, max_size=2)), max_size=2
            )
        ),
        [(to, start, start + 1) for to, start in draw(st.lists(st.tuples(U16, U32), max_size=2))],
        draw(st.dictionaries(U16, U63, max_size=2)),
        None,
        (
            draw(st.lists(st.builds(TimerRow, U63, STREAMS, TEXT), max_size=2)),
            draw(st.lists(st.builds(TimerRow, U63, STREAMS, TEXT), max_size=2)),
        ),
        (
            draw(st.lists(st.builds(AttemptRow, U63, STREAMS, U16, TEXT, U63), max_size=2)),
            draw(st.lists(U63, max_size=2)),
            draw(U63),
        ),
        (
            draw(st.lists(st.builds(OpenRow, STREAMS, TEXT, TEXT, U63, U63), max_size=2)),
            draw(st.lists(STREAMS, max_size=2)),
        ),
    )


def built(header: FrameHeader, body: Body) -> EncodedFrame:
    """Write a frame the way the dispatcher does, piece by piece."""
    pack = packer()
    builder = FrameBuilder(header.first, pack)
    for turn in body.turns:
        first = turn.facts[0]
        builder.add_turn(turn.cause, first.stream, first.seq, [pack(fact) for fact in turn.facts])
    builder.left.extend((left.place, left.message) for left in body.left)
    builder.handled.extend(body.handled)
    builder.out.extend((out.destination, out.counter, out.messages) for out in body.out)
    builder.acked.extend(body.acked)
    builder.received.update(body.received)
    builder.timers_added, builder.timers_removed = body.timers
    builder.attempts_added, builder.attempts_removed, builder.attempts_oldest = body.attempts
    builder.open_added, builder.open_removed = body.open
    return builder.close(header._replace(facts_count=builder.count))


@settings(max_examples=40)
@given(HEADERS, bodies())
def test_a_frame_comes_back_as_it_was_built(header: FrameHeader, body: Body) -> None:
    """`decode_frame` of what the builder wrote is header and body, place for place."""
    frame = built(header, body)
    decoded = decode_frame(frame.data)
    assert decoded.header == frame.header
    assert decoded.body == body
    assert decoded.hash == frame.hash
    assert read_header(frame.data) == frame.header
    assert [number for number, _, _ in decoded.facts()] == list(range(header.first, frame.last + 1))


@settings(max_examples=40)
@given(HEADERS, bodies())
def test_rows_follow_from_the_stored_bytes(header: FrameHeader, body: Body) -> None:
    """`derive` of the stored frame gives the very rows that the writer put, in order."""
    frame = built(header, body)
    assert derive(decode_frame(frame.data), frame.data) == frame.rows


def test_a_changed_byte_is_seen() -> None:
    """Whichever byte of a frame is changed, reading it raises `LogDamaged`."""
    header = FrameHeader(bytes(16), 0, 1, 1, 1, 0, 1, bytes(16))
    facts = [Fact("workflow/r", 1, "run.cancelled", 1, ["why", BlobRef(bytes(32), 9)])]
    whole = built(
        header,
        Body([Turn(Cause(), facts)], [], [], [], [], {}, None, ([], []), ([], [], 0), ([], [])),
    ).data
    for place in range(len(whole)):
        for flip in (0x01, 0x80, 0xFF):
            content = bytearray(whole)
            content[place] ^= flip
            with pytest.raises(LogDamaged):
                decode_frame(bytes(content))


@given(st.binary(max_size=200))
def test_what_is_no_frame_is_damage(data: bytes) -> None:
    """Anything that is not a frame raises `LogDamaged` and nothing else."""
    with pytest.raises(LogDamaged):
        decode_frame(data)


@given(U16, U63)
def test_a_position_reads_back(partition: int, number: int) -> None:
    """A position is read from its own text; a bare number is of partition 0."""
    assert Position.parse(str(Position(partition, number))) == (partition, number)
    assert Position.parse(str(number)) == (0, number)


@pytest.mark.parametrize("text", ["", ":", "a", "1:", ":1:", "-1", "0:-1", "1:2:3"])
def test_what_is_no_position_is_refused(text: str) -> None:
    """Text that is no position raises `InvalidPosition`."""
    with pytest.raises(InvalidPosition):
        Position.parse(text)


@given(st.binary(min_size=4, max_size=4), st.lists(st.tuples(U32, U63), max_size=4).map(tuple))
def test_a_cursor_reads_back(log: bytes, places: tuple[tuple[int, int], ...]) -> None:
    """A cursor is read from its token, whatever the number of partitions."""
    assert Cursor.parse(str(Cursor(log, places))) == Cursor(log, places)


@pytest.mark.parametrize("text", ["", "c", "cAAAA", "c****", "czzzzzzzz", "cgA"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    """Text that is no cursor raises `InvalidPosition`, never anything untyped."""
    found: Any = None
    with pytest.raises(InvalidPosition):
        found = Cursor.parse(text)
    assert found is None


@pytest.mark.parametrize("all_told", [True, False])
def test_turns_are_told_as_objects_only_where_all_of_them_are(*, all_told: bool) -> None:
    """Who reads them instead of the bytes must miss none."""
    builder, facts = FrameBuilder(1, packer()), [["object"]]
    data = packer()([Cause(), Fact("workflow/a", 1, "x", 1, [])])
    builder.add("workflow/a", 1, 1, data, facts)
    builder.add("workflow/b", 1, 1, data, facts if all_told else None)
    frame = builder.close(FrameHeader(b"l" * 16, 0, 1, 1, 1, 2, 9, b"h" * 16))
    assert frame.is_told is all_told
    assert [turn.stream for turn in frame.told] == (["workflow/a", "workflow/b"] * all_told)
