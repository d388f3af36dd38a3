"""Timers: calls at a later time, all on one thread of their own."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_COMPACT_MIN: Final = 64
_JOIN_S: Final = 1.0
_log = logging.getLogger("goclaw.executors")


class Timer:
    """Something that is going to be called, unless it is cancelled first."""

    __slots__ = ("_owner", "args", "call")

    def __init__(self, owner: Timers, call: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._owner = owner
        self.call: Callable[..., object] | None = call
        self.args = args

    def cancel(self) -> None:
        """Do not call it. Any thread; without effect once it is being called."""
        if self.call is not None:
            self.call, self.args = None, ()  # frees what it held before its time comes
            self._owner._forget()  # noqa: SLF001 - the two classes are one thing


class Timers:
    """Call functions after a delay. They must be short: they share the thread.

    `clock` gives seconds that only grow; when it leaps, `look` has to be called.
    """

    def __init__(
        self, name: str = "goclaw-timers", *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name = name
        self._clock = clock
        self._calling = False
        self._due: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._cancelled = 0
        self._closed = False

    def after(self, delay_s: float, call: Callable[..., object], *args: Any) -> Timer:
        """Call `call(*args)` in `delay_s` seconds, on the thread of the timers.

        After `close` nothing is called any more. Does not block.
        """
        timer = Timer(self, call, args)
        with self._changed:
            if self._closed:
                return timer
            if self._cancelled > _COMPACT_MIN and self._cancelled * 2 > len(self._due):
                self._compact()
            entry = (self._clock() + delay_s, next(self._order), timer)
            heapq.heappush(self._due, entry)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            elif self._due[0] is entry:
                self._changed.notify()
        return timer

    def close(self) -> None:
        """Drop what is not due and end the thread. Waits at most a second for a call that runs."""
        with self._changed:
            self._closed = True
            self._due.clear()
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_JOIN_S)

    def look(self) -> None:
        """Look what is due by now: the clock leapt."""
        with self._changed:
            self._changed.notify()

    def due_s(self) -> float | None:
        """Return when something is due by the clock, the past included; None: nothing is."""
        with self._changed:
            if self._calling:
                return self._clock()
            waiting = [due_s for due_s, _, timer in self._due if timer.call is not None]
            return min(waiting, default=None)

    def __len__(self) -> int:
        return len(self._due)

    def _forget(self) -> None:
        self._cancelled += 1  # a guess is enough: it only decides when to tidy up

    def _compact(self) -> None:
        self._due = [entry for entry in self._due if entry[2].call is not None]
        heapq.heapify(self._due)
        self._cancelled = 0

    def _run(self) -> None:
        while True:
            with self._changed:
                timer = self._next()
            if timer is None:
                return
            call, args = timer.call, timer.args
            if call is None:
                continue
            timer.call = None
            try:
                call(*args)
            except Exception:  # noqa: BLE001 - the other timers go on
                _log.exception("a timer of the executors failed")

    def _next(self) -> Timer | None:
        self._calling = False
        while not self._closed:
            if not self._due:
                self._changed.wait()
                continue
            left_s = self._due[0][0] - self._clock()
            if left_s <= 0:
                self._calling = True
                return heapq.heappop(self._due)[2]
            self._changed.wait(min(left_s, threading.TIMEOUT_MAX))
        return None
