"""Kill oneself at a chosen step of a commit: where a kill from outside seldom strikes."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

from goclaw_events.rocks import RocksJournal

if TYPE_CHECKING:
    from collections.abc import Callable


def killer(kill_at: list[Any] | None) -> Callable[[str], None]:
    """Return what is told of every step; at the nth of a name (`kill_at`) it never returns."""
    name, left = kill_at or ("", 0)

    def step(reached: str) -> None:
        nonlocal left
        if reached == name:
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    return step


def arm(kill_at: list[Any] | None) -> Callable[[str], None]:
    """Have every journal that this process opens reach the failpoint; return what it tells."""
    step, original = killer(kill_at), RocksJournal._reach  # noqa: SLF001 - no other way in

    def reach(self: RocksJournal, reached: str) -> None:
        step(reached)
        original(self, reached)

    RocksJournal._reach = reach  # type: ignore[method-assign, assignment]  # noqa: SLF001
    return step
