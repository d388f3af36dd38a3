"""The engine's side of one worker process: what it is told, what it says, what it prints."""

from __future__ import annotations

import codecs
import logging
import os
import signal
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_actors.executors.children.launcher import Order
from goclaw_actors.executors.children.link import Link
from goclaw_actors.executors.children.wire import framed
from goclaw_events.errors import CodedError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    from goclaw_actors.executors.children.children import Children
    from goclaw_actors.executors.children.launcher import Child, Exit
    from goclaw_actors.executors.redaction import Redactor
    from goclaw_actors.executors.run import Run

    Heard: TypeAlias = "Callable[[WorkerLink, list[Any]], None]"
    Ended: TypeAlias = "Callable[[WorkerLink, Exit], None]"

PRINTED_BYTES_MAX: Final = 64 * 1024
"""What an agent prints beyond this, in one attempt, is counted and dropped."""
LINE_BYTES_MAX: Final = 2 * 1024
_READ_BYTES: Final = 64 * 1024
_Decoder: Final = codecs.getincrementaldecoder("utf-8")
_output = logging.getLogger("goclaw.agent.output")


class _Ends(NamedTuple):
    """Our ends of what connects us to a worker, and the files that it is given."""

    work: socket.socket
    control: socket.socket
    output: int
    theirs: list[int]


def _ends() -> _Ends:
    """Open them all; raises `OSError`, and none is left open then."""
    with ExitStack() as made:
        work, their_work = map(made.enter_context, socket.socketpair())
        control, their_control = map(made.enter_context, socket.socketpair())
        output, their_output = os.pipe()
        made.callback(os.close, output)
        made.callback(os.close, their_output)
        nothing = os.open(os.devnull, os.O_RDONLY)
        made.callback(os.close, nothing)
        their_error = os.dup(their_output)
        made.pop_all()
    theirs = [nothing, their_output, their_error, their_work.detach(), their_control.detach()]
    return _Ends(work, control, output, theirs)


class WorkerLink:
    """A worker process. Belongs to the thread of the loop; making one raises `OSError`.

    `run` is what it works on, `served` counts what it answered, `ready` once it takes work,
    `leaving` when it gets no more.
    """

    def __init__(
        self,
        children: Children,
        argv: Sequence[str],
        environment: Mapping[str, str],
        limits: Mapping[str, int],
        heard: Heard,
        ended: Ended,
        redactor: Redactor,
    ) -> None:
        self.run: Run | None = None
        self.served = 0
        self.ready = False
        self.leaving = False
        self.idle_since_s = 0.0
        self._children = children
        self._ended = ended
        self._heard = heard
        folder = str(Path.cwd())
        loop, ends = children.loop, _ends()
        self._printed = Printed(loop, ends.output, self, redactor)
        self._work = Link(loop, ends.work, self._said, self._closed)
        self._control = Link(loop, ends.control, lambda _: None, lambda: None)
        order = Order(argv[0], argv, environment, folder, limits, ends.theirs)
        try:
            self.child: Child = children.launcher.spawn(order, self._exited)
        except OSError:
            self.close()
            raise

    def send(self, message: object) -> None:
        """Give it work; raises `FrameTooLarge`."""
        self._work.send(framed(message))

    def control(self, message: object) -> None:
        """Tell it something beside its work."""
        self._control.send(framed(message))

    def begin(self, run: Run) -> None:
        """Take note of what it works on from now."""
        self._printed.begin()
        self.run = run

    def hear_out(self) -> None:
        """Take what it has printed so far, while it is known for what."""
        self._printed.read()

    def retire(self) -> None:
        """Let it go once it has answered: without a socket it ends."""
        self.leaving = True
        if self.run is None:
            self._work.close()

    def close(self) -> None:
        """Hear no more of it."""
        self._work.close()
        self._control.close()
        self._printed.close()

    def _said(self, message: Any) -> None:
        """Hand a message over; raises `ValueError` for what no worker says."""
        try:
            self._heard(self, message)
        except (CodedError, LookupError, TypeError, AttributeError) as error:
            msg = f"{type(error).__name__}: {error}"
            raise ValueError(msg) from error

    def _closed(self) -> None:
        """Make sure of its end, which the launcher reports: it has ended, or talks nonsense."""
        self.leaving = True
        self._children.launcher.signal(self.child, signal.SIGKILL)

    def _exited(self, end: Exit) -> None:
        self._work.drain()
        self._printed.drain()
        self.close()
        self._ended(self, end)


class Printed:
    """Log what a worker prints, line by line and bounded. Belongs to the thread of the loop."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, fd: int, worker: WorkerLink, redactor: Redactor
    ) -> None:
        os.set_blocking(fd, False)
        self._loop = loop
        self._fd = fd
        self._worker = worker
        self._redactor = redactor
        self._torn = False
        self._rest = b""
        self._left = PRINTED_BYTES_MAX
        self._dropped = 0
        loop.add_reader(fd, self.read)

    def begin(self) -> None:
        """Give the next attempt its own share."""
        self._say_dropped()
        self._left = PRINTED_BYTES_MAX

    def drain(self) -> None:
        """Take what has come already, also a line without an end."""
        while self.read():
            pass
        if self._rest:
            self._say(self._rest)
            self._rest = b""
        self._say_dropped()

    def close(self) -> None:
        """Read no further; twice is once."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def read(self) -> bool:
        """Take some of what has come; tell whether there was any."""
        if self._fd < 0:
            return False
        try:
            data = os.read(self._fd, _READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data = b""
        if not data:
            self.close()
            return False
        if self._left <= 0:
            self._dropped += len(self._rest) + len(data)
            self._rest, self._torn = b"", True
            return True
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._say(line)
        if len(self._rest) > LINE_BYTES_MAX:
            self._say(self._rest, ends=False)
            self._rest = b""
        return True

    def _say(self, line: bytes, *, ends: bool = True) -> None:
        """Log a line, or a part of one that is too long; the cuts do not show what is secret."""
        torn, self._torn = self._torn, not ends
        self._left -= len(line) + 1
        if self._left < 0:
            self._dropped += len(line) + 1
            return
        cut = not ends or len(line) > LINE_BYTES_MAX
        kept = _Decoder("backslashreplace").decode(line[:LINE_BYTES_MAX], final=not cut)
        text = self._redactor.cut(kept, start=torn, end=cut)
        _output.info("%s", text, extra=self._whose())

    def _say_dropped(self) -> None:
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            _output.warning("%d more bytes were printed, and dropped", dropped, extra=self._whose())

    def _whose(self) -> dict[str, Any]:
        run = self._worker.run
        found: dict[str, Any] = {"pid": self._worker.child.pid}
        if run is not None:
            attempt = run.attempt
            found |= {"run_id": attempt.run_id, "task_id": attempt.task_id}
        return found
