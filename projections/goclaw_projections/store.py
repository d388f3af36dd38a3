"""Where views are kept: the port, and the adapter that keeps them in memory."""

from __future__ import annotations

import bisect
import threading
from typing import TYPE_CHECKING, NoReturn, Protocol

from goclaw_projections.errors import ViewsClosed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Change = tuple[bytes, bytes | None]


class ViewStore(Protocol):
    """Keep the rows of every projection and their checkpoints, sorted by key.

    All methods may be called from any thread. Nothing here is the truth: a store may be lost
    or deleted at any time and is built again from the log. It need not survive a crash whole,
    but what it holds then is the state after one of the writes, never half of one.
    """

    def get(self, key: bytes) -> bytes | None:
        """Return one row's value."""
        ...

    def scan(
        self, prefix: bytes, *, after: bytes | None = None, backwards: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) for the keys that begin with `prefix`, in order of key.

        `after` is the key behind which to begin, in the direction of the scan. A scan is no
        snapshot: rows written meanwhile may or may not be seen.
        """
        ...

    def write(self, changes: Sequence[Change], dropped: Sequence[bytes] = ()) -> None:
        """Delete all keys with the prefixes `dropped`, then put (None: delete), as one write."""
        ...

    def close(self) -> None:
        """Let go of what is held; idempotent. Later calls raise `ViewsClosed`."""
        ...


class MemoryViewStore:
    """Keep views for as long as the process lives."""

    def __init__(self) -> None:
        self._rows: dict[bytes, bytes] = {}
        self._sorted: list[bytes] | None = []
        self._lock = threading.Lock()
        self._closed = False

    def get(self, key: bytes) -> bytes | None:
        """Return one row's value."""
        self._check_open()
        return self._rows.get(key)

    def scan(
        self, prefix: bytes, *, after: bytes | None = None, backwards: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) for the keys that begin with `prefix`, in order of key."""
        with self._lock:
            self._check_open()
            if self._sorted is None:
                self._sorted = sorted(self._rows)
            keys = self._sorted
            start, end = bisect.bisect_left(keys, prefix), bisect.bisect_left(keys, end_of(prefix))
            if after is not None and backwards:
                end = min(end, bisect.bisect_left(keys, after))
            elif after is not None:
                start = max(start, bisect.bisect_right(keys, after))
            found = keys[start:end]
        for key in reversed(found) if backwards else found:
            value = self._rows.get(key)
            if value is not None:
                yield key, value

    def write(self, changes: Sequence[Change], dropped: Sequence[bytes] = ()) -> None:
        """Delete all keys with the prefixes `dropped`, then put (None: delete), as one write."""
        with self._lock:
            self._check_open()
            for prefix in dropped:
                self._rows = {k: v for k, v in self._rows.items() if not k.startswith(prefix)}
            for key, value in changes:
                if value is None:
                    self._rows.pop(key, None)
                else:
                    self._rows[key] = value
            self._sorted = None

    def close(self) -> None:
        """Forget every row."""
        with self._lock:
            self._closed = True
            self._rows = {}

    def _check_open(self) -> None:
        if self._closed:
            raise_closed()


def end_of(prefix: bytes) -> bytes:
    """Return the first key behind all that begin with `prefix` (whose last byte is not 0xff)."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))


def raise_closed() -> NoReturn:
    """Raise `ViewsClosed`."""
    msg = "the views are closed"
    raise ViewsClosed(msg, hint="the engine was closed; open it again")
