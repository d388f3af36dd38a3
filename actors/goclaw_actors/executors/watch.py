"""A watch over the loop of the async agents: how late it is, and which agent blocks it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from goclaw_actors.executors.timers import Timers

ASK_EVERY_S: Final = 1.0
LAG_MAX_S: Final = 0.5
_log = logging.getLogger("goclaw.executors")


class LoopWatch:
    """Ask the loop for an answer once a second while it has work; warn when none comes.

    `busy` tells whether it has work, `names` which agent a task belongs to. Both are called on the
    thread of the timers.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        thread: threading.Thread,
        timers: Timers,
        busy: Callable[[], bool],
        names: Callable[[asyncio.Task[Any] | None], str],
    ) -> None:
        self._loop = loop
        self._thread = thread
        self._timers = timers
        self._busy = busy
        self._names = names
        self._armed = False
        self._asked_s: float | None = None
        self._blocker = ""
        self.lag_s = 0.0

    def wake(self) -> None:
        """Begin to ask, because there is work; cheap when it is asking already. Any thread."""
        if not self._armed:
            self._armed = True
            self._timers.after(ASK_EVERY_S, self._ask)

    def _ask(self) -> None:
        self._asked_s = time.monotonic()
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._answer)
            self._timers.after(LAG_MAX_S, self._look, True)

    def _answer(self) -> None:
        if self._asked_s is not None:
            self.lag_s = time.monotonic() - self._asked_s
            self._asked_s = None
            blocker, self._blocker = self._blocker, ""
            if blocker and self.lag_s >= LAG_MAX_S:
                _log.warning("%s blocked the loop for %.1f s", blocker, self.lag_s)

    def _look(self, first: bool) -> None:  # noqa: FBT001 - called by a timer
        asked_s = self._asked_s
        if asked_s is not None:
            self.lag_s = time.monotonic() - asked_s
            if first:
                self._warn()
            self._timers.after(LAG_MAX_S, self._look, False)
            return
        self._armed = False
        if self._busy():  # asked after disarming: work that comes now wakes the watch itself
            self.wake()

    def _warn(self) -> None:
        try:
            task = asyncio.current_task(self._loop)
        except RuntimeError:
            task = None
        self._blocker = self._names(task)
        _log.warning(
            "%s blocks the loop of the async agents at %s: await what takes long, or make it a "
            "plain function, which runs in a thread",
            self._blocker,
            self._place(),
        )

    def _place(self) -> str:
        # the only way to see where another thread is
        frame = sys._current_frames().get(self._thread.ident or 0)  # noqa: SLF001
        if frame is None:
            return "an unknown place"
        return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"
