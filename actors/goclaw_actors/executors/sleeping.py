"""The part of the task context that sleeps: for long without a slot, by ending the attempt."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.executors.errors import Asleep, StepInvalid
from goclaw_actors.executors.stepping import Stepping, own_step
from goclaw_actors.executors.window import is_on_loop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw_actors.executors.steps import StepId, Steps

SLEEP: Final = "$sleep"
SLEEP_HELD_S: Final = 5.0
"""Who sleeps longer gives the slot back."""
SLEEP_S_MAX: Final = 10 * 366 * 24 * 3600.0


class Sleeping(Stepping):
    """Sleep that survives the attempt. In an async agent it is awaited, as a step is."""

    __slots__ = ("_main",)

    _main: asyncio.Task[Any] | None

    def sleep(self, seconds: float, *, key: str = "") -> Any:
        """Wait; a boundary: raises as soon as the attempt is asked to stop.

        A sleep of more than 5 s, or with a key, is recorded: however often the agent begins again,
        it wakes at the time that was recorded first. For as long as every sleep of the attempt is
        that long, and no step runs, the attempt ends and gives its slot back; when the first is
        over another attempt begins, which gets all that was recorded. What is no step is done
        again. Sleeps without a key are told apart by their order.
        """
        if is_on_loop():
            return self._sleep_on_loop(seconds, key)
        return self._sleep_in_thread(seconds, key)

    # -- for the executor ------------------------------------------------------------------------

    def runs_as(self, main: asyncio.Task[Any]) -> None:
        """Take note of the task of the loop that is the agent: to sleep is to cancel it."""
        self._main = main

    def left_with(self, error: BaseException) -> BaseException:
        """Return why an agent was left: by its sleep, if that is what cancelled it."""
        steps = self._steps
        if steps is not None and steps.asleep_ns and isinstance(error, asyncio.CancelledError):
            return Asleep(steps.asleep_ns, steps.asleep_for)
        return error

    # -- waiting ---------------------------------------------------------------------------------

    def _nap(self, seconds: float, key: str) -> tuple[StepId, bool]:
        """Return which sleep it is, and whether it is recorded, or is to be."""
        said: object = seconds
        if not isinstance(said, (int, float)) or not seconds <= SLEEP_S_MAX:
            msg = f"{seconds!r} is no number of seconds to sleep"
            raise StepInvalid(msg, hint=f"at most {SLEEP_S_MAX:.0f}")
        steps = self._journal()
        step = own_step(SLEEP, key) if key else (SLEEP, steps.next_nap())
        return step, bool(key) or seconds > SLEEP_HELD_S or steps.knows(step)

    def _due_ns(self, seconds: float) -> int:
        return self._ports.now_ns() + int(max(0.0, seconds) * 1e9)

    async def _sleep_on_loop(self, seconds: float, key: str) -> None:
        step, is_recorded = self._nap(seconds, key)
        due_ns = self._due_ns(seconds)
        if is_recorded:
            due_ns = await self._do_on_loop(step, b"", lambda: due_ns, int)
        await self._rest_on_loop(due_ns)

    async def _rest_on_loop(self, due_ns: int, awaited: str = "") -> None:
        """Wait for a time, or (`awaited`) for what only another attempt can tell."""
        mailbox, ends_s = self._box(), self._ends_s(due_ns)
        with self._asleep(due_ns, awaited):
            while True:
                seen = mailbox.changes
                wait_s = self._looks_in_s(due_ns, ends_s)
                if wait_s <= 0:
                    break
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await mailbox.change(seen)

        await self._stand_on_loop()

    def _sleep_in_thread(self, seconds: float, key: str) -> None:
        step, is_recorded = self._nap(seconds, key)
        due_ns = self._due_ns(seconds)
        if is_recorded:
            due_ns = int(self._do_in_thread(step, b"", lambda: due_ns))
        self._rest_in_thread(due_ns)

    def _rest_in_thread(self, due_ns: int, awaited: str = "") -> None:
        mailbox, ends_s = self._box(), self._ends_s(due_ns)
        with self._asleep(due_ns, awaited):
            while True:
                seen = mailbox.changes
                wait_s = self._looks_in_s(due_ns, ends_s)
                if wait_s <= 0:
                    break
                self._ports.wait(mailbox, seen, wait_s)
        self._stand_in_thread()

    def _ends_s(self, due_ns: int) -> float:
        """Return when a sleep is over by the clock that never jumps."""
        return self._ports.clock() + (due_ns - self._ports.now_ns()) / 1e9

    @contextlib.contextmanager
    def _asleep(self, due_ns: int, awaited: str) -> Iterator[None]:
        steps = self._journal()
        sleeper = steps.lie_down(due_ns, awaited)
        try:
            yield
        finally:
            steps.get_up(sleeper)
            self._rouse(steps)

    def _looks_in_s(self, due_ns: int, ends_s: float) -> float:
        """Return when a sleeper looks again, 0.0 once it wakes; end the attempt where all sleep.

        Raises as a boundary does.
        """
        self._leave_if_asked()
        steps, left_s = self._journal(), ends_s - self._ports.clock()
        if left_s <= SLEEP_HELD_S or due_ns > steps.wakes_ns or steps.asleep_ns:
            return left_s
        settles_s = steps.settles_in_s
        if settles_s is None:  # a step runs: its end is told
            return left_s
        if settles_s <= 0:
            self._fall_asleep(steps, due_ns)
        return settles_s or left_s

    def _fall_asleep(self, steps: Steps, due_ns: int) -> None:
        """Leave the agent: it is called again when it wakes."""
        if not is_on_loop():
            raise Asleep(due_ns, steps.awaited)
        if self._main is not None:
            steps.asleep_ns, steps.asleep_for = due_ns, steps.awaited
            self._main.cancel()
