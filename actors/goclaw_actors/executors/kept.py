"""Attempts whose code could not be stopped: they are over, and keep their slots for a while."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from goclaw_actors.work import GRACE, RETURNED, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_actors.executors.outbox import Outbox
    from goclaw_actors.executors.timers import Timer, Timers
    from goclaw_actors.work import AttemptToken


class _Entry:
    __slots__ = ("ended", "outcome", "over", "timer")

    def __init__(self, outcome: Outcome, over: Callable[[], object] | None) -> None:
        self.outcome = outcome
        self.over = over
        self.timer: Timer | None = None
        self.ended = False


class Kept:
    """Report attempts as abandoned, and again when their slots are free. Any thread.

    That is when their code ends, or after `grace_s`, whichever is first.
    """

    def __init__(self, outbox: Outbox, timers: Timers, grace_s: float) -> None:
        self._outbox = outbox
        self._timers = timers
        self._grace_s = grace_s
        self._lock = threading.Lock()
        self._entries: dict[AttemptToken, _Entry] = {}

    def __contains__(self, token: AttemptToken) -> bool:
        return token in self._entries

    def abandon(self, outcome: Outcome, over: Callable[[], object] | None = None) -> None:
        """Report an attempt as abandoned; `over` is called at the end of its grace.

        Not to be called with a lock held that `over` or the sink takes.
        """
        token = outcome.token
        entry = _Entry(outcome._replace(abandoned=True), over)
        with self._lock:
            self._entries[token] = entry
        self._outbox.put([entry.outcome])
        with self._lock:
            if not entry.ended:
                entry.timer = self._timers.after(self._grace_s, self._over, token)
                return
            del self._entries[token]
        self._say(entry.outcome)

    def end(self, token: AttemptToken) -> None:
        """Report that the code of an attempt has ended, if it is one that keeps its slot."""
        with self._lock:
            entry = self._entries.get(token)
            if entry is None:
                return
            if entry.timer is None:  # it is being reported: one after the other
                entry.ended = True
                return
            entry.timer.cancel()
            del self._entries[token]
        self._say(entry.outcome)

    def _over(self, token: AttemptToken) -> None:
        with self._lock:
            entry = self._entries.pop(token, None)
        if entry is not None:
            if entry.over is not None:
                entry.over()
            self._say(entry.outcome, GRACE)

    def _say(self, outcome: Outcome, code: str = "") -> None:
        self._outbox.put([Outcome(outcome.stream, outcome.token, RETURNED, code=code)])
