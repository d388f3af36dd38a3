"""Messages between an engine and the process that folds for it, in msgpack."""

from __future__ import annotations

import os
import select
import socket
import struct
import tempfile
from typing import TYPE_CHECKING, Any, Final

from goclaw_events.errors import LogDamaged
from goclaw_events.value import packer, unpack

if TYPE_CHECKING:
    from contextlib import ExitStack

MESSAGE_BYTES_MAX: Final = 256 * 1024 * 1024
"""Far above what a group and its rows can have; more is no message of ours."""
_LENGTH: Final = struct.Struct(">I")

FOLD: Final = "fold"
"""`[FOLD, frames, [[view, slot, begin or None]...]]`: fold a group into rows.

`begin` is what memory held here: `[{key: row}, [keys that no row has]]`; None: go on."""
GET: Final = "get"
"""`[GET, key...]`: the answer is a list of the values of stored rows, or None for each."""
READY: Final = "ready"
FOLDED: Final = "folded"
"""`[FOLDED, [key, value or None, key, value or None...] of each view]`, in order of key."""
FAILED: Final = "failed"
"""`[FAILED, why]`: no rows were made of the group, and those in memory are forgotten."""


class LinkLost(Exception):
    """The other side is gone, does not answer in time, or does not speak as it should."""


def shared_file(undo: ExitStack) -> int:
    """Return a descriptor of a file in memory that has no name; `undo` closes it."""
    if hasattr(os, "memfd_create"):  # Linux
        descriptor = os.memfd_create("goclaw-folding")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    undo.callback(os.close, descriptor)
    return descriptor


class Link:
    """One end: a message stands in a file, and its length goes through a socket. One thread.

    A socket holds some 200 KB: a large message would come in parts, and for each of them the
    interpreter's lock would be waited for. Nothing is overwritten that is still to be read: each
    side has a file, and they speak in turn.
    """

    def __init__(self, own: socket.socket, writes: int, reads: int) -> None:
        self._socket = own
        self._writes = writes
        self._reads = reads
        self._pack = packer()

    @property
    def has_something(self) -> bool:
        """Tell whether a message, or the end, can be received without waiting for its beginning."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    def send(self, message: list[Any]) -> None:
        """Send a message; raises `LinkLost`."""
        data = memoryview(self._pack(message))
        try:
            at = 0
            while at < len(data):
                at += os.pwrite(self._writes, data[at:], at)
            self._socket.sendall(_LENGTH.pack(len(data)))
        except OSError as error:
            raise LinkLost(str(error)) from error

    def receive(self) -> list[Any]:
        """Wait for the next message; raises `LinkLost`."""
        try:
            told = self._socket.recv(_LENGTH.size, socket.MSG_WAITALL)
            if len(told) < _LENGTH.size:
                msg = "closed by the other side"
                raise LinkLost(msg)
            (length,) = _LENGTH.unpack(told)
            message = unpack(os.pread(self._reads, min(length, MESSAGE_BYTES_MAX), 0))
        except OSError as error:
            raise LinkLost(str(error) or type(error).__name__) from error
        except LogDamaged as error:
            raise LinkLost(str(error)) from error
        if not isinstance(message, list) or not message:
            msg = "not a message"
            raise LinkLost(msg)
        return message

    def close(self) -> None:
        """Let go of socket and files; the other side sees the end."""
        self._socket.close()
        for descriptor in (self._writes, self._reads):
            os.close(descriptor)
