"""How much of an attempt's output may be on its way to the log at once."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Final

from goclaw_actors.executors.errors import Cancelled, OutputFull

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

UNWRITTEN_BYTES_MAX: Final = 256 * 1024
"""Who emits more before it is written waits; one that does not wait gets no further than twice."""
OUTPUT_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of one attempt."""
LOOK_S: Final = 0.5


class Window:
    """Count the bytes that were emitted and are not written yet. Any thread.

    While `is_crowded` says that all attempts together have emitted too much, an attempt waits
    with its next chunk until its last one is written: so each of them goes on, slowly.
    """

    def __init__(self, is_crowded: Callable[[], bool] = lambda: False) -> None:
        self._is_crowded = is_crowded
        self.sending = threading.Lock()
        """Held from `take` until the chunk has left: chunks leave in the order of their numbers."""
        self._number = 0
        self._bytes = 0
        self._unwritten = 0
        self._changed = threading.Condition()
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    def take(self, size: int) -> int:
        """Count a chunk that leaves, and return its number; raises `OutputFull`."""
        with self._changed:
            if self._bytes + size > OUTPUT_BYTES_MAX:
                msg = f"an attempt emits at most {OUTPUT_BYTES_MAX} bytes"
                raise OutputFull(msg, hint="write to a file, and emit its name")
            if self._unwritten > 2 * UNWRITTEN_BYTES_MAX:
                msg = "much of what was emitted is not written yet"
                raise OutputFull(msg, hint="await ctx.emit(...): it waits until there is room")
            self._bytes += size
            self._unwritten += size
            self._number += 1
            return self._number

    def give(self, size: int) -> None:
        """Hear that bytes were written."""
        with self._changed:
            self._unwritten = max(0, self._unwritten - size)
            if self.is_full:
                return
            waiters, self._waiters = self._waiters, []
            self._changed.notify_all()
        for loop, future in waiters:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(_resolve, future)

    @property
    def is_full(self) -> bool:
        """Tell whether whoever emits should wait."""
        if not self._unwritten:
            return False
        return self._unwritten > UNWRITTEN_BYTES_MAX or self._is_crowded()

    def wait(self, is_stopped: Callable[[], bool]) -> None:
        """Wait for room in a sync agent; raises `Cancelled` once it is asked to stop."""
        with self._changed:
            while self.is_full:
                if is_stopped():
                    raise Cancelled
                self._changed.wait(LOOK_S)

    async def room(self) -> None:
        """Wait for room on a loop."""
        while True:
            with self._changed:
                if not self.is_full:
                    return
                loop = asyncio.get_running_loop()
                future = loop.create_future()
                self._waiters.append((loop, future))
            await future


class Room:
    """Wait, if awaited, until there is room for more."""

    __slots__ = ("_window",)

    def __init__(self, window: Window | None = None) -> None:
        self._window = window

    def __await__(self) -> Generator[object, None, None]:
        if self._window is not None and self._window.is_full:
            yield from self._window.room().__await__()


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def is_on_loop() -> bool:
    """Tell whether the calling code runs on a loop, where it must not wait."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
