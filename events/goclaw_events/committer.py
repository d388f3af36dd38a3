"""Group commit: one thread that turns whatever is queued into one write and one flush."""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, Final

from goclaw_events.errors import CodedError, JournalBroken, JournalUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from goclaw_events.framing import EncodedFrame
    from goclaw_events.journal import Done

    Queued = tuple[EncodedFrame, Done]

QUEUE_FRAMES_MAX: Final = 1024
QUEUE_BYTES_MAX: Final = 64 * 1024 * 1024
GROUP_FRAMES_MAX: Final = 256
GROUP_BYTES_MAX: Final = 16 * 1024 * 1024

_log = logging.getLogger(__name__)


class Committer:
    """Run `commit` on a thread of its own over everything that was queued meanwhile.

    `commit` makes a group durable or raises. `tick` is called between groups and when it asked
    to be (it returns in how many seconds, None: not before the next group). After an error
    nothing is taken until `reset`: everything queued is told the same error, for what stands
    behind a frame of unknown fate must not be stored.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[EncodedFrame]], None],
        tick: Callable[[], float | None],
        name: str = "goclaw-commit",
    ) -> None:
        self._commit = commit
        self._tick = tick
        self._changed = threading.Condition()
        self._queue: deque[Queued] = deque()
        self._queued_bytes = 0
        self._failure: CodedError | None = None
        self._busy = False
        self._closing = False
        self._nudged = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def failure(self) -> CodedError | None:
        """Return why nothing is taken (None: it is)."""
        return self._failure

    def append(self, frame: EncodedFrame, done: Done) -> None:
        """Queue a frame; waits while the queue is full. Raises `JournalUnavailable`."""
        size = _size(frame)
        with self._changed:
            if threading.current_thread() is not self._thread:
                self._changed.wait_for(lambda: self._refuses or self._has_room(size))
            if self._refuses:
                msg = "the log is closed" if self._closing else "the log waits to be recovered"
                raise JournalUnavailable(msg) from self._failure
            self._queue.append((frame, done))
            self._queued_bytes += size
            self._changed.notify_all()

    @property
    def _refuses(self) -> bool:
        return self._closing or self._failure is not None

    def _has_room(self, size: int) -> bool:
        return not self._queue or (
            len(self._queue) < QUEUE_FRAMES_MAX and self._queued_bytes + size <= QUEUE_BYTES_MAX
        )

    def nudge(self) -> None:
        """Have `tick` called soon."""
        with self._changed:
            self._nudged = True
            self._changed.notify_all()

    def settle(self) -> None:
        """Wait until nothing is queued or being committed. Not for the committer's own thread."""
        if threading.current_thread() is self._thread:
            return
        with self._changed:
            self._changed.wait_for(lambda: not self._busy and not self._queue)

    def reset(self) -> None:
        """Take work again after a failure."""
        with self._changed:
            self._failure = None

    def close(self) -> None:
        """Commit what is queued, then end the thread. Idempotent."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        wait_s: float | None = None
        while True:
            with self._changed:
                self._changed.wait_for(self._is_wanted, wait_s)
                self._nudged = False
                group = self._take_group()
                if not group and self._closing:
                    return
            if group:
                self._commit_group(group)
            wait_s = self._between()

    def _is_wanted(self) -> bool:
        return bool(self._queue) or self._closing or self._nudged

    def _take_group(self) -> list[Queued]:
        group: list[Queued] = []
        size = 0
        while self._queue and len(group) < GROUP_FRAMES_MAX:
            size += _size(self._queue[0][0])
            if group and size > GROUP_BYTES_MAX:
                break
            group.append(self._queue.popleft())
        self._queued_bytes -= sum(_size(frame) for frame, _ in group)
        self._busy = bool(group)
        if group:
            self._changed.notify_all()
        return group

    def _commit_group(self, group: list[Queued]) -> None:
        error: CodedError | None = None
        try:
            self._commit([frame for frame, _ in group])
        except CodedError as failure:
            error = failure
        except Exception as failure:  # noqa: BLE001 - whatever it was, the frames' fate is unknown
            error = JournalBroken(f"the commit failed: {type(failure).__name__}: {failure}")
        if error is not None:
            group.extend(self._fail(error))
        for _, done in group:
            _call(done, error)
        with self._changed:
            self._busy = False
            self._changed.notify_all()

    def _fail(self, error: CodedError) -> list[Queued]:
        with self._changed:
            self._failure = error
            behind = list(self._queue)
            self._queue.clear()
            self._queued_bytes = 0
        return behind

    def _between(self) -> float | None:
        try:
            return self._tick()
        except CodedError as error:
            for _, done in self._fail(error):
                _call(done, error)
            with self._changed:
                self._changed.notify_all()
            return None


def _size(frame: EncodedFrame) -> int:
    return len(frame.data) + sum(map(len, frame.blobs.values()))


def _call(done: Done, error: CodedError | None) -> None:
    try:
        done(error)
    except Exception:  # noqa: BLE001 - it must not stop the callbacks behind it, nor the log
        _log.exception("a commit callback raised")
