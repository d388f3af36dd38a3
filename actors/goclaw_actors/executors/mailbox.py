"""What an attempt was told and has not looked at yet. Safe to use from any thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from goclaw_actors.work import Signal

    Callback: TypeAlias = Callable[[Signal], object]
    Waiter: TypeAlias = tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]

PARAMS: Final = "params"
FOLLOWUP: Final = "followup"
COALESCE: Final = "coalesce"
PATCHES_MAX: Final = 1_000
"""So many patches wait to be looked at one by one; what they changed stands in the parameters."""
KNOWN_MAX: Final = 4_096
_log = logging.getLogger("goclaw.executors")


class Mailbox:
    """Signals in order of arrival, and whoever waits for one.

    A message is taken once. `changes` counts all that came, `patches` the patches.
    """

    def __init__(self) -> None:
        self._waiting: deque[Signal] = deque()
        self._known: dict[str, None] = {}
        self._changed = threading.Condition()
        self._waiters: list[Waiter] = []
        self._callbacks: list[Callback] = []
        self.changes = 0
        self.patches = 0

    def fresh(self, signals: Iterable[Signal]) -> list[Signal]:
        """Return those that did not come before; a patch without an id is new each time."""
        with self._changed:
            return [one for one in signals if not one.id or one.id not in self._known]

    def put(self, fresh: list[Signal]) -> None:
        """Take in what is new, and wake who waits."""
        with self._changed:
            self._waiting.extend(fresh)
            self._known.update((signal.id, None) for signal in fresh)
            while len(self._known) > KNOWN_MAX:
                del self._known[next(iter(self._known))]
            self.patches += sum(signal.kind == PARAMS for signal in fresh)
            self._forget_patches()
            callbacks = list(self._callbacks)
        self.wake()
        for signal in fresh:
            for callback in callbacks:
                callback(signal)

    def _forget_patches(self) -> None:
        patches = [one for one in self._waiting if one.kind == PARAMS]
        for one in patches[: len(patches) - PATCHES_MAX]:
            self._waiting.remove(one)

    def withdraw(self, signal_id: str) -> None:
        """Drop a message that nobody took."""
        with self._changed:
            self._waiting = deque(one for one in self._waiting if one.id != signal_id)

    def wake(self) -> None:
        """Have whoever waits look again."""
        with self._changed:
            self.changes += 1
            waiters, self._waiters = self._waiters, []
            self._changed.notify_all()
        for loop, future in waiters:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(_resolve, future)

    # -- taking --------------------------------------------------------------------------------

    def take(self) -> Signal | None:
        """Take the first signal, a patch or a message of any mode; None: there is none."""
        with self._changed:
            if not self._waiting:
                return None
            first = self._waiting[0]
            return self._merged() if first.mode == COALESCE else self._waiting.popleft()

    def take_messages(self) -> list[Signal]:
        """Take all messages but those for a later turn; what came to be merged is one."""
        with self._changed:
            found: list[Signal] = []
            for one in list(self._waiting):
                if one.kind == PARAMS or one.mode == FOLLOWUP:
                    continue
                if one.mode != COALESCE:
                    self._waiting.remove(one)
                    found.append(one)
                elif one in self._waiting:
                    found.append(self._merged())
            return found

    def take_turn(self) -> Signal | None:
        """Take the first message for a later turn; None: there is none."""
        with self._changed:
            for one in self._waiting:
                if one.mode == FOLLOWUP:
                    self._waiting.remove(one)
                    return one
            return None

    def has_messages(self) -> bool:
        """Tell whether `take_messages` would find one."""
        with self._changed:
            return any(one.kind != PARAMS and one.mode != FOLLOWUP for one in self._waiting)

    def _merged(self) -> Signal:
        """Take everything that came to be merged, as one; under the lock."""
        parts = [one for one in self._waiting if one.mode == COALESCE]
        self._waiting = deque(one for one in self._waiting if one.mode != COALESCE)
        return parts[0]._replace(
            body=[one.body for one in parts],
            redelivered=any(one.redelivered for one in parts),
            parts=tuple(one.id for one in parts),
        )

    # -- waiting -------------------------------------------------------------------------------

    async def change(self, after: int) -> None:
        """Wait on a loop until more than `after` changes came."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        waiter = (loop, future)
        with self._changed:
            if self.changes > after:
                return
            self._waiters.append(waiter)
        try:
            await future
        finally:
            with self._changed, contextlib.suppress(ValueError):
                self._waiters.remove(waiter)

    def wait(self, after: int, timeout_s: float | None) -> bool:
        """Wait in a thread until more than `after` changes came; False: it took too long."""
        with self._changed:
            return self._changed.wait_for(lambda: self.changes > after, timeout_s)

    def on_signal(self, callback: Callback) -> None:
        """Call back for each signal that waits or comes: on the loop here, else on a thread."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            call: Callback = _OnThread(callback)
        else:
            call = _OnLoop(loop, callback)
        with self._changed:
            self._callbacks.append(call)
            for signal in self._waiting:
                call(signal)

    def end(self) -> None:
        """Call nobody back any more."""
        with self._changed:
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            if isinstance(callback, _OnThread):
                callback.stop()


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class _OnLoop:
    """Call back on a loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callback) -> None:
        self._loop = loop
        self._callback = callback

    def __call__(self, signal: Signal) -> None:
        with contextlib.suppress(RuntimeError):  # it is closed
            self._loop.call_soon_threadsafe(self._callback, signal)


class _OnThread:
    """Call back on a thread of its own, in order: user code may block, who delivers may not."""

    def __init__(self, callback: Callback) -> None:
        self._callback = callback
        self._queue: SimpleQueue[Signal | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._main, name="goclaw-signals", daemon=True)
        self._thread.start()

    def __call__(self, signal: Signal) -> None:
        self._queue.put(signal)

    def stop(self) -> None:
        self._queue.put(None)

    def _main(self) -> None:
        while (signal := self._queue.get()) is not None:
            try:
                self._callback(signal)
            except Exception:  # noqa: BLE001 - as a callback on a loop: it is logged
                _log.exception("a callback for signals failed")


def ids_of(signals: Iterable[Signal]) -> list[str]:
    """Return the ids of messages, those of merged ones all."""
    return [name for one in signals if one.kind != PARAMS for name in (one.parts or (one.id,))]


def patch_of(signals: Iterable[Signal]) -> dict[str, Any]:
    """Return what patches change together: the latest wins by key."""
    patch: dict[str, Any] = {}
    for signal in signals:
        if signal.kind == PARAMS:
            patch.update(signal.body)
    return patch
