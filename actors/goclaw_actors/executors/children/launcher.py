"""The engine's side of the launcher: order a child, hear how it ended."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_actors.executors.children.groups import kill_leftovers
from goclaw_actors.executors.children.launching import EXITED, KILL, REFUSED, SPAWN, SPAWNED
from goclaw_actors.executors.children.link import Link
from goclaw_actors.executors.children.wire import FrameTooLarge, framed

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

MODULE: Final = "goclaw_actors.executors.children.launching"
OUT_OF_MEMORY: Final = "the kernel ran out of memory about then, and most likely chose it"
_END_S: Final = 10.0
_log = logging.getLogger("goclaw.executors")


class Order(NamedTuple):
    """A program to start: the file, what it is told, and its bounds.

    `limits`: see `launching.LIMITS`. `fds` become its files 0, 1, 2...; `spawn` closes ours.
    """

    path: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    limits: Mapping[str, int]
    fds: Sequence[int]


class Exit(NamedTuple):
    """How a child ended, or why it was never there.

    `refused` names the step at which starting it failed (`program`: there is no such file), with
    its `errno`. `lost`: the launcher died, and took its children along. `oom`: about then the
    kernel killed for lack of memory. A signal of 0 is none.
    """

    code: int = 0
    signal: int = 0
    cpu_s: float = 0.0
    rss_bytes: int = 0
    oom: bool = False
    refused: str = ""
    errno: int = 0
    lost: bool = False

    @property
    def signal_name(self) -> str:
        """Return the name of the signal that ended it, as far as it has one."""
        try:
            return signal.Signals(self.signal).name
        except ValueError:
            return f"signal {self.signal}"


class Child:
    """A process that was ordered. `pid` is 0 until it runs, `over` once its end is known."""

    __slots__ = ("number", "on_exit", "on_start", "over", "pid")

    def __init__(
        self, number: int, on_exit: Callable[[Exit], None], on_start: Callable[[], None] | None
    ) -> None:
        self.number = number
        self.on_exit = on_exit
        self.on_start = on_start
        self.pid = 0
        self.over = False


class Launcher:
    """Start children and end them. Belongs to the thread of the loop, except for `start`.

    `folder` is where groups are written down. Its process begins with the first order, and again
    when it died; it never blocks but to start.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, folder: Path) -> None:
        self._loop = loop
        self.folder = folder
        self._children: dict[int, Child] = {}
        self._number = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._link: Link | None = None
        self._closed = False

    @property
    def pid(self) -> int:
        """Return the pid of the launcher's process, 0 while there is none."""
        return self._process.pid if self._process is not None else 0

    def spawn(
        self,
        order: Order,
        on_exit: Callable[[Exit], None],
        on_start: Callable[[], None] | None = None,
    ) -> Child:
        """Order a child; `on_exit` is called once, `on_start` before it if it runs, neither here.

        Raises `OSError` when the launcher cannot be started, and `FrameTooLarge` for words that
        take more than an order may; the files are closed then, too.
        """
        try:
            if self._link is None:
                self._begin()
            assert self._link is not None, "a launcher that has begun has a link"
            data = framed(_told(self._number + 1, order))
        except (OSError, FrameTooLarge):
            for fd in order.fds:
                os.close(fd)
            raise
        self._number += 1
        child = self._children[self._number] = Child(self._number, on_exit, on_start)
        self._link.send(data, order.fds)
        return child

    def signal(self, child: Child, number: signal.Signals) -> None:
        """Send a signal to the group of a child; without effect when it is over."""
        if not child.over and self._link is not None:
            self._link.send(framed([KILL, child.number, int(number)]))

    def close(self) -> None:
        """End the launcher, and so every child, and say so; waits until they are gone."""
        self._closed = True
        link, self._link = self._link, None
        process, self._process = self._process, None
        if link is not None:
            link.close()
        if process is not None:
            _wait(process)
        for number in list(self._children):
            self._over(number, Exit(lost=True))

    def _begin(self) -> None:
        if self._closed:
            msg = "the launcher is closed"
            raise OSError(msg)
        # no Python code runs between fork and exec, so threads of this process do not matter
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-m", MODULE, str(theirs.fileno()), str(self.folder)]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, a module of ours
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._link = Link(self._loop, ours, self._heard, self._died)

    def _heard(self, message: list[Any]) -> None:
        kind, number = message[0], message[1]
        if kind == SPAWNED:
            child = self._children.get(number)
            if child is not None:
                child.pid = message[2]
                if child.on_start is not None:
                    child.on_start()
        elif kind == REFUSED:
            self._over(number, Exit(refused=message[2], errno=message[3]))
        elif kind == EXITED:
            code, signal_number, cpu_s, rss_kib, oom = message[2:]
            self._over(number, Exit(code, signal_number, cpu_s, rss_kib * 1024, oom))

    def _over(self, number: int, end: Exit) -> None:
        child = self._children.pop(number, None)
        if child is not None:
            child.over = True
            child.on_exit(end)

    def _died(self) -> None:
        """Kill what is left of the children, then say that they are lost, with their launcher."""
        self._link = None
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            _wait(process)
        killed, left = kill_leftovers(self.folder)
        _log.error(
            "the launcher of child processes died: %d children ended with it, %d remained and "
            "were killed, %d do not end; the next order starts it again",
            len(self._children),
            killed,
            left,
            extra={"action": "launcher_died"},
        )
        for number in list(self._children):
            self._over(number, Exit(lost=True))


def _told(number: int, order: Order) -> list[Any]:
    """Return an order as the launcher reads it."""
    environment = {os.fsencode(k): os.fsencode(v) for k, v in order.environment.items()}
    what = [
        os.fsencode(order.path),
        [os.fsencode(word) for word in order.argv],
        environment,
        os.fsencode(order.folder),
        dict(order.limits),
    ]
    return [SPAWN, number, secrets.token_hex(8), what, len(order.fds)]


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_END_S)
