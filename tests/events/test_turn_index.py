"""Turns found by their place: the same as those of the whole frame, decoded."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from goclaw_events.envelope import Cause, Fact, Turn
from goclaw_events.errors import LogDamaged
from goclaw_events.frame import HEADER, Body, FrameHeader, decode_frame, seal
from goclaw_events.replay import turns_of
from goclaw_events.turn_index import TurnIndex
from goclaw_events.value import pack
from tests.events.test_frame import HEADERS, bodies, built

HEADER_OF_1 = FrameHeader(bytes(16), 0, 1, 1, 1, 0, 5, bytes(16))
NOTHING_MORE = Body([], [], [], [], [], {}, None, ([], []), ([], [], 0), ([], []))
STREAMS = ["workflow/a", "task/a/b", "task/a/ü", "lane//io", "$partition", "task/a"]


@settings(max_examples=40)
@given(HEADERS, bodies())
def test_the_turns_of_a_stream_are_those_of_the_decoded_frame(
    header: FrameHeader, body: Body
) -> None:
    """Number, time, cause and facts are the same, of each stream and of one that is not there.

    Only here their bytes are counted.
    """
    data = built(header, body).data
    index, frame = TurnIndex(data), decode_frame(data)
    for stream in STREAMS:
        found = list(index.turns(stream))
        assert [turn._replace(size=0) for turn in found] == list(turns_of(frame, stream))
        assert all(turn.size == len(pack([turn.cause, *turn.facts])) for turn in found)


@pytest.mark.parametrize("count", [1, 15, 16, 70_000])
def test_turns_of_every_length_are_counted(count: int) -> None:
    """What comes behind a turn has its number, however the length of that turn is written."""
    long = [Fact("workflow/a", seq, "x", 1, []) for seq in range(1, count + 1)]
    turns = [Turn(Cause(), long), Turn(Cause(), [Fact("task/a/b", 1, "y", 1, [])])]
    index = TurnIndex(built(HEADER_OF_1, NOTHING_MORE._replace(turns=turns)).data)
    assert [turn.number for turn in index.turns("task/a/b")] == [count + 1]
    assert [len(turn.facts) for turn in index.turns("workflow/a")] == [count]


def test_a_name_within_what_others_say_is_no_turn() -> None:
    """A stream's name in another one's fact, even shaped like a turn, is passed over."""
    disguised = [[None] * 6, ["task/a/b", 1, "y", 1, []]]
    said = ["task/a/b", pack(disguised), disguised]
    turns = [
        Turn(Cause(None, None, "task/a/b"), [Fact("lane//io", 1, "x", 1, said)]),
        Turn(Cause(), [Fact("task/a/b", 1, "y", 1, ["task/a/b"])]),
        Turn(Cause(), [Fact("workflow/a", 1, "x", 1, said)]),
    ]
    index = TurnIndex(built(HEADER_OF_1, NOTHING_MORE._replace(turns=turns)).data)
    assert [(turn.number, turn.facts) for turn in index.turns("task/a/b")] == [(2, turns[1].facts)]


def test_a_flipped_bit_is_refused() -> None:
    """Nothing is looked for in a frame that does not match its hash."""
    turns = [Turn(Cause(), [Fact("task/a/b", 1, "y", 1, [])])]
    data = bytearray(built(HEADER_OF_1, NOTHING_MORE._replace(turns=turns)).data)
    data[HEADER.size + 3] ^= 1
    with pytest.raises(LogDamaged):
        TurnIndex(bytes(data))


@pytest.mark.parametrize("body", [b"", b"\xc0", pack([7]), pack([[7]]), pack([[]]), b"\x91\x92"])
def test_a_body_without_its_turns_is_refused(body: bytes) -> None:
    """Whole by its hash, but of another shape, or with fewer facts than its header says."""
    header = built(HEADER_OF_1, NOTHING_MORE).data[: HEADER.size]
    claiming = bytearray(header)
    claiming[HEADER.size - 28 : HEADER.size - 24] = (1).to_bytes(4, "big")
    with pytest.raises(LogDamaged):
        TurnIndex(seal(bytes(claiming), body))
