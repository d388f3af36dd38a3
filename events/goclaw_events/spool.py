"""Rows that no frame stands for, on their way into the next write."""

from __future__ import annotations

import threading
import time
from collections import deque
from logging import getLogger
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from goclaw_events.tables import Row

log = getLogger(__name__)
WAIT_S: Final = 0.02
"""Rows wait so long for a frame to ride with, then they are written by themselves."""


class Load(NamedTuple):
    """Rows that came together; `written` is called once they are in the tables."""

    rows: Sequence[Row]
    written: Callable[[], None]


class Spool:
    """Hold rows until they are written. Any thread; `nudge` is called when the first one comes."""

    def __init__(self, nudge: Callable[[], None]) -> None:
        self._nudge = nudge
        self._lock = threading.Lock()
        self._loads: deque[Load] = deque()
        self._since_s = 0.0

    def put(self, rows: Sequence[Row], written: Callable[[], None]) -> None:
        """Take rows in."""
        with self._lock:
            is_first = not self._loads
            if is_first:
                self._since_s = time.monotonic()
            self._loads.append(Load(rows, written))
        if is_first:
            self._nudge()

    def take(self) -> list[Load]:
        """Return all that waits, in order."""
        with self._lock:
            loads, self._loads = list(self._loads), deque()
        return loads

    def give_back(self, loads: Sequence[Load]) -> None:
        """Have rows wait again, before all others: they may not have been written."""
        with self._lock:
            self._loads.extendleft(reversed(loads))

    def left_s(self) -> float | None:
        """Return how long what waits may still wait for a frame; None: nothing waits."""
        with self._lock:
            if not self._loads:
                return None
            return max(0.0, self._since_s + WAIT_S - time.monotonic())


def tell(loads: Sequence[Load]) -> None:
    """Tell those who wait that their rows are written."""
    for load in loads:
        try:
            load.written()
        except Exception:
            log.exception("a callback of rows that were written raised")
