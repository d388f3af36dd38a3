"""One program at work: what it is fed, what it says, and how it is made to end."""

from __future__ import annotations

import codecs
import contextlib
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

READ_BYTES: Final = 64 * 1024
_Decoder: Final = codecs.getincrementaldecoder("utf-8")


class Capture:
    """Read a pipe to its end: the first bytes are kept, the rest is read and dropped.

    So a program never waits for us, and memory stays bounded. Belongs to the loop's thread.
    """

    __slots__ = ("_at_end", "_data", "_fd", "_loop", "_max", "truncated")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fd: int,
        bytes_max: int,
        at_end: Callable[[], None],
    ) -> None:
        os.set_blocking(fd, False)
        self._loop = loop
        self._fd = fd
        self._max = bytes_max
        self._at_end = at_end
        self._data = bytearray()
        self.truncated = False
        loop.add_reader(fd, self._read)

    @property
    def open(self) -> bool:
        """Tell whether more may come."""
        return self._fd >= 0

    def text(self) -> str:
        """Return what was kept as text, without a character that was cut in two.

        Bytes that are no UTF-8 are written as a backslash, an x and two digits.
        """
        return _Decoder("backslashreplace").decode(bytes(self._data), final=not self.truncated)

    def close(self) -> None:
        """Read no further; twice is once."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> None:
        try:
            data = os.read(self._fd, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            self._at_end()
            return
        room = self._max - len(self._data)
        if len(data) > room:
            self.truncated = True
        if room > 0:
            self._data += data[:room]


class Feed:
    """Write bytes to a pipe as its reader takes them, then close it. Belongs to the loop."""

    __slots__ = ("_data", "_fd", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int, data: bytes) -> None:
        os.set_blocking(fd, False)
        self._loop = loop
        self._fd = fd
        self._data = memoryview(data)
        loop.add_writer(fd, self._write)

    def close(self) -> None:
        """Write no further; twice is once."""
        if self._fd >= 0:
            self._loop.remove_writer(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _write(self) -> None:
        try:
            self._data = self._data[os.write(self._fd, self._data) :]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:  # it does not want more
            self.close()
            return
        if not self._data:
            self.close()


class Pipes:
    """The three pipes of a program that is about to start; raises `OSError` if there are none.

    `theirs` become its files 0, 1 and 2. Without input it reads from nothing.
    """

    __slots__ = ("error", "input", "output", "theirs")

    def __init__(self, *, with_input: bool) -> None:
        made: list[int] = []
        try:
            if with_input:
                their_input, self.input = os.pipe()
                made += (their_input, self.input)
            else:
                their_input, self.input = os.open(os.devnull, os.O_RDONLY), -1
                made.append(their_input)
            self.output, their_output = os.pipe()
            made += (self.output, their_output)
            self.error, their_error = os.pipe()
        except OSError:
            for fd in made:
                with contextlib.suppress(OSError):
                    os.close(fd)
            raise
        self.theirs = [their_input, their_output, their_error]
