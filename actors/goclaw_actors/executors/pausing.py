"""The part of the task context that stands still at a boundary while the task is paused."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterator

    from goclaw_actors.executors.context import ContextPorts
    from goclaw_actors.executors.mailbox import Mailbox
    from goclaw_actors.work import Signal, StartAttempt

_LOCK: Final = threading.Lock()
"""Held while somebody comes to stand still, or goes on; contexts share it, as it is seldom."""


class Pausing:
    """Wait at a boundary until the task is resumed, or asked to stop."""

    __slots__ = ("_paused", "_standing")

    _attempt: StartAttempt
    _ports: ContextPorts
    _paused: bool
    _standing: int

    if TYPE_CHECKING:

        def _leave_if_asked(self) -> None: ...

        def _box(self) -> Mailbox: ...

    @property
    def paused(self) -> bool:
        """Tell whether somebody paused the task: the next boundary that can wait does."""
        return self._paused

    def pause(self, *, is_on: bool) -> None:
        """Take in that the task is paused, or goes on. For the executor; any thread."""
        self._paused = is_on
        self._box().wake()

    def _stand_in_thread(self) -> None:
        """Wait as long as the task is paused; raises as a boundary does."""
        if not self._paused:
            return
        mailbox = self._box()
        with self._stands():
            while True:
                seen = mailbox.changes
                self._leave_if_asked()
                if not self.paused:
                    return
                self._ports.wait(mailbox, seen, None)

    async def _stand_on_loop(self) -> None:
        """Wait as long as the task is paused; raises as a boundary does."""
        if not self._paused:
            return
        mailbox = self._box()
        with self._stands():
            while True:
                seen = mailbox.changes
                self._leave_if_asked()
                if not self.paused:
                    return
                await mailbox.change(seen)

    @contextmanager
    def _stands(self) -> Iterator[None]:
        """Have the executor know that the attempt stands still, wherever in it that is."""
        with _LOCK:
            self._standing += 1
            if self._standing == 1:
                self._ports.stands(self._attempt.token, True)
        try:
            yield
        finally:
            with _LOCK:
                self._standing -= 1
                if not self._standing:
                    self._went_on()
                    self._ports.stands(self._attempt.token, False)

    def _went_on(self) -> None:
        """Begin to count its silence anew."""


class Boundary(list[Any]):
    """The messages that came; whoever awaits it stands still while the task is paused."""

    __slots__ = ("_more", "_stand")

    def __init__(
        self,
        messages: list[Signal],
        stand: Callable[[], Awaitable[None]],
        more: Callable[[], list[Signal]],
    ) -> None:
        super().__init__(messages)
        self._stand = stand
        self._more = more

    def __await__(self) -> Generator[Any, None, list[Signal]]:
        """Wait, and add what came meanwhile."""
        yield from self._stand().__await__()
        self.extend(self._more())
        return self
