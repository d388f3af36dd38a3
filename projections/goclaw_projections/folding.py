"""The process that folds for an engine under load: frames in, changed rows out.

Started as `python -m goclaw_projections.folding SOCKET ANSWERS ORDERS`, with three descriptors. It
stores and opens nothing: what it has in memory is lost with it, and is read again from the engine's
rows. It ends when the other end is closed.
"""

from __future__ import annotations

import gc
import signal
import socket
import sys
from contextlib import suppress
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, cast

from goclaw_projections.every import all_projections
from goclaw_projections.link import FAILED, FOLD, FOLDED, GET, READY, Link, LinkLost
from goclaw_projections.projection import read_frame
from goclaw_projections.rows import Rows

if TYPE_CHECKING:
    from goclaw_projections.projection import Projection
    from goclaw_projections.rows import StoredRows


_KEY: Final = itemgetter(0)
COLLECT_EVERY: Final = 200_000
"""Look for garbage seldom, as the engine does: what is folded has no cycles."""


class AskedRows:
    """The stored rows, asked of the engine, which answers while it waits for a group."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def get(self, key: bytes) -> bytes | None:
        """Return one row's value; raises `LinkLost`."""
        self._link.send([GET, key])
        return cast("bytes | None", self._link.receive()[0])


class Folding:
    """Fold one group after the other. `asked` has the rows that memory does not hold."""

    def __init__(self, asked: StoredRows) -> None:
        self._asked = asked
        self._projections: dict[str, Projection] = {each.name: each for each in all_projections()}
        self._rows: dict[str, Rows] = {}

    def fold(self, frames: list[bytes], members: list[list[Any]]) -> list[list[bytes | None]]:
        """Return the changes of each member: [view, slot, what to begin with (None: go on)].

        They are keys and values by turns. That a member goes on says that what was made of the
        group before is stored.
        """
        told = [
            (self._projections[view].apply, self._rows_of(slot, b)) for view, slot, b in members
        ]
        for data in frames:
            frame = read_frame(data)
            for apply, rows in told:
                apply(frame, rows)
        # in order of key the engine stores them in half the time
        changed = (sorted(rows.changes(), key=_KEY) for _, rows in told)
        return [list(chain.from_iterable(changes)) for changes in changed]

    def _rows_of(self, slot: str, begin: list[Any] | None) -> Rows:
        if begin is not None:
            self._rows[slot] = rows = Rows(self._asked, slot)
            rows.plant(begin)
            return rows
        rows = self._rows[slot]
        rows.settle()
        return rows

    def forget(self) -> None:
        """Forget every row."""
        self._rows.clear()


def serve(link: Link) -> None:
    """Fold what is asked for until the other side is gone; raises `LinkLost`."""
    folding = Folding(AskedRows(link))
    link.send([READY])
    while True:
        kind, *order = link.receive()
        if kind != FOLD:
            msg = f"an order called {kind!r}"
            raise LinkLost(msg)
        try:
            answer = [FOLDED, folding.fold(*order)]
        except LinkLost:
            raise
        except Exception as error:  # noqa: BLE001 - whose fault it is, the engine finds out
            folding.forget()
            answer = [FAILED, repr(error)]
        link.send(answer)


def main() -> None:
    """Serve the engine that started this process, for as long as it lives."""
    gc.set_threshold(COLLECT_EVERY)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the engine, which stops in order
    with suppress(LinkLost):
        own, writes, reads = map(int, sys.argv[1:])
        serve(Link(socket.socket(fileno=own), writes, reads))


if __name__ == "__main__":
    main()
