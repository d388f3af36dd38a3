"""How time passes for user work: the system's way, which a kit for tests replaces by its own."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from goclaw_actors.executors.timers import Timers

if TYPE_CHECKING:
    from goclaw_actors.executors.mailbox import Mailbox


class PassingTime:
    """The clocks that executors read, and all that waits by them. Any thread."""

    is_real = True
    """False: it leaps, so that it tells nothing of how long something took."""

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        return time.monotonic()

    def now_ns(self) -> int:
        """Return the time in nanoseconds since 1970, UTC."""
        return time.time_ns()

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """Return a loop whose timers are due by this time."""
        return asyncio.new_event_loop()

    def timers(self) -> Timers:
        """Return timers that are due by this time."""
        return Timers()

    def wait(self, mailbox: Mailbox, after: int, timeout_s: float | None) -> None:
        """Wait in a thread for more than `after` changes of a mailbox, or so long; or less."""
        mailbox.wait(after, timeout_s)


REAL_TIME = PassingTime()
