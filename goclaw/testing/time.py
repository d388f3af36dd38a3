"""Virtual time: it stands still until it is moved, and then everything due is woken."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from goclaw.testing.loop import VirtualLoop
from goclaw_actors.executors.mailbox import Mailbox
from goclaw_actors.executors.passing import PassingTime
from goclaw_actors.executors.timers import Timers

if TYPE_CHECKING:
    from collections.abc import Iterator

ORIGIN_S: Final = 1_000.0
"""What `monotonic` begins with."""
ROUNDING_NS: Final = 1_000
"""So much later is what was kept as seconds, and is only nearly due, for it is no whole number."""


class _Nap(NamedTuple):
    """A thread that waits for more than `after` changes, or until `ends_s`."""

    mailbox: Mailbox
    after: int
    ends_s: float | None
    thread: int


class VirtualTime(PassingTime):
    """The clock of the dispatchers, and how time passes for agents, in one. Any thread.

    `thaw` lets it run like the system's from then on: for the end of an engine, where what has to
    be waited for is real.
    """

    is_real = False

    def __init__(self, now_ns: int) -> None:
        self._origin_ns = self._now_ns = now_ns
        self._thawed_s: float | None = None
        self._loops: list[VirtualLoop] = []
        self._all_timers: list[Timers] = []
        self._naps: dict[int, _Nap] = {}
        self._lock = threading.Lock()

    def now_ns(self) -> int:
        """Return the time in nanoseconds since 1970."""
        return self._now_ns

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        passed_s = ORIGIN_S + (self._now_ns - self._origin_ns) / 1e9
        return passed_s + (0.0 if self._thawed_s is None else time.monotonic() - self._thawed_s)

    def new_loop(self) -> VirtualLoop:
        """Return a loop whose timers are due by this time."""
        loop = VirtualLoop(self.monotonic)
        self._loops.append(loop)
        return loop

    def timers(self) -> Timers:
        """Return timers that are due by this time."""
        timers = Timers(clock=self.monotonic)
        self._all_timers.append(timers)
        return timers

    def wait(self, mailbox: Mailbox, after: int, timeout_s: float | None) -> None:
        """Wait in a thread for changes of a mailbox, or until time was moved; or less."""
        ends_s = None if timeout_s is None else self.monotonic() + timeout_s
        with self._napping(_Nap(mailbox, after, ends_s, threading.get_ident())) as napping:
            mailbox.wait(after, None if napping else timeout_s)

    def nap(self, seconds: float | None) -> bool:
        """Wait in a thread, for so long or (None) for ever; False: time was thawed before."""
        mailbox = Mailbox()
        ends_s = None if seconds is None else self.monotonic() + seconds
        while self._thawed_s is None:
            left_s = None if ends_s is None else ends_s - self.monotonic()
            if left_s is not None and left_s <= 0:
                return True
            self.wait(mailbox, mailbox.changes, left_s)
        return False

    @contextmanager
    def _napping(self, nap: _Nap) -> Iterator[bool]:
        with self._lock:
            frozen = self._thawed_s is None
            if frozen:
                self._naps[id(nap)] = nap
        try:
            yield frozen
        finally:
            with self._lock:
                self._naps.pop(id(nap), None)

    # -- what waits ------------------------------------------------------------------------------

    def resting_threads(self) -> set[int]:
        """Return which threads wait for time, or for a word that has not come, by `get_ident`."""
        with self._lock:
            naps = list(self._naps.values())
        return {nap.thread for nap in naps if nap.mailbox.changes <= nap.after}

    def stirs(self) -> bool:
        """Tell whether a loop is at work, or a timer is due."""
        now_s = self.monotonic()
        due = (timers.due_s() for timers in self._all_timers)
        return any(not loop.rests for loop in self._loops) or any(
            due_s is not None and due_s <= now_s for due_s in due
        )

    def next_ns(self) -> int | None:
        """Return when something of an agent is due next; None: nothing is."""
        with self._lock:
            due = [nap.ends_s for nap in self._naps.values()]
        due += [loop.due_s for loop in self._loops]
        due += [timers.due_s() for timers in self._all_timers]
        soonest_s = min((due_s for due_s in due if due_s is not None), default=None)
        if soonest_s is None:
            return None
        left_ns = round((soonest_s - self.monotonic()) * 1e9)
        return self._now_ns + (left_ns if left_ns > 0 else ROUNDING_NS)

    # -- moving it -------------------------------------------------------------------------------

    def move_to(self, now_ns: int) -> None:
        """Let it be later, and wake everything that waits."""
        self._now_ns = max(self._now_ns, now_ns)
        self._wake()

    def thaw(self) -> None:
        """Let time pass as it does outside."""
        with self._lock:
            self._thawed_s = time.monotonic()
        for loop in self._loops:
            loop.thaw()
        self._wake()

    def _wake(self) -> None:
        with self._lock:
            naps = list(self._naps.values())
        for nap in naps:
            nap.mailbox.wake()
        for loop in self._loops:
            loop.wake()
        for timers in self._all_timers:
            timers.look()
