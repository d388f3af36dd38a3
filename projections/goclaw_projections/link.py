"""Messages between an engine and the process that folds for it: msgpack behind its length."""

from __future__ import annotations

import select
import struct
from typing import TYPE_CHECKING, Any, Final

from goclaw_events.errors import LogDamaged
from goclaw_events.value import packer, unpack

if TYPE_CHECKING:
    import socket

MESSAGE_BYTES_MAX: Final = 256 * 1024 * 1024
"""Far above what a group and its rows can have; more is no message of ours."""
_LENGTH: Final = struct.Struct(">I")

FOLD: Final = "fold"
"""`[FOLD, frames, [[view, slot, rows to begin with or None]...]]`: fold a group into rows."""
GET: Final = "get"
"""`[GET, key]`: the answer is the value of a stored row, or None."""
READY: Final = "ready"
FOLDED: Final = "folded"
"""`[FOLDED, [[key, value or None]...] of each view]`."""
FAILED: Final = "failed"
"""`[FAILED, why]`: no rows were made of the group, and those in memory are forgotten."""


class LinkLost(Exception):
    """The other side is gone, does not answer in time, or does not speak as it should."""


class Link:
    """One end of a socket pair. Used by one thread."""

    def __init__(self, own: socket.socket) -> None:
        self._socket = own
        self._pack = packer()

    @property
    def has_something(self) -> bool:
        """Tell whether a message, or the end, can be received without waiting for its beginning."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    def send(self, message: list[Any]) -> None:
        """Send a message; raises `LinkLost`."""
        data = self._pack(message)
        try:
            self._socket.sendall(_LENGTH.pack(len(data)))
            self._socket.sendall(data)
        except OSError as error:
            raise LinkLost(str(error)) from error

    def receive(self) -> list[Any]:
        """Wait for the next message; raises `LinkLost`."""
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size))
        if length > MESSAGE_BYTES_MAX:
            msg = f"a message of {length} bytes"
            raise LinkLost(msg)
        try:
            message = unpack(self._read(length))
        except LogDamaged as error:
            raise LinkLost(str(error)) from error
        if not isinstance(message, list) or not message:
            msg = "not a message"
            raise LinkLost(msg)
        return message

    def _read(self, length: int) -> bytes:
        data = bytearray(length)
        view, at = memoryview(data), 0
        while at < length:
            try:
                count = self._socket.recv_into(view[at:])
            except OSError as error:
                raise LinkLost(str(error) or type(error).__name__) from error
            if not count:
                msg = "closed by the other side"
                raise LinkLost(msg)
            at += count
        return bytes(data)

    def close(self) -> None:
        """Let go of the socket; the other side sees the end."""
        self._socket.close()
