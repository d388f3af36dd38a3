"""Messages between the engine and its child processes: msgpack behind a length of four bytes."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import msgpack

if TYPE_CHECKING:
    from collections.abc import Iterator

FRAME_BYTES_MAX: Final = 96 * 1024 * 1024
"""The largest message: a value may have 64 MiB, and what stands around it is small."""
READ_BYTES: Final = 256 * 1024
_LENGTH: Final = struct.Struct(">I")


class FrameTooLarge(ValueError):
    """A message is larger than either side is prepared to hold."""


def framed(message: object) -> bytes:
    """Return a message as it goes over a socket; raises `FrameTooLarge`."""
    body = msgpack.packb(message)
    if len(body) > FRAME_BYTES_MAX:
        msg = f"a message of {len(body)} bytes exceeds {FRAME_BYTES_MAX}"
        raise FrameTooLarge(msg)
    return _LENGTH.pack(len(body)) + bytes(body)


class Frames:
    """Cut a stream of bytes into messages."""

    __slots__ = ("_held", "_wanted")

    def __init__(self) -> None:
        self._held = bytearray()
        self._wanted = _LENGTH.size

    def feed(self, data: bytes) -> Iterator[Any]:
        """Yield the messages that are whole now; raises `ValueError` on what is no message."""
        held = self._held
        held += data
        if len(held) < self._wanted:
            return
        at, end = 0, len(held)
        while end - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(held, at)
            if length > FRAME_BYTES_MAX:
                msg = f"a message claims {length} bytes"
                raise FrameTooLarge(msg)
            start = at + _LENGTH.size
            if end - start < length:
                break
            yield msgpack.unpackb(bytes(held[start : start + length]), strict_map_key=False)
            at = start + length
        del held[:at]
        self._wanted = _LENGTH.size
        if len(held) >= _LENGTH.size:
            self._wanted += _LENGTH.unpack_from(held)[0]
