"""Wait until a lane that takes nobody in has nothing left, and say how it goes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from goclaw.asking import ask, engine_runs
from goclaw.cli.output import say
from goclaw.errors import EngineNotRunning, LaneResumed, TimedOut

if TYPE_CHECKING:
    from goclaw.config import Settings

LOOK_S: Final = 0.2
SAY_S: Final = 2.0


def wait_until_drained(settings: Settings, lane: str, timeout_s: float | None) -> None:
    """Return once nothing waits or runs in a draining lane; every two seconds say what does.

    Raises `TimedOut`, `LaneResumed` if somebody lets it take tasks in again, and
    `EngineNotRunning` where something is in it that nobody works on.
    """
    began_s, said_s = time.monotonic(), 0.0
    while True:
        found = ask(settings, "lanes.show", lane=lane, min_position="now")
        left = f"{found['running']} running, {found['queued']} queued"
        if found["mode"] != "draining":
            raise LaneResumed(f"{lane} is {found['mode']} again: {left}")
        if not (found["running"] or found["queued"]):
            return
        if not engine_runs(settings):
            hint = "goclaw engine run; the lane goes on draining there"
            raise EngineNotRunning(f"nobody works on what is in {lane}: {left}", hint=hint)
        now_s = time.monotonic()
        if timeout_s is not None and now_s - began_s >= timeout_s:
            hint = "it goes on draining; goclaw lanes show says how far it is"
            raise TimedOut(f"{lane} was not drained within {timeout_s:g} s: {left}", hint=hint)
        if now_s - said_s >= SAY_S:
            say(f"{lane}: {left}")
            said_s = now_s
        time.sleep(LOOK_S)
