"""Progress of one attempt, thinned out to what people can read."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Final, Protocol

from goclaw_actors.executors.outcomes import bounded
from goclaw_actors.work import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_actors.work import StartAttempt

PROGRESS_INTERVAL_S: Final = 1.0
PROGRESS_SHARE: Final = 1_000
"""Of the time since the first report no interval is shorter than such a part: an attempt of ten
years leaves some 14,000 reports in its task's history, and one of a quarter of an hour 900."""
PROGRESS_MESSAGE_BYTES_MAX: Final = 1024


class After(Protocol):
    """Call something once, some seconds from now, on another thread."""

    def __call__(self, delay_s: float, call: Callable[[], None], /) -> object:
        """Arrange for `call()`; what it returns is not used."""
        ...


class ProgressMeter:
    """Let one report a second through, and always the last one. Safe to use from any thread.

    The longer the attempt has reported, the fewer: none within a thousandth of that time. A report
    that comes too soon waits for the rest of its interval, or for the end of the attempt; a later
    one takes its place.
    """

    __slots__ = (
        "_after", "_attempt", "_clock", "_emit", "_ended", "_first_s", "_last_s", "_lock",
        "_waiting",
    )  # fmt: skip

    def __init__(
        self,
        attempt: StartAttempt,
        emit: Callable[[Progress], None],
        clock: Callable[[], float],
        after: After,
    ) -> None:
        self._attempt = attempt
        self._emit = emit
        self._clock = clock
        self._after = after
        self._lock = threading.Lock()
        self._first_s = math.inf
        self._last_s = -math.inf
        self._waiting: Progress | None = None
        self._ended = False

    def report(self, fraction: float | None, message: str) -> None:
        """Send a report now, or keep it until its second is over; ignored after the end."""
        if fraction is not None:
            fraction = None if math.isnan(fraction) else min(1.0, max(0.0, float(fraction)))
        text = bounded(message, PROGRESS_MESSAGE_BYTES_MAX)
        item = Progress(self._attempt.stream, self._attempt.token, fraction, text)
        with self._lock:
            if self._ended:
                return
            now_s = self._clock()
            self._first_s = min(self._first_s, now_s)
            spaced_s = max(PROGRESS_INTERVAL_S, (now_s - self._first_s) / PROGRESS_SHARE)
            left_s = self._last_s + spaced_s - now_s
            if left_s <= 0 and self._waiting is None:
                self._last_s = now_s
                self._emit(item)  # under the lock: reports leave in the order in which they came
                return
            first = self._waiting is None
            self._waiting = item
        if first:
            self._after(max(0.0, left_s), self._release)

    def end(self) -> None:
        """Send what waits and let nothing through from now on."""
        self._release()
        with self._lock:
            self._ended = True

    def _release(self) -> None:
        with self._lock:
            item, self._waiting = self._waiting, None
            if item is not None and not self._ended:
                self._last_s = self._clock()
                self._emit(item)
