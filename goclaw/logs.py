"""Logging: structlog's processors behind the standard library's loggers, off the actors' threads.

Every floor says `logging.getLogger(__name__)`; this module alone decides what becomes of it.
A record goes into a bounded queue on the thread that logs, and is rendered and written by one
listener thread: an actor never waits for a disk or a terminal.
"""

from __future__ import annotations

import copy
import logging
import logging.handlers
import os
import queue
import sys
import time
from typing import TYPE_CHECKING, Any, Final, TextIO

import structlog

from goclaw_actors.executors.context import RUN_ID, TASK_ID
from goclaw_actors.executors.redaction import KNOWN

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import EventDict, Processor

    from goclaw.config import LogSettings

QUEUED_MAX: Final = 10_000
"""Records that may wait for the listener; further ones are counted and dropped."""

_ESCAPES: Final = {c: f"\\x{c:02x}" for c in [*range(32), 127]} | {10: "\\n", 13: "\\r", 9: "\\t"}
_RECORD_KEYS: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_CONTEXT: Final = {"run_id": RUN_ID, "task_id": TASK_ID}
"""What a record says of the work during which it was logged."""

_QUIET: Final = ("pykka", "asyncio")
"""Loggers of others that say at `info` or below what only they care about."""


def rfc3339(time_ns: int) -> str:
    """Write nanoseconds since 1970 as RFC 3339 in UTC, with nine fractional digits."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}Z"


def configure_logs(settings: LogSettings, stream: TextIO | None = None) -> Callable[[], None]:
    """Send what every logger says to `stream` (stderr) and to the file that `settings` names.

    Returns the function that writes out what waits, closes the file and puts back what was there
    before. Call it once a process. Raises `OSError` when the file cannot be opened.
    """
    stream = sys.stderr if stream is None else stream
    handlers: list[logging.Handler] = [_stream_handler(stream, settings.format)]
    if settings.file is not None:
        handlers.append(_file_handler(settings))
    waiting: queue.Queue[Any] = queue.Queue(QUEUED_MAX)
    entry = _Entry(waiting)
    listener = _Listener(waiting, *handlers)
    root = logging.getLogger()
    before = (root.level, root.handlers[:], [logging.getLogger(n).level for n in _QUIET])
    root.handlers[:] = [entry]
    root.setLevel(settings.level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    listener.start()

    def close() -> None:
        if entry not in root.handlers:
            return
        root.handlers[:] = before[1]
        for name, level in zip(_QUIET, before[2], strict=True):
            logging.getLogger(name).setLevel(level)
        root.setLevel(before[0])
        listener.stop()
        entry.report_dropped(handlers)
        for handler in handlers:
            handler.close()

    return close


def set_level(level: str, logger: str = "") -> dict[str, str]:
    """Let a logger ('': all) write records from a level on, at once; return what holds now."""
    named = logging.getLogger(logger)
    named.setLevel(level.upper())
    if not logger:
        for name in _QUIET:
            logging.getLogger(name).setLevel(max(logging.WARNING, named.level))
    known = [logging.getLogger(name) for name in sorted(logging.root.manager.loggerDict)]
    chosen = {other.name: other.level for other in known if other.level != logging.NOTSET}
    held = {"": logging.root.level, **chosen}
    return {name: logging.getLevelName(number).lower() for name, number in held.items()}


class _Entry(logging.handlers.QueueHandler):
    """Take a record on the thread that logs: bind its context, queue it, never wait."""

    def __init__(self, waiting: queue.Queue[Any]) -> None:
        super().__init__(waiting)
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Freeze what is only true here and now: the text of the arguments and the context."""
        record = copy.copy(record)
        record.msg, record.args = record.getMessage(), None
        record.time_ns = time.time_ns()
        record.context = {name: text for name, held in _CONTEXT.items() if (text := held.get())}
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queue the record, or count it as dropped."""
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1

    def report_dropped(self, handlers: list[logging.Handler]) -> None:
        """Say once, at the end, how many records found no room."""
        if self.dropped:
            text = f"{self.dropped} log records were dropped: more than {QUEUED_MAX} waited"
            record = logging.LogRecord(__name__, logging.WARNING, "", 0, text, None, None)
            for handler in handlers:
                handler.handle(self.prepare(record))


class _Listener(logging.handlers.QueueListener):
    """Write what waits; at the end wait for room, where the standard one would raise."""

    def enqueue_sentinel(self) -> None:
        """Put the mark of the end behind everything that waits."""
        self.queue.put(self._sentinel)  # type: ignore[attr-defined]


def _stream_handler(stream: TextIO, form: str) -> logging.Handler:
    terminal = stream.isatty()
    handler = logging.StreamHandler(stream)
    pretty = form == "pretty" or (form == "auto" and terminal)
    colors = terminal and "NO_COLOR" not in os.environ
    handler.setFormatter(_formatter(_pretty(colors=colors) if pretty else _json()))
    return handler


def _file_handler(settings: LogSettings) -> logging.Handler:
    path = settings.file
    if path is None:
        raise AssertionError("a file handler without a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(
        path,
        maxBytes=settings.file_bytes_max,
        backupCount=settings.file_count - 1,
        encoding="utf-8",
    )
    handler.setFormatter(_formatter(_json()))
    return handler


class _Redacted(structlog.stdlib.ProcessorFormatter):
    """Write lines in which no secret of this process stands, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return KNOWN.text(super().format(record))


def _formatter(renderers: list[Processor]) -> logging.Formatter:
    return _Redacted(foreign_pre_chain=[_described], processors=[_without_meta, *renderers])


def _described(_logger: object, _name: str, event: EventDict) -> EventDict:
    """Turn a record of the standard library into the keys that a line has."""
    record: logging.LogRecord = event["_record"]
    found: dict[str, Any] = {
        "time": rfc3339(getattr(record, "time_ns", int(record.created * 1e9))),
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": event["event"],
        **getattr(record, "context", {}),
    }
    for key, value in vars(record).items():
        if key not in _RECORD_KEYS and key not in {"time_ns", "context"} and key[0] != "_":
            found.setdefault(key, value)
    if record.exc_info:
        found["exc_info"] = record.exc_info
    return found | {"_record": record, "_from_structlog": False}


def _without_meta(_logger: object, _name: str, event: EventDict) -> EventDict:
    event.pop("_record", None)
    event.pop("_from_structlog", None)
    return event


def _json() -> list[Processor]:
    return [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
    ]


def _pretty(*, colors: bool) -> list[Processor]:
    def short_time(_logger: object, _name: str, event: EventDict) -> EventDict:
        event["timestamp"] = event.pop("time")[11:23]
        return event

    # An exception stays a traceback of several lines; what users' data brings along does not.
    plain = structlog.dev.plain_traceback
    return [
        _escaped,
        short_time,
        structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain, pad_event_to=40),
    ]


def _escaped(_logger: object, _name: str, event: EventDict) -> EventDict:
    """Keep a line a line: control characters in values are written, not obeyed."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = value.translate(_ESCAPES)
    return event
