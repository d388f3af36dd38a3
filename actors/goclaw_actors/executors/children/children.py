"""What all executors of child processes share: a loop of their own, a launcher, loading threads."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.executors.children.groups import kill_leftovers
from goclaw_actors.executors.children.launcher import Launcher
from goclaw_actors.executors.errors import ExecutorExhausted
from goclaw_actors.executors.pool import ThreadPool
from goclaw_actors.executors.resolve import HasReferences, plain_copy

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_actors.executors.context import ContextPorts
    from goclaw_actors.executors.pool import Worker
    from goclaw_events.value import Value

    Then = Callable[[Value, Exception | None], None]

LOADERS_MAX: Final = 2
_IDLE_S: Final = 30.0
_JOIN_S: Final = 15.0
_log = logging.getLogger("goclaw.executors")


class Children:
    """Run the loop on which child processes are looked after; it starts with the first call.

    `folder` is where process groups are written down while they live; without one it is made
    when it is needed, and removed at the end. Making a `Children` kills what is left of an engine
    that had the same folder and ended without tidying up, so it comes before any work is started
    again.
    """

    def __init__(self, folder: Path | None = None) -> None:
        killed, left = _kill_leftovers(folder) if folder is not None else (0, 0)
        if killed:
            extra = {"action": "leftovers_killed", "processes": killed}
            _log.warning(
                "%d processes of an engine before this one were killed", killed, extra=extra
            )
        if left:
            _log.error("%d processes of an engine before this one do not end", left)
        self._folder = folder
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._launcher: Launcher | None = None
        self._loaders = ThreadPool("goclaw-load", threads_max=LOADERS_MAX, idle_s=_IDLE_S)
        self._closed = False

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function on the thread of the loop. Any thread; without effect after `close`."""
        with self._lock:
            if self._closed:
                return
            loop = self._loop or self._begin()
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(function, *args)

    def close(self) -> None:
        """Kill what still runs, end the loop and the launcher; waits for them."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            loop, thread = self._loop, self._thread
        self._loaders.close(0.0)
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(_JOIN_S)

    # What follows belongs to the thread of the loop.

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop; it runs."""
        assert self._loop is not None, "called on the thread of the loop"
        return self._loop

    @property
    def launcher(self) -> Launcher:
        """Return the launcher."""
        assert self._launcher is not None, "called on the thread of the loop"
        return self._launcher

    def given(self, params: Value, ports: ContextPorts, then: Then) -> None:
        """Call `then` with a private copy of parameters, all of it there, or with an error.

        At once where there are neither references nor secrets, otherwise when a thread has them.
        """
        try:
            value = plain_copy(params)
        except HasReferences:
            self.load_in_thread(lambda: ports.whole(params), then)
        else:
            then(value, None)

    def load_in_thread(self, read: Callable[[], Value], then: Then) -> None:
        """Call `read`, which may block, on a thread and `then` with what came of it."""

        def work(_: Worker) -> None:
            try:
                value = read()
            except Exception as error:  # noqa: BLE001 - it is said where it was asked for
                self.call(then, None, error)
            else:
                self.call(then, value, None)

        if self._loaders.submit([work]):
            then(None, ExecutorExhausted("no thread can be started to load values"))

    def _begin(self) -> asyncio.AbstractEventLoop:
        loop = self._loop = asyncio.new_event_loop()
        folder = self._folder or Path(tempfile.mkdtemp(prefix="goclaw-"))
        self._launcher = Launcher(loop, folder)
        self._thread = threading.Thread(
            target=self._main, args=(loop,), name="goclaw-children", daemon=True
        )
        self._thread.start()
        return loop

    def _main(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            self.launcher.close()
            loop.close()
            if self._folder is None:
                shutil.rmtree(self.launcher.folder, ignore_errors=True)


def _kill_leftovers(folder: Path) -> tuple[int, int]:
    try:
        return kill_leftovers(folder)
    except OSError as error:  # the engine starts all the same: what it does is fenced by tokens
        _log.error("what an engine before this one left cannot be looked up: %s", error)
        return 0, 0
