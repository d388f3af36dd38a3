"""Who reads the output of tasks while it is written."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class Outputs:
    """Readers by the stream of the task whose output they read. Any thread."""

    def __init__(self) -> None:
        self._readers: dict[str, list[Callable[[], None]]] = {}
        self._lock = threading.Lock()

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
