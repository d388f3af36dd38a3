"""The output of tasks while it is written: how much is under way, and who reads it."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class Outputs:
    """Readers by the stream of the task whose output they read, and what is not written yet.

    `emitted_bytes` is what the rows of all chunks took that came since the start. Any thread.
    """

    def __init__(self, unwritten_bytes_max: int) -> None:
        self._unwritten_bytes_max = unwritten_bytes_max
        self._unwritten = 0
        self.emitted_bytes = 0
        self._readers: dict[str, list[Callable[[], None]]] = {}
        self._lock = threading.Lock()

    @property
    def is_crowded(self) -> bool:
        """Tell whether whoever emits should wait for what it emitted last."""
        return self._unwritten > self._unwritten_bytes_max

    def take(self, size: int, row_bytes: int) -> None:
        """Hear of chunks that are to be written, and of what their rows take."""
        with self._lock:
            self._unwritten += size
            self.emitted_bytes += row_bytes

    def give(self, size: int) -> None:
        """Hear of bytes that were written."""
        with self._lock:
            self._unwritten -= size

    @contextmanager
    def listen(self, stream: str, more: Callable[[], None]) -> Iterator[None]:
        """Have `more` called whenever chunks of a task were written; it must not block."""
        with self._lock:
            self._readers.setdefault(stream, []).append(more)
        try:
            yield
        finally:
            with self._lock:
                readers = self._readers[stream]
                readers.remove(more)
                if not readers:
                    del self._readers[stream]

    def notify(self, streams: Iterable[str]) -> None:
        """Tell the readers of tasks that there is more."""
        with self._lock:
            if not self._readers:
                return
            wanted = [more for stream in set(streams) for more in self._readers.get(stream, ())]
        for more in wanted:
            more()
