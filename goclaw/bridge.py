"""From the engine's threads to an asyncio loop: many calls, one wake-up."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class Bridge:
    """Have functions called on a loop. `post` may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._lock = threading.Lock()
        self._scheduled = False

    def post(self, function: Callable[..., object], *args: Any) -> None:
        """Have `function(*args)` called on the loop, in order; nothing once the loop is closed."""
        self._calls.append((function, args))
        with self._lock:
            if self._scheduled or self._loop.is_closed():
                return
            self._scheduled = True
        self._loop.call_soon_threadsafe(self._flush)

    def _flush(self) -> None:
        with self._lock:
            self._scheduled = False
        while self._calls:
            function, args = self._calls.popleft()
            function(*args)
