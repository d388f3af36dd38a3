"""The signals that ask a program to end: the first one politely, the second at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING, Final, Self

from goclaw.errors import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Callable

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """While entered, on a running loop: SIGINT or SIGTERM sets `first`; another one is final.

    `on_first` is called on the loop; `on_second` too, just before the process ends without any
    cleaning up, which a log that is written before anything else happens can bear. Outside the
    main thread it catches nothing.
    """

    def __init__(self, on_first: Callable[[], None], on_second: Callable[[], None]) -> None:
        self.first = asyncio.Event()
        self._on_first = on_first
        self._on_second = on_second
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Self:
        for number in SIGNALS:
            with contextlib.suppress(RuntimeError, ValueError, NotImplementedError):
                self._loop.add_signal_handler(number, self._caught)
        return self

    def __exit__(self, *_: object) -> None:
        for number in SIGNALS:
            with contextlib.suppress(RuntimeError, ValueError, NotImplementedError):
                self._loop.remove_signal_handler(number)

    def interrupt(self) -> None:
        """Do what a first signal does."""
        if not self.first.is_set():
            self.first.set()
            self._on_first()

    def _caught(self) -> None:
        if not self.first.is_set():
            self.interrupt()
            return
        with contextlib.suppress(Exception):
            self._on_second()
        os._exit(EXIT_INTERRUPTED)
