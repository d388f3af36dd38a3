"""The frames last read: actors that were written together are activated together.

When more tasks wait than actors are kept in memory, each of them comes back for one turn, and its
frame is wanted by hundreds of others soon after.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from goclaw_events.frame import hash_of
from goclaw_events.turn_index import TurnIndex

if TYPE_CHECKING:
    from collections.abc import Iterable

    from goclaw_events.replay import StreamTurn

FRAMES_MAX: Final = 16
"""A frame takes up to 4 MiB, mostly 256 KiB, and 16 bytes for each of its turns."""
KEPT_PER_STREAM: Final = 4
"""A stream of more frames is long: it would drive out what others need, and never ask again."""


class RecentFrames:
    """A few frames by hash, with the places of their turns. For the dispatcher's thread alone."""

    def __init__(self) -> None:
        self._frames: OrderedDict[bytes, TurnIndex] = OrderedDict()

    def turns(self, data: bytes, stream: str, at: int) -> Iterable[StreamTurn]:
        """Return the turns of a stream in a frame, the `at`-th that is read for it.

        Raises `LogDamaged` where the frame does not match its hash.
        """
        name = hash_of(data)
        found = self._frames.get(name)
        if found is None:
            found = TurnIndex(data)
            if at < KEPT_PER_STREAM:
                self._frames[name] = found
                if len(self._frames) > FRAMES_MAX:
                    self._frames.popitem(last=False)
        else:
            self._frames.move_to_end(name)
        return found.turns(stream)
