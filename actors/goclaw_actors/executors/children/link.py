"""One end of a socket to another process, served by a loop: messages in, messages and files out."""

from __future__ import annotations

import array
import logging
import os
import socket
from collections import deque
from typing import TYPE_CHECKING, Any

from goclaw_actors.executors.children.wire import READ_BYTES, Frames

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

_log = logging.getLogger("goclaw.executors")


class Link:
    """Hand messages over as they come. Belongs to the thread of the loop.

    `on_closed` is called once, when the other side has gone or talks nonsense, and not for
    `close`.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        end: socket.socket,
        on_message: Callable[[Any], None],
        on_closed: Callable[[], None],
    ) -> None:
        end.setblocking(False)
        self._loop = loop
        self._end = end
        self._on_message = on_message
        self._on_closed = on_closed
        self._frames = Frames()
        self._waiting: deque[tuple[memoryview, Sequence[int]]] = deque()
        self._open = True
        self._held_up = False
        loop.add_reader(end.fileno(), self._read)

    def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Send framed bytes and files along with them; waits in memory if it must.

        The files are the link's from now on: it closes them when the other side has them. After
        the link closed nothing is sent, and `on_closed` has said so.
        """
        if not self._open:
            _close(fds)
            return
        self._waiting.append((memoryview(data), fds))
        if len(self._waiting) == 1:
            self._write()

    def drain(self) -> None:
        """Take what has come already: the last words of a process that has ended."""
        while self._open and self._read():
            pass

    def close(self) -> None:
        """Close this end; twice is once."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._end.fileno())
            self._loop.remove_writer(self._end.fileno())
            for _, fds in self._waiting:
                _close(fds)
            self._waiting.clear()
            self._end.close()

    def _read(self) -> bool:
        try:
            data = self._end.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data = b""
        if not data:
            self._lost()
            return False
        try:
            for message in self._frames.feed(data):
                self._on_message(message)
                if not self._open:
                    return False
        except ValueError as error:
            _log.warning("a child process does not keep to the protocol: %s", error)
            self._lost()
            return False
        return True

    def _write(self) -> None:
        waiting = self._waiting
        try:
            while waiting:
                data, fds = waiting[0]
                if fds:
                    held = array.array("i", fds).tobytes()
                    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, held)]
                    sent = self._end.sendmsg([data], ancillary)
                    _close(fds)
                    waiting[0] = (data, ())
                else:
                    sent = self._end.send(data)
                if sent < len(data):
                    waiting[0] = (data[sent:], ())
                else:
                    waiting.popleft()
        except (BlockingIOError, InterruptedError):
            self._held_up = True
            self._loop.add_writer(self._end.fileno(), self._write)
            return
        except OSError:
            self._loop.call_soon(self._lost)
            return
        if self._held_up:
            self._held_up = False
            self._loop.remove_writer(self._end.fileno())

    def _lost(self) -> None:
        if self._open:
            self.close()
            self._on_closed()


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
