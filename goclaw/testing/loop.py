"""An asyncio loop by a clock that stands still: it says when it has nothing to do before that."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor
    from contextvars import Context

T = TypeVar("T")

_OWN_FILES = 1
"""What a loop always watches: the pipe that wakes it."""


class _Parking(selectors.DefaultSelector):
    """Wait for files alone, never for time; `parked` while it does."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self.parked = False
        self.thawed = False
        self.due_s: float | None = None

    def select(self, timeout: float | None = None) -> Any:
        """Return the files that are ready; wait for them unless `timeout` is 0."""
        events = super().select(0)
        if events or timeout == 0:
            return events
        if self.thawed:
            return super().select(timeout)
        self.due_s = None if timeout is None else self._clock() + timeout
        self.parked = True
        try:
            return super().select(None)
        finally:
            self.parked = False


class VirtualLoop(asyncio.SelectorEventLoop):
    """Run callbacks when `clock` says that they are due; after it has moved, `wake` looks again.

    What is read from sockets, and what runs in threads of its own, takes its own time.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._asked = self._heard = self._elsewhere = 0
        self._parking = _Parking(clock)
        super().__init__(self._parking)

    def time(self) -> float:
        """Return the time by which timers are due."""
        return self._clock()

    def call_soon_threadsafe(  # type: ignore[override]  # what it takes is checked by callers
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Call something soon, from any thread."""
        with self._lock:
            self._asked += 1
        return super().call_soon_threadsafe(self._hear, callback, *args, context=context)

    def _hear(self, callback: Callable[..., object], *args: Any) -> None:
        self._heard += 1
        callback(*args)

    def run_in_executor(  # type: ignore[override]  # as above
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Run a function in a thread; until it returns, the loop does not rest."""
        future = super().run_in_executor(executor, func, *args)
        with self._lock:
            self._elsewhere += 1
        future.add_done_callback(self._returned)
        return future

    def _returned(self, _: object) -> None:
        with self._lock:
            self._elsewhere -= 1

    @property
    def rests(self) -> bool:
        """Tell whether nothing of it goes on before time is moved. Any thread; a closed one does.

        One that reads or writes a socket does not.
        """
        if self.is_closed():
            return True
        parking = self._parking
        with self._lock:
            if self._asked != self._heard or self._elsewhere or not parking.parked:
                return False
        return len(parking.get_map() or ()) <= _OWN_FILES

    @property
    def due_s(self) -> float | None:
        """Return when its next timer is due; None: it has none, or is at work."""
        return self._parking.due_s if self._parking.parked else None

    def wake(self) -> None:
        """Have it look at the clock again."""
        with contextlib.suppress(RuntimeError):  # it is closed
            self.call_soon_threadsafe(lambda: None)

    def thaw(self) -> None:
        """Let it wait for time, too, from now on."""
        self._parking.thawed = True
        self.wake()
