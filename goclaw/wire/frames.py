"""What goes over a connection: frames of a length and a msgpack map (docs/reference/socket.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgpack

from goclaw.errors import InvalidRequest
from goclaw_events.value import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Mapping

PROTOCOL: Final = 1
LENGTH_BYTES: Final = 4
REQUEST_BYTES_MAX: Final = 16 * 1024 * 1024
ANSWER_BYTES_MAX: Final = 80 * 1024 * 1024
"""More than the largest value that a log keeps (64 MiB)."""
DEPTH_MAX: Final = 64
LARGE_BYTES: Final = 64 * 1024
"""What is larger is unpacked off the loop."""


def frame(message: Mapping[str, Any]) -> bytes:
    """Write a message; raises `ValueNotStorable`."""
    data = pack(message)
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


def read_request(data: bytes) -> dict[str, Any]:
    """Read what a client sent: a map, at most `DEPTH_MAX` deep, without extensions.

    Raises `InvalidRequest`.
    """
    try:
        message = msgpack.unpackb(data, strict_map_key=True, max_ext_len=0)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise InvalidRequest(f"a request is not msgpack: {error}") from error
    if not isinstance(message, dict):
        raise InvalidRequest(f"a request is a map, not {type(message).__name__}")
    _check_depth(message)
    return message


def _check_depth(message: Any) -> None:
    level = [message]
    for _ in range(DEPTH_MAX):
        level = [
            inner
            for item in level
            for inner in (item.values() if isinstance(item, dict) else item)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return
    raise InvalidRequest(f"a request is more than {DEPTH_MAX} levels deep")


def read_answer(data: bytes) -> dict[str, Any]:
    """Read what an engine sent; raises `LogDamaged` on what is none."""
    message: dict[str, Any] = unpack(data)
    return message
