"""The frames last read, decoded: actors that were written together are activated together.

A frame holds the turns of up to a thousand actors; to decode it for one of them takes 2 ms. When
more tasks wait than actors are kept in memory, each of them comes back for one turn.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from goclaw_events.frame import decode_frame, hash_of
from goclaw_events.replay import StreamTurn, turns_of

if TYPE_CHECKING:
    from collections.abc import Sequence

FRAMES_MAX: Final = 8
"""A decoded frame takes up to 4 MiB."""
KEPT_PER_STREAM: Final = 4
"""A stream of more frames is long: it would drive out what others need, and never ask again."""


class RecentFrames:
    """Turns by stream of a few frames, by hash. For the dispatcher's thread alone."""

    def __init__(self) -> None:
        self._frames: OrderedDict[bytes, dict[str, list[StreamTurn]]] = OrderedDict()

    def turns(self, data: bytes, stream: str, at: int) -> Sequence[StreamTurn]:
        """Return the turns of a stream in a frame, the `at`-th that is read for it.

        Raises `LogDamaged` where the frame does not match its hash.
        """
        name = hash_of(data)
        found = self._frames.get(name)
        if found is None:
            if at >= KEPT_PER_STREAM:
                return list(turns_of(decode_frame(data), stream))
            found = self._frames[name] = _by_stream(data)
            if len(self._frames) > FRAMES_MAX:
                self._frames.popitem(last=False)
        else:
            self._frames.move_to_end(name)
        return found.get(stream, ())


def _by_stream(data: bytes) -> dict[str, list[StreamTurn]]:
    frame = decode_frame(data)
    number, time_ns = frame.header.first, frame.header.time_ns
    found: dict[str, list[StreamTurn]] = {}
    for cause, facts in frame.body.turns:
        if facts:
            turn = StreamTurn(number, time_ns, cause, facts)
            found.setdefault(facts[0].stream, []).append(turn)
        number += len(facts)
    return found
