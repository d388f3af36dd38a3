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
from itertools import chain, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, Protocol

from goclaw_projections.every import all_projections
from goclaw_projections.link import FAILED, FOLD, FOLDED, GET, READY, Link, LinkLost
from goclaw_projections.projection import Foreseeing, read_frame
from goclaw_projections.rows import Rows, StoredRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from goclaw_projections.projection import Projection, ReadFrame


_KEY: Final = itemgetter(0)
COLLECT_EVERY: Final = 200_000
"""Look for garbage seldom, as the engine does: what is folded has no cycles."""


CACHE_ROWS_MAX: Final = 50_000
"""More than the engine holds: here a row that is not in memory is a question to another process."""
ASKED_MAX: Final = 16
"""After so many questions for single rows, those of the frames left are asked for at once."""


class ManyRows(StoredRows, Protocol):
    """Where rows are read, several at once if they are known before."""

    asked: int
    """How many single rows were asked for."""

    def get_many(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        """Return several rows' values."""
        ...


class AskedRows:
    """The stored rows, asked of the engine, which answers while it waits for a group."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.asked = 0

    def get(self, key: bytes) -> bytes | None:
        """Return one row's value; raises `LinkLost`."""
        self.asked += 1
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        """Return several rows' values; raises `LinkLost`."""
        self._link.send([GET, *keys])
        return self._link.receive()


class Folding:
    """Fold one group after the other. `asked` has the rows that memory does not hold."""

    def __init__(self, asked: ManyRows) -> None:
        self._asked = asked
        self._projections: dict[str, Projection] = {each.name: each for each in all_projections()}
        self._rows: dict[str, Rows] = {}

    def fold(self, frames: list[bytes], members: list[list[Any]]) -> list[list[bytes | None]]:
        """Return the changes of each member: [view, slot, what to begin with (None: go on)].

        They are keys and values by turns. That a member goes on says that what was made of the
        group before is stored.
        """
        told = [(self._projections[view], self._rows_of(slot, b)) for view, slot, b in members]
        read = [read_frame(data) for data in frames]
        self._fetch(read, [one for one in told if one[1].has_evicted])
        self._asked.asked = 0
        for place, frame in enumerate(read):
            for projection, rows in told:
                projection.apply(frame, rows)
            if self._asked.asked > ASKED_MAX:
                self._asked.asked = 0
                self._fetch(read[place + 1 :], told)
        # in order of key the engine stores them in half the time
        changed = (sorted(rows.changes(), key=_KEY) for _, rows in told)
        return [list(chain.from_iterable(changes)) for changes in changed]

    def _fetch(self, frames: list[ReadFrame], told: list[tuple[Projection, Rows]]) -> None:
        """Ask at once for the rows that frames will read and memory does not hold."""
        wanted: list[tuple[Rows, list[str]]] = []
        for projection, rows in told:
            if isinstance(projection, Foreseeing):
                reads = (projection.reads(frame, rows) for frame in frames)
                missing = rows.missing(chain.from_iterable(reads))
                rows.has_evicted = bool(missing)
                wanted.append((rows, missing))
        keys = [rows.whole_key(key) for rows, missing in wanted for key in missing]
        if keys:
            found = iter(self._asked.get_many(keys))
            for rows, missing in wanted:
                rows.fill(missing, list(islice(found, len(missing))))

    def _rows_of(self, slot: str, begin: list[Any] | None) -> Rows:
        if begin is not None:
            self._rows[slot] = rows = Rows(self._asked, slot, CACHE_ROWS_MAX)
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
